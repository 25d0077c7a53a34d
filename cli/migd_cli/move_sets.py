"""A set of moves in words: its steps in order, and what each waits for or came to."""

from migd_cli.screen import Screen
from migd_core.api import SetView, StepView
from migd_core.units import format_duration

STYLES = {"done": "green", "failed": "red", "dropped": "red"}


def set_lines(view: SetView, screen: Screen, *, planned_by: str = "") -> list[str]:
    """Return a set with a line a step; `planned_by` is the dry run, if it is one, that would begin it."""
    if planned_by and view.name.startswith(f"{planned_by}."):
        lines = screen.prose(f"Set {view.name} would be begun", "bold")
    else:
        lines = screen.prose(
            f"Set {view.name}, {screen.ago(view.at)}, {'over' if view.is_over else 'under way'}", "bold"
        )
    for step in view.steps:
        way = f"{step.guest_name}: {step.source_name} → {step.target_name}"
        detour = " (spare host)" if step.is_detour else ""
        fate = step_fate(step, planned_by)
        lines += screen.labelled(f"  {step.number}. ", f"{way}{detour}, {fate}", text_style=STYLES.get(step.state, ""))
    return lines


def step_fate(view: StepView, planned_by: str = "") -> str:
    """Return what became of a step, or what it waits for."""
    if view.state == "running":
        if planned_by and view.migration.startswith(f"{planned_by}."):
            takes = f", takes about {format_duration(view.predicted_s)}" if view.predicted_s is not None else ""
            return f"would start now{takes}"
        return f"under way as {view.migration}"
    if view.state == "waiting":
        return view.text
    return f"{view.state}: {view.text}" if view.text else view.state

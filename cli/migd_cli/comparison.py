"""Policies held against each other, in words and as a table, and what setting another one would change."""

from typing import Any

from msgspec.structs import replace

from migd_cli.decisions import candidate_lines
from migd_cli.screen import Screen, paint
from migd_cli.table import NOTHING, Cell, Column, table
from migd_core.api import CandidateView, ComparisonView, ContenderView, DecisionView, PolicyChangeView
from migd_core.units import format_duration, format_ratio

COLUMNS = (
    Column("POLICY", at_least=12),
    Column("AHEAD BY", is_number=True),
    Column("NET", is_number=True),
    Column("GAINED", is_number=True, leaves=4),
    Column("PROMISED", is_number=True, leaves=3),
    Column("COST", is_number=True, leaves=1),
    Column("MOVES", is_number=True),
    Column("PAUSES", is_number=True, leaves=5),
    Column("WATCHED", is_number=True, leaves=2),
    Column("SETTINGS", kind="piped"),
    Column("PROBLEM", kind="note"),
)
_KEPT = "Nothing that would be moved now falls away."


def comparison_lines(view: ComparisonView, screen: Screen) -> list[str]:
    """Return who would have done best and by what, a line a policy, and how far the ledger was off."""
    lines = screen.prose(view.text, "bold")
    if not view.contenders:
        return lines
    lines += ["", *table(COLUMNS, [_row(each) for each in view.contenders], screen), ""]
    lines += screen.prose(error_text(view), "dim")
    return lines


def shadow_lines(view: ContenderView, screen: Screen) -> list[str]:
    """Return a shadow with its settings and what it would move now."""
    headline = paint(view.label, "bold") + (f" (policy {view.policy})" if view.label != view.policy else "")
    lines = [headline, *(screen.labelled("  ", settings_text(view.config)) if view.config else [])]
    if view.problem:
        return [*lines, *screen.labelled("  ", f"is not asked any more: {view.problem}", text_style="red")]
    if view.last is None:
        return [*lines, *screen.labelled("  ", "has not been asked yet", text_style="dim")]
    return lines + _plan_lines(view.last, screen, briefly=True)


def shadows_lines(views: list[ContenderView], screen: Screen) -> list[str]:
    """Return every shadow, or how to have one."""
    if not views:
        text = "No policy runs beside the one in use; `migctl policy shadow add NAME` lets one propose."
        return screen.prose(text)
    lines: list[str] = []
    for view in views:
        lines += [*([""] if lines else []), *shadow_lines(view, screen)]
    return lines


def change_lines(view: PolicyChangeView, screen: Screen) -> list[str]:
    """Return what setting a policy would change: settings, moves that would begin, moves that fall away."""
    lines = screen.prose(f"Dry run: policy {view.before.name} stays in use; {view.after.name} would", "bold")
    lines += _plan_lines(view.plan, screen)
    if view.before.name == view.after.name:
        changes = [
            f"{key}: {view.before.config.get(key)} would become {value}"
            for key, value in view.after.config.items()
            if view.before.config.get(key) != value
        ]
        lines += ["", *screen.prose("; ".join(changes) or "No setting would change.")]
    lines += ["", *screen.prose("What falls away of what would be moved now:" if view.falls_away else _KEPT)]
    for number, candidate in enumerate(view.falls_away, start=1):
        lines += candidate_lines(_without_passed(candidate), number, screen, is_plan=True)
    if view.under_way:
        names = ", ".join(f"{each.guest_name} to {each.target_name}" for each in view.under_way)
        lines += screen.prose(f"Under way already, and goes on: {names}.")
    if view.compared:
        lines += screen.prose(f"The comparison with {', '.join(view.compared)} would begin anew.")
    return lines


def settings_text(config: dict[str, Any]) -> str:
    """Return settings as they are typed."""
    return " ".join(f"{key}={value}" for key, value in config.items())


def _plan_lines(view: DecisionView, screen: Screen, *, briefly: bool = False) -> list[str]:
    accepted = sum(candidate.accepted for candidate in view.candidates)
    verdict = f"move {accepted} of {len(view.candidates)} that it proposes" if view.candidates else "move nothing"
    lines = screen.labelled("  ", f"{verdict}: {view.text}")
    for number, candidate in enumerate(view.candidates, start=1):
        shown = _without_passed(candidate) if briefly else candidate
        lines += ["", *candidate_lines(shown, number, screen, is_plan=True)]
    return lines


def _without_passed(view: CandidateView) -> CandidateView:
    return replace(view, gates=[gate for gate in view.gates if not gate.passed])


def _row(view: ContenderView) -> tuple[Cell | str, ...]:
    ahead = Cell("in use", "cyan")
    if not view.is_active:
        ahead = Cell(signed(view.ahead_s), "green" if view.ahead_s > 0 else "red" if view.ahead_s < 0 else "")
    blind = f" (blind {format_duration(view.blind_s)})" if view.blind_s >= 1.0 else ""
    return (
        view.label,
        ahead,
        signed(view.net_s),
        signed(view.gained_s),
        signed(view.due_s),
        format_duration(view.cost_s),
        f"{view.moves} ({view.failed} failed)" if view.failed else str(view.moves),
        format_duration(view.pause_s),
        format_duration(view.watched_s) + blind,
        settings_text(view.config) or NOTHING,
        Cell(view.problem or NOTHING, "red"),
    )


def error_text(view: ComparisonView) -> str:
    """Return how far the ledger was off, as far as the moves that were made let one know."""
    if view.took_ratio is None:
        return "No migration of the policy in use has ended since: how wrong the ledger is about them is not known."
    text = f"Migrations of the policy in use took {format_ratio(view.took_ratio)} of the time predicted"
    if view.gained_ratio is not None:
        text += f", and have gained {format_ratio(view.gained_ratio)} of what was promised by now"
    text += "."
    if view.step_ratio is not None and view.expected_step_ratio is not None:
        jobs = "One job" if view.checked == 1 else f"{view.checked} jobs"
        text += f" {jobs} told that a step took {format_ratio(view.step_ratio)} of the time before its moves"
        text += f", where {format_ratio(view.expected_step_ratio)} was expected."
    return text


def signed(seconds: float) -> str:
    """Return a duration with its sign."""
    if round(seconds, 1) == 0:
        return "0 s"
    return ("+" if seconds > 0 else "−") + format_duration(abs(seconds))

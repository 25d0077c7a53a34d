"""A measurement in words. Pure."""

import shlex
from typing import Final

from migd_cli.experiment.estimates import Difference, Estimate
from migd_cli.experiment.runs import Arm
from migd_cli.experiment.summary import Summary
from migd_cli.screen import Screen
from migd_cli.table import NOTHING, Column, table

COLUMNS: Final = (
    Column("RUNS", at_least=10),
    Column("COUNTED", is_number=True),
    Column("FAILED", is_number=True, leaves=2),
    Column("DISTURBED", is_number=True, leaves=2),
    Column("MEAN", is_number=True),
    Column("SD", is_number=True, leaves=1),
    Column("95 % CONFIDENCE", is_number=True),
    Column("LEAST", is_number=True, leaves=3),
    Column("MOST", is_number=True, leaves=3),
)
_ARMS: Final = {Arm.BASELINE: "baseline", Arm.WITHOUT: "without migration", Arm.WITH: "with migration"}
_LEFT_OUT_SHOWN: Final = 10


def measurement_lines(found: Summary, screen: Screen) -> list[str]:
    """Return what was run, a row for each arm and for the migrations, the differences, and what does not count."""
    lines = [*screen.prose(_heading(found)), ""]
    rows = [
        (_ARMS[arm.arm], *_counts(arm.run_time_s, arm.failed, arm.disturbed), *_figures(arm.run_time_s))
        for arm in found.arms
    ]
    if found.migration_s is not None:
        rows.append(("migration", str(found.migration_s.n), NOTHING, NOTHING, *_figures(found.migration_s)))
    if found.pause_s is not None:
        rows.append(("pause", str(found.pause_s.n), NOTHING, NOTHING, *_figures(found.pause_s)))
    lines += [*table(COLUMNS, rows, screen), ""]
    if found.plan.target:
        lines += _difference("A migration {costs}", found.by_migration, "with and without it", screen)
    if found.plan.baseline:
        lines += _difference("The pool {costs}", found.by_virtualization, "here and of the baseline", screen)
        if found.plan.target:
            lines += _difference("Together they {cost}", found.by_both, "with it here and of the baseline", screen)
    if found.plan.target:
        lines += screen.prose(_about_the_pause(found))
        if found.was_held:
            lines += screen.prose("Automation was off meanwhile: migd moved no guest by itself.")
        if found.late_s is not None and found.late_s > 1.0:
            lines += screen.prose(f"The latest migration was asked for {found.late_s:.1f} s after its time.", "yellow")
    if found.runs_left:
        left = "1 run was" if found.runs_left == 1 else f"{found.runs_left} runs were"
        lines += screen.prose(f"{left} not made; --resume goes on.", "yellow")
    for left_out in found.left_out[:_LEFT_OUT_SHOWN]:
        lines += screen.labelled(f"  run {left_out.number} ({_ARMS[left_out.arm]}): ", left_out.why, text_style="red")
    if (more := len(found.left_out) - _LEFT_OUT_SHOWN) > 0:
        lines += screen.prose(f"  and {more} more that do not count")
    return lines


def _heading(found: Summary) -> str:
    plan = found.plan
    what = f"The job of {plan.guest} in {plan.simulated}" if plan.simulated else f"`{shlex.join(plan.command)}`"
    moves = f", where {plan.guest} goes from {plan.home} to {plan.target} after {plan.at_s:g} s" if plan.target else ""
    noise = f"; speeds and links differ from run to run by {plan.noise_ratio * 100:g} %" if plan.simulated else ""
    return f"{what}{moves}; in random order, seed {plan.seed}{noise}."


def _difference(what: str, found: Difference | None, between: str, screen: Screen) -> list[str]:
    if found is None:
        text = f"Nothing can be said of run times {between} with fewer than two runs of each that count."
        return screen.prose(text, "yellow")
    span = (
        f"{found.low:+.2f} to {found.high:+.2f} s, {found.low_ratio * 100:+.1f} to {found.high_ratio * 100:+.1f} %, "
        "by Welch's t at 95 %"
    )
    if found.is_shown:
        verb = "cost" if found.mean > 0 else "save"
        said = what.format(cost=verb, costs=f"{verb}s")
        return screen.prose(f"{said} {abs(found.mean):.2f} s, {abs(found.ratio) * 100:.1f} % ({span}).", "bold")
    least_s = (found.high - found.low) / 2
    return screen.prose(
        f"No difference is shown between run times {between}: {found.mean:+.2f} s ({span}). With as many runs of this "
        f"spread, less than about {least_s:.2g} s cannot be told from none."
    )


def _about_the_pause(found: Summary) -> str:
    predicted = found.predicted_migration_s
    said = f" migd had expected {predicted.mean:.2f} s for the migration" if predicted is not None else ""
    if found.predicted_pause_s is not None:
        said += f" and {found.predicted_pause_s.mean:.2f} s for the pause"
    said += "." if said else ""
    if found.plan.pause_by:
        return f"How long the guest stood still is by {found.plan.pause_by}.{said}"
    return f"How long the guest stood still was not measured; --ping ADDRESS does.{said}"


def _counts(found: Estimate | None, failed: int, disturbed: int) -> tuple[str, str, str]:
    return str(found.n if found is not None else 0), str(failed), str(disturbed)


def _figures(found: Estimate | None) -> tuple[str, str, str, str, str]:
    if found is None:
        return (NOTHING,) * 5
    sd = NOTHING if found.sd is None else f"{found.sd:.2f} s"
    span = NOTHING if found.low is None else f"{found.low:.2f} to {found.high:.2f} s"
    return f"{found.mean:.2f} s", sd, span, f"{found.least:.2f} s", f"{found.most:.2f} s"

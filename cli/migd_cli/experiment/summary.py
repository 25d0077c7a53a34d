"""What runs come to: means with their confidence, the difference between the arms, and what does not count. Pure."""

from collections.abc import Sequence

import msgspec

from migd_cli.experiment.estimates import CONFIDENCE_RATIO, Difference, Estimate, difference, estimate
from migd_cli.experiment.runs import Arm, Plan, Run


class ArmSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of one arm: `run_time_s` of those that count."""

    arm: Arm
    run_time_s: Estimate | None
    failed: int
    disturbed: int


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A run that does not count, and why."""

    number: int
    arm: Arm
    why: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A whole measurement. Of `by_migration` and `by_virtualization` the first is with against without a migration.

    The other is without a migration against the baseline, `by_both` with one against it. `migration_s` and `pause_s`
    are of the migrations of runs that count; `late_s` is by how much the latest was asked for after its time.
    `was_held` says that migd was kept from moving guests by itself. `runs_left` are those that were not made.
    """

    plan: Plan
    confidence_ratio: float
    arms: list[ArmSummary]
    by_migration: Difference | None
    by_virtualization: Difference | None
    by_both: Difference | None
    migration_s: Estimate | None
    predicted_migration_s: Estimate | None
    pause_s: Estimate | None
    predicted_pause_s: Estimate | None
    late_s: float | None
    was_held: bool
    left_out: list[LeftOut]
    runs_left: int


def summary(plan: Plan, runs: Sequence[Run], *, was_held: bool = False) -> Summary:
    """Return what the runs come to."""
    times = {arm: [run.took_s for run in runs if run.arm is arm and run.counts] for arm in Arm}
    moves = [run.move for run in runs if run.move is not None and run.counts]
    in_all = plan.warm_up + plan.repeat * len(plan.arms)
    return Summary(
        plan=plan,
        confidence_ratio=CONFIDENCE_RATIO,
        arms=[
            ArmSummary(
                arm=arm,
                run_time_s=estimate(times[arm]),
                failed=sum(bool(run.failed) for run in _of(arm, runs)),
                disturbed=sum(bool(run.disturbed) and not run.failed for run in _of(arm, runs)),
            )
            for arm in plan.arms
        ],
        by_migration=difference(times[Arm.WITHOUT], times[Arm.WITH]),
        by_virtualization=difference(times[Arm.BASELINE], times[Arm.WITHOUT]),
        by_both=difference(times[Arm.BASELINE], times[Arm.WITH]),
        migration_s=estimate([move.took_s for move in moves if move.took_s is not None]),
        predicted_migration_s=estimate([move.predicted_s for move in moves if move.predicted_s is not None]),
        pause_s=estimate([move.pause_s for move in moves if move.pause_s is not None]),
        predicted_pause_s=estimate([m.predicted_pause_s for m in moves if m.predicted_pause_s is not None]),
        late_s=max((move.asked_after_s - plan.at_s for move in moves), default=None),
        was_held=was_held,
        left_out=[
            LeftOut(number=run.number, arm=run.arm, why=run.failed or run.disturbed)
            for run in runs
            if run.failed or run.disturbed
        ],
        runs_left=in_all - len(runs),
    )


def _of(arm: Arm, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.arm is arm and not run.is_warm_up]

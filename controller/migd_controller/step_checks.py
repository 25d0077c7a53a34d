"""Whether jobs step as fast after real moves as the ledger said they would, by the progress that they report. Pure.

The steps of the seconds before the moves are held against those of the minute after the last of them has ended. Loads
that change meanwhile are in it, too: one check says little, many say how wrong the model is.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from migd_policies.job_progress import Track
from migd_policies.ledger import JobPrice

# A policy wants an imbalance to last for some periods before it acts: longer before, the job was as fast as ever.
BEFORE_S: Final = 20.0
AFTER_S: Final = 60.0
# A job that has not told enough by then is not waited for.
GIVE_UP_S: Final = 600.0
LEAST_REPORTS: Final = 3
# A job that is to step no faster or slower by more than this says nothing about the model.
LEAST_CHANGE_RATIO: Final = 0.05


class StepCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One job whose guests, or neighbours, are moved by the migrations of these causes.

    A step took `before_s`, and is to take `expected_ratio` of it since `ended_at` (Unix time; None: not ended yet).
    """

    causes: tuple[str, ...]
    before_s: float
    expected_ratio: float
    ended_at: float | None = None


Checks = Mapping[str, StepCheck]


def begun(
    checks: Checks, jobs: Sequence[JobPrice], causes: Sequence[str], tracks: Mapping[str, Track], now_s: float
) -> dict[str, StepCheck]:
    """Return the checks once migrations of these `causes` have begun that are to do this to `jobs`.

    A job that is checked already is no longer: what more moves do to it cannot be told apart.
    """
    kept = {job: check for job, check in checks.items() if all(job != each.job for each in jobs)}
    for each in jobs:
        track = tracks.get(each.job)
        if track is None or each.job in checks or abs(each.step_ratio - 1.0) < LEAST_CHANGE_RATIO:
            continue
        before_s = _step_s(track, now_s - BEFORE_S, now_s)
        if before_s is not None:
            kept[each.job] = StepCheck(causes=tuple(causes), before_s=before_s, expected_ratio=each.step_ratio)
    return kept


def without(checks: Checks, cause: str) -> dict[str, StepCheck]:
    """Return the checks once the migration of this cause has failed: what it was to do can no longer be seen."""
    return {job: check for job, check in checks.items() if cause not in check.causes}


def followed(
    checks: Checks, under_way: Collection[str], tracks: Mapping[str, Track], now_s: float
) -> tuple[dict[str, StepCheck], list[tuple[float, float]]]:
    """Return the checks that go on, and of those that are done the ratio expected and the one that was."""
    kept, done = {}, []
    for job, check in checks.items():
        if check.ended_at is None:
            check = check if any(cause in under_way for cause in check.causes) else replace(check, ended_at=now_s)
            kept[job] = check
            continue
        track, since_s = tracks.get(job), now_s - check.ended_at
        after_s = _step_s(track, check.ended_at, now_s) if track is not None and since_s >= AFTER_S else None
        if after_s is not None:
            done.append((check.expected_ratio, after_s / check.before_s))
        elif track is not None and 0 <= since_s < GIVE_UP_S:
            kept[job] = check
    return kept, done


def _step_s(track: Track, from_s: float, to_s: float) -> float | None:
    """Return how long a step took between two moments (Unix time); None where too little was told of it."""
    told = [report for report in track.reports if from_s <= report.at_s <= to_s]
    if len(told) < LEAST_REPORTS:
        return None
    return (told[-1].at_s - told[0].at_s) / (told[-1].done - told[0].done)

"""How fast a job goes while one of its guests migrates, learned from its own migrations.

v is the iteration rate during pre-copy over the rate before. The paper's HPL needs 0.24 to 0.56; where the migration
and the messages share a NIC 0.5 is a fair first guess. What was seen of a job moves that guess: the median of its
observations counts as so many as there are, against PRIOR_WEIGHT observations of 0.5.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Final

import msgspec

from migd_core.world import SpeedRatio
from migd_policies.job_progress import SILENT_GAPS, Report

PRIOR_RATIO: Final = 0.5
PRIOR_WEIGHT: Final = 2.0
# How far one migration's v strays from a job's own: before anything was seen (0.24..0.76 at 10-90 %), and at least.
PRIOR_SPREAD: Final = 0.2
LEAST_SPREAD: Final = 0.05
KEPT: Final = 16
LEAST_RATIO: Final = 0.01
# Less pre-copy, or fewer reports before it, than this say nothing of a rate.
LEAST_PRECOPY_S: Final = 10.0
LEAST_REPORTS_BEFORE: Final = 3
# What is compared with is how the job went just before, a minute or so, not in another phase.
WINDOW_REPORTS: Final = 12
_DECILE_IN_SD: Final = 1.2816
_SD_OF_MAD: Final = 1.4826


class LearnedSpeed(msgspec.Struct, frozen=True):
    """What was seen of one job: v of its newest migrations, oldest first."""

    ratios: tuple[float, ...] = ()


def after(learned: LearnedSpeed, observed_ratio: float) -> LearnedSpeed:
    """Return what is known once a migration was seen to leave the job `observed_ratio` of its speed."""
    ratio = min(1.0, max(LEAST_RATIO, observed_ratio))
    return LearnedSpeed((*learned.ratios, ratio)[-KEPT:])


def estimate(learned: LearnedSpeed, prior_ratio: float = PRIOR_RATIO) -> SpeedRatio:
    """Return the v to expect of the job's next migration."""
    seen = learned.ratios
    if not seen:
        return _around(prior_ratio, PRIOR_SPREAD, "no migration of this job was watched yet")
    middle, count = median(seen), len(seen)
    spread = max(LEAST_SPREAD, _SD_OF_MAD * median(abs(ratio - middle) for ratio in seen))
    centre = (PRIOR_WEIGHT * prior_ratio + count * middle) / (PRIOR_WEIGHT + count)
    variance = (PRIOR_WEIGHT * PRIOR_SPREAD**2 + count * spread**2) / (PRIOR_WEIGHT + count)
    watched = "one migration" if count == 1 else f"{count} migrations"
    found = _around(centre, variance**0.5, f"{watched} of this job watched, {middle:.2f} in the middle")
    return replace(found, watched=count)


def observed(reports: Sequence[Report], began_s: float, stopped_s: float) -> float | None:
    """Return v of one migration that began to copy at `began_s` and stopped its guest at `stopped_s`.

    None where the reports (in order of time) do not tell: too few before it, none within it, or a pre-copy too short.
    From the last report before to the last within, the job went on at its usual rate until `began_s`, then at v of it.
    """
    before = [report for report in reports if report.at_s <= began_s][-WINDOW_REPORTS:]
    within = [report for report in reports if began_s < report.at_s <= stopped_s]
    if len(before) < LEAST_REPORTS_BEFORE or stopped_s - began_s < LEAST_PRECOPY_S:
        return None
    usual_per_s = median(
        (later.done - earlier.done) / (later.at_s - earlier.at_s) for earlier, later in pairwise(before)
    )
    if not within:
        # A job whose iterations are long may have ended none; one that is often heard has stood still.
        usual_gap_s = median(later.at_s - earlier.at_s for earlier, later in pairwise(before))
        return LEAST_RATIO if stopped_s - began_s >= SILENT_GAPS * usual_gap_s else None
    last, newest = before[-1], within[-1]
    if newest.at_s - began_s < LEAST_PRECOPY_S:
        return None
    usual_s = (newest.done - last.done) / usual_per_s
    return (usual_s - (began_s - last.at_s)) / (newest.at_s - began_s)


def _around(centre: float, spread: float, basis: str) -> SpeedRatio:
    away = _DECILE_IN_SD * spread
    return SpeedRatio(centre, max(LEAST_RATIO, centre - away), min(1.0, centre + away), basis)

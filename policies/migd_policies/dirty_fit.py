"""A guest's dirty curve as a function of time: D(t), the unique pages written in t seconds, and how sure that is.

    D(t) = Σ W_k (1 − e^(−t/τ_k)) + Σ R_j min(1, t/τ_j)        random writes; array sweeps

The weights W and R are fitted to the counts of several sessions by least squares and are not negative, so D rises ever
more slowly, as the curve of anything that writes does. Beyond the longest count it goes on as a power of t, weaker than
the one it ended with; it ends where every page of the guest is written.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np

from migd_core.messages import DirtyCurve
from migd_policies.nonnegative import least_squares
from migd_policies.precopy_rounds import AGES_S, Floats, at

# Time constants of the mixture, from the first to the last geometrically; the last is so many windows.
RANDOM_PARTS: Final = 6
SWEEP_PARTS: Final = 28
FIRST_TAU_S: Final = 0.03
LAST_WINDOWS: Final = 4.0
# What a count is wrong by: its peek is late by a few milliseconds, and log-dirty counts a few pages of its own.
COUNT_RATIO: Final = 0.01
COUNT_PAGES: Final = 10.0
# A session counts less than the one after it, and much less if it differs by more than this: jobs change.
OLDER_SESSION: Final = 0.9
CHANGED_RATIO: Final = 0.2
LEAST_TRUST: Final = 1e-3
# What sessions tell of a working set that shrinks is believed down to this part of the newest one.
SHRINKS_TO_RATIO: Final = 0.5
MAX_SESSIONS: Final = 4
# The part of the last local exponent that holds on beyond the window, and where "last" begins. On simulated guests 0.7
# leaves 7 % at p95 under the rules since 4.6, against 8 % with 1 and with the mixture's own tail.
TAIL_EXPONENT: Final = 0.7
LAST_PART: Final = 0.7
# What another session would differ by at least and at most, as a logarithm.
LEAST_SPREAD: Final = 0.01
MOST_SPREAD: Final = 2.0
# The longest ages a probe is asked for, in seconds, and how many; one that sees half of a first round predicts well
# (28-37 % at p90 with 2 s at most, 7-11 % so).
FIRST_AGE_S: Final = 0.05
LONGEST_AGES_S: Final = (4.0, 40.0)
PROBE_AGES: Final = 11


@dataclass(frozen=True, slots=True, eq=False)
class DirtyFit:
    """D at `AGES_S` as it is expected, and as it may be.

    `rows` has five curves: expected; less and more, by what sessions differ; flatter and steeper beyond `window_s`, the
    longest age that was counted.
    """

    rows: Floats
    window_s: float


@lru_cache(maxsize=1024)
def probe_ages_s(
    memory_bytes: int,
    bandwidth_bytes_per_s: float,
    first_age_s: float = FIRST_AGE_S,
    last_ages_s: tuple[float, float] = LONGEST_AGES_S,
    ages: int = PROBE_AGES,
) -> tuple[float, ...]:
    """Return the ages to count a guest's dirty pages at, so that a migration at this bandwidth can be predicted.

    They rise by one factor to half of what sending all memory takes, within `last_ages_s`: the longest age decides how
    right a prediction is, and half of the first round was found to be enough. They are asked for of each guest in every
    control period, so the answers are remembered: guests come in few sizes.
    """
    shortest_s, longest_s = last_ages_s
    half_s = 0.5 * memory_bytes / bandwidth_bytes_per_s if bandwidth_bytes_per_s > 0 else longest_s
    last_s = min(longest_s, max(shortest_s, half_s))
    return tuple(np.geomspace(first_age_s, last_s, ages).round(6).tolist())


def usable(curves: Sequence[DirtyCurve], since_s: float = 0.0) -> tuple[tuple[DirtyCurve, ...], tuple[str, ...]]:
    """Return the newest curves that can be believed, oldest first, and of each of the others why it cannot.

    `since_s` is when the guest was booted, by the clock of `measured_s`: what was counted before is another guest's.
    """
    found, problems = [], []
    for curve in curves:
        if why := curve.contradiction():
            problems.append(f"the measured one is impossible: {why}")
        elif any(pages < 0 for pages in curve.unique_pages):
            problems.append("the measured one is impossible: negative pages")
        elif curve.measured_s < since_s:
            problems.append(f"the measured one is from {since_s - curve.measured_s:.0f} s before the guest was booted")
        else:
            found.append(curve)
    return tuple(found[-MAX_SESSIONS:]), tuple(problems)


@lru_cache(maxsize=4096)
def fit(curves: tuple[DirtyCurve, ...], memory_pages: int) -> DirtyFit:
    """Return what `curves`, oldest first, tell of a guest of `memory_pages`. Raises ValueError where they cannot be.

    A curve is fitted once: as long as no newer one comes, the answer is remembered.
    """
    if not curves:
        raise ValueError("no dirty curve to fit; at least one is needed")
    for curve in curves:
        if why := curve.contradiction():
            raise ValueError(why)
    ages_s = np.concatenate([curve.ages_s for curve in curves])
    counts = np.minimum(np.concatenate([curve.unique_pages for curve in curves]).astype(float), memory_pages)
    trust = np.concatenate([np.full(len(c.ages_s), trusted) for c, trusted in zip(curves, _trust(curves), strict=True)])
    window_s = float(ages_s.max())
    random_s = np.geomspace(FIRST_TAU_S, LAST_WINDOWS * window_s, RANDOM_PARTS)
    sweep_s = np.geomspace(3 * FIRST_TAU_S, LAST_WINDOWS * window_s, SWEEP_PARTS)
    # How wrong a count may be goes by what all sessions counted there: else the calmer of two would weigh more.
    usual = np.mean([np.interp(ages_s, (0.0, *c.ages_s), (0, *c.unique_pages)) for c in curves], axis=0)
    sd = np.sqrt((COUNT_RATIO * usual) ** 2 + usual + COUNT_PAGES**2) / trust
    weights = least_squares(_parts(ages_s, random_s, sweep_s) / sd[:, None], counts / sd)
    expected, flatter, steeper = _beyond(_parts(AGES_S, random_s, sweep_s) @ weights, window_s)
    differs = _differs(_parts(ages_s, random_s, sweep_s) @ weights, counts, trust)
    rows = np.vstack((expected, expected * np.exp(-differs), expected * np.exp(differs), flatter, steeper))
    return DirtyFit(np.minimum(rows, memory_pages), window_s)


def shrinking(curves: tuple[DirtyCurve, ...], at_s: float) -> float:
    """Return what part of the newest session's pages is written at `at_s` (by the curves' clock), 1 unless they shrink.

    The working set of a factorisation shrinks steadily. Where each session has counted fewer pages than the one before
    it, by more than phases do, this goes on in a straight line: for no longer than the last two are apart.
    """
    newest_s, apart_s, lost_ratio = _shrinks(curves)
    if lost_ratio <= 0:
        return 1.0
    return max(SHRINKS_TO_RATIO, 1.0 - lost_ratio * min(1.0, max(0.0, at_s - newest_s) / apart_s))


@lru_cache(maxsize=4096)
def _shrinks(curves: tuple[DirtyCurve, ...]) -> tuple[float, float, float]:
    """Return when the newest session ended, how long after the one before it, and what was lost of its pages since."""
    newest_s = curves[-1].measured_s
    last = _last_pages(curves)
    pairs = list(pairwise(last))
    if not pairs or any(math.log(before / after) < CHANGED_RATIO for before, after in pairs):
        return newest_s, 0.0, 0.0
    apart_s = newest_s - curves[-2].measured_s
    return newest_s, apart_s, (last[-2] - last[-1]) / last[-1] if apart_s > 0 else 0.0


def _last_pages(curves: Sequence[DirtyCurve]) -> list[float]:
    """Return what each session has counted by the longest age that all have, and a few pages that mean nothing."""
    end_s = min(curve.ages_s[-1] for curve in curves)
    return [float(np.interp(end_s, curve.ages_s, curve.unique_pages)) + COUNT_PAGES for curve in curves]


def _parts(ages_s: Floats, random_s: Floats, sweep_s: Floats) -> Floats:
    random = -np.expm1(-ages_s[:, None] / random_s)
    return np.hstack((random, np.minimum(1.0, ages_s[:, None] / sweep_s)))


def _beyond(inside: Floats, window_s: float) -> tuple[Floats, Floats, Floats]:
    """Return a curve as it goes on after `window_s`, expected, flatter and steeper; up to there all three are `inside`.

    Its last local exponent, α = d ln D / d ln t, falls further: TAIL_EXPONENT of it is expected to hold on. Nothing can
    rise more than straight on.
    """
    last, before = at(np.vstack((inside, inside)), np.array([window_s, LAST_PART * window_s]))
    exponent = (last - before) / (1.0 - LAST_PART) / max(last, 1.0)
    times = np.maximum(AGES_S / window_s, 1.0)
    is_beyond = times > 1.0
    expected = np.where(is_beyond, last * times ** (TAIL_EXPONENT * min(1.0, exponent)), inside)
    straight = last * (1.0 + exponent * (times - 1.0))
    flatter = np.where(is_beyond, (expected + last) / 2, inside)
    steeper = np.where(is_beyond, (expected + np.maximum(straight, expected)) / 2, inside)
    return expected, flatter, steeper


def _trust(curves: Sequence[DirtyCurve]) -> list[float]:
    """Return how much each session counts against the newest, as a ratio of the errors to be expected of it.

    One in which about as many pages were written in the end differs by the phase of the job alone, and two phases are
    better than one; one in which there were many more or fewer is of a job that has changed since.
    """
    last = [math.log(pages) for pages in _last_pages(curves)]
    changed = [math.exp(-(((pages - last[-1]) / CHANGED_RATIO) ** 2) / 2) for pages in last]
    return [max(LEAST_TRUST, OLDER_SESSION ** (len(last) - 1 - n) * ratio) for n, ratio in enumerate(changed)]


def _differs(fitted: Floats, counts: Floats, trust: Floats) -> float:
    """Return by how much sessions differ from what is expected of them, as a ratio, the greater counts first."""
    off = (counts - fitted) / (fitted + COUNT_PAGES)
    weight = trust**2 * (fitted + COUNT_PAGES)
    return min(MOST_SPREAD, LEAST_SPREAD + float(np.sqrt(np.average(off**2, weights=weight))))

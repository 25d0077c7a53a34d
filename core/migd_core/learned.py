"""What finished migrations have taught: how fast links really are, which guests take longer, and how far to trust it.

Three logarithms are believed in, each with a mean and a variance: of the pool's bandwidth against what is assumed, of a
host pair's against the pool's, and of a guest's total time against its prediction. An outcome moves them as a Kalman
filter does, each by its share of the variance: one migration moves little, many that agree move all. What is far off
counts as no more than `OUTLIER_SDS`; a migration that failed, was cancelled or lost its task counts not at all.

Intervals are calibrated by conformal prediction (Vovk et al. 2005): of the outcomes so far, scaled by their predicted
spread, four fifths fell within `Widening`. Before there are any, those of simulated migrations count.
"""

import math
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

# Before anything was learned, as standard deviations of logarithms.
POOL_SD: Final = 0.10
PAIR_SD: Final = 0.05
GUEST_SD: Final = 0.05
# What each outcome adds to a variance again, so that nothing is believed for ever.
DRIFT_SD: Final = 0.01
# How far a total is off at least, and a bandwidth worked out from bytes and seconds.
TOTAL_NOISE_SD: Final = 0.02
BANDWIDTH_NOISE_SD: Final = 0.02
OUTLIER_SDS: Final = 1.5
MAX_PAIRS: Final = 4096
MAX_GUESTS: Final = 4096
MAX_SCORES: Final = 200
# The share of outcomes that an interval is to hold.
HELD_RATIO: Final = 0.8
# How far simulated migrations of the development families fell from their medians, in predicted spreads: the middles
# of twenty equal parts (`python -m benchmarks.prediction --calibrate` prints them).
PRIOR_TOTAL_SCORES: Final = (
    *(0.02, 0.09, 0.16, 0.21, 0.27, 0.32, 0.39, 0.46, 0.53, 0.61),
    *(0.71, 0.82, 0.91, 1.03, 1.15, 1.29, 1.42, 1.57, 1.87, 3.43),
)
PRIOR_PAUSE_SCORES: Final = (
    *(0.01, 0.06, 0.09, 0.13, 0.16, 0.21, 0.25, 0.29, 0.35, 0.40),
    *(0.44, 0.48, 0.53, 0.59, 0.65, 0.72, 0.79, 0.92, 1.27, 5.04),
)


class Belief(msgspec.Struct, frozen=True):
    """A logarithm: its mean and its variance."""

    mean: float
    variance: float


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What was predicted of a migration, as far as its outcome is to be held against it.

    The spreads are distances below and above the medians, as logarithms, before they are widened. `slope` is how much
    the logarithm of `total_s` falls where that of the bandwidth rises; the ratios are the correction that went in.
    """

    total_s: float
    pause_s: float
    bandwidth_bytes_per_s: float
    total_spread: tuple[float, float]
    pause_spread: tuple[float, float]
    slope: float
    bandwidth_ratio: float = 1.0
    total_ratio: float = 1.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration took (uuids). `pause_s` and `copied` (bytes, and the seconds they took) where they are known.

    `is_undisturbed` is False where it failed, was cancelled, or its task was lost, so that its time says nothing.
    """

    guest: str
    source: str
    target: str
    expected: Expected
    total_s: float
    pause_s: float | None = None
    copied: tuple[float, float] | None = None
    is_undisturbed: bool = True


@dataclass(frozen=True, slots=True)
class Correction:
    """What to multiply an assumed bandwidth and a predicted total with, and the relative errors of both then.

    As it stands: a bandwidth that is known within 3 %, and nothing learned of the guest.
    """

    bandwidth_ratio: float = 1.0
    bandwidth_sd: float = 0.0175
    total_ratio: float = 1.0
    total_sd: float = 0.0


ASSUMED: Final = Correction()


@dataclass(frozen=True, slots=True)
class Widening:
    """How many predicted spreads an interval reaches to either side of its median."""

    total: float
    pause: float


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """All that was learned; a value, saved with the controller's memory. Pairs and guests are by uuid, newest last."""

    pool: Belief = Belief(0.0, POOL_SD**2)
    pairs: dict[str, Belief] = {}
    guests: dict[str, Belief] = {}
    total_scores: tuple[float, ...] = ()
    pause_scores: tuple[float, ...] = ()

    def correction(self, guest: str, source: str, target: str) -> Correction:
        """Return what to correct a prediction of this move by."""
        pair, own = self._pair(source, target), self._guest(guest)
        return Correction(
            bandwidth_ratio=math.exp(self.pool.mean + pair.mean),
            bandwidth_sd=math.sqrt(self.pool.variance + pair.variance),
            total_ratio=math.exp(own.mean),
            total_sd=math.sqrt(own.variance) if guest in self.guests else 0.0,
        )

    @property
    def widening(self) -> Widening:
        """Return how far intervals reach."""
        return Widening(
            total=_quantile((*PRIOR_TOTAL_SCORES, *self.total_scores)),
            pause=_quantile((*PRIOR_PAUSE_SCORES, *self.pause_scores)),
        )

    def after(self, outcome: Outcome) -> "Learned":
        """Return what is believed after one more migration; the same as before if it says nothing."""
        expected = outcome.expected
        if not outcome.is_undisturbed or outcome.total_s <= 0 or expected.total_s <= 0:
            return self
        pool, pair, guest = self.pool, self._pair(outcome.source, outcome.target), self._guest(outcome.guest)
        if outcome.copied is not None and min(outcome.copied) > 0:
            assumed = expected.bandwidth_bytes_per_s / expected.bandwidth_ratio
            seen = math.log(outcome.copied[0] / outcome.copied[1] / assumed)
            pool, pair = _moved(seen, (pool, pair), (1.0, 1.0), BANDWIDTH_NOISE_SD)
        # What would be predicted now, of which others may have taught something since.
        then = math.log(expected.total_ratio) - expected.slope * math.log(expected.bandwidth_ratio)
        off = math.log(outcome.total_s / expected.total_s) + then
        noise = max(TOTAL_NOISE_SD, sum(expected.total_spread) / 2)
        pool, pair, guest = _moved(off, (pool, pair, guest), (-expected.slope, -expected.slope, 1.0), noise)
        scores = (*self.total_scores, _score(outcome.total_s, expected.total_s, expected.total_spread))
        pauses = self.pause_scores
        if outcome.pause_s is not None and outcome.pause_s > 0:
            pauses = (*pauses, _score(outcome.pause_s, expected.pause_s, expected.pause_spread))
        return replace(
            self,
            pool=pool,
            pairs=_with(self.pairs, _pair_key(outcome.source, outcome.target), pair, MAX_PAIRS),
            guests=_with(self.guests, outcome.guest, guest, MAX_GUESTS),
            total_scores=scores[-MAX_SCORES:],
            pause_scores=pauses[-MAX_SCORES:],
        )

    def _pair(self, source: str, target: str) -> Belief:
        return self.pairs.get(_pair_key(source, target), Belief(0.0, PAIR_SD**2))

    def _guest(self, guest: str) -> Belief:
        return self.guests.get(guest, Belief(0.0, GUEST_SD**2))


NOTHING_LEARNED: Final = Learned()


def _pair_key(source: str, target: str) -> str:
    return f"{source}>{target}"


def _with(beliefs: dict[str, Belief], key: str, belief: Belief, most: int) -> dict[str, Belief]:
    """Return the beliefs with the newest last, and without the oldest if there are too many."""
    found = {other: known for other, known in beliefs.items() if other != key}
    found[key] = belief
    return found if len(found) <= most else dict(list(found.items())[-most:])


def _moved(seen: float, beliefs: tuple[Belief, ...], weights: tuple[float, ...], noise_sd: float) -> tuple[Belief, ...]:
    """Return the beliefs after their weighted sum was seen to be `seen`, give or take `noise_sd`."""
    priors = [Belief(belief.mean, belief.variance + DRIFT_SD**2) for belief in beliefs]
    variance = noise_sd**2 + sum(w * w * prior.variance for w, prior in zip(weights, priors, strict=True))
    off = seen - sum(w * prior.mean for w, prior in zip(weights, priors, strict=True))
    most = OUTLIER_SDS * math.sqrt(variance)
    off = min(most, max(-most, off))
    return tuple(
        Belief(
            prior.mean + w * prior.variance / variance * off,
            prior.variance * (1.0 - w * w * prior.variance / variance),
        )
        for w, prior in zip(weights, priors, strict=True)
    )


def _score(actual: float, median: float, spread: tuple[float, float]) -> float:
    """Return how many spreads `actual` fell from `median`."""
    off = math.log(actual / median)
    return abs(off) / max(1e-6, spread[off > 0])


def _quantile(scores: tuple[float, ...]) -> float:
    """Return the score that `HELD_RATIO` of the next ones stay below, after so many: the conformal quantile."""
    ordered = sorted(scores)
    return ordered[min(len(ordered) - 1, math.ceil(HELD_RATIO * (len(ordered) + 1)) - 1)]

"""Whether what a guest does repeats, in which period, and which part of the period it is in: from rates as they pass.

A rate is looked at as means over bins of one width, oldest first. Its autocorrelation r(τ) has a peak at the period. A
guest that does different things at random has peaks too, so a peak counts only if chance would hardly make one of its
height at any of the lags that were looked at. Beyond the lag q to which a series is alike by itself, and without a
period, r(τ) has about the variance that Bartlett gave for large lags (Box, Jenkins and Reinsel, Time Series Analysis,
section 2.1.6):

    var r(τ) ≈ (1 + 2 Σ_{k ≤ q} r(k)²) / n        needed: r(τ) ≥ z √var, z for CHANCE over n / q independent lags

A peak at the double of the period is asked for besides, and as many periods as `PERIODS_AT_LEAST`: two lucky gaps make
a rhythm of three beats. What is left is folded by the period, and cut in two where that separates the rate best.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from migd_core.units import format_duration

Floats = NDArray[np.float64]

# How likely a guest without a period is to be taken for one that has it, by one rate at one width of bins.
CHANCE: Final = 1e-4
# The same for the peak at the double of a period that has passed.
CHANCE_OF_DOUBLE: Final = 0.01
PERIODS_AT_LEAST: Final = 5
# A peak below this tells too little to wait for, however sure it is; rare bursts at random come near it by chance.
CORRELATION_AT_LEAST: Final = 0.35
# A period is told apart by at least so many bins; fewer are left to narrower ones.
BINS_A_PERIOD: Final = 8
# So many of the newest periods are folded: older ones may have drifted.
PERIODS_FOLDED: Final = 8
# The shorter of the two parts of a period is at least this much of it, and the two differ by so much of their mean.
SHORTER_PART_RATIO: Final = 0.05
DIFFERS_RATIO: Final = 0.1
# A rate within this much of the difference around the middle is of neither part.
UNSURE_RATIO: Final = 0.2


@dataclass(frozen=True, slots=True)
class Series:
    """Means of one rate over bins of `width_s`, oldest first; the last ended at `end_s` (Unix time)."""

    name: str
    width_s: float
    end_s: float
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the two parts of a period: its rate, and at which share of the period (0..1) it begins, and it lasts."""

    rate: float
    begins: float
    lasts: float


@dataclass(frozen=True, slots=True)
class Rhythm:
    """A rate that repeats every `period_s`; periods begin at `from_s` (Unix time) and whole periods before and after.

    `correlation` is the peak of the autocorrelation (1 at the most), `needed` what it had to reach.
    """

    name: str
    period_s: float
    from_s: float
    correlation: float
    needed: float
    parts: tuple[Part, Part]

    @property
    def text(self) -> str:
        every = format_duration(self.period_s)
        return f"{self.name} repeats every {every}, autocorrelation {self.correlation:.2f} (needs {self.needed:.2f})"

    @property
    def stands_out(self) -> float:
        return self.correlation / self.needed

    def lasts_s(self, part: Part) -> float:
        return part.lasts * self.period_s

    def begins_in_s(self, part: Part, now_s: float) -> float:
        """Return in how many seconds that part begins next; 0 while it is under way."""
        into_s = (now_s - self.from_s - part.begins * self.period_s) % self.period_s
        return 0.0 if into_s < self.lasts_s(part) else self.period_s - into_s

    def part_of(self, rate: float) -> Part | None:
        """Return the part that a rate is of; None halfway between the two."""
        one, other = self.parts
        middle, apart = (one.rate + other.rate) / 2, abs(one.rate - other.rate)
        if abs(rate - middle) < UNSURE_RATIO * apart:
            return None
        return min(self.parts, key=lambda part: abs(part.rate - rate))


@dataclass(frozen=True, slots=True)
class Sought:
    """The rhythms that were found, of the narrowest bins first; where there are none, in words what was found instead.

    `correlation` is the peak that came nearest to the one `needed`, None where nothing was watched for long enough.
    """

    rhythms: tuple[Rhythm, ...]
    text: str = ""
    correlation: float | None = None
    needed: float | None = None


def seek(several: Sequence[Series]) -> Sought:
    """Return at each width of bins the rhythm whose peak stands out most, if chance would hardly have made it.

    A guest may have several: the steps of its job, and what comes every hundred steps.
    """
    best: dict[float, Rhythm] = {}
    nearest: tuple[float, float, str] | None = None
    for series in several:
        found, peak = _rhythm(series)
        known = best.get(series.width_s)
        if found is not None and (known is None or found.stands_out > known.stands_out):
            best[series.width_s] = found
        if peak is not None and (nearest is None or peak[0] / peak[1] > nearest[0] / nearest[1]):
            nearest = (*peak, series.name)
    if best:
        return Sought(tuple(best[width_s] for width_s in sorted(best)))
    if nearest is None:
        return Sought((), f"it was not watched for {PERIODS_AT_LEAST} periods of anything")
    text = f"it repeats in no period that is sure: {nearest[2]} has an autocorrelation of {nearest[0]:.2f} at the most"
    return Sought((), f"{text} (needs {nearest[1]:.2f})", nearest[0], nearest[1])


def _rhythm(series: Series) -> tuple[Rhythm | None, tuple[float, float] | None]:
    """Return the rhythm of one series, if any, and the height of its peak with the one needed."""
    values = np.asarray(series.values, dtype=np.float64)
    longest = len(values) // PERIODS_AT_LEAST
    if longest < BINS_A_PERIOD:
        return None, None
    centred = values - values.mean()
    if not float(np.abs(centred).max()) > 1e-9 * max(1.0, float(np.abs(values).max())):
        return None, None
    r = _autocorrelation(centred)
    alike = int(np.argmax(r <= 0.0)) if bool((r <= 0.0).any()) else len(r)
    deviation = math.sqrt((1.0 + 2.0 * float(np.sum(r[1:alike] ** 2))) / len(values))
    first = max(BINS_A_PERIOD, alike)
    if first > longest:
        return None, None
    independent = max(1.0, (longest - first + 1) / max(1, alike))
    needed = max(CORRELATION_AT_LEAST, NormalDist().inv_cdf(1.0 - CHANCE / independent) * deviation)
    lag = first + int(np.argmax(r[first : longest + 1]))
    peak = (float(r[lag]), needed)
    is_peak = first < lag < len(r) - 1 and r[lag] >= r[lag - 1] and r[lag] >= r[lag + 1]
    double = float(r[2 * lag - 1 : 2 * lag + 2].max())
    if not is_peak or peak[0] < needed or double < NormalDist().inv_cdf(1.0 - CHANCE_OF_DOUBLE) * deviation:
        return None, peak
    period = _refined(r, lag)
    return _folded(series, values, period, *peak), peak


def _autocorrelation(centred: Floats) -> Floats:
    """Return r(τ) for τ from 0 to two fifths of the series and a bit, by the Fourier transform."""
    count = len(centred)
    spectrum = np.fft.rfft(centred, 2 * count)
    found = np.fft.irfft(spectrum * np.conj(spectrum))[: 2 * (count // PERIODS_AT_LEAST) + 3]
    ratios: Floats = found / found[0]
    return ratios


def _refined(r: Floats, lag: int) -> float:
    """Return the period in bins: a multiple of it is off by no more than a bin, so the period by a part of one."""
    period = float(lag)
    multiple = 2
    while (at := round(multiple * period)) < len(r) - 1:
        near = max(1, round(period / 8))
        window = r[max(lag + 1, at - near) : min(len(r) - 1, at + near + 1)]
        if not len(window) or float(window.max()) <= 0.0:
            break
        period = (max(lag + 1, at - near) + int(np.argmax(window))) / multiple
        multiple += 1
    return period


def _folded(series: Series, values: Floats, period: float, correlation: float, needed: float) -> Rhythm | None:
    """Lay the newest periods over each other, and cut what comes out in two."""
    periods = min(PERIODS_FOLDED, int(len(values) / period))
    newest = values[-int(periods * period) :]
    slots = max(BINS_A_PERIOD, int(period))
    # The middle of each bin, counted back from the end: the end of the series is the end of a period.
    back = (len(newest) - np.arange(len(newest)) - 0.5) % period
    slot = np.minimum(slots - 1, ((1.0 - back / period) * slots).astype(int))
    counts = np.bincount(slot, minlength=slots)
    if not bool(counts.all()):
        return None
    profile: Floats = np.bincount(slot, weights=newest, minlength=slots) / counts
    cut = _cut(profile)
    if cut is None:
        return None
    begins, length = cut
    inside = np.roll(profile, -begins)[:length].mean()
    outside = np.roll(profile, -begins)[length:].mean()
    if abs(inside - outside) < DIFFERS_RATIO * abs(inside + outside) / 2:
        return None
    ends = ((begins + length) % slots) / slots
    parts = (
        Part(float(inside), begins / slots, length / slots),
        Part(float(outside), ends, 1.0 - length / slots),
    )
    period_s = period * series.width_s
    return Rhythm(series.name, period_s, series.end_s - period_s, correlation, needed, parts)


def _cut(profile: Floats) -> tuple[int, int] | None:
    """Return where the arc begins, and how long it is, whose mean differs most from that of the rest of the circle.

    Most by the variance between the two, which is what least squares with two levels leaves out.
    """
    slots = len(profile)
    shortest = max(1, round(SHORTER_PART_RATIO * slots))
    if slots < 2 * shortest:
        return None
    total = float(profile.sum())
    sums = np.concatenate(([0.0], np.cumsum(np.concatenate((profile, profile)))))
    best, found = -1.0, None
    for length in range(shortest, slots // 2 + 1):
        inside = sums[length : length + slots] - sums[:slots]
        between = (inside / length - (total - inside) / (slots - length)) ** 2 * length * (slots - length)
        begins = int(np.argmax(between))
        if float(between[begins]) > best:
            best, found = float(between[begins]), (begins, length)
    return found

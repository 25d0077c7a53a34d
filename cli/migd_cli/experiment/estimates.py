"""Means with their confidence, and whether two differ. Pure.

    mean ± t(df) · s / √n                                    Student's t, of one sample
    difference ± t(df) · √(s_a²/n_a + s_b²/n_b)              Welch's, of two whose spreads may differ

Run times of a dozen runs are not many enough for a bootstrap, whose intervals are then too narrow. The interval of the
ratio is by the delta method. Nothing is left out as an outlier.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Final

import msgspec

CONFIDENCE_RATIO: Final = 0.95
# Simpson's rule over a smooth integrand, and bisection to the last bit that matters.
_STRIPS: Final = 100
_HALVINGS: Final = 50


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A mean of `n` values. `sd` and the interval from `low` to `high` are None of one value."""

    n: int
    mean: float
    least: float
    most: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How much more the second of two samples is than the first; `ratio` is over the first one's mean.

    `is_shown` if the interval leaves out 0, `df` are Welch's degrees of freedom (None where neither sample varies).
    """

    mean: float
    low: float
    high: float
    ratio: float
    low_ratio: float
    high_ratio: float
    df: float | None
    is_shown: bool


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return what the values tell of their mean; None where there are none."""
    if not values:
        return None
    mean, least, most = fmean(values), min(values), max(values)
    if len(values) == 1:
        return Estimate(n=1, mean=mean, least=least, most=most)
    sd = stdev(values)
    half = t_quantile(len(values) - 1) * sd / math.sqrt(len(values))
    return Estimate(n=len(values), mean=mean, least=least, most=most, sd=sd, low=mean - half, high=mean + half)


def difference(first: Sequence[float], second: Sequence[float]) -> Difference | None:
    """Return how much more the second sample is than the first; None where either has fewer than two values.

    The first one's mean must not be 0.
    """
    if min(len(first), len(second)) < 2:
        return None
    a, b = fmean(first), fmean(second)
    var_a, var_b = stdev(first) ** 2 / len(first), stdev(second) ** 2 / len(second)
    mean, ratio = b - a, b / a - 1
    df, half, half_ratio = None, 0.0, 0.0
    if var_a + var_b > 0:
        df = (var_a + var_b) ** 2 / (var_a**2 / (len(first) - 1) + var_b**2 / (len(second) - 1))
        t = t_quantile(df)
        half = t * math.sqrt(var_a + var_b)
        half_ratio = t * math.sqrt(var_b / a**2 + var_a * b**2 / a**4)
    return Difference(
        mean=mean,
        low=mean - half,
        high=mean + half,
        ratio=ratio,
        low_ratio=ratio - half_ratio,
        high_ratio=ratio + half_ratio,
        df=df,
        is_shown=abs(mean) > half,
    )


def t_quantile(df: float, confidence_ratio: float = CONFIDENCE_RATIO) -> float:
    """Return t such that Student's t with `df` degrees of freedom lies within ±t with this probability.

    P(|T| < t) = 2 Γ((df+1)/2) / (√π Γ(df/2)) ∫ cos^(df−1) θ dθ from 0 to arctan(t/√df).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, df) < confidence_ratio else (low, middle)
    return math.sqrt(df) * math.tan(low)


def _within(angle: float, df: float) -> float:
    """Return P(|T| < √df · tan(angle))."""
    scale = 2 * math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(math.pi)
    heights = [math.cos(angle * n / _STRIPS) ** (df - 1) for n in range(_STRIPS + 1)]
    inner = 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2])
    return float(scale * (heights[0] + inner + heights[-1]) * angle / _STRIPS / 3)

"""A measured dirty curve as a function of time: D(t), the unique pages written in t seconds."""

import math
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from migd_core.messages import DirtyCurve

# Beyond the points D(t) is exponential; straight lines between these parts of its reach come within 1 % of it. Its
# reach is where memory is full, or six time constants, after which a quarter of a percent of the rest is missing.
TAIL_PARTS: Final = (1 / 24, 1 / 12, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1.0)
TAIL_TIME_CONSTANTS: Final = 6.0


class WrittenPages:
    """D(t), concave and piecewise linear: from the origin along the measured points, and on beyond them.

    A real D(t) is concave, whatever the guest does; a measured one is so but for noise, so the least concave curve
    above the points stands for it. Beyond the last point, b, the slope s goes on falling as it fell over the last two
    pieces, by the same factor in the same time: D(t) = D(b) + s (1 - e^(-r (t - b))) / r. That is exact for random
    writes to one set of pages, W (1 - e^(-t/tau)). A curve that is straight so far does not show its end: it goes on
    straight, the most that a concave one can do, until every page of the guest is written.

    `ages_s` are its bends, 0 first; after the last it is level.
    """

    def __init__(self, curve: DirtyCurve, memory_pages: float) -> None:
        """Raises ValueError for a curve that contradicts itself."""
        if why := curve.contradiction():
            raise ValueError(why)
        points = zip(curve.ages_s, curve.unique_pages, strict=True)
        hull = _concave((age_s, min(float(pages), memory_pages)) for age_s, pages in points if age_s > 0)
        hull += _tail(hull, memory_pages)
        self.ages_s = tuple(age_s for age_s, _ in hull)
        self._pages = tuple(pages for _, pages in hull)

    def after(self, age_s: float) -> float:
        """Return D(`age_s`), in pages."""
        at = bisect_left(self.ages_s, age_s)
        if at >= len(self.ages_s):
            return self._pages[-1]
        if at == 0:
            return 0.0
        past_s, span_s = age_s - self.ages_s[at - 1], self.ages_s[at] - self.ages_s[at - 1]
        return self._pages[at - 1] + (self._pages[at] - self._pages[at - 1]) * past_s / span_s


def _concave(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the least concave line above the origin and `points`, whose ages rise."""
    hull = [(0.0, 0.0)]
    for age_s, pages in points:
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) <= _slope(hull[-1], (age_s, pages)):
            hull.pop()
        hull.append((age_s, pages))
    return hull


def _tail(hull: list[tuple[float, float]], memory_pages: float) -> list[tuple[float, float]]:
    """Return the bends of D(t) beyond the last corner of `hull`."""
    if len(hull) < 2 or (slope := _slope(*hull[-2:])) <= 0:
        return []
    (before_s, _), (last_s, pages) = hull[-2:]
    rate = 0.0
    if len(hull) > 2:
        first_s, earlier = hull[-3][0], _slope(*hull[-3:-1])
        rate = math.log(earlier / slope) / ((last_s - first_s) / 2)  # from middle to middle of the two pieces
        slope *= math.exp(-rate * (last_s - before_s) / 2)
    missing = memory_pages - pages
    if rate == 0.0:
        return [(last_s + missing / slope, memory_pages)]
    full_s = -math.log1p(-missing * rate / slope) / rate if missing * rate < slope else math.inf
    reach_s = min(full_s, TAIL_TIME_CONSTANTS / rate)
    ages_s = [reach_s * part for part in TAIL_PARTS]
    return [(last_s + age_s, min(memory_pages, pages - slope * math.expm1(-rate * age_s) / rate)) for age_s in ages_s]


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])

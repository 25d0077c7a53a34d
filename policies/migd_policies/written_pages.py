"""A measured dirty curve as a function of time: D(t), the unique pages written in t seconds."""

from bisect import bisect_left
from collections.abc import Iterable

from migd_core.messages import DirtyCurve


class WrittenPages:
    """D(t), concave and piecewise linear: from the origin along the measured points, then on with the last slope until
    every page of the guest is written.

    A real D(t) is concave, whatever the guest does; a measured one is so but for noise, so the least concave curve
    above the points stands for it. `ages_s` are its bends, 0 first; after the last it is level.
    """

    def __init__(self, curve: DirtyCurve, memory_pages: float) -> None:
        """Raises ValueError for a curve that contradicts itself."""
        if why := curve.contradiction():
            raise ValueError(why)
        points = zip(curve.ages_s, curve.unique_pages, strict=True)
        hull = _concave((age_s, min(float(pages), memory_pages)) for age_s, pages in points if age_s > 0)
        if len(hull) > 1:
            (age_a, pages_a), (age_b, pages_b) = hull[-2:]
            if pages_b > pages_a:
                full_at_s = age_b + (memory_pages - pages_b) * (age_b - age_a) / (pages_b - pages_a)
                hull.append((full_at_s, memory_pages))
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


def _slope(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])

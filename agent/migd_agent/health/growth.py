"""How much counters have grown within the last while, from readings at any times. Pure."""

from collections.abc import Iterable
from typing import Final

POINTS: Final = 24


class Growth:
    """Remembers some POINTS readings of each counter, and takes growth between two of them to be even."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._points: dict[str, list[tuple[float, int]]] = {}

    def within(self, what: str, count: int, at_s: float, age_s: float | None = None) -> float:
        """Take a reading in, and return by how much the counter grew within the window before it.

        `age_s` is how long ago it stood at 0, if that is known; otherwise nothing is known from before the first
        reading. One that fell was set back, and counts from then on.
        """
        points = self._points.get(what)
        if points is None or count < points[-1][1]:
            began = (at_s, count) if age_s is None else (at_s - max(0.0, age_s), 0)
            points = self._points[what] = [began]
        begins_s = at_s - self._window_s
        while len(points) > 1 and points[1][0] <= begins_s:
            del points[0]
        grown = count - _at(points, (at_s, count), begins_s)
        if at_s - points[-1][0] >= self._window_s / POINTS:
            points.append((at_s, count))
        return grown

    def keep(self, whats: Iterable[str]) -> None:
        """Forget the counters that are not among these."""
        for gone in self._points.keys() - set(whats):
            del self._points[gone]


def _at(points: list[tuple[float, int]], now: tuple[float, int], at_s: float) -> float:
    """Return what the counter stood at, at a time within the first two points; the first one's where it is earlier."""
    (first_s, first), (second_s, second) = points[0], points[1] if len(points) > 1 else now
    if at_s <= first_s or second_s <= first_s:
        return first
    return first + (second - first) * (at_s - first_s) / (second_s - first_s)

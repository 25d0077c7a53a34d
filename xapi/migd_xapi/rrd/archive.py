"""What is kept of the steps that went by: rows of so many steps each, the newest of them, consolidated.

A row holds one value for each data source, NaN where too little was known. Rows begin at whole multiples of their
length since 1970, whenever the archive was made.
"""

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf, nan
from typing import Final


class Function(Enum):
    """How the steps of a row become one value."""

    AVERAGE = "AVERAGE"
    MIN = "MIN"
    MAX = "MAX"


@dataclass(frozen=True, slots=True)
class Timescale:
    """Rows of `steps` steps, and how many are kept."""

    steps: int
    rows: int


# rrdd_shared.ml: ten minutes, two hours, a week, a year.
TIMESCALES: Final = (Timescale(1, 120), Timescale(12, 120), Timescale(720, 168), Timescale(17280, 366))


class Archive:
    """The rows of one timescale, by every function that is wanted. At most `unknown_ratio` of a row may be unknown."""

    def __init__(self, timescale: Timescale, functions: Sequence[Function], unknown_ratio: float, sources: int) -> None:
        self.timescale = timescale
        self.unknown_ratio = unknown_ratio
        self.rows: dict[Function, deque[array[float]]] = {each: deque(maxlen=timescale.rows) for each in functions}
        self._needs_extremes = Function.MIN in self.rows or Function.MAX in self.rows
        self._begin(sources)

    @property
    def columns(self) -> int:
        """How many data sources the rows have."""
        return len(self._known)

    def push(self, index: int, values: Sequence[float], times: int = 1) -> None:
        """Take in the values of step `index` (since 1970), and the same for the `times` - 1 steps after it."""
        steps = self.timescale.steps
        left = steps - index % steps
        if times < left:
            self._gather(values, times)
            return
        self._gather(values, left)
        self._close()
        whole, rest = divmod(times - left, steps)
        for _ in range(min(whole, self.timescale.rows)):
            self._append({function: array("f", values) for function in self.rows})
        self._gather(values, rest)

    def value(self, function: Function, age: int, column: int) -> float:
        """Return one value of the row that is `age` rows old, 0 the newest; NaN where there is none."""
        rows = self.rows[function]
        return rows[-1 - age][column] if 0 <= age < len(rows) else nan

    def add_source(self) -> None:
        """Make room for one more data source, of which nothing is known yet."""
        for rows in self.rows.values():
            for row in rows:
                row.append(nan)
        self._sums.append(0.0)
        self._known.append(0)
        self._lows.append(inf)
        self._highs.append(-inf)

    def remove_source(self, column: int) -> None:
        """Forget all that is known of a data source."""
        for rows in self.rows.values():
            for row in rows:
                del row[column]
        for gathered in (self._sums, self._known, self._lows, self._highs):
            del gathered[column]

    def gathered(self, function: Function, column: int) -> tuple[float, int]:
        """Return what the row that is being gathered would be, and of how many steps nothing was known."""
        known = self._known[column]
        return self._consolidated(function, column) if known else nan, self._taken - known

    def _begin(self, sources: int) -> None:
        self._taken = 0
        self._sums = [0.0] * sources
        self._known = [0] * sources
        self._lows = [inf] * sources
        self._highs = [-inf] * sources

    def _gather(self, values: Sequence[float], times: int) -> None:
        if not times:
            return
        self._taken += times
        # NaN is the one value that differs from itself, and the one that compares with nothing.
        self._sums = [s + v * times if v == v else s for s, v in zip(self._sums, values, strict=True)]
        self._known = [k + times if v == v else k for k, v in zip(self._known, values, strict=True)]
        if self._needs_extremes:
            self._lows = [v if v < low else low for low, v in zip(self._lows, values, strict=True)]
            self._highs = [v if v > high else high for high, v in zip(self._highs, values, strict=True)]

    def _close(self) -> None:
        least = max(1.0, self.timescale.steps * (1.0 - self.unknown_ratio))
        self._append(
            {
                function: array(
                    "f",
                    (
                        self._consolidated(function, column) if known >= least else nan
                        for column, known in enumerate(self._known)
                    ),
                )
                for function in self.rows
            }
        )
        self._begin(len(self._sums))

    def _consolidated(self, function: Function, column: int) -> float:
        match function:
            case Function.AVERAGE:
                return self._sums[column] / self._known[column]
            case Function.MIN:
                return self._lows[column]
            case Function.MAX:
                return self._highs[column]

    def _append(self, rows: "dict[Function, array[float]]") -> None:
        for function, row in rows.items():
            self.rows[function].append(row)

"""A round-robin database: readings of data sources at any moments in, steps of five seconds out, into archives.

A counter's rate between two readings holds for all the time between them; a step has the mean of the rates that held
in it, over the time in which one was known. A gauge's step has the reading that ended it. All times are seconds since
1970 by the host's own clock, and suffer when that is set.
"""

from collections.abc import Iterable, Mapping
from math import nan
from typing import Final

from migd_xapi.rrd.archive import TIMESCALES, Archive, Function, Timescale
from migd_xapi.rrd.source import Kind, Source

STEP_S: Final = 5
# Readings that lie further apart than this say nothing of the time between them.
HEARTBEAT_S: Final = 300.0


class RoundRobin:
    """The history of one host or guest. `with_extremes` keeps the least and the greatest of longer rows too."""

    def __init__(
        self,
        at_s: float,
        *,
        with_extremes: bool,
        sources: Iterable[Source] = (),
        timescales: Iterable[Timescale] = TIMESCALES,
    ) -> None:
        self.updated_s = at_s
        self.sources: list[Source] = []
        # As xcp-rrdd has it: where extremes are kept, a row is known as soon as any step of it is.
        self.archives = [
            Archive(
                timescale,
                tuple(Function) if with_extremes and timescale.steps > 1 else (Function.AVERAGE,),
                1.0 if with_extremes and timescale.steps > 1 else 0.5,
                0,
            )
            for timescale in timescales
        ]
        self._readings: list[float] = []  # the last of each source
        self._amounts: list[float] = []  # rate times seconds, so far in the present step
        self._known_s: list[float] = []
        for source in sources:
            self.record(source)

    def record(self, source: Source) -> None:
        """Record a data source from now on; one that is recorded already goes on."""
        if self.column(source.name) is not None:
            return
        self.sources.append(source)
        for values, nothing in ((self._readings, nan), (self._amounts, 0.0), (self._known_s, 0.0)):
            values.append(nothing)
        for archive in self.archives:
            archive.add_source()

    def forget(self, name: str) -> None:
        """Forget a data source with all its history; one that is not recorded is no matter."""
        column = self.column(name)
        if column is None:
            return
        for values in (self.sources, self._readings, self._amounts, self._known_s):
            del values[column]
        for archive in self.archives:
            archive.remove_source(column)

    def column(self, name: str) -> int | None:
        """Return where a data source stands in rows, None if it is not recorded."""
        return next((column for column, source in enumerate(self.sources) if source.name == name), None)

    def latest(self, name: str) -> float:
        """Return the newest step's value, NaN where it is not known. Raises KeyError."""
        column = self.column(name)
        if column is None:
            raise KeyError(name)
        return self.archives[0].value(Function.AVERAGE, 0, column)

    def present(self, column: int) -> tuple[float, float, float]:
        """Return a source's last reading, and of its present step the amount so far and the seconds it came in."""
        return self._readings[column], self._amounts[column], self._known_s[column]

    def skip(self, at_s: float) -> None:
        """Say that nothing was measured since the last update; counters begin anew."""
        self.update(at_s, {})

    def update(self, at_s: float, readings: Mapping[str, float], *, count_from_zero: bool = False) -> None:
        """Take in the readings of all sources; one that has none is unknown since the last update.

        `count_from_zero` says that counters have begun at 0 since then: another domain, another boot.
        """
        interval_s = at_s - self.updated_s
        if interval_s < 0:
            interval_s = float(STEP_S)  # the clock was set back: as xcp-rrdd, take it for a step
        values = [readings.get(source.name, nan) for source in self.sources]
        first, last = int(self.updated_s // STEP_S), int(at_s // STEP_S)
        self.updated_s = at_s
        if interval_s > 0:
            self._advance(self._rates(values, interval_s, count_from_zero), interval_s, first, last, at_s)
        self._readings = values

    def _rates(self, values: list[float], interval_s: float, count_from_zero: bool) -> list[float]:
        if interval_s > HEARTBEAT_S:
            return [nan] * len(values)
        rates = []
        for source, before, value in zip(self.sources, self._readings, values, strict=True):
            match source.kind:
                case Kind.GAUGE:
                    rates.append(value)
                case Kind.ABSOLUTE:
                    rates.append(value / interval_s)
                case Kind.DERIVE:
                    rates.append((value - (0.0 if count_from_zero else before)) / interval_s)
        return rates

    def _advance(self, rates: list[float], interval_s: float, first: int, last: int, at_s: float) -> None:
        """Let the rates hold for the last `interval_s` seconds, which reach from step `first` into step `last`."""
        steps = last - first
        if steps <= 0:
            self._hold(rates, interval_s)
            return
        begun_s = at_s - last * STEP_S
        self._hold(rates, interval_s - begun_s - (steps - 1) * STEP_S)
        ended = self._step(rates)
        later = [source.bounded(rate) for source, rate in zip(self.sources, rates, strict=True)]
        for archive in self.archives:
            archive.push(first, ended)
            if steps > 1:
                archive.push(first + 1, later, steps - 1)
        self._amounts = [0.0] * len(rates)
        self._known_s = [0.0] * len(rates)
        self._hold(rates, begun_s)

    def _hold(self, rates: list[float], seconds: float) -> None:
        self._amounts = [a + r * seconds if r == r else a for a, r in zip(self._amounts, rates, strict=True)]
        self._known_s = [k + seconds if r == r else k for k, r in zip(self._known_s, rates, strict=True)]

    def _step(self, rates: list[float]) -> list[float]:
        """Return the values of the present step."""
        values = []
        for source, rate, amount, known_s in zip(self.sources, rates, self._amounts, self._known_s, strict=True):
            if source.kind is Kind.DERIVE:
                rate = amount / known_s if known_s > 0 else nan
            values.append(source.bounded(rate))
        return values

"""When each page of a guest is written next: scattered writes and passes over arrays, on the clock of a job."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Writer(Protocol):
    """Pages that one activity of a guest writes, as indices into its memory."""

    @property
    def pages(self) -> Indices: ...
    def next_writes_s(self, after_s: float, rng: np.random.Generator) -> Floats:
        """Return for each page when it is written first after `after_s`, infinite if it never is."""
        ...


@dataclass(frozen=True)
class Clock:
    """How far an activity has come: piecewise linear in time, so that it can rest, hurry and jitter.

    `at_s` rises; `done` rises too, by a trace even where the activity rests. Beyond the ends it goes on as it was.
    """

    at_s: Floats
    done: Floats

    @classmethod
    def steady(cls) -> "Clock":
        """One unit a second."""
        return cls(np.array([-1e6, 1e6]), np.array([-1e6, 1e6]))

    @classmethod
    def of_stretches(cls, start_s: float, lasts_s: Floats, speeds: Floats) -> "Clock":
        """Stretches in a row, each with its own speed (units a second)."""
        at_s = np.concatenate(([start_s], start_s + np.cumsum(lasts_s)))
        return cls(at_s, np.concatenate(([0.0], np.cumsum(lasts_s * np.maximum(speeds, 1e-9)))))

    def read(self, at_s: float) -> float:
        return float(np.interp(at_s, self.at_s, self.done))

    def when(self, done: Floats) -> Floats:
        """Return when it will read `done`, infinite past its end."""
        return np.interp(done, self.done, self.at_s, right=np.inf)


@dataclass(frozen=True)
class Scattered:
    """Pages written at random, each by a Poisson process of `rates_per_s` on the clock."""

    pages: Indices
    rates_per_s: Floats
    clock: Clock

    def next_writes_s(self, after_s: float, rng: np.random.Generator) -> Floats:
        waits = rng.standard_exponential(len(self.pages)) / self.rates_per_s
        return self.clock.when(self.clock.read(after_s) + waits)


@dataclass(frozen=True)
class Passes:
    """Pages written one after the other in passes that do not overlap.

    Pass j lasts from `start_s[j]` to `end_s[j]` and goes from page `first[j]` to the last. `first` never falls.
    """

    pages: Indices
    start_s: Floats
    end_s: Floats
    first: Indices

    def next_writes_s(self, after_s: float, rng: np.random.Generator) -> Floats:
        del rng
        times = np.full(len(self.pages), np.inf)
        here = int(np.searchsorted(self.end_s, after_s, side="right"))
        # The rest of this pass and the whole of the next: what neither writes no later one does.
        for number in range(here, min(here + 2, len(self.start_s))):
            first = self.first[number]
            count = len(self.pages) - first
            if count <= 0:
                continue
            took_s = self.end_s[number] - self.start_s[number]
            written_s = self.start_s[number] + took_s * (np.arange(count) + 0.5) / count
            part = times[first:]
            np.copyto(part, written_s, where=np.isinf(part) & (written_s > after_s))
        return times


@dataclass(frozen=True)
class PagedGuest:
    """A guest of `memory_pages`; no two writers share a page."""

    memory_pages: int
    writers: Sequence[Writer]

    def next_writes_s(self, after_s: float, rng: np.random.Generator) -> Floats:
        """Return for each page of memory when it is written first after `after_s`."""
        times = np.full(self.memory_pages, np.inf)
        for writer in self.writers:
            times[writer.pages] = writer.next_writes_s(after_s, rng)
        return times

"""Guests drawn at random: families of programs as they write memory, and of the links that they are copied over."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from migd_core.units import PAGE_BYTES
from migd_sim.pages.writers import Clock, Floats, Indices, PagedGuest, Passes, Scattered, Writer

# A guest's memory is given to a program in pieces of this many pages, anywhere (2 MiB, a huge page).
EXTENT_PAGES: Final = 512
# Programs run from some time before 0, when they are first looked at, until this.
ENDS_S: Final = 3600.0
BEGINS_S: Final = -100.0


@dataclass(frozen=True)
class Drawn:
    """One guest, the link it is to be copied over, and the family it is of."""

    family: str
    guest: PagedGuest
    bytes_per_s: float

    @property
    def memory_bytes(self) -> int:
        return self.guest.memory_pages * PAGE_BYTES


class Memory:
    """Hands out a guest's memory by extents, in random order."""

    def __init__(self, pages: int, rng: np.random.Generator) -> None:
        self.pages, self.rng = pages, rng
        self._free = rng.permutation(pages // EXTENT_PAGES)

    def take(self, pages: int) -> Indices:
        """Return so many pages, or what is left of memory, and no fewer than one extent."""
        extents = max(1, math.ceil(pages / EXTENT_PAGES))
        taken, self._free = self._free[:extents], self._free[extents:]
        if not len(taken):
            raise ValueError(f"all of the {self.pages} pages are taken")
        whole = (taken[:, None] * EXTENT_PAGES + np.arange(EXTENT_PAGES)).ravel()
        return whole[: max(1, pages)]

    def share(self, low: float, high: float) -> Indices:
        """Return a share of memory between `low` and `high`, most likely a small one."""
        return self.take(int(self.pages * self.log_uniform(low, high)))

    def log_uniform(self, low: float, high: float) -> float:
        return _log_uniform(self.rng, low, high)


def draw(family: str, rng: np.random.Generator) -> Drawn:
    """Return a guest of 256 MiB to 4 GiB of that family, and a link from Fast to ten-gigabit Ethernet.

    The link carries the guest's memory once in 2 to 150 s.
    """
    while True:
        pages = EXTENT_PAGES * int(_log_uniform(rng, 128, 2048))
        bytes_per_s = _log_uniform(rng, 11.7e6, 1.17e9)
        if 2.0 <= pages * PAGE_BYTES / bytes_per_s <= 150.0:
            break
    memory = Memory(pages, rng)
    system = _scattered(memory.take(int(memory.log_uniform(100, 1500))), memory.log_uniform(1.0, 20.0), rng)
    writers = [system, *{**DEVELOPMENT, **HELD_OUT}[family](memory)]
    return Drawn(family, PagedGuest(memory.pages, writers), bytes_per_s)


def idle(memory: Memory) -> list[Writer]:
    """A daemon or two beside the system."""
    return [_scattered(memory.share(0.001, 0.01), memory.log_uniform(5.0, 300.0), memory.rng)]


def hot_and_cold(memory: Memory) -> list[Writer]:
    """Random writes to sets of pages, the hotter ones smaller: a server, a mesh with local refinement."""
    sets = int(memory.rng.integers(1, 4))
    return [
        _scattered(memory.share(0.005 * 4**n, 0.04 * 4**n), memory.log_uniform(0.1, 2.0) * 5**n, memory.rng)
        for n in range(sets)
    ]


def zipf(memory: Memory) -> list[Writer]:
    """Writes to pages by their rank: a cache, a graph with hubs."""
    pages = memory.share(0.05, 0.6)
    popularity = np.arange(1, len(pages) + 1) ** -memory.rng.uniform(0.5, 1.2)
    rates = popularity / popularity.sum() * len(pages) / memory.log_uniform(1.0, 60.0)
    return [Scattered(pages, memory.rng.permutation(rates), Clock.steady())]


def hpl(memory: Memory) -> list[Writer]:
    """LU factorisation: each step rewrites what is left of the matrix, ever less of it, and a panel much more often."""
    matrix, whole_s = memory.share(0.1, 0.7), memory.log_uniform(0.5, 20.0)
    left, run_s = memory.rng.uniform(0.3, 1.0), memory.log_uniform(1500.0, 6000.0)
    lefts: list[float] = []
    while len(lefts) * 0.01 * whole_s < ENDS_S - BEGINS_S and left > 0.1:
        lefts.append(left)
        left -= whole_s * left / run_s
    remaining = np.array([*lefts, 0.1])
    return [
        *_sweeps(memory, matrix, whole_s * remaining, (len(matrix) * (1.0 - remaining)).astype(int)),
        _scattered(memory.share(0.002, 0.01), memory.log_uniform(0.1, 1.0), memory.rng),
    ]


def stencil(memory: Memory) -> list[Writer]:
    """Two grids written in turns, each iteration followed by an exchange that writes the halo."""
    share, iteration_s = memory.log_uniform(0.03, 0.35), memory.log_uniform(0.1, 12.0)
    halo = memory.take(max(1, int(0.02 * share * memory.pages)))
    exchange = memory.rng.uniform(0.05, 0.3)
    lasts_s = iteration_s * _jitter(memory, int((ENDS_S - BEGINS_S) / iteration_s) + 2)
    ends_s = BEGINS_S + np.cumsum(lasts_s)
    computed_s = ends_s - exchange * lasts_s
    none = np.zeros(len(ends_s), dtype=np.int64)
    grids = [memory.take(int(share * memory.pages)) for _ in range(2)]
    return [
        *(Passes(grid, (ends_s - lasts_s)[n::2], computed_s[n::2], none[n::2]) for n, grid in enumerate(grids)),
        Passes(halo, computed_s, ends_s, none),
    ]


def bursty(memory: Memory) -> list[Writer]:
    """Random writes and a sweep that hurry and rest in turns of a few seconds: I/O phases, interactive use."""
    mean_s, rest = memory.log_uniform(0.5, 6.0), memory.rng.uniform(0.02, 0.3)
    count = int((ENDS_S - BEGINS_S) / mean_s) + 2
    lasts_s = mean_s * memory.rng.uniform(0.5, 1.5, count)
    clock = Clock.of_stretches(BEGINS_S, lasts_s, np.where(np.arange(count) % 2 == 0, 1.0, rest))
    return [
        _scattered(memory.share(0.02, 0.2), memory.log_uniform(0.2, 5.0), memory.rng, clock),
        _scattered(memory.share(0.02, 0.3), memory.log_uniform(5.0, 40.0), memory.rng, clock),
    ]


def generational(memory: Memory) -> list[Writer]:
    """A managed heap: the nursery is filled from end to end, over and over; survivors land among the old objects."""
    nursery_s = memory.log_uniform(0.3, 8.0)
    nursery = _sweeps(memory, memory.share(0.02, 0.25), np.full(int((ENDS_S - BEGINS_S) / nursery_s) + 2, nursery_s))
    old = memory.share(0.05, 0.4)
    writers = [*nursery, _scattered(old[::2], memory.log_uniform(10.0, 200.0), memory.rng)]
    if memory.rng.random() < 0.3:  # a collection of the whole heap now and then
        every_s = memory.log_uniform(10.0, 120.0)
        starts_s = np.arange(BEGINS_S + memory.rng.uniform(0, every_s), ENDS_S, every_s)
        none = np.zeros(len(starts_s), dtype=np.int64)
        writers.append(Passes(old[1::2], starts_s, starts_s + memory.rng.uniform(0.05, 0.2) * every_s, none))
    return writers


def drifting(memory: Memory) -> list[Writer]:
    """A window of hot pages that moves through an array: particles, a blocked factorisation, out-of-core work."""
    array = memory.share(0.1, 0.7)
    return [Drifting(array, memory.log_uniform(10.0, 300.0), memory.rng.uniform(0.02, 0.3), memory.rng.uniform(2, 30))]


def log_structured(memory: Memory) -> list[Writer]:
    """A store that appends to a ring, looks up an index by rank, and folds its newest entries from time to time."""
    ring, fold_s = memory.share(0.05, 0.25), memory.log_uniform(3.0, 40.0)
    starts_s = np.arange(BEGINS_S + memory.rng.uniform(0, fold_s), ENDS_S, fold_s)
    none = np.zeros(len(starts_s), dtype=np.int64)
    return [
        *_sweeps(memory, ring, np.full(int((ENDS_S - BEGINS_S) / 10.0) + 2, memory.log_uniform(10.0, 240.0))),
        *zipf(memory)[:1],
        Passes(memory.share(0.01, 0.08), starts_s, starts_s + memory.rng.uniform(0.1, 0.9) * fold_s, none),
    ]


@dataclass(frozen=True)
class Drifting:
    """An array through which a window of `width` (0..1 of it) goes in `period_s`, hitting each page `hits` times."""

    pages: Indices
    period_s: float
    width: float
    hits: float

    def next_writes_s(self, after_s: float, rng: np.random.Generator) -> Floats:
        inside_s = self.width * self.period_s
        entered_s = self.period_s * np.arange(len(self.pages)) / len(self.pages)
        entered_s += self.period_s * np.floor((after_s - entered_s) / self.period_s)
        waits_s = rng.standard_exponential(len(self.pages)) * inside_s / self.hits
        now_s = np.maximum(entered_s, after_s) + waits_s
        return np.where(now_s <= entered_s + inside_s, now_s, entered_s + self.period_s + waits_s)


Family = Callable[[Memory], Sequence[Writer]]
DEVELOPMENT: Final = MappingProxyType[str, Family](
    {
        "idle": idle,
        "hot-and-cold": hot_and_cold,
        "zipf": zipf,
        "hpl": hpl,
        "stencil": stencil,
        "bursty": bursty,
        "generational": generational,
    }
)
# Nothing in the predictor was chosen by what these do.
HELD_OUT: Final = MappingProxyType[str, Family]({"drifting": drifting, "log-structured": log_structured})


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _scattered(pages: Indices, tau_s: float, rng: np.random.Generator, clock: Clock | None = None) -> Scattered:
    """Random writes that hit a page every `tau_s` or so, some pages three times as often as others."""
    rates = np.exp(rng.normal(0.0, 0.5, len(pages))) / tau_s
    return Scattered(pages, rates, clock if clock is not None else Clock.steady())


def _sweeps(memory: Memory, pages: Indices, lasts_s: Floats, first: Indices | None = None) -> list[Writer]:
    """Passes in a row that take `lasts_s` each, a few percent more or less, a tenth of it talking."""
    jittered_s = lasts_s * _jitter(memory, len(lasts_s))
    ends_s = BEGINS_S * memory.rng.uniform(0.9, 1.0) + np.cumsum(jittered_s)
    starts_s = ends_s - memory.rng.uniform(0.85, 1.0) * jittered_s
    return [Passes(pages, starts_s, ends_s, first if first is not None else np.zeros(len(ends_s), dtype=np.int64))]


def _jitter(memory: Memory, count: int) -> Floats:
    return np.maximum(0.5, memory.rng.normal(1.0, 0.04, count))

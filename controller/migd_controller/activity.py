"""What each guest has done of late: rates as means over bins of three widths, and dirty curves with the rates then.

It is what `quiet_start` looks for phases in.

Bins of 2 s show periods from 16 s to a minute and a half, those of 12 s up to ten minutes, those of 72 s up to an
hour and a quarter. Narrow ones are put together to wider ones, so a sample costs the same however far back is looked.

There are ten thousands of guests at large sites, and what is kept of each has its whole size from the beginning: 5 kB,
as half-precision floats (IEEE 754 binary16, off by 0.05 % at most), so that memory does not grow for hours.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from migd_core.messages import DirtyCurve, GuestSample
from migd_policies.quiet_start import Counted, Watched
from migd_policies.rhythm import Series

# Widths in s, and how many of each are kept.
WIDTHS_S: Final = (2.0, 12.0, 72.0)
BINS: Final = (256, 256, 320)
# Curves of different phases; those that a prediction rests on are fewer, and the newest.
CURVES: Final = 12
# A guest that nobody measured for so long, or only as a mean over so long, is watched anew: a mean shows no phases.
# A shorter gap is taken to have been as what follows it.
GAP_S: Final = 60.0
NAMES: Final = ("CPU use", "network traffic", "disk traffic")
# What half-precision floats are kept in: vCPUs and MB/s. The greatest of them is 65,504.
_UNITS: Final = (1.0, 1e6, 1e6)
_MOST: Final = 65504.0
# What NAMES names: vCPUs used, and bytes per second.
Rates = tuple[float, float, float]
_NONE: Final[Rates] = (0.0, 0.0, 0.0)
_MEANS: Final = struct.Struct(f"<{len(NAMES)}e")


def rates(sample: GuestSample) -> Rates:
    """Return the rates of a sample."""
    network = sample.rx_bytes_per_s + sample.tx_bytes_per_s
    return (sample.cpu_ratio * sample.vcpus, network, sample.read_bytes_per_s + sample.written_bytes_per_s)


@dataclass(slots=True)
class Bins:
    """Means of each rate over one width, the newest `most` of them, and what has gone by of the next bin."""

    width_s: float
    most: int
    ring: bytearray = field(init=False)
    count: int = 0  # that were filled so far
    filled_s: float = 0.0
    sums: Rates = _NONE

    def __post_init__(self) -> None:
        self.ring = bytearray(self.most * _MEANS.size)

    def __len__(self) -> int:
        return min(self.count, self.most)

    def add(self, found: Rates, lasts_s: float) -> Iterator[Rates]:
        """Take in rates that stood for `lasts_s`; yield each bin that is full."""
        while lasts_s > 0:
            part_s = min(lasts_s, self.width_s - self.filled_s)
            lasts_s -= part_s
            self.filled_s += part_s
            (cpu, network, disk), (a, b, c) = self.sums, found  # written out: it runs for each guest each second
            self.sums = (cpu + a * part_s, network + b * part_s, disk + c * part_s)
            if self.filled_s < self.width_s * (1 - 1e-9):
                return
            cpu, network, disk = self.sums
            means = (cpu / self.width_s, network / self.width_s, disk / self.width_s)
            self.filled_s, self.sums = 0.0, _NONE
            self.keep(means)
            yield means

    def keep(self, means: Rates) -> None:
        """Keep a bin's means in place of the oldest."""
        halves = [min(_MOST, mean / unit) for mean, unit in zip(means, _UNITS, strict=True)]
        _MEANS.pack_into(self.ring, self.count % self.most * _MEANS.size, *halves)
        self.count += 1

    @property
    def values(self) -> tuple[list[float], ...]:
        """The means of each rate, oldest first."""
        kept = np.frombuffer(self.ring, dtype="<f2").reshape(self.most, len(NAMES))
        oldest = self.count % self.most if self.count > self.most else 0
        ordered = np.roll(kept, -oldest, axis=0)[: len(self)].astype(np.float64) * _UNITS
        return tuple(ordered.T.tolist())


def _empty() -> tuple[Bins, ...]:
    return tuple(Bins(width_s, most) for width_s, most in zip(WIDTHS_S, BINS, strict=True))


@dataclass(slots=True)
class Activity:
    """One guest's."""

    at_s: float
    bins: tuple[Bins, ...] = field(default_factory=_empty)
    counted: tuple[Counted, ...] = ()

    def follow(self, sample: GuestSample, interval_s: float, now_s: float) -> None:
        """Take in what the guest did in the `interval_s` before `now_s` (Unix time)."""
        silent_s = now_s - self.at_s - interval_s
        if max(silent_s, interval_s) > GAP_S or now_s < self.at_s:
            self.bins = _empty()
            silent_s, interval_s = 0.0, interval_s if interval_s <= GAP_S else 0.0
        found = [(rates(sample), interval_s + max(0.0, silent_s))]
        for each in self.bins:
            found = [(means, each.width_s) for one, lasts_s in found for means in each.add(one, lasts_s)]
        self.at_s = now_s

    def count(self, curve: DirtyCurve, ago_s: float) -> None:
        """Keep a dirty curve that was counted until `ago_s` ago, with the rates meanwhile, if these are known."""
        (narrow, *_), age_s = self.bins, curve.ages_s[-1]
        # Counted back from the end of the last full bin.
        last = max(0, round((ago_s - narrow.filled_s) / narrow.width_s))
        first = max(last + 1, round((ago_s + age_s - narrow.filled_s) / narrow.width_s))
        if (kept := len(narrow)) < first:
            return
        means = {
            name: sum(values[kept - first : kept - last]) / (first - last)
            for name, values in zip(NAMES, narrow.values, strict=True)
        }
        self.counted = (*self.counted, Counted(curve, means))[-CURVES:]

    @property
    def watched(self) -> Watched:
        """What is known of the guest, for `quiet_start`."""
        series, end_s = [], self.at_s
        for each in self.bins:
            end_s -= each.filled_s
            series += [
                Series(name, each.width_s, end_s, values) for name, values in zip(NAMES, each.values, strict=True)
            ]
        return Watched(tuple(series), self.counted)

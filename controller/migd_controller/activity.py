"""What each guest has done of late: rates as means over bins of three widths, and dirty curves with the rates then.

It is what `quiet_start` looks for phases in.

Bins of 2 s show periods from 16 s to a minute and a half, those of 12 s up to ten minutes, those of 72 s up to an
hour and a quarter. Narrow ones are put together to wider ones, so a sample costs the same however far back is looked.

There are ten thousands of guests at large sites, so the means of each are one block of bytes, 5 kB from the beginning
on: memory does not grow for hours. They are half-precision floats in it (IEEE 754 binary16, off by 0.05 % at most).
"""

import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from migd_core.messages import DirtyCurve, GuestSample
from migd_policies.quiet_start import Counted, Watched
from migd_policies.rhythm import Series

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
_MEANS: Final = struct.Struct(f"<{len(NAMES)}e")
# How many bins were filled so far; of the next one, the seconds that have passed and the integral of each rate.
_NEXT: Final = struct.Struct(f"<q{1 + len(NAMES)}d")


def rates(sample: GuestSample) -> Rates:
    """Return the rates of a sample."""
    network = sample.rx_bytes_per_s + sample.tx_bytes_per_s
    return (sample.cpu_ratio * sample.vcpus, network, sample.read_bytes_per_s + sample.written_bytes_per_s)


@dataclass(frozen=True, slots=True)
class Bins:
    """Where in a guest's block the bins of one width are: the newest `most` of them, and what is known of the next."""

    width_s: float
    most: int
    offset: int

    @property
    def end(self) -> int:
        """The offset of what follows."""
        return self._ring + self.most * _MEANS.size

    @property
    def _ring(self) -> int:
        return self.offset + _NEXT.size

    def add(self, block: bytearray, found: Rates, lasts_s: float) -> list[Rates]:
        """Take in rates that stood for `lasts_s`; return the means of each bin that is full."""
        # Written out: it runs for each guest each second.
        count, filled_s, cpu, network, disk = _NEXT.unpack_from(block, self.offset)
        full: list[Rates] = []
        while lasts_s > 0:
            part_s = min(lasts_s, self.width_s - filled_s)
            lasts_s -= part_s
            filled_s += part_s
            cpu, network, disk = cpu + found[0] * part_s, network + found[1] * part_s, disk + found[2] * part_s
            if filled_s < self.width_s * (1 - 1e-9):
                break
            full.append((cpu / self.width_s, network / self.width_s, disk / self.width_s))
            halves = [min(_MOST, mean / unit) for mean, unit in zip(full[-1], _UNITS, strict=True)]
            _MEANS.pack_into(block, self._ring + count % self.most * _MEANS.size, *halves)
            count, filled_s, cpu, network, disk = count + 1, 0.0, 0.0, 0.0, 0.0
        _NEXT.pack_into(block, self.offset, count, filled_s, cpu, network, disk)
        return full

    def kept(self, block: bytearray) -> int:
        """Return how many bins there are."""
        return min(self._next(block)[0], self.most)

    def filled_s(self, block: bytearray) -> float:
        """Return how much of the next bin has gone by."""
        return self._next(block)[1]

    def values(self, block: bytearray) -> tuple[list[float], ...]:
        """Return the means of each rate, oldest first."""
        count, _ = self._next(block)
        ring = np.frombuffer(block, "<f2", self.most * len(NAMES), self._ring).reshape(self.most, len(NAMES))
        oldest = count % self.most if count > self.most else 0
        ordered = np.roll(ring, -oldest, axis=0)[: self.kept(block)].astype(np.float64) * _UNITS
        return tuple(ordered.T.tolist())

    def _next(self, block: bytearray) -> tuple[int, float]:
        count, filled_s, *_ = _NEXT.unpack_from(block, self.offset)
        return count, filled_s


NARROW: Final = Bins(2.0, 256, 0)
MIDDLE: Final = Bins(12.0, 256, NARROW.end)
WIDE: Final = Bins(72.0, 320, MIDDLE.end)
BINS: Final = (NARROW, MIDDLE, WIDE)
BLOCK_BYTES: Final = WIDE.end


@dataclass(slots=True)
class Activity:
    """One guest's."""

    at_s: float
    block: bytearray = field(default_factory=lambda: bytearray(BLOCK_BYTES))
    counted: tuple[Counted, ...] = ()

    def follow(self, sample: GuestSample, interval_s: float, now_s: float) -> None:
        """Take in what the guest did in the `interval_s` before `now_s` (Unix time)."""
        silent_s = now_s - self.at_s - interval_s
        if max(silent_s, interval_s) > GAP_S or now_s < self.at_s:
            self.block = bytearray(BLOCK_BYTES)
            silent_s, interval_s = 0.0, interval_s if interval_s <= GAP_S else 0.0
        found = [(rates(sample), interval_s + max(0.0, silent_s))]
        for each in BINS:
            found = [(means, each.width_s) for one, lasts_s in found for means in each.add(self.block, one, lasts_s)]
        self.at_s = now_s

    def count(self, curve: DirtyCurve, ago_s: float) -> None:
        """Keep a dirty curve that was counted until `ago_s` ago, with the rates meanwhile, if these are known."""
        filled_s, width_s, age_s = NARROW.filled_s(self.block), NARROW.width_s, curve.ages_s[-1]
        # Counted back from the end of the last full bin.
        last = max(0, round((ago_s - filled_s) / width_s))
        first = max(last + 1, round((ago_s + age_s - filled_s) / width_s))
        if (kept := NARROW.kept(self.block)) < first:
            return
        means = {
            name: sum(values[kept - first : kept - last]) / (first - last)
            for name, values in zip(NAMES, NARROW.values(self.block), strict=True)
        }
        self.counted = (*self.counted, Counted(curve, means))[-CURVES:]

    @property
    def watched(self) -> Watched:
        """What is known of the guest, for `quiet_start`."""
        series, end_s = [], self.at_s
        for each in BINS:
            end_s -= each.filled_s(self.block)
            series += [
                Series(name, each.width_s, end_s, values)
                for name, values in zip(NAMES, each.values(self.block), strict=True)
            ]
        return Watched(tuple(series), self.counted)

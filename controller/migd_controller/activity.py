"""What each guest has done of late: rates as means over bins of three widths, and dirty curves with the rates then.

It is what `quiet_start` looks for phases in.

Bins of 2 s show periods from 16 s, those of 72 s up to two hours; each keeps the newest `BINS`. Narrow ones are put
together to wider ones, so a sample costs the same however far back is looked.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from migd_core.messages import DirtyCurve, GuestSample
from migd_policies.quiet_start import Counted, Watched
from migd_policies.rhythm import Series

WIDTHS_S: Final = (2.0, 12.0, 72.0)
BINS: Final = 512
SURPLUS: Final = 64  # that gathers before the oldest are thrown away
# Curves of different phases; those that a prediction rests on are fewer, and the newest.
CURVES: Final = 12
# A guest that nobody measured for so long, or only as a mean over so long, is watched anew: a mean shows no phases.
# A shorter gap is taken to have been as what follows it.
GAP_S: Final = 60.0
NAMES: Final = ("CPU use", "network traffic", "disk traffic")


def rates(sample: GuestSample) -> tuple[float, ...]:
    """Return what NAMES names: vCPUs used, and bytes per second."""
    network = sample.rx_bytes_per_s + sample.tx_bytes_per_s
    return (sample.cpu_ratio * sample.vcpus, network, sample.read_bytes_per_s + sample.written_bytes_per_s)


@dataclass(slots=True)
class Bins:
    """Means of each rate over one width, oldest first, and what has gone by of the next bin."""

    width_s: float
    values: tuple["array[float]", ...] = field(default_factory=lambda: tuple(array("f") for _ in NAMES))
    filled_s: float = 0.0
    sums: list[float] = field(default_factory=lambda: [0.0] * len(NAMES))

    def add(self, found: tuple[float, ...], lasts_s: float) -> Iterator[tuple[float, ...]]:
        """Take in rates that stood for `lasts_s`; yield each bin that is full."""
        while lasts_s > 0:
            part_s = min(lasts_s, self.width_s - self.filled_s)
            lasts_s -= part_s
            self.filled_s += part_s
            self.sums = [total + rate * part_s for total, rate in zip(self.sums, found, strict=True)]
            if self.filled_s < self.width_s * (1 - 1e-9):
                return
            means = tuple(total / self.width_s for total in self.sums)
            self.filled_s, self.sums = 0.0, [0.0] * len(NAMES)
            for kept, mean in zip(self.values, means, strict=True):
                kept.append(mean)
                if len(kept) > BINS + SURPLUS:
                    del kept[:-BINS]
            yield means


@dataclass(slots=True)
class Activity:
    """One guest's."""

    at_s: float
    bins: tuple[Bins, ...] = field(default_factory=lambda: tuple(Bins(width_s) for width_s in WIDTHS_S))
    counted: tuple[Counted, ...] = ()

    def follow(self, sample: GuestSample, interval_s: float, now_s: float) -> None:
        """Take in what the guest did in the `interval_s` before `now_s` (Unix time)."""
        silent_s = now_s - self.at_s - interval_s
        if max(silent_s, interval_s) > GAP_S or now_s < self.at_s:
            self.bins = tuple(Bins(width_s) for width_s in WIDTHS_S)
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
        kept = narrow.values[0]
        if len(kept) < first:
            return
        means = {
            name: sum(values[len(kept) - first : len(kept) - last]) / (first - last)
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
                Series(name, each.width_s, end_s, values[-BINS:])
                for name, values in zip(NAMES, each.values, strict=True)
            ]
        return Watched(tuple(series), self.counted)

"""How long a decision of `job-time` takes: a control tick with all gates, 64 hosts, 256 guests in jobs of 8 ranks."""

import statistics
import time
from typing import Final

from benchmarks.tick import GUESTS, HOSTS, ticks_ms
from migd_controller.events import JobAdded
from migd_core.messages import DirtyCurve

RANKS: Final = 8
CURVE: Final = DirtyCurve((0.05, 0.5, 5.0, 20.0), (2_000, 15_000, 90_000, 150_000))


def measure() -> dict[str, float]:
    """Return milliseconds of CPU time a tick, median and worst."""
    took_ms, _ = ticks_ms("job-time", jobs(), CURVE, clock=time.process_time)
    median_ms, worst_ms = round(statistics.median(took_ms), 2), round(max(took_ms), 2)
    return {"hosts": HOSTS, "guests": GUESTS, "median_ms": median_ms, "worst_ms": worst_ms}


def jobs() -> tuple[JobAdded, ...]:
    """Return all guests as jobs of 8 ranks."""
    return tuple(
        JobAdded(
            name=f"job{first // RANKS}", guests=tuple(f"g{n}" for n in range(first, first + RANKS)), remaining_s=7200
        )
        for first in range(0, GUESTS, RANKS)
    )


def text(figures: dict[str, float]) -> str:
    """Return the figures in a line."""
    return (
        f"a decision for {figures['hosts']:.0f} hosts and {figures['guests']:.0f} guests takes "
        f"{figures['median_ms']:.1f} ms of CPU time (worst {figures['worst_ms']:.1f})"
    )

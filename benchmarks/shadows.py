"""What shadow policies cost: the tick with and without three of them, and their turn after it. 64 hosts, 256 guests."""

import statistics
import time
from typing import Final

from benchmarks.decision import CURVE, jobs
from benchmarks.tick import GUESTS, HOSTS, ticks_ms
from migd_controller.events import ShadowAdded

ACTIVE: Final = "least-loaded"
SHADOWS: Final = ("job-time", "balance", "colocate")


def measure() -> dict[str, float]:
    """Return milliseconds of CPU time: a tick, and the turn of the shadows after it, median and worst."""
    shadows = tuple(ShadowAdded(label=name, name=name, config={}) for name in SHADOWS)
    figures: dict[str, float] = {"hosts": HOSTS, "guests": GUESTS, "shadows": len(SHADOWS)}
    alone_ms, _ = ticks_ms(ACTIVE, jobs(), CURVE, clock=time.process_time)
    tick_ms, turn_ms = ticks_ms(ACTIVE, jobs(), CURVE, clock=time.process_time, shadows=shadows)
    for name, took_ms in (("tick_without", alone_ms), ("tick", tick_ms), ("turn", turn_ms)):
        figures[f"{name}_median_ms"] = round(statistics.median(took_ms), 2)
        figures[f"{name}_worst_ms"] = round(max(took_ms), 2)
    return figures


def text(figures: dict[str, float]) -> str:
    """Return the figures in a line."""
    return (
        f"with {figures['shadows']:.0f} shadow policies a tick takes {figures['tick_median_ms']:.1f} ms of CPU time "
        f"(without {figures['tick_without_median_ms']:.1f}), their turn after it {figures['turn_median_ms']:.1f} "
        f"(worst {figures['turn_worst_ms']:.1f})"
    )

"""How long a decision of `job-time` takes: a control tick with all gates, 64 hosts, 256 guests in jobs of 8 ranks.

The controller is paused, so that what it would move is found, priced and judged by every gate in each tick anew. Ticks
in which loads have not lasted long enough for any move do not count.
"""

import statistics
import time
from typing import Any, Final

from benchmarks.tick import GUESTS, HOSTS, ticks_ms
from migd_controller.core import Core
from migd_controller.events import JobAdded, Paused
from migd_core.messages import DirtyCurve

RANKS: Final = 8
CURVE: Final = DirtyCurve((0.05, 0.5, 5.0, 20.0), (2_000, 15_000, 90_000, 150_000))


def measure() -> dict[str, Any]:
    """Return milliseconds of CPU time of each tick that proposes moves, median and worst, and what these proposed."""
    proposed: list[int] = []
    gates: list[int] = []

    def watch(core: Core) -> None:
        assert core.last_decision is not None
        candidates = core.last_decision.candidates
        proposed.append(len(candidates))
        gates.extend(len(each.gates) for each in candidates)

    took_ms, _ = ticks_ms("job-time", jobs(), CURVE, clock=time.process_time, first=(Paused(),), watch=watch)
    deciding_ms = [took for took, moves in zip(took_ms, proposed, strict=True) if moves]
    return {
        "hosts": HOSTS,
        "guests": GUESTS,
        "decisions": len(deciding_ms),
        "moves_proposed": max(proposed),
        "gates_a_move": min(gates),
        "median_ms": round(statistics.median(deciding_ms), 2),
        "worst_ms": round(max(deciding_ms), 2),
    }


def jobs() -> tuple[JobAdded, ...]:
    """Return all guests as jobs of 8 ranks."""
    return tuple(
        JobAdded(
            name=f"job{first // RANKS}", guests=tuple(f"g{n}" for n in range(first, first + RANKS)), remaining_s=7200
        )
        for first in range(0, GUESTS, RANKS)
    )


def text(figures: dict[str, Any]) -> str:
    """Return the figures in a line."""
    return (
        f"a decision for {figures['hosts']} hosts and {figures['guests']} guests that proposes "
        f"{figures['moves_proposed']} moves, {figures['gates_a_move']} gates each, takes {figures['median_ms']:.1f} ms "
        f"of CPU time (worst of {figures['decisions']}: {figures['worst_ms']:.1f})"
    )

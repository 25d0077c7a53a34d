"""A forecast of 48 hours under migd, nobody, and what sites use instead: `python -m benchmarks brams [--seed N]`.

Each run is a cluster drawn afresh, in virtual time; several processes at a time. MIGD_BRAMS_RUNS sets how many (4).
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

import msgspec

from migd_sim.run.forecast.brams import brams
from migd_sim.run.forecast.comparison import MIGD, NOBODY, Comparison, compare
from migd_sim.run.forecast.comparison import text as tell

RUNS: Final = 4
PROCESSES: Final = 2


def measure(seed: int) -> dict[str, Any]:
    """Return each run as played, and over the runs the least that migd captured and how it stood to the others."""
    runs = int(os.environ.get("MIGD_BRAMS_RUNS", RUNS))
    started_s = time.perf_counter()
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        found = list(pool.map(_run, range(seed, seed + runs)))
    others = [each.name for each in found[0].contenders if each.name not in (MIGD, NOBODY)]
    return {
        "seed": seed,
        "runs": [msgspec.to_builtins(one) for one in found],
        "captured_ratio": _summed(found),
        "captured_ratio_least": min(one.of(MIGD).forecast_captured_ratio for one in found),
        "slower_than_nobody": sum(one.of(MIGD).forecast_s > one.of(NOBODY).forecast_s for one in found),
        "slower_than_others": sum(
            one.of(MIGD).forecast_s > min(one.of(name).forecast_s for name in others) for one in found
        ),
        "wall_s": round(time.perf_counter() - started_s, 1),
    }


def text(figures: dict[str, Any]) -> str:
    """Return a table: hours of the forecast and of all jobs together, by run and by who looked after it."""
    return "\n".join(tell(msgspec.convert(run, Comparison)) for run in figures["runs"])


def _run(seed: int) -> Comparison:
    return compare(brams(seed))


def _summed(found: list[Comparison]) -> float:
    """What migd captured of what all runs together had to gain for the forecast."""
    gained = sum(one.of(NOBODY).forecast_s - one.of(MIGD).forecast_s for one in found)
    return gained / sum(one.of(NOBODY).forecast_s - one.best_forecast_s for one in found)

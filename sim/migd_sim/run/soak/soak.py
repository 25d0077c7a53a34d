"""Runs case after case in processes of their own, for as long as there is time, and tells what they amounted to."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count, islice
from typing import Final

import msgspec

from migd_sim.run.soak.drawing import draw
from migd_sim.run.soak.loop import Loop, Outcome
from migd_sim.run.soak.violation import Violation

# So many seeds a process is given at a time.
A_BATCH: Final = 4


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A seed with which something is wrong."""

    seed: int
    violation: Violation


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs amounted to. `cpu_s` is of all processes, `load` the machine's (1 minute) at the end."""

    first_seed: int
    seeds: int
    cluster_hours: float
    control_periods: int
    migrations_asked: int
    migrations_moved: int
    probes: int
    happenings: dict[str, int]
    took_s: float
    cpu_s: float
    processes: int
    load: float
    failures: tuple[Failure, ...]


def soak(first_seed: int, seconds: float, processes: int, most_seeds: int, tell: Callable[[int], None]) -> Figures:
    """Run the cases of seeds from `first_seed` on until time is over, or `most_seeds` are done (0: no limit)."""
    began_s, cpu_began_s = time.monotonic(), _cpu_s()
    seeds = iter(range(first_seed, first_seed + most_seeds)) if most_seeds else count(first_seed)
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(processes) as workers:
        waiting: set[Future[list[Outcome]]] = set()
        while True:
            while len(waiting) < 2 * processes and time.monotonic() - began_s < seconds:
                batch = _some(seeds)
                if not batch:
                    break
                waiting.add(workers.submit(_run, batch))
            if not waiting:
                break
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                outcomes += future.result()
            tell(len(outcomes))
    happenings: Counter[str] = Counter()
    for each in outcomes:
        happenings.update(each.faults)
    failures = [Failure(seed=each.seed, violation=each.violation) for each in outcomes if each.violation is not None]
    return Figures(
        first_seed=first_seed,
        seeds=len(outcomes),
        cluster_hours=round(sum(each.hours for each in outcomes), 1),
        control_periods=sum(each.ticks for each in outcomes),
        migrations_asked=sum(each.migrations for each in outcomes),
        migrations_moved=sum(each.moved for each in outcomes),
        probes=sum(each.probes for each in outcomes),
        happenings=dict(sorted(happenings.items())),
        took_s=round(time.monotonic() - began_s, 1),
        cpu_s=round(_cpu_s() - cpu_began_s, 1),
        processes=processes,
        load=round(os.getloadavg()[0], 1),
        failures=tuple(sorted(failures, key=lambda each: each.seed)),
    )


def _run(seeds: list[int]) -> list[Outcome]:
    return [Loop(draw(seed)).run() for seed in seeds]


def _some(seeds: Iterator[int]) -> list[int]:
    return list(islice(seeds, A_BATCH))


def _cpu_s() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system

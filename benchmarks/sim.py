"""How fast virtual time passes: two hours of 16 hosts with three jobs, their phases, hogs and ten migrations."""

import statistics
import time
from typing import Final

from migd_core.units import GIB
from migd_sim.model import Cluster, MigrationEnd
from migd_sim.model.spec import GuestSpec, HogSpec, HostSpec, JobSpec, PhaseSpec, PoolSpec
from migd_sim.model.writes import ArraySweep, RandomWrites

HOSTS: Final = 16
GUESTS: Final = 48
MIGRATIONS: Final = 10
TWO_HOURS_S: Final = 7200.0
ROUNDS: Final = 3


def measure() -> dict[str, float]:
    """Return the wall seconds of two virtual hours, median of three runs (goal: under 1)."""
    seconds, migrated = [], 0
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        migrated = _two_hours()
        seconds.append(time.perf_counter() - started_s)
    return {"hosts": HOSTS, "guests": GUESTS, "migrations": migrated, "wall_s": round(statistics.median(seconds), 3)}


def _two_hours() -> int:
    phases = (
        PhaseSpec(name="radiation", every_steps=20, work_factor=3.0),
        PhaseSpec(name="history", every_steps=300, extra_s=10.0),
    )
    writes = (RandomWrites(pages=40_000, tau_s=1.0), ArraySweep(pages=100_000, period_s=4.0))
    cluster = Cluster(
        PoolSpec(
            name="benchmark",
            hosts=tuple(HostSpec(name=f"h{n}", cpus=16, memory_bytes=64 * GIB) for n in range(HOSTS)),
            guests=tuple(
                GuestSpec(name=f"g{n}", host=f"h{n % HOSTS}", vcpus=4, memory_bytes=8 * GIB, writes=writes)
                for n in range(GUESTS)
            ),
            jobs=tuple(
                JobSpec(
                    name=f"job{k}",
                    ranks=tuple(f"g{n}" for n in range(k * HOSTS, (k + 1) * HOSTS)),
                    exchange_bytes=2e6,
                    phases=phases,
                )
                for k in range(GUESTS // HOSTS)
            ),
            hogs=tuple(HogSpec(guest=f"g{n}", vcpus=3, starts_s=600.0 * n, lasts_s=500.0) for n in range(10)),
        )
    )
    ends: list[MigrationEnd] = []
    guests, hosts = [*cluster.guests], [*cluster.hosts]
    for number in range(MIGRATIONS):
        cluster.run_until(700.0 * number + 1.0)
        cluster.start_migration(guests[number], hosts[(number + 3) % HOSTS], ends.append)
    cluster.run_until(TWO_HOURS_S)
    return sum(end.ok for end in ends)

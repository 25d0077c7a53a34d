"""One run of a simulated job, with or without a migration at a fixed time after its start, as the paper measured it.

Nobody decides anything here: there is no core, only the cluster. Runs differ by what is drawn for each, since the
cluster itself draws nothing.
"""

import dataclasses
import random
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from migd_core import config
from migd_core.errors import ConfigError
from migd_core.units import Positive
from migd_sim.model import CannotMigrate, Cluster, MigrationEnd
from migd_sim.model.spec import LevelSpec, PoolSpec


@dataclass(frozen=True, slots=True)
class Played:
    """What a run came to (seconds): the job's time, and the migration's with its pause, if there was one.

    `failed` says why it does not count; empty if it does.
    """

    took_s: float
    migration_s: float | None = None
    pause_s: float | None = None
    failed: str = ""


class _PoolFile(PoolSpec, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of the emulated pool, of which what XAPI makes of the cluster and the faults are left aside."""

    times_faster: Positive = msgspec.field(default=1.0, name="faster")
    xapi: dict[str, Any] = msgspec.field(default_factory=dict)
    faults: tuple[Any, ...] = ()


def load(path: Path) -> PoolSpec:
    """Return the pool in a file. Raises ConfigError naming what is wrong with it."""
    file = config.load(path, _PoolFile)
    try:
        return file.faster(file.times_faster).checked()
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def job_of(spec: PoolSpec, guest: str, name: str) -> str:
    """Return the job with a rank in `guest`; it must end. `name` stands for the file. Raises ConfigError."""
    jobs = [job for job in spec.jobs if guest in job.ranks]
    if not jobs:
        known = ", ".join(sorted({rank for job in spec.jobs for rank in job.ranks})) or "there are none"
        raise ConfigError(f"{name}: no job has a rank in a guest called {guest!r}; guests of jobs: {known}")
    if not jobs[0].steps:
        raise ConfigError(f"{name}: job {jobs[0].name} never ends; give it `steps`")
    return jobs[0].name


def home_of(spec: PoolSpec, guest: str, target: str, name: str) -> str:
    """Return the host that a guest is on. Raises ConfigError where it runs nowhere, or `target` (if any) is none."""
    found = next((each for each in spec.guests if each.name == guest), None)
    if found is None or found.host is None:
        raise ConfigError(f"{name}: no guest called {guest!r} runs on a host")
    hosts = [host.name for host in spec.hosts]
    if target and target not in hosts:
        raise ConfigError(f"{name}: no host is called {target!r}; there are {', '.join(hosts)}")
    if target == found.host:
        raise ConfigError(f"{name}: guest {guest} is on {target} already; name another host")
    return found.host


def varied(spec: PoolSpec, drawn: random.Random, noise_ratio: float) -> PoolSpec:
    """Return the pool with every host's speed, and all links together, off by an error of that standard deviation."""
    if noise_ratio == 0:
        return spec
    link = drawn.lognormvariate(0.0, noise_ratio)
    return replace(
        spec,
        hosts=tuple(
            replace(
                host,
                speed=host.speed * drawn.lognormvariate(0.0, noise_ratio),
                link_bytes_per_s=host.link_bytes_per_s * link,
            )
            for host in spec.hosts
        ),
        levels={
            level: LevelSpec(bandwidth_bytes_per_s=each.bandwidth_bytes_per_s * link, latency_s=each.latency_s)
            for level, each in spec.levels.items()
        },
    )


def play(spec: PoolSpec, job: str, guest: str = "", target: str = "", at_s: float = inf) -> Played:
    """Run `job` to its end; `guest` leaves for host `target` (names) after `at_s`, unless that is infinite."""
    cluster = Cluster(spec)
    ends: list[MigrationEnd] = []
    began = at_s == inf
    state = cluster.jobs[job]
    while True:
        due_s = cluster.next_event_s
        if not began and (due_s is None or due_s > at_s):
            cluster.run_until(at_s)
            (moving,) = (each.uuid for each in cluster.spec.guests if each.name == guest)
            (there,) = (each.uuid for each in cluster.spec.hosts if each.name == target)
            try:
                cluster.start_migration(moving, there, ends.append)
            except CannotMigrate as error:
                return Played(took_s=cluster.now_s, failed=f"the migration was refused: {error}")
            began = True
            continue
        if due_s is None:
            return Played(took_s=cluster.now_s, failed="the job came to a standstill")
        cluster.run_until(due_s)
        if state.is_over:
            break
    took_s = cluster.now_s
    if not began:
        return Played(
            took_s=took_s, failed=f"the job was over after {took_s:.1f} s, before the migration was due at {at_s:g} s"
        )
    while cluster.migrations and (due_s := cluster.next_event_s) is not None:
        cluster.run_until(due_s)
    if not ends:
        return Played(took_s=took_s)
    (end,) = ends
    played = Played(took_s=took_s, migration_s=end.ended_s - end.started_s, pause_s=end.pause_s)
    if not end.ok:
        return dataclasses.replace(played, failed=f"the migration failed: {end.reason}")
    if end.ended_s > took_s:
        return dataclasses.replace(played, failed=f"the job was over {end.ended_s - took_s:.1f} s before the migration")
    return played

"""Plays a case to its end under whoever may move guests, and tells how long the jobs took.

Time passes in steps as long as nothing happens in between; whoever plays decides at each step. What happens to the pool
is the same for everybody: `_Course` lets hosts die, batch systems start jobs again, administrators empty the hosts that
they need empty, and loads follow.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from migd_core.health import HealthState, HostHealth
from migd_sim.model import CannotMigrate, Cluster, MigrationEnd
from migd_sim.model.parts import GuestState
from migd_sim.run.evaluation.case import Case, Death, HealthTurn


class Player(Protocol):
    """Whoever may move guests of `cluster` while time passes. `ends` are the migrations that have ended."""

    cluster: Cluster
    ends: list[MigrationEnd]

    def step(self, until_s: float) -> None:
        """Let time pass, at most to `until_s`, and at least a little."""
        ...


@dataclass(frozen=True, slots=True)
class Played:
    """How a case went: how long each job took, who was cut off at the horizon, and what was moved by whoever played."""

    took_s: Mapping[str, float]
    cut_off: tuple[str, ...]
    lost: tuple[str, ...]
    moves: int
    failed_moves: int
    pause_s: float

    @property
    def total_s(self) -> float:
        """The time of all jobs together, in job-seconds: what everybody tries to make small."""
        return sum(self.took_s.values())


@dataclass(slots=True)
class Unmoved:
    """Nobody moves anything."""

    cluster: Cluster
    ends: list[MigrationEnd] = field(default_factory=list)

    def step(self, until_s: float) -> None:
        self.cluster.run_until(until_s)


def play(case: Case, player: Player) -> Played:
    """Return how the case goes under `player`, whose cluster stands at time 0."""
    course = _Course(case, player)
    cluster = player.cluster
    took_s: dict[str, float] = {}
    while len(took_s) < len(cluster.jobs) and cluster.now_s < case.horizon_s:
        player.step(min(course.next_s, case.horizon_s, _first_end_s(cluster)))
        course.follow()
        for job in cluster.jobs.values():
            if job.is_over and job.name not in took_s:
                took_s[job.name] = cluster.now_s - job.spec.starts_s
    moved = [end for end in player.ends if end.ok]
    return Played(
        took_s={job.name: took_s.get(job.name, case.horizon_s - job.spec.starts_s) for job in cluster.jobs.values()},
        cut_off=tuple(sorted(cluster.jobs.keys() - took_s.keys())),
        lost=tuple(course.lost),
        moves=len(moved),
        failed_moves=len(player.ends) - len(moved),
        pause_s=sum(end.pause_s for end in player.ends),
    )


def _first_end_s(cluster: Cluster) -> float:
    """When the first job will be over if everything stays as it is; each end is met exactly by a step of its own."""
    next_s = cluster.next_event_s  # forms the rates
    running = [job for job in cluster.jobs.values() if not job.is_over and job.steps_per_s > 0]
    ends_s = [cluster.now_s + (job.spec.steps - job.steps_done) / job.steps_per_s for job in running]
    # That end is an event of the cluster, which rounding may have put an instant later.
    return max(min(ends_s), next_s if next_s is not None else 0.0) if ends_s else inf


class _Course:
    """What befalls a case, in its order, as far as it is due."""

    def __init__(self, case: Case, player: Player) -> None:
        self._case, self._player, self._cluster = case, player, player.cluster
        self._uuids = {host.name: host.uuid for host in player.cluster.spec.hosts}
        due: list[HealthTurn | Death] = [*case.turns, *case.deaths]
        self._due = sorted(due, key=lambda one: one.at_s)
        self._restarts: list[tuple[float, str]] = []
        self._seen_ends = 0
        self.lost: list[str] = []

    @property
    def next_s(self) -> float:
        """When something is due next; hogs are, too, so that nobody's step reaches over a change."""
        now_s = self._cluster.now_s
        times = [time for time in self._case.change_times_s if time > now_s]
        times += [time for time, _ in self._restarts]
        if self._leftovers():
            times.append(self._cluster.next_event_s or now_s)
        return min((time for time in times if time > now_s), default=inf)

    def follow(self) -> None:
        """Let everything happen that is due now."""
        now_s = self._cluster.now_s
        while self._due and self._due[0].at_s <= now_s:
            match self._due.pop(0):
                case Death(host=host):
                    self._die(self._uuids[host])
                case HealthTurn(host=host, state=state):
                    self._turn(self._uuids[host], state)
        for time, job in [restart for restart in self._restarts if restart[0] <= now_s]:
            self._restarts.remove((time, job))
            self._restart(job)
        self._empty()
        if self._case.loads_follow:
            for end in self._player.ends[self._seen_ends :]:
                self._let_load_follow(end)
            self._seen_ends = len(self._player.ends)

    def _leftovers(self) -> list[str]:
        """Return the guests (uuids) that are where an administrator needs the host empty by now."""
        now_s = self._cluster.now_s
        due = [one for one in self._case.maintenances if one.at_s + one.grace_s <= now_s < one.ends_s]
        closed = {self._uuids[one.host] for one in due}
        return [uuid for uuid, guest in self._cluster.guests.items() if guest.host in closed]

    def _empty(self) -> None:
        """Move one of the leftovers after the other, each to where most cores and enough memory are free."""
        leftovers = [self._cluster.guests[uuid] for uuid in self._leftovers()]
        if leftovers and all(guest.migration is None for guest in leftovers):
            with suppress(CannotMigrate):
                self._cluster.start_migration(leftovers[0].spec.uuid, self._emptiest(leftovers[0]), lambda end: None)

    def _turn(self, host: str, state: HealthState) -> None:
        reasons = (f"its sensors are {state}",)
        self._cluster.set_health(host, HostHealth(state=state, reasons=reasons, watched=("ipmi",)))

    def _die(self, host: str) -> None:
        there = [guest for guest in self._cluster.guests.values() if guest.host == host]
        self._cluster.fail_host(host)
        for name in dict.fromkeys(guest.job.name for guest in there if guest.job is not None):
            if not self._cluster.jobs[name].is_over:
                self.lost.append(name)
                self._restarts.append((self._cluster.now_s + self._case.restart_s, name))

    def _restart(self, name: str) -> None:
        """Start what the job has lost where most cores and enough memory are free, and go back to its checkpoint."""
        job, every = self._cluster.jobs[name], self._case.checkpoint_steps
        for uuid in job.ranks_of:
            guest = self._cluster.guests[uuid]
            if guest.host is None:
                self._cluster.start_guest(uuid, self._emptiest(guest))
        self._cluster.set_back(name, job.steps_done // every * every if every else 0.0)

    def _emptiest(self, guest: GuestState) -> str:
        closed = self._case.closed_hosts(self._cluster.now_s)
        open_hosts = (host for host in self._cluster.hosts.values() if host.is_up and host.spec.name not in closed)
        busy = dict.fromkeys((host.spec.uuid for host in open_hosts), 0.0)
        free = {uuid: self._cluster.hosts[uuid].spec.memory_bytes for uuid in busy}
        for other in self._cluster.guests.values():
            for host in {other.host, other.migration.target if other.migration is not None else None} & busy.keys():
                assert host is not None
                busy[host] += other.busy_vcpus
                free[host] -= other.spec.memory_bytes
        fitting = [uuid for uuid in busy if free[uuid] >= guest.spec.memory_bytes]
        return max(fitting, key=lambda uuid: (self._cluster.hosts[uuid].spec.cpus - busy[uuid], uuid))

    def _let_load_follow(self, end: MigrationEnd) -> None:
        """Put the load of the source to sleep and wake the one on the target."""
        for uuid, guest in self._cluster.guests.items():
            if end.ok and guest.job is None and guest.host == end.source and guest.hog_vcpus:
                sleeper = next(
                    other
                    for other, state in self._cluster.guests.items()
                    if state.job is None and state.host == end.target
                )
                vcpus = guest.hog_vcpus
                self._cluster.stop_hog(uuid)
                self._cluster.start_hog(sleeper, vcpus)
                return

"""What sites use instead: balancers that go by the CPU use of hosts, as players of a case.

Both read what a pool's own statistics say, once a minute: the share of its CPUs that each host used, and the CPUs that
each guest used, over the last minute. Ranks that wait spin, so they count as use.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from migd_sim.model import CannotMigrate, Cluster, MigrationEnd
from migd_sim.run.evaluation.case import Case
from migd_sim.run.evaluation.sets import NEVER_TAG

MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Use:
    """What one minute's statistics say: CPU time used by each host and by each guest (uuids), over the minute."""

    hosts: Mapping[str, float]
    guests: Mapping[str, float]


@dataclass(slots=True)
class Minutely:
    """A player that looks at the last minute once a minute, and may then start migrations."""

    case: Case
    cluster: Cluster = field(init=False)
    ends: list[MigrationEnd] = field(init=False, default_factory=list)
    _read: Use = field(init=False)
    _next_s: float = field(init=False, default=MINUTE_S)

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.case.pool)
        self._read = self._counters()

    def step(self, until_s: float) -> None:
        self.cluster.run_until(min(until_s, self._next_s))
        if self.cluster.now_s >= self._next_s:
            now, before = self._counters(), self._read
            self._next_s, self._read = self._next_s + MINUTE_S, now
            self.look(Use(_grown(now.hosts, before.hosts), _grown(now.guests, before.guests)))

    def look(self, use: Use) -> None:
        """Start migrations, or not; `use` is in cores."""
        raise NotImplementedError

    def open_hosts(self) -> list[str]:
        """Return the hosts that may receive guests, and give some away."""
        closed = self.case.closed_hosts(self.cluster.now_s)
        return [uuid for uuid, host in self.cluster.hosts.items() if host.is_up and host.spec.name not in closed]

    def guests_of(self, host: str) -> list[str]:
        """Return the guests of a host that may be moved."""
        return [
            uuid
            for uuid, guest in self.cluster.guests.items()
            if guest.host == host and guest.migration is None and NEVER_TAG not in guest.spec.tags
        ]

    def fits(self, guest: str, host: str) -> bool:
        """Return whether a host's memory takes a guest besides those there and on their way."""
        there = (
            other.spec.memory_bytes
            for other in self.cluster.guests.values()
            if host in (other.host, other.migration.target if other.migration is not None else None)
        )
        return sum(there) + self.cluster.guests[guest].spec.memory_bytes <= self.cluster.hosts[host].spec.memory_bytes

    def move(self, guest: str, host: str) -> bool:
        """Start a migration; False where the toolstack refuses."""
        try:
            self.cluster.start_migration(guest, host, self.ends.append)
        except CannotMigrate:
            return False
        return True

    def cpus(self, host: str) -> int:
        return self.cluster.hosts[host].spec.cpus

    def _counters(self) -> Use:
        return Use(
            {uuid: host.cpu_s for uuid, host in self.cluster.hosts.items()},
            {uuid: guest.cpu_s for uuid, guest in self.cluster.guests.items()},
        )


class Greedy(Minutely):
    """The rule of thumb: the busiest guest of the hottest host goes to the coolest, where that makes neither hotter.

    One migration at a time; a host is hot from 90 % of its CPUs on.
    """

    HOT_RATIO: Final = 0.9

    def look(self, use: Use) -> None:
        hosts = self.open_hosts()
        if self.cluster.migrations or len(hosts) < 2:
            return
        ratio = {host: use.hosts[host] / self.cpus(host) for host in hosts}
        hottest, coolest = max(hosts, key=ratio.__getitem__), min(hosts, key=ratio.__getitem__)
        if ratio[hottest] < self.HOT_RATIO:
            return
        for guest in sorted(self.guests_of(hottest), key=lambda uuid: (-use.guests[uuid], uuid)):
            becomes = ratio[coolest] + use.guests[guest] / self.cpus(coolest)
            if becomes < ratio[hottest] and self.fits(guest, coolest) and self.move(guest, coolest):
                return


class Orchestra(Minutely):
    """Xen Orchestra's balancer in performance mode, after what its plan does by default.

    A host whose CPU use of the last minute, and then 0.75 of that and 0.25 of the last half hour's, is at least 0.85 of
    the critical 90 % is relieved until it is at 0.65 of it: its guests, busiest first, go to the host of least use if
    that stays the cooler one. Two migrations at a time; a guest that was moved rests for half an hour.
    """

    CRITICAL_RATIO: Final = 0.90
    HIGH: Final = 0.85
    LOW: Final = 0.65
    NOW: Final = 0.75
    HISTORY_MINUTES: Final = 30
    AT_ONCE: Final = 2
    COOLDOWN_S: Final = 1800.0

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._history: deque[Use] = deque(maxlen=self.HISTORY_MINUTES)

    def look(self, use: Use) -> None:
        self._history.append(use)
        hosts = self.open_hosts()
        now = {host: use.hosts[host] / self.cpus(host) for host in hosts}
        mixed = {host: self._mixed([past.hosts[host] for past in self._history]) / self.cpus(host) for host in hosts}
        high = self.HIGH * self.CRITICAL_RATIO
        for host in sorted((one for one in hosts if min(now[one], mixed[one]) >= high), key=lambda one: -mixed[one]):
            self._relieve(host, mixed)

    def _relieve(self, host: str, ratios: dict[str, float]) -> None:
        guests = {uuid: self._mixed([past.guests[uuid] for past in self._history]) for uuid in self.guests_of(host)}
        resting = {end.guest for end in self.ends if end.ok and end.ended_s > self.cluster.now_s - self.COOLDOWN_S}
        for guest in sorted(guests.keys() - resting, key=lambda uuid: (-guests[uuid], uuid)):
            if ratios[host] < self.LOW * self.CRITICAL_RATIO or len(self.cluster.migrations) >= self.AT_ONCE:
                return
            target = min((other for other in ratios if other != host), key=ratios.__getitem__)
            leaves, comes = guests[guest] / self.cpus(host), guests[guest] / self.cpus(target)
            stays_cooler = ratios[host] - leaves >= ratios[target] + comes
            if stays_cooler and self.fits(guest, target) and self.move(guest, target):
                ratios[host] -= leaves
                ratios[target] += comes

    def _mixed(self, minutes: list[float]) -> float:
        return self.NOW * minutes[-1] + (1.0 - self.NOW) * sum(minutes) / len(minutes)


def _grown(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Return cores used; what was started anew meanwhile counts from its start."""
    return {name: max(0.0, now[name] - (before[name] if now[name] >= before[name] else 0.0)) / MINUTE_S for name in now}

"""How fast a job can be at best, with some of its guests at home and the others wherever it is best.

Away is a free core of the fastest host, and the best level to whomever a rank talks with. At home a guest shares its
host with whoever is at home too and with the loads of the moment, by the simulated cluster's own rules. Guests of other
jobs are away. Once anybody is away, no placement is faster than the best of all that leave the others at home: on one
host, within one switch with two messages across it, or across switches with two messages between them (a ring is cut
twice), each on cores as free as memory and the loads that cannot be moved allow.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from math import inf

from migd_core.world import Level
from migd_sim.model.job import JobState
from migd_sim.model.max_min import share_cores
from migd_sim.model.rates import DOM0_IDLE_VCPUS
from migd_sim.model.spec import GuestSpec, HostSpec, JobSpec
from migd_sim.run.evaluation.case import Case
from migd_sim.run.evaluation.sets import NEVER_TAG


def _holds(hosts: Sequence[HostSpec], names: frozenset[str]) -> bool:
    return names <= {host.name for host in hosts}


@dataclass(slots=True)
class Ground:
    """What the speeds of one job rest on; hosts and guests by name, those of other jobs left out."""

    case: Case
    job: JobSpec
    hosts: dict[str, HostSpec] = field(init=False)
    guests: dict[str, GuestSpec] = field(init=False)
    ranks: dict[str, int] = field(init=False)
    state: JobState = field(init=False)
    caps: dict[tuple[float, int, frozenset[str], float], float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        others = {rank for job in self.case.pool.jobs if job.name != self.job.name for rank in job.ranks}
        self.hosts = {host.name: host for host in self.case.pool.hosts}
        self.guests = {guest.name: guest for guest in self.case.pool.guests if guest.name not in others}
        self.ranks = {name: self.job.ranks.count(name) for name in self.job.ranks}
        self.state = JobState(self.job, self.job.ranks)

    def hog_vcpus(self, at_s: float) -> dict[str, int]:
        """Return the vCPUs that loads take in each guest from `at_s` on."""
        return {
            hog.guest: hog.vcpus for hog in self.case.pool.hogs if hog.starts_s <= at_s < hog.starts_s + hog.lasts_s
        }

    def home(self, guest: str) -> str:
        """Return the host that a guest begins on."""
        host = self.guests[guest].host
        assert host is not None, "every guest of a case is placed"
        return host

    @property
    def other_message_s(self) -> float:
        """The seconds at least of a rank's message to its one neighbour while that to the other is looked at."""
        size_bytes = self.job.exchange_bytes
        if len(self.job.ranks) < 3:
            return 0.0
        within = [self._at_level_s(Level.SAME_GUEST, size_bytes)] if max(self.ranks.values()) > 1 else []
        return min([*within, self._best_talk_s(size_bytes)])

    def steps_per_s(
        self,
        at_s: float,
        died: set[str],
        away: Set[str],
        talks_best: Set[str],
        stay: frozenset[str] = frozenset(),
        talk_at_least_s: float = 0.0,
    ) -> float:
        """Return the job's steps a second from `at_s` on, at best, with the guests `away` away and `died` hosts dead.

        The ranks in `talks_best`, which are those away at least, talk at the best level; on each of the hosts `stay`
        some rank is left, and some rank talks for `talk_at_least_s` in each step, wherever those away are.
        """
        homes = {guest: self.home(guest) for guest in self.guests if guest not in away}
        if any(homes.get(rank) in died for rank in self.ranks):
            return 0.0
        hogs = self.hog_vcpus(at_s)
        dom0 = dict.fromkeys(self.hosts, DOM0_IDLE_VCPUS)
        links = self._fair_links(homes, talks_best)
        best_speed = max(host.speed for name, host in self.hosts.items() if name not in died)
        rate = 0.0
        for _ in range(2):  # as the cluster does: Dom0's part follows from the traffic, and the traffic from the cores
            shares = self._shares(homes, hogs, dom0)
            speeds = {
                rank: self.hosts[homes[rank]].speed * shares[rank] if rank in homes else best_speed
                for rank in self.ranks
            }
            rate = self._rate(speeds, lambda a, b, size: self._talk_s(a, b, size, homes, talks_best, links))
            dom0 = self._dom0_vcpus(rate, homes, talks_best)
        return min(rate, self._cap(at_s, died, stay, talk_at_least_s)) if away else rate

    def _rate(self, speeds: Mapping[str, float], talk_s: Callable[[str, str, float], float]) -> float:
        step_s = self.state.step_s(speeds.__getitem__, talk_s)
        return 1.0 / step_s if 0 < step_s < inf else 0.0

    def _cap(self, at_s: float, died: set[str], stay: frozenset[str], talk_at_least_s: float) -> float:
        """Return the steps a second that no placement passes from `at_s` on that leaves ranks on the hosts `stay`."""
        key = at_s, len(died), stay, talk_at_least_s
        if key not in self.caps:
            alive = [host for name, host in self.hosts.items() if name not in died]
            sides = {host.switch: [other for other in alive if other.switch == host.switch] for host in alive}
            wide, switch = Level.WIDE_AREA, Level.SAME_SWITCH
            found = [self._rate_on(hosts, at_s, switch) for hosts in sides.values() if _holds(hosts, stay)]
            found += [self._rate_on([host], at_s, Level.SAME_HOST) for host in alive if _holds([host], stay)]
            found += [self._rate_on(alive, at_s, wide)] if len(sides) > 1 else []
            self.caps[key] = max(rate(talk_at_least_s) for rate in found)
        return self.caps[key]

    def _rate_on(self, hosts: Sequence[HostSpec], at_s: float, cut: Level) -> Callable[[float], float]:
        """Return the most steps a second on `hosts`, given what some rank talks at least.

        On one host all messages stay there; on several the ring is cut, so some rank has a message at the level `cut`.
        """
        speed = self._even_speed(hosts, at_s)
        size_bytes, ranks = self.job.exchange_bytes, len(self.job.ranks)
        if len(self.ranks) == 1:
            talks_s = min(2, ranks - 1) * self._at_level_s(Level.SAME_GUEST, size_bytes)
        elif cut is Level.SAME_HOST and max(self.ranks.values()) == 1:
            talks_s = min(2, ranks - 1) * self._at_level_s(cut, size_bytes)
        else:
            talks_s = self._at_level_s(cut, size_bytes) + self.other_message_s
        work_s = min(self.job.work_of_rank_s(rank) for rank in range(ranks))

        def rate(talk_at_least_s: float) -> float:
            return 1.0 / (work_s / speed + max(talks_s, talk_at_least_s)) if speed > 0 else 0.0

        return rate

    def _even_speed(self, hosts: Sequence[HostSpec], at_s: float) -> float:
        """Return the greatest speed that all ranks can have on `hosts` together; 0 if memory does not take them.

        A host of c cores of speed s, with h vCPUs of loads that cannot be moved, gives the speed v to c·s/v − h ranks.
        """
        ranks_each = max(self.ranks.values())
        memory = min(self.guests[guest].memory_bytes for guest in self.ranks)
        pinned = {guest.name: guest for guest in self.guests.values() if NEVER_TAG in guest.tags}
        hogs = {guest: vcpus for guest, vcpus in self.hog_vcpus(at_s).items() if guest in pinned}
        taken = dict.fromkeys(self.hosts, 0)
        for guest in pinned.values():
            taken[self.home(guest.name)] += guest.memory_bytes
        loads = {host.name: sum(v for guest, v in hogs.items() if self.home(guest) == host.name) for host in hosts}

        def can_take(speed: float) -> int:
            return sum(
                min(
                    int(max(0.0, host.cpus * host.speed / speed - loads[host.name]) + 1e-9) // ranks_each,
                    (host.memory_bytes - taken[host.name]) // memory,
                )
                for host in hosts
                if host.speed >= speed
            )

        low, high = 0.0, max(host.speed for host in hosts)
        if can_take(high) >= len(self.ranks):
            return high
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if can_take(middle) >= len(self.ranks) else (low, middle)
        return high if low > 0 else 0.0

    def _shares(self, homes: Mapping[str, str], hogs: Mapping[str, int], dom0: Mapping[str, float]) -> dict[str, float]:
        wants: dict[str, dict[tuple[str, bool], tuple[int, float]]] = {}
        for guest, home in homes.items():
            spec = self.guests[guest]
            busy = min(spec.vcpus, self.ranks.get(guest, 0) + hogs.get(guest, 0))
            there = wants.setdefault(home, {})
            if busy:
                there[guest, True] = busy, 1.0
            if busy < spec.vcpus:
                there[guest, False] = 1, min(1.0, spec.base_demand_vcpus)
        found: dict[str, float] = {}
        for home, there in wants.items():
            for (guest, is_busy), cores in share_cores(self.hosts[home].cpus - dom0[home], there).items():
                if is_busy:
                    found[guest] = cores / there[guest, True][0]
        return found

    def _fair_links(self, homes: Mapping[str, str], talks_best: Set[str]) -> dict[str, float]:
        """Return what each message gets of a host's NIC, and between two switches, if those at home share them."""
        sharing: dict[str, int] = {}
        for a, b in self.state.neighbours:
            for link in self._way(self.job.ranks[a], self.job.ranks[b], homes, talks_best):
                sharing[link] = sharing.get(link, 0) + 1
        wide_area = self.case.pool.levels[Level.WIDE_AREA].bandwidth_bytes_per_s
        return {
            link: (self.hosts[link].link_bytes_per_s if link in self.hosts else wide_area) / count
            for link, count in sharing.items()
        }

    def _way(self, a: str, b: str, homes: Mapping[str, str], talks_best: Set[str]) -> tuple[str, ...]:
        if {a, b} & talks_best or homes[a] == homes[b]:
            return ()
        here, there = self.hosts[homes[a]].switch, self.hosts[homes[b]].switch
        return (
            (homes[a], homes[b]) if here == there else (homes[a], homes[b], " ".join(sorted((here, there))) + " line")
        )

    def _talk_s(
        self,
        a: str,
        b: str,
        size_bytes: float,
        homes: Mapping[str, str],
        talks_best: Set[str],
        links: Mapping[str, float],
    ) -> float:
        if a == b:
            return self._at_level_s(Level.SAME_GUEST, size_bytes)
        if {a, b} & talks_best:
            return self._best_talk_s(size_bytes)
        if homes[a] == homes[b]:
            return self._at_level_s(Level.SAME_HOST, size_bytes)
        is_near = self.hosts[homes[a]].switch == self.hosts[homes[b]].switch
        level = self.case.pool.levels[Level.SAME_SWITCH if is_near else Level.WIDE_AREA]
        fair = (links[link] for link in self._way(a, b, homes, talks_best))
        return level.latency_s + size_bytes / min((level.bandwidth_bytes_per_s, *fair))

    def _at_level_s(self, of: Level, size_bytes: float) -> float:
        """Return the seconds of a message at a level at best; a ring that leaves a host does so with two messages."""
        level = self.case.pool.levels[of]
        bandwidth = level.bandwidth_bytes_per_s
        ranks = self.job.ranks
        leaving = min(2, sum(ranks[a] != ranks[b] for a, b in self.state.neighbours))
        if of in (Level.SAME_SWITCH, Level.WIDE_AREA):
            bandwidth = min(bandwidth, max(host.link_bytes_per_s for host in self.hosts.values()) / leaving)
        if of is Level.WIDE_AREA:
            bandwidth = min(bandwidth, level.bandwidth_bytes_per_s / leaving)
        return level.latency_s + size_bytes / bandwidth

    def _best_talk_s(self, size_bytes: float) -> float:
        """Return the seconds of a message between two guests at best; on one host only if its memory takes both."""
        both = 2 * min(self.guests[guest].memory_bytes for guest in self.ranks)
        levels = [Level.SAME_SWITCH]
        if any(both <= host.memory_bytes for host in self.hosts.values()):
            levels.append(Level.SAME_HOST)
        return min(self._at_level_s(level, size_bytes) for level in levels)

    def _dom0_vcpus(self, rate: float, homes: Mapping[str, str], talks_best: Set[str]) -> dict[str, float]:
        """Return Dom0's own needs where ranks at home talk; a byte within a host is copied twice, as one across is."""
        moved = dict.fromkeys(self.hosts, 0.0)
        for (a, b), size_bytes in self.state.pair_bytes.items():
            if not {a, b} & talks_best:
                for home in (homes[a], homes[b]):
                    moved[home] += 2 * size_bytes * rate
        per_vcpu = self.case.pool.dom0_bytes_per_vcpu_s * self.case.pool.clock_ratio
        return {home: DOM0_IDLE_VCPUS + count / per_vcpu for home, count in moved.items()}

"""A job's best possible speeds, as epochs and states for `clairvoyant`: what no way of moving guests can beat.

A placement says of each guest that matters whether it is still at home, where it began, or away. Away is anywhere, and
always the best: a free core of the fastest host, and the best level to whomever it talks with. At home it shares its
host with whoever is at home too and with the loads of the epoch, by the simulated cluster's own rules. Guests of other
jobs count as away from the start, at no cost. So no real placement is faster than its state here, and the time found is
a lower bound on the job's time; the score says for how many runs a plan reached it.

No state but home is faster than the best placement of all either: on one host, within one switch with two messages
across it, or across switches with two messages between them (a ring is cut twice), each on cores as free as memory and
the loads that cannot be moved allow.

Guests that matter: loads that may be moved off hosts with ranks on them, and ranks on hosts that a load slows, that
die, that are slower than others, or, in a job that spans switches, all ranks. Ranks of one host are alike but for what
moving them costs, so their state is how many are away, cheapest first; with one away, all of them talk at the best
level. A move costs what the simulated cluster makes of it: the guest moved with nothing else going on, to the best
host, without loads or among those at its home, whichever is cheaper. Moves off one host add up, for they share its NIC;
those off several overlap. Left out: the hundredths that Dom0 takes of a host which its ranks alone fill, where one could
be moved away from every such host.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import inf, prod
from typing import Final

from msgspec.structs import replace

from migd_core.world import Level
from migd_sim.model import Cluster
from migd_sim.model.job import JobState
from migd_sim.model.max_min import share_cores
from migd_sim.model.rates import DOM0_BYTES_PER_VCPU_S, DOM0_IDLE_VCPUS
from migd_sim.model.spec import GuestSpec, HogSpec, HostSpec, JobSpec
from migd_sim.run.evaluation.case import Case
from migd_sim.run.evaluation.clairvoyant import Change, Epoch, Fate
from migd_sim.run.evaluation.sets import NEVER_TAG

# With more placements than this the bound lets everything that matters be away for nothing.
MOST_STATES: Final = 128


@dataclass(frozen=True, slots=True)
class Group:
    """Guests of one host that are alike, cheapest to move first, and what moving each takes.

    Of a coarse one either none is away or any number are, for the price of the cheapest.
    """

    host: str
    guests: tuple[str, ...]
    costs: tuple[Change, ...]
    is_coarse: bool = False

    @property
    def size(self) -> int:
        """The most that a state can say are away."""
        return 1 if self.is_coarse else len(self.guests)

    def coarse(self) -> "Group":
        """Return the same guests with only two ways to be."""
        return Group(self.host, self.guests, self.costs, is_coarse=True)

    def away(self, count: int) -> tuple[str, ...]:
        """Return the guests that are away where a state says `count`."""
        return self.guests if self.is_coarse and count else self.guests[:count]


@dataclass(frozen=True, slots=True)
class Relaxed:
    """One job of a case, relaxed. State n is the n-th of `states`, each a count of guests away by group."""

    job: JobSpec
    groups: tuple[Group, ...]
    states: tuple[tuple[int, ...], ...]
    epochs: tuple[Epoch, ...]
    moves_are_free: bool

    def change(self, old: int, new: int) -> Change:
        """Return what going from one state to another takes at least."""
        if self.moves_are_free:
            return Change(0.0, 0.0)
        lasts: dict[str, float] = {}
        lost: dict[str, float] = {}
        for group, before, after in zip(self.groups, self.states[old], self.states[new], strict=True):
            for cost in group.costs[min(before, after) : max(before, after)]:
                lasts[group.host] = lasts.get(group.host, 0.0) + cost.lasts_s
                lost[group.host] = lost.get(group.host, 0.0) + cost.lost_s
        return Change(max(lasts.values(), default=0.0), max(lost.values(), default=0.0))


def relax(case: Case, job: JobSpec) -> Relaxed:
    """Return the relaxation of one of the jobs of `case`."""
    ground = _Ground(case, job)
    groups = tuple(ground.groups())
    if _count(groups) > MOST_STATES:
        groups = tuple(group.coarse() for group in groups)
    moves_are_free = _count(groups) > MOST_STATES
    home, away = (0,) * len(groups), tuple(group.size for group in groups)
    every = (range(group.size + 1) for group in groups)
    states = [home, away] if moves_are_free else list(product(*every))
    times = [0.0, *case.change_times_s, inf]
    epochs = []
    for starts_s, ends_s in zip(times, times[1:], strict=False):
        died = {death.host for death in case.deaths if death.at_s <= starts_s}
        speeds = tuple(ground.steps_per_s(starts_s, died, groups, state) for state in states)
        fates = _fates(case, starts_s, groups, states, away if moves_are_free else None)
        epochs.append(Epoch(starts_s, ends_s, speeds, fates))
    return Relaxed(job, groups, tuple(states), tuple(epochs), moves_are_free)


def _count(groups: Sequence[Group]) -> int:
    return prod(group.size + 1 for group in groups)


def _fates(
    case: Case, at_s: float, groups: Sequence[Group], states: Sequence[tuple[int, ...]], only: tuple[int, ...] | None
) -> dict[int, Fate]:
    """Whoever has ranks on a host that dies goes on later with those away (`only`: in that state), from a checkpoint."""
    found: dict[int, Fate] = {}
    for host in (death.host for death in case.deaths if death.at_s == at_s):
        for number, state in enumerate(states):
            away = tuple(
                group.size if group.host == host else count for group, count in zip(groups, state, strict=True)
            )
            if away != state:
                after = states.index(away if only is None else only)
                found[number] = Fate(after, case.checkpoint_steps, case.restart_s)
    return found


def _holds(hosts: Sequence[HostSpec], names: frozenset[str]) -> bool:
    return names <= {host.name for host in hosts}


@dataclass(slots=True)
class _Ground:
    """What the speeds of one job rest on."""

    case: Case
    job: JobSpec
    hosts: dict[str, HostSpec] = field(init=False)
    guests: dict[str, GuestSpec] = field(init=False)
    ranks: dict[str, int] = field(init=False)
    state: JobState = field(init=False)
    caps: dict[tuple[float, int, frozenset[str]], float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        others = {rank for job in self.case.pool.jobs if job.name != self.job.name for rank in job.ranks}
        self.hosts = {host.name: host for host in self.case.pool.hosts}
        self.guests = {guest.name: guest for guest in self.case.pool.guests if guest.name not in others}
        self.ranks = {name: self.job.ranks.count(name) for name in self.job.ranks}
        self.state = JobState(self.job, self.job.ranks)

    def hog_vcpus(self, at_s: float) -> dict[str, int]:
        """Return the vCPUs that loads take in each guest from `at_s` on."""
        return {hog.guest: hog.vcpus for hog in self.case.pool.hogs if hog.starts_s <= at_s < hog.starts_s + hog.lasts_s}

    def groups(self) -> list[Group]:
        """Return the guests that matter."""
        fastest = max(host.speed for host in self.hosts.values())
        dying = {death.host for death in self.case.deaths}
        homes = {self.home(guest) for guest in self.ranks}
        spans = len({self.hosts[home].switch for home in homes}) > 1
        found: list[Group] = []
        for home in sorted(homes):
            ranks = [guest for guest in self.ranks if self.home(guest) == home]
            loads = self._loads_that_slow(home)
            movable = [guest for guest in loads if NEVER_TAG not in self.guests[guest].tags]
            found += [self._group(home, [guest]) for guest in movable]
            costs = self._group(home, ranks)
            cheapest = costs.costs[0].lost_s
            # One load, cheaper to move than any rank: moving it does all that moving ranks could.
            is_settled = not loads or (len(loads) == 1 and movable and found[-1].costs[0].lost_s <= cheapest)
            if spans or home in dying or self.hosts[home].speed < fastest or not is_settled:
                found.append(costs)
        return found

    def home(self, guest: str) -> str:
        """Return the host that a guest begins on."""
        host = self.guests[guest].host
        assert host is not None, "every guest of a case is placed"
        return host

    def _loads_that_slow(self, home: str) -> list[str]:
        """Return the guests whose loads leave the ranks of a host less than a core each, at any time."""
        cpus, ranks = self.hosts[home].cpus, sum(n for guest, n in self.ranks.items() if self.home(guest) == home)
        found: dict[str, None] = {}
        for at_s in (0.0, *self.case.change_times_s):
            here = {guest: vcpus for guest, vcpus in self.hog_vcpus(at_s).items() if self.home(guest) == home}
            if ranks + sum(here.values()) > cpus:
                found.update(dict.fromkeys(here))
        return list(found)

    def _group(self, home: str, guests: Sequence[str]) -> Group:
        costs = sorted(((self._cost(guest), guest) for guest in guests), key=lambda one: (one[0].lost_s, one[1]))
        return Group(home, tuple(guest for _, guest in costs), tuple(cost for cost, _ in costs))

    def _cost(self, guest: str) -> Change:
        """Return what moving one guest takes at least: the migration simulated, without and with loads at its home."""
        home = self.home(guest)
        most: dict[str, int] = {}
        for hog in self.case.pool.hogs:
            if self.home(hog.guest) == home and hog.guest != guest:
                most[hog.guest] = max(most.get(hog.guest, 0), hog.vcpus)
        own = tuple(HogSpec(guest=name, vcpus=vcpus, starts_s=0.0, lasts_s=1e9) for name, vcpus in most.items())
        costs = [self._simulated(guest, hogs) for hogs in {(), own}]
        return Change(min(cost.lasts_s for cost in costs), min(cost.lost_s for cost in costs))

    def _simulated(self, guest: str, hogs: tuple[HogSpec, ...]) -> Change:
        pool = replace(
            self.case.pool, guests=tuple(self.guests.values()), jobs=(replace(self.job, steps=0),), hogs=hogs
        )
        cluster = Cluster(pool)
        cluster.run_until(0.0)
        uuids = {state.spec.name: uuid for uuid, state in cluster.guests.items()}
        job = cluster.jobs[self.job.name]
        before = job.steps_per_s
        ended: list[float] = []
        target = next(host.uuid for host in cluster.spec.hosts if host.name == self._best_target(self.home(guest)))
        cluster.start_migration(uuids[guest], target, lambda end: ended.append(end.ended_s))
        while not ended:
            next_s = cluster.next_event_s
            assert next_s is not None, "a migration always ends"
            cluster.run_until(next_s)
        return Change(ended[0], max(0.0, ended[0] - job.steps_done / before))

    def _best_target(self, home: str) -> str:
        used = {self.home(guest) for guest in self.ranks}
        others = [host for host in self.hosts.values() if host.name != home]
        return max(
            others,
            key=lambda host: (host.switch == self.hosts[home].switch, host.link_bytes_per_s, host.name not in used, host.name),
        ).name

    def steps_per_s(self, at_s: float, died: set[str], groups: Sequence[Group], state: Sequence[int]) -> float:
        """Return the job's steps a second from `at_s` on with so many of each group away, at best."""
        away, talks_best = set(), set()
        for group, count in zip(groups, state, strict=True):
            away.update(group.away(count))
            talks_best.update(group.guests if count else ())
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
        stay = frozenset(homes[rank] for rank in self.ranks if rank in homes)
        return min(rate, self._cap(at_s, died, stay)) if any(state) else rate

    def _rate(self, speeds: Mapping[str, float], talk_s: Callable[[str, str, float], float]) -> float:
        step_s = self.state.step_s(speeds.__getitem__, talk_s)
        return 1.0 / step_s if 0 < step_s < inf else 0.0

    def _cap(self, at_s: float, died: set[str], stay: frozenset[str]) -> float:
        """Return the steps a second that no placement passes from `at_s` on that leaves ranks on the hosts `stay`."""
        key = at_s, len(died), stay
        if key not in self.caps:
            alive = [host for name, host in self.hosts.items() if name not in died]
            sides = {host.switch: [other for other in alive if other.switch == host.switch] for host in alive}
            wide, switch = Level.WIDE_AREA, Level.SAME_SWITCH
            found = [self._rate_on(hosts, at_s, switch) for hosts in sides.values() if _holds(hosts, stay)]
            found += [self._rate_on([host], at_s, Level.SAME_HOST) for host in alive if _holds([host], stay)]
            found += [self._rate_on(alive, at_s, wide)] if len(sides) > 1 else []
            self.caps[key] = max(found)
        return self.caps[key]

    def _rate_on(self, hosts: Sequence[HostSpec], at_s: float, cut: Level) -> float:
        """Return the most steps a second on `hosts`, with two messages at the level `cut`, the rest at the best."""
        speed = self._even_speed(hosts, at_s)
        if speed <= 0:
            return 0.0
        across = [(a, b) for a, b in self.state.pair_bytes][:2]

        def talk_s(a: str, b: str, size_bytes: float) -> float:
            if a == b:
                return self._at_level_s(Level.SAME_GUEST, size_bytes)
            if cut is Level.SAME_HOST or (a, b) in across:
                return self._at_level_s(cut, size_bytes)
            return self._best_talk_s(size_bytes)

        return self._rate(dict.fromkeys(self.ranks, speed), talk_s)

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

    def _fair_links(self, homes: Mapping[str, str], talks_best: set[str]) -> dict[str, float]:
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

    def _way(self, a: str, b: str, homes: Mapping[str, str], talks_best: set[str]) -> tuple[str, ...]:
        if {a, b} & talks_best or homes[a] == homes[b]:
            return ()
        here, there = self.hosts[homes[a]].switch, self.hosts[homes[b]].switch
        return (homes[a], homes[b]) if here == there else (homes[a], homes[b], " ".join(sorted((here, there))) + " line")

    def _talk_s(
        self,
        a: str,
        b: str,
        size_bytes: float,
        homes: Mapping[str, str],
        talks_best: set[str],
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
        leaving = min(2, len(self.state.pair_bytes))
        if of in (Level.SAME_SWITCH, Level.WIDE_AREA):
            bandwidth = min(bandwidth, max(host.link_bytes_per_s for host in self.hosts.values()) / leaving)
        if of is Level.WIDE_AREA:
            bandwidth = min(bandwidth, level.bandwidth_bytes_per_s / leaving)
        return level.latency_s + size_bytes / bandwidth

    def _best_talk_s(self, size_bytes: float) -> float:
        """Return the seconds of a message between two guests at best; they share a host only if its memory takes two."""
        both = 2 * min(self.guests[guest].memory_bytes for guest in self.ranks)
        levels = [Level.SAME_SWITCH]
        if any(both <= host.memory_bytes for host in self.hosts.values()):
            levels.append(Level.SAME_HOST)
        return min(self._at_level_s(level, size_bytes) for level in levels)

    def _dom0_vcpus(self, rate: float, homes: Mapping[str, str], talks_best: set[str]) -> dict[str, float]:
        """Return Dom0's own needs where ranks at home talk; a byte within a host is copied twice, as one across is."""
        moved = dict.fromkeys(self.hosts, 0.0)
        for (a, b), size_bytes in self.state.pair_bytes.items():
            if not {a, b} & talks_best:
                for home in (homes[a], homes[b]):
                    moved[home] += 2 * size_bytes * rate
        per_vcpu = DOM0_BYTES_PER_VCPU_S * self.case.pool.clock_ratio
        return {home: DOM0_IDLE_VCPUS + count / per_vcpu for home, count in moved.items()}

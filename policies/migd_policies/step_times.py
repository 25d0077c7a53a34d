"""How long each rank's step takes, now and with guests elsewhere: `scoring` for a search that asks thousands of times.

The formula and its assumptions are those of `scoring.py`, whose answer for one set of moves this one's equals. Here
everything that does not depend on the moves is worked out once, and a set of moves costs what it touches: the guests on
hosts whose share of CPU changes, the guests that move, and those they talk with. Times are in steps of the guest's own
job as it is now, so the slowest rank of each job takes 1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from migd_core.world import Guest, World
from migd_policies.projection import Projection
from migd_policies.scoring import MOST_COMMUNICATION_RATIO, cpu_share_ratio
from migd_policies.talk import (
    NOTHING,
    Crossing,
    Way,
    capacity_bytes_per_s,
    crossings,
    flow_s,
    guest_s,
    talks,
    ways,
)

Places = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Flow:
    """What a rank says to a `peer` (uuid): the seconds a second that this takes now, and would with its level alone.

    `over` are the ways that it shares with others, and what they carry.
    """

    peer: str
    bytes_per_s: float
    now_s: float
    level_s: float
    over: tuple[tuple[Way, float], ...]


@dataclass(frozen=True, slots=True)
class _Rank:
    """What a rank's time is made of: `computes` at a whole CPU of the fastest, and `talks` with its peers.

    Its job talks `scale` seconds for each that the bandwidths say.
    """

    job: str
    host: str
    computes: float
    talks: float
    scale: float
    flows: tuple[_Flow, ...]


class StepTimes:
    """The step times of one world, moves under way counted as done."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._projection = Projection(world)
        self._load = {uuid: self._projection.load_ratio(uuid) for uuid in world.hosts}
        self._speed = {uuid: host.speed_ratio for uuid, host in world.hosts.items()}
        self._share = {uuid: cpu_share_ratio(load) for uuid, load in self._load.items()}
        self._residents: dict[str, list[str]] = {uuid: [] for uuid in world.hosts}
        self._ranks: dict[str, _Rank] = {}
        self.time: dict[str, float] = {}
        self.least: dict[str, float] = {}
        self._slowest: dict[str, list[str]] = {}
        place = {uuid: self._projection.host_of(uuid) for uuid in world.guests}
        for uuid, host in place.items():
            self._residents[host].append(uuid)
        self._crossing = crossings(world, place.__getitem__)
        self._ways: dict[tuple[str, str], tuple[float | None, tuple[tuple[Way, float], ...]]] = {}
        self._capacity: dict[Way, float] = {}
        capacity_of = partial(capacity_bytes_per_s, world)
        self._busy = {way: c for way, c in self._crossing.items() if not c.is_idle(capacity_of(way))}
        self._users: dict[Way, set[str]] = {}
        for flow in world.flows:
            if flow.guest_a in place and flow.guest_b in place:
                for way in ways(world, place[flow.guest_a], place[flow.guest_b]):
                    self._users.setdefault(way, set()).update((flow.guest_a, flow.guest_b))
        self._fastest = max((link.bandwidth_bytes_per_s for link in world.topology.links.values()), default=0.0)
        self._fastest_cpu = max((host.speed_ratio for host in world.hosts.values()), default=1.0)
        for name, guests in _jobs(world).items():
            self._add(name, guests, place)

    @property
    def jobs(self) -> Iterable[str]:
        return self._slowest.keys()

    def job_of(self, guest: str) -> str:
        """Return the name of the guest's job; a guest of none is a job of its own, under its uuid."""
        return self._ranks[guest].job

    def host_of(self, guest: str) -> str:
        return self._ranks[guest].host

    def residents(self, host: str) -> list[str]:
        return self._residents[host]

    def load_ratio(self, host: str) -> float:
        return self._load[host]

    def peers(self, guest: str) -> list[tuple[str, float]]:
        """Return whom a guest talks with (uuid), and their bytes a second."""
        return [(flow.peer, flow.bytes_per_s) for flow in self._ranks[guest].flows]

    def slowest(self, job: str) -> list[str]:
        """Return the job's ranks, the slowest first."""
        return self._slowest[job]

    def least_time(self, job: str) -> float:
        """Return a step time that no placement can go below: each rank with a CPU of its own and the fastest links."""
        return max(self.least[uuid] for uuid in self._slowest[job])

    def changed(self, going: Places) -> dict[str, float]:
        """Return the new times of the ranks whose share of CPU or communication may change once guests are `going`."""
        shift: dict[str, float] = {}
        for uuid, target in going.items():
            source = self._ranks[uuid].host
            if source != target:
                vcpus = self._world.guests[uuid].cpu_demand_vcpus
                shift[source] = shift.get(source, 0.0) - vcpus
                shift[target] = shift.get(target, 0.0) + vcpus
        share: dict[str, float] = {}
        touched = set(going)
        for host, vcpus in shift.items():
            share[host] = cpu_share_ratio(max(0.0, self._load[host] + vcpus / self._world.hosts[host].cpus))
            if share[host] != self._share[host]:
                touched.update(self._residents[host])
        talking = {flow.peer for uuid in going for flow in self._ranks[uuid].flows} | going.keys()
        crossing = self._crossing_with(going)
        for way, then in crossing.items():
            if then is not NOTHING or way in self._busy:
                talking |= self._users.get(way, set())
        talking &= self._ranks.keys()
        return {uuid: self._time(uuid, going, share, crossing, uuid in talking) for uuid in touched | talking}

    def _crossing_with(self, going: Places) -> dict[Way, Crossing]:
        """Return what crosses ways once guests are `going`, of those that it changes on; idle ones are crossed by
        nothing that counts."""
        flows: dict[Way, int] = {}
        bytes_per_s: dict[Way, float] = {}
        for uuid, target in going.items():
            rank = self._ranks[uuid]
            for flow in rank.flows:
                peer = flow.peer
                if peer in going and peer < uuid:
                    continue  # the flow between two guests that both move is one flow
                beside = self._host_now(peer)
                for sign, (_, over) in (
                    (-1, self._way(rank.host, beside)),
                    (1, self._way(target, going.get(peer, beside))),
                ):
                    for way, _ in over:
                        if way not in flows:
                            flows[way], bytes_per_s[way] = self._crossing.get(way, NOTHING)
                        flows[way] += sign
                        bytes_per_s[way] += sign * flow.bytes_per_s / 2
        found: dict[Way, Crossing] = {}
        for way, count in flows.items():
            then = Crossing(count, bytes_per_s[way])
            if then != self._crossing.get(way):
                found[way] = NOTHING if then.is_idle(self._capacity[way]) else then
        return found

    def _host_now(self, uuid: str) -> str:
        return self._ranks[uuid].host if uuid in self._ranks else self._projection.host_of(uuid)

    def ratios(self, changed: Mapping[str, float]) -> dict[str, float]:
        """Return the new step time of each job that a rank of `changed` belongs to."""
        found: dict[str, float] = {}
        for uuid, time in changed.items():
            job = self._ranks[uuid].job
            found[job] = max(found.get(job, 0.0), time)
        for job, time in found.items():
            unchanged = next((uuid for uuid in self._slowest[job] if uuid not in changed), None)
            if unchanged is not None:
                found[job] = max(time, self.time[unchanged])
            if self.time[self._slowest[job][0]] <= 0.0:
                found[job] = 1.0  # a job that neither computes nor talks has no step to be shortened
        return found

    def _time(
        self,
        uuid: str,
        going: Places,
        share: Mapping[str, float],
        crossing: Mapping[Way, Crossing],
        talks_anew: bool,
    ) -> float:
        rank = self._ranks[uuid]
        host = going.get(uuid, rank.host)
        talks = rank.scale * self._talk_s(uuid, host, going, crossing) if talks_anew and rank.flows else rank.talks
        return rank.computes / (share.get(host, self._share[host]) * self._speed[host]) + talks

    def _talk_s(self, uuid: str, host: str, going: Places, crossing: Mapping[Way, Crossing]) -> float:
        """Return the seconds of talk a second; a level that was not measured changes nothing.

        `crossing` has the ways on which something else crosses than now.
        """
        flows_s = []
        moves = uuid in going
        for flow in self._ranks[uuid].flows:
            if moves or flow.peer in going:
                bandwidth, over = self._way(host, going.get(flow.peer) or self._host_now(flow.peer))
                seconds = flow.now_s if bandwidth is None else flow.bytes_per_s / 2 / bandwidth
            else:
                seconds, over = flow.level_s, flow.over
            for way, capacity in over:
                crosses = crossing.get(way) or self._busy.get(way, NOTHING)
                if crosses is not NOTHING:
                    seconds = max(seconds, crosses.shared_s(flow.bytes_per_s, capacity))
            flows_s.append(seconds)
        return guest_s(self._world.guests[uuid], flows_s)

    def _flow(self, here: str, there: str, peer: str, bytes_per_s: float) -> _Flow:
        now_s = flow_s(self._world, self._crossing, here, there, bytes_per_s)
        bandwidth, over = self._way(here, there)
        return _Flow(peer, bytes_per_s, now_s, 0.0 if bandwidth is None else bytes_per_s / 2 / bandwidth, over)

    def _way(self, here: str, there: str) -> tuple[float | None, tuple[tuple[Way, float], ...]]:
        """Return what the level between two hosts carries, None if not measured, and the ways there with theirs."""
        if (known := self._ways.get((here, there))) is None:
            link = self._world.topology.links.get(self._world.topology.level(here, there))
            over = tuple((way, capacity_bytes_per_s(self._world, way)) for way in ways(self._world, here, there))
            self._capacity.update(over)
            known = self._ways[here, there] = None if link is None else link.bandwidth_bytes_per_s, over
        return known

    def _add(self, job: str, guests: list[Guest], place: Places) -> None:
        """Take in one job: its scale and k as in `scoring`, and each rank's time as it is."""
        talk_s: dict[str, float] = {}
        flows: dict[str, tuple[_Flow, ...]] = {}
        for guest in guests:
            here = place[guest.uuid]
            found = talks(self._world, guest.uuid)
            flows[guest.uuid] = tuple(self._flow(here, place[peer], peer, rate) for peer, rate in found)
            talk_s[guest.uuid] = guest_s(guest, [flow.now_s for flow in flows[guest.uuid]])
        busiest = max(talk_s.values())
        scale = min(1.0, MOST_COMMUNICATION_RATIO / busiest) if busiest > 0 else 1.0
        work = {guest.uuid: guest.cpu_demand_vcpus / guest.vcpus for guest in guests}
        speed = {uuid: self._share[place[uuid]] * self._world.hosts[place[uuid]].speed_ratio for uuid in work}
        k = min(
            ((1.0 - scale * talk_s[uuid]) * speed[uuid] / wanted for uuid, wanted in work.items() if wanted > 0),
            default=0.0,
        )
        times = {uuid: k * work[uuid] / speed[uuid] + scale * talk_s[uuid] for uuid in work}
        step = max(times.values())
        step = step if step > 0 else 1.0
        for uuid in work:
            talks_s = scale * talk_s[uuid] / step
            self._ranks[uuid] = _Rank(job, place[uuid], k * work[uuid] / step, talks_s, scale / step, flows[uuid])
            self.time[uuid] = times[uuid] / step
            least_s = [flow.bytes_per_s / 2 / self._fastest for flow in flows[uuid]] if self._fastest > 0 else []
            talk_at_least_s = min(talk_s[uuid], guest_s(self._world.guests[uuid], least_s))
            self.least[uuid] = k * work[uuid] / step / self._fastest_cpu + scale / step * talk_at_least_s
        self._slowest[job] = sorted(work, key=lambda uuid: (-self.time[uuid], uuid))


def _jobs(world: World) -> dict[str, list[Guest]]:
    """Return the guests that wait for each other, by the name of their job, or by uuid where they have none."""
    found: dict[str, list[Guest]] = {}
    for guest in sorted(world.guests.values(), key=lambda guest: guest.uuid):
        job = world.jobs.get(guest.job) if guest.job is not None else None
        found.setdefault(job.name if job is not None and guest.uuid in job.guests else guest.uuid, []).append(guest)
    return found

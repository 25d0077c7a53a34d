"""How long each rank's step takes, now and with guests elsewhere: `scoring` for a search that asks thousands of times.

The formula and its assumptions are those of `scoring.py`, whose answer for one set of moves this one's equals. Here
everything that does not depend on the moves is worked out once, and a set of moves costs what it touches: the guests on
hosts whose share of CPU changes, the guests that move, and those they talk with. Times are in steps of the guest's own
job as it is now, so the slowest rank of each job takes 1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from migd_core.world import Guest, World
from migd_policies.projection import Projection
from migd_policies.scoring import (
    MOST_COMMUNICATION_RATIO,
    communication_ratio,
    cpu_share_ratio,
    crossing_bytes_per_s,
    nic_ratio,
    talks,
)

Places = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Rank:
    """What a rank's time is made of: `computes` at a whole CPU share, and `talks` with its peers (uuid, bytes per s).

    Its job talks `scale` seconds for each that the bandwidths say.
    """

    job: str
    host: str
    computes: float
    talks: float
    scale: float
    peers: tuple[tuple[str, float], ...]


class StepTimes:
    """The step times of one world, moves under way counted as done."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._projection = Projection(world)
        self._load = {uuid: self._projection.load_ratio(uuid) for uuid in world.hosts}
        self._share = {uuid: cpu_share_ratio(load) for uuid, load in self._load.items()}
        self._residents: dict[str, list[str]] = {uuid: [] for uuid in world.hosts}
        self._ranks: dict[str, _Rank] = {}
        self.time: dict[str, float] = {}
        self.least: dict[str, float] = {}
        self._slowest: dict[str, list[str]] = {}
        place = {uuid: self._projection.host_of(uuid) for uuid in world.guests}
        for uuid, host in place.items():
            self._residents[host].append(uuid)
        self._crossing = crossing_bytes_per_s(world, place.__getitem__)
        self._nic = {uuid: nic_ratio(world, uuid, self._crossing) for uuid in self._crossing}
        self._fastest = max((link.bandwidth_bytes_per_s for link in world.topology.links.values()), default=0.0)
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

    def peers(self, guest: str) -> tuple[tuple[str, float], ...]:
        return self._ranks[guest].peers

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
        talking = {peer for uuid in going for peer, _ in self._ranks[uuid].peers} | going.keys()
        nic = self._nics(going)
        for host in nic:
            talking.update(uuid for uuid in self._residents[host] if self._ranks[uuid].peers)
        return {uuid: self._time(uuid, going, share, nic, uuid in talking) for uuid in touched | talking}

    def _nics(self, going: Places) -> dict[str, float]:
        """Return how busy NICs are then, of those that are busy with other traffic than now."""
        shift: dict[str, float] = {}
        for uuid in going:
            for peer, bytes_per_s in self._ranks[uuid].peers:
                if peer in going and peer < uuid:
                    continue  # the flow between two guests that both move is one flow
                old = (self._ranks[uuid].host, self._host_now(peer))
                new = (going[uuid], going.get(peer, old[1]))
                for (a, b), sign in ((old, -1.0), (new, 1.0)):
                    if a != b:
                        for host in (a, b):
                            shift[host] = shift.get(host, 0.0) + sign * bytes_per_s
        crossing = {host: self._crossing.get(host, 0.0) + by for host, by in shift.items() if by != 0.0}
        return {host: nic_ratio(self._world, host, crossing) for host in crossing}

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
        self, uuid: str, going: Places, share: Mapping[str, float], nic: Mapping[str, float], talks_anew: bool
    ) -> float:
        rank = self._ranks[uuid]
        host = going.get(uuid, rank.host)
        talks = rank.scale * self._talk_s(rank, host, going, nic) if talks_anew and rank.peers else rank.talks
        return rank.computes / share.get(host, self._share[host]) + talks

    def _talk_s(self, rank: _Rank, host: str, going: Places, nic: Mapping[str, float]) -> float:
        """Return the seconds of talk a second; a level that was not measured changes nothing."""
        topology, seconds, leaves = self._world.topology, 0.0, False
        for peer, bytes_per_s in rank.peers:
            beside = self._host_now(peer)
            leaves |= going.get(peer, beside) != host
            old = communication_ratio(topology, rank.host, beside, bytes_per_s)
            if old is not None:
                new = communication_ratio(topology, host, going.get(peer, beside), bytes_per_s)
                seconds += old if new is None else new
        return max(seconds, nic.get(host, self._nic.get(host, 0.0))) if leaves else seconds

    def _add(self, job: str, guests: list[Guest], place: Places) -> None:
        """Take in one job: its scale and k as in `scoring`, and each rank's time as it is."""
        topology = self._world.topology
        talk_s: dict[str, float] = {}
        for guest in guests:
            known = (
                communication_ratio(topology, place[guest.uuid], place[peer], rate)
                for peer, rate in talks(self._world, guest.uuid)
            )
            talk_s[guest.uuid] = sum(seconds for seconds in known if seconds is not None)
            here = place[guest.uuid]
            if any(place[peer] != here for peer, _ in talks(self._world, guest.uuid)):
                talk_s[guest.uuid] = max(talk_s[guest.uuid], self._nic.get(here, 0.0))
        busiest = max(talk_s.values())
        scale = min(1.0, MOST_COMMUNICATION_RATIO / busiest) if busiest > 0 else 1.0
        work = {guest.uuid: guest.cpu_demand_vcpus / guest.vcpus for guest in guests}
        k = min(
            (
                (1.0 - scale * talk_s[uuid]) * self._share[place[uuid]] / wanted
                for uuid, wanted in work.items()
                if wanted > 0
            ),
            default=0.0,
        )
        times = {uuid: k * work[uuid] / self._share[place[uuid]] + scale * talk_s[uuid] for uuid in work}
        step = max(times.values())
        step = step if step > 0 else 1.0
        for uuid in work:
            peers = tuple(talks(self._world, uuid))
            talks_s = scale * talk_s[uuid] / step
            self._ranks[uuid] = _Rank(job, place[uuid], k * work[uuid] / step, talks_s, scale / step, peers)
            self.time[uuid] = times[uuid] / step
            bytes_per_s = sum(rate for _, rate in peers)
            talk_at_least_s = min(talk_s[uuid], bytes_per_s / self._fastest) if self._fastest > 0 else 0.0
            self.least[uuid] = k * work[uuid] / step + scale / step * talk_at_least_s
        self._slowest[job] = sorted(work, key=lambda uuid: (-self.time[uuid], uuid))


def _jobs(world: World) -> dict[str, list[Guest]]:
    """Return the guests that wait for each other, by the name of their job, or by uuid where they have none."""
    found: dict[str, list[Guest]] = {}
    for guest in sorted(world.guests.values(), key=lambda guest: guest.uuid):
        job = world.jobs.get(guest.job) if guest.job is not None else None
        found.setdefault(job.name if job is not None and guest.uuid in job.guests else guest.uuid, []).append(guest)
    return found

"""Finds sets of moves that shorten a job's step: the slowest rank first, then the next slowest, until nothing helps.

Moving one of two equally slow ranks gains nothing, so a set grows although its last move has not paid yet: as long as
the slowest rank can be made faster than the step is now. To relieve a rank, it moves itself, changes places with a
guest elsewhere, or another guest leaves its host. Each set on the way is remembered with what it would gain by an
estimate that is quick (`_cost_s`) and counts what every job concerned loses; the ledger prices the few best of them.
"""

import math
from collections.abc import Iterator, Set
from dataclasses import dataclass
from heapq import nsmallest
from typing import Final

from migd_core.units import PAGE_BYTES
from migd_core.world import Guest, Host, Move, Reason, World
from migd_policies.copying_speed import TRACKED_RATIO
from migd_policies.ledger import bandwidth_bytes_per_s
from migd_policies.projection import Projection
from migd_policies.rules import are_kept_apart
from migd_policies.scoring import counts
from migd_policies.step_times import Places, StepTimes
from migd_policies.target_ladder import handicap

# Step times closer than this are alike.
ALIKE_RATIO: Final = 1e-3
# What is tried for one slow rank: targets of a guest by load, the hosts of the peers it talks most with, guests that
# could leave in its place or change places with it.
TARGETS: Final = 3
PEERS: Final = 2
OTHERS: Final = 3
LIVE_ROUNDS: Final = 5
ESTIMATE: Final = Reason("estimate", "to compare costs")


@dataclass(frozen=True, slots=True)
class Found:
    """Guests (uuids) to be moved together, where to, and the estimated net gain in job-seconds."""

    places: Places
    net_s: float


class SetSearch:
    """One world, searched job by job. `takes` are the hosts that guests may be sent to."""

    def __init__(self, world: World, takes: list[Host], leaves: frozenset[str], max_moves: int) -> None:
        """`leaves` are the hosts (uuids) that guests may be taken from, `max_moves` bounds each set."""
        self.times = StepTimes(world)
        self._world = world
        self._projection = Projection(world)
        self._takes = sorted(takes, key=lambda host: host.uuid)
        self._leaves = leaves
        self._max_moves = max_moves
        self._loads = {host.uuid: (host, self.times.load_ratio(host.uuid), handicap(host)) for host in self._takes}
        self._costs: dict[tuple[str, str], float] = {}
        self.scored = 0

    def potential_s(self, job: str) -> float:
        """Return the job-seconds that no set of moves for this job can gain more than."""
        if not counts(self._world, job):
            return 0.0
        return (1.0 - self.times.least_time(job)) * min(self._world.pricing.horizon_s, self._remaining_s(job))

    def sets_for(self, job: str) -> Iterator[Found]:
        """Yield the sets on the way from nothing to the most that can be done for the job, smaller ones first."""
        places: dict[str, str] = {}
        while len(places) < self._max_moves:
            changed = self.times.changed(places)
            slowest = self._slowest(job, changed)
            step = changed.get(slowest, self.times.time[slowest])
            options = list(self._options(slowest, places))
            if not options:
                return
            scored = [(*self._score(job, slowest, option), number) for number, option in enumerate(options)]
            (_, time), number = min((score, number) for *score, number in scored)
            if time > step - ALIKE_RATIO:
                return
            places = options[number]
            yield Found(dict(places), self.net_s(places))

    def net_s(self, places: Places) -> float:
        """Return the estimated net gain of a set, over all jobs that it touches."""
        lasts_s = min((self._remaining_s(self.times.job_of(uuid)) for uuid in places), default=math.inf)
        lasts_s = min(lasts_s, self._world.pricing.horizon_s)
        ratios = self.times.ratios(self.times.changed(places))
        gain_s = math.fsum(
            (1.0 - ratio) * min(lasts_s, self._remaining_s(job))
            for job, ratio in ratios.items()
            if ratio > 1.0 or counts(self._world, job)
        )
        return gain_s - sum(self._cost_s(uuid, target) for uuid, target in places.items())

    def _score(self, job: str, slowest: str, places: Places) -> tuple[float, float]:
        """Return what the lowest of is best, and the new time of the rank (or of one of its job that it slows down)."""
        self.scored += 1
        times, horizon_s = self.times, self._world.pricing.horizon_s
        changed = times.changed(places)
        time = changed.get(slowest, times.time[slowest])
        for uuid, then in changed.items():
            if then > time and then > times.time[uuid] + ALIKE_RATIO and times.job_of(uuid) == job:
                time = then
        others_s = math.fsum(
            (ratio - 1.0) * min(horizon_s, self._remaining_s(other))
            for other, ratio in times.ratios(changed).items()
            if ratio != 1.0 and other != job and (ratio > 1.0 or counts(self._world, other))
        )
        own_s = time * min(horizon_s, self._remaining_s(job))
        return own_s + others_s + sum(self._cost_s(uuid, target) for uuid, target in places.items()), time

    def _slowest(self, job: str, changed: dict[str, float]) -> str:
        """Return the job's slowest rank, given the new times of some guests; among equals the first by uuid."""
        candidates = [uuid for uuid in changed if self.times.job_of(uuid) == job]
        candidates += [next((u for u in self.times.slowest(job) if u not in changed), self.times.slowest(job)[0])]
        return min(candidates, key=lambda uuid: (-changed.get(uuid, self.times.time[uuid]), uuid))

    def _options(self, slowest: str, places: Places) -> Iterator[dict[str, str]]:
        """Yield the sets that add to `places` what could make the rank faster."""
        host = places.get(slowest, self.times.host_of(slowest))
        if slowest not in places and self._may_leave(slowest):
            for target in self._targets(slowest, places):
                grown = {**places, slowest: target.uuid}
                yield grown
                yield from self._swaps(slowest, target, grown)
            for target in self._full(slowest, places):
                grown = {**places, slowest: target.uuid}
                yield from self._swaps(slowest, target, grown)
                yield from self._room_made(slowest, target, grown)
        beside = [uuid for uuid in self.times.residents(host) if uuid != slowest]
        talking = [peer for peer, _ in self._peers(slowest)]
        demand = self._world.guests
        most = nsmallest(OTHERS, set(beside), key=lambda uuid: (-demand[uuid].cpu_demand_vcpus, uuid))
        for uuid in dict.fromkeys([*most, *talking]):  # the first of `most`, if any, changes places, too
            if uuid in places or not self._may_leave(uuid):
                continue
            for target in self._targets(uuid, places):
                if target.uuid != host or uuid in talking:
                    grown = {**places, uuid: target.uuid}
                    yield grown
                    if uuid in most[:1] and target.uuid != host:
                        yield from self._swaps(uuid, target, grown)

    def _swaps(self, uuid: str, target: Host, grown: dict[str, str]) -> Iterator[dict[str, str]]:
        """Yield `grown` with a guest of the target, one that wants less, going the other way."""
        if len(grown) >= self._max_moves:
            return
        source = self._world.hosts[self.times.host_of(uuid)]
        wanted = self._world.guests[uuid].cpu_demand_vcpus
        lesser = [
            other
            for other in self.times.residents(target.uuid)
            if self._world.guests[other].cpu_demand_vcpus < wanted and other not in grown and self._may_leave(other)
        ]
        for other in nsmallest(OTHERS, lesser, key=lambda each: (-self._world.guests[each].cpu_demand_vcpus, each)):
            swapped = {**grown, other: source.uuid}
            takes = source.uuid in self._loads and self._may_take(source, self._world.guests[other], swapped)
            if takes and self._has_room(target, self._world.guests[uuid], swapped):
                yield swapped

    def _room_made(self, uuid: str, target: Host, grown: dict[str, str]) -> Iterator[dict[str, str]]:
        """Yield `grown` with a guest of the target that makes room for this one and goes to a third host."""
        if len(grown) >= self._max_moves:
            return
        guest = self._world.guests[uuid]
        leaving = [each for each in self.times.residents(target.uuid) if each not in grown and self._may_leave(each)]
        for other in nsmallest(OTHERS, leaving, key=lambda each: (self._world.guests[each].memory_bytes, each)):
            third = next((host for host in self._targets(other, grown) if host is not target), None)
            if third is not None:
                made = {**grown, other: third.uuid}
                if self._has_room(target, guest, made):
                    yield made

    def _full(self, uuid: str, places: Places) -> list[Host]:
        """Return the least loaded hosts that lack nothing but memory for a guest, in the order to be tried."""
        guest, load = self._world.guests[uuid], self.times.load_ratio
        source = self.times.host_of(uuid)
        full = [
            host
            for host in self._takes
            if host.uuid != source
            and load(host.uuid) + handicap(host) < load(source)
            and not self._has_room(host, guest, places)
            and self._would_take(host, guest, places)
        ]
        return nsmallest(TARGETS, full, key=lambda host: (load(host.uuid) + handicap(host), host.uuid))

    def _targets(self, uuid: str, places: Places) -> list[Host]:
        """Return the hosts to try for a guest: the least loaded with it, its peers', the best of their switches."""
        guest, topology = self._world.guests[uuid], self._world.topology
        near = {places.get(peer, self.times.host_of(peer)) for peer, _ in self._peers(uuid)}
        switches = {topology.switch_of.get(host) for host in near}
        concerned = {*places.values(), *(self.times.host_of(other) for other in places)}
        found: list[Host] = []
        wanted = TARGETS
        for _, _, host in sorted(self._loads_with(guest, places, concerned)):
            if wanted <= 0 and not switches and not near:
                break
            switch = topology.switch_of.get(host.uuid)
            is_first = switch in switches
            if (wanted > 0 or is_first or host.uuid in near) and self._may_take(host, guest, places):
                found.append(host)
                wanted -= 1
                switches.discard(switch)
            near.discard(host.uuid)
        return found

    def _loads_with(self, guest: Guest, places: Places, concerned: Set[str]) -> Iterator[tuple[float, str, Host]]:
        """Yield each host by what it would be loaded with the guest; only the `concerned` have others coming or going.

        A host in bad health counts as more loaded than it is.
        """
        for uuid, (host, load, counts_more) in self._loads.items():
            if uuid in concerned:
                yield self._load_with(host, guest, places) + counts_more, uuid, host
            else:
                yield load + guest.cpu_demand_vcpus / host.cpus + counts_more, uuid, host

    def _peers(self, uuid: str) -> list[tuple[str, float]]:
        known = [(peer, rate) for peer, rate in self.times.peers(uuid) if peer in self._world.guests]
        return nsmallest(PEERS, known, key=lambda each: (-each[1], each[0]))

    def _load_with(self, host: Host, guest: Guest, places: Places) -> float:
        vcpus = guest.cpu_demand_vcpus
        for uuid, target in places.items():
            if target == host.uuid:
                vcpus += self._world.guests[uuid].cpu_demand_vcpus
            elif self.times.host_of(uuid) == host.uuid:
                vcpus -= self._world.guests[uuid].cpu_demand_vcpus
        return self.times.load_ratio(host.uuid) + vcpus / host.cpus

    def _may_leave(self, uuid: str) -> bool:
        guest = self._world.guests[uuid]
        return guest.host in self._leaves and self._projection.may_leave(guest)

    def _may_take(self, host: Host, guest: Guest, places: Places) -> bool:
        """Whether the host takes the guest besides those that arrive, once those that go elsewhere have left it."""
        return self._has_room(host, guest, places) and self._would_take(host, guest, places)

    def _has_room(self, host: Host, guest: Guest, places: Places) -> bool:
        size = {uuid: self._world.guests[uuid].memory_bytes for uuid in places if uuid != guest.uuid}
        arriving = sum(bytes_ for uuid, bytes_ in size.items() if places[uuid] == host.uuid)
        leaving = sum(bytes_ for uuid, bytes_ in size.items() if self.times.host_of(uuid) == host.uuid)
        return guest.memory_bytes + arriving - leaving <= self._projection.free_bytes(host.uuid)

    def _would_take(self, host: Host, guest: Guest, places: Places) -> bool:
        """Whether nothing but memory could speak against it."""
        if any(are_kept_apart(guest, self._world.guests[uuid]) for uuid in places if uuid != guest.uuid):
            return False  # one of a group at a time, so that how many are where stays as counted
        return self._projection.would_take(host, guest)

    def _remaining_s(self, job: str) -> float:
        known = self._world.jobs.get(job)
        return math.inf if known is None or known.remaining_s is None else known.remaining_s

    def _cost_s(self, uuid: str, target: str) -> float:
        """Estimate what migrating a guest to a host costs its job, in job-seconds, as a number to compare guests by.

        Each round sends what was written in the one before, in the same proportion of memory as the newest curve's
        longest age saw written (`precopy_rounds` knows better); without a curve, all of memory each time.
        """
        if (known := self._costs.get((uuid, target))) is None:
            guest, pricing, curve = self._world.guests[uuid], self._world.pricing, self._world.guests[uuid].dirty_curve
            written_bytes = curve.unique_pages[-1] * PAGE_BYTES if curve is not None else guest.memory_bytes
            written = min(1.0, written_bytes / max(1, guest.memory_bytes))
            bytes_per_s = bandwidth_bytes_per_s(self._world, Move(uuid, guest.host, target, ESTIMATE))
            once_s = guest.memory_bytes / bytes_per_s if bytes_per_s > 0 else math.inf
            live_s = once_s * sum(written**n for n in range(LIVE_ROUNDS))
            stop_s = once_s * written**LIVE_ROUNDS
            slowed = 1.0 - TRACKED_RATIO  # at best: what is not worth its cost then never is
            known = self._costs[uuid, target] = live_s * slowed + stop_s + pricing.warm_up_s
        return known


def moves_of(world: World, found: Found, reason: Reason, together: str = "") -> tuple[Move, ...]:
    """Return the moves of a set."""
    return tuple(Move(uuid, world.guests[uuid].host, target, reason, together) for uuid, target in found.places.items())

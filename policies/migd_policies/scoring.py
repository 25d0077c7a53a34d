"""How much faster a job steps once a guest has moved, scored by difference.

A bulk-synchronous job steps as fast as its slowest rank. One second of the job as it is now holds, for rank r,

    1 >= k · w_r / (s_r · q_r) + c_r         with equality for the slowest rank, which gives k

    w_r   CPU that the rank wants, per vCPU (0..1): ranks that want the same have the same work
    s_r   share of it that its host gives: 1 up to a load of 1, else 1 / load
    q_r   how fast its host's CPUs are, next to the others'
    c_r   seconds it talks: by the levels that its flows cross and by what shares their links (`talk`)

and after a move with the same k, t(new) = max over ranks (k · w_r / (s'_r · q'_r) + c'_r); the score is g = t(new) /
t(old). A rank that stays behind as slow as before bounds g from below, so moving one of two equally slow ranks gains
nothing.

What this assumes. The scheduler shares a full host evenly. Work is proportional to the CPU wanted: true of ranks that
spin while they wait, and of a head node that does nothing. Messages cost bandwidth, not latency (their number is not
known), and they do not overlap with computing. A level that was not measured changes nothing. Moves under way count as
done.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final, Self

from migd_core.world import Guest, Move, Topology, World
from migd_policies.projection import Projection
from migd_policies.talk import Crossing, Way, crossings, flow_s, guest_s, talks, ways

# Flows need not take turns, so the sum of a rank can pass one second a second; and a rank that only communicated would
# leave nothing to compare computing with.
MOST_COMMUNICATION_RATIO: Final = 0.95


@dataclass(frozen=True, slots=True)
class StepRatio:
    """g of one job: with the loads of now, and once what guests of no job want now has passed."""

    now: float
    calm: float


def job_step_ratios(world: World, *moves: Move) -> Mapping[str, float]:
    """Return g = t(new)/t(old) for every job that `moves` touch together: below 1 it steps faster, above 1 slower.

    Touched are the jobs on the hosts and those the guests talk with. The keys are job names; a guest that belongs to
    no job of `world.jobs` counts as a job of its own, under its uuid. Guests and hosts must exist in `world`.
    """
    return {job: ratio.now for job, ratio in step_ratios(world, *moves).items()}


def step_ratios(world: World, *moves: Move) -> Mapping[str, StepRatio]:
    """Return the same, and what becomes of it where the loads of guests that nobody named a job for end.

    Where no job is named at all, every load stays.
    """
    before, after = Projection(world), Projection(world)
    touched: dict[str, Guest] = {}
    for move in moves:
        after.accept(move)
        near = (
            world.guests[move.guest],
            *before.guests_on(before.host_of(move.guest)),
            *before.guests_on(move.target),
            *(world.guests[peer] for peer, _ in talks(world, move.guest)),
        )
        touched |= {guest.uuid: guest for guest in near}
    old, new = _Then(before, crossings(world, before.host_of)), _Then(after, crossings(world, after.host_of))
    changed = {way for way in {**old.crossing, **new.crossing} if old.crossing.get(way) != new.crossing.get(way)}
    for flow in world.flows if changed else ():
        ends = [world.guests[uuid] for uuid in (flow.guest_a, flow.guest_b) if uuid in world.guests]
        if len(ends) == 2 and not changed.isdisjoint(ways(world, *(after.host_of(guest.uuid) for guest in ends))):
            touched |= {guest.uuid: guest for guest in ends}
    jobs = dict(_job_of(world, guest) for guest in touched.values())
    return {name: _step_ratio([_Rank.of(rank, old, new, changed) for rank in ranks]) for name, ranks in jobs.items()}


def counts(world: World, job: str) -> bool:
    """Return whether a gain of `job` is a reason to move the guests of jobs.

    Where jobs are named, a guest of none is not to be slowed down, but neither is a job slowed down for it.
    """
    return job in world.jobs or not world.jobs


def passing_vcpus(world: World, guest: Guest) -> float:
    """Return the CPU that a guest wants and will not want for ever: all of it if it is of no job and there are jobs."""
    return 0.0 if not world.jobs or guest.job in world.jobs else guest.cpu_demand_vcpus


def cpu_share_ratio(load_ratio: float) -> float:
    """Return the part of the CPU it wants that a guest gets on a host: all of it until the host is full."""
    return 1.0 if load_ratio <= 1.0 else 1.0 / load_ratio


def communication_ratio(topology: Topology, host_a: str, host_b: str, bytes_per_s: float) -> float | None:
    """Return the seconds a second that a flow between guests on two hosts takes; None if its level was not measured."""
    link = topology.links.get(topology.level(host_a, host_b))
    return None if link is None else bytes_per_s / link.bandwidth_bytes_per_s


@dataclass(frozen=True, slots=True)
class _Then:
    """Where guests are, before or after, what crosses each way then, and how fast hosts are, asked for once each."""

    at: Projection
    crossing: Mapping[Way, Crossing]
    known: dict[str, tuple[float, float]] = field(default_factory=dict)

    def speeds(self, host_uuid: str) -> tuple[float, float]:
        """Return the speed that a guest has on a host, and that once passing loads have passed."""
        if (found := self.known.get(host_uuid)) is None:
            world, load_ratio = self.at.world, self.at.load_ratio(host_uuid)
            host = world.hosts[host_uuid]
            passing = sum(passing_vcpus(world, guest) for guest in self.at.guests_on(host_uuid))
            calm_ratio = max(0.0, load_ratio - passing / host.cpus)
            found = cpu_share_ratio(load_ratio) * host.speed_ratio, cpu_share_ratio(calm_ratio) * host.speed_ratio
            self.known[host_uuid] = found
        return found


@dataclass(frozen=True, slots=True)
class _Rank:
    """One rank's work, and the speed it has for it and its seconds of communication before and after.

    `calm` are the speeds once passing loads have passed.
    """

    work: float
    speeds: tuple[float, float]
    calm: tuple[float, float]
    communication: tuple[float, float]

    @classmethod
    def of(cls, guest: Guest, before: _Then, after: _Then, changed: Set[Way]) -> Self:
        """Return the rank of a guest; on all ways but the `changed` ones the same crosses before and after."""
        world = before.at.world
        here, there = before.at.host_of(guest.uuid), after.at.host_of(guest.uuid)
        flows_s: tuple[list[float], list[float]] = ([], [])
        for peer, bytes_per_s in talks(world, guest.uuid):
            old, new = (here, before.at.host_of(peer)), (there, after.at.host_of(peer))
            now_s = then_s = flow_s(world, before.crossing, *old, bytes_per_s)
            if new != old or not changed.isdisjoint(ways(world, *new)):
                then_s = flow_s(world, after.crossing, *new, bytes_per_s, now_s if new != old else 0.0)
            flows_s[0].append(now_s)
            flows_s[1].append(then_s)
        (speed, calm), (speed_after, calm_after) = before.speeds(here), after.speeds(there)
        return cls(
            work=guest.cpu_demand_vcpus / guest.vcpus,
            speeds=(speed, speed_after),
            calm=(calm, calm_after),
            communication=(guest_s(guest, flows_s[0]), guest_s(guest, flows_s[1])),
        )


def _step_ratio(ranks: Sequence[_Rank]) -> StepRatio:
    busiest = max(rank.communication[0] for rank in ranks)
    scale = min(1.0, MOST_COMMUNICATION_RATIO / busiest) if busiest > 0 else 1.0
    k = min(
        ((1.0 - scale * rank.communication[0]) * rank.speeds[0] / rank.work for rank in ranks if rank.work > 0),
        default=0.0,
    )

    def step_s(then: int, *, is_calm: bool) -> float:
        return max(
            k * rank.work / (rank.calm if is_calm else rank.speeds)[then] + scale * rank.communication[then]
            for rank in ranks
        )

    def ratio(*, is_calm: bool) -> float:
        old_s = step_s(0, is_calm=is_calm)
        return step_s(1, is_calm=is_calm) / old_s if old_s > 0 else 1.0

    return StepRatio(now=ratio(is_calm=False), calm=ratio(is_calm=True))


def _job_of(world: World, guest: Guest) -> tuple[str, list[Guest]]:
    """Return the name of the guest's job and the guests that wait for each other in it, this one included."""
    job = world.jobs.get(guest.job) if guest.job is not None else None
    if job is None or guest.uuid not in job.guests:
        return guest.uuid, [guest]
    return job.name, [world.guests[uuid] for uuid in job.guests if uuid in world.guests]

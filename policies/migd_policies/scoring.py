"""How much faster a job steps once a guest has moved, scored by difference.

A bulk-synchronous job steps as fast as its slowest rank. One second of the job as it is now holds, for rank r,

    1 >= k · w_r / s_r + c_r         with equality for the slowest rank, which gives k

    w_r   CPU that the rank wants, per vCPU (0..1): ranks that want the same have the same work
    s_r   share of it that its host gives: 1 up to a load of 1, else 1 / load
    c_r   seconds it communicates: Σ over its flows of bytes_per_s / bandwidth of the level they cross, and where one of
          them leaves the host not less than that host's NIC needs for all that leaves or enters it: half of it each way

and after a move with the same k, t(new) = max over ranks (k · w_r / s'_r + c'_r); the score is g = t(new) / t(old). A
rank that stays behind as slow as before bounds g from below, so moving one of two equally slow ranks gains nothing.

What this assumes. The scheduler shares a full host evenly. Work is proportional to the CPU wanted: true of ranks that
spin while they wait, and of a head node that does nothing. Messages cost bandwidth, not latency (their number is not
known), they do not overlap with computing, and a flow's two directions take turns on the link. A level that was not
measured changes nothing. Moves under way count as done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from migd_core.world import Guest, Move, Topology, World
from migd_policies.projection import Projection

# Both directions of a flow are added up and a full-duplex link carries them at once, so the sum of a rank can pass one
# second a second; a rank that only communicated would leave nothing to compare computing with.
MOST_COMMUNICATION_RATIO: Final = 0.95


def job_step_ratios(world: World, *moves: Move) -> Mapping[str, float]:
    """Return g = t(new)/t(old) for every job that `moves` touch together: below 1 it steps faster, above 1 slower.

    Touched are the jobs on the hosts and those the guests talk with. The keys are job names; a guest that belongs to
    no job of `world.jobs` counts as a job of its own, under its uuid. Guests and hosts must exist in `world`.
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
    crossing = [crossing_bytes_per_s(world, then.host_of) for then in (before, after)]
    for uuid in world.hosts:
        if crossing[0].get(uuid, 0.0) != crossing[1].get(uuid, 0.0):
            touched |= {guest.uuid: guest for guest in after.guests_on(uuid) if world.flows_of.get(guest.uuid)}
    jobs = dict(_job_of(world, guest) for guest in touched.values())
    return {
        name: _step_ratio([_Rank.of(rank, (before, crossing[0]), (after, crossing[1])) for rank in ranks])
        for name, ranks in jobs.items()
    }


def counts(world: World, job: str) -> bool:
    """Return whether a gain of `job` is a reason to move the guests of jobs.

    Where jobs are named, a guest of none is not to be slowed down, but neither is a job slowed down for it.
    """
    return job in world.jobs or not world.jobs


def crossing_bytes_per_s(world: World, host_of: Callable[[str], str]) -> dict[str, float]:
    """Return what leaves and enters each host (uuid), with guests where `host_of` says; no entry where nothing does."""
    found: dict[str, float] = {}
    for flow in world.flows:
        if flow.guest_a in world.guests and flow.guest_b in world.guests:
            a, b = host_of(flow.guest_a), host_of(flow.guest_b)
            if a != b:
                for uuid in (a, b):
                    found[uuid] = found.get(uuid, 0.0) + flow.bytes_per_s
    return found


def nic_ratio(world: World, host: str, crossing: Mapping[str, float]) -> float:
    """Return the seconds a second that a host's NIC is busy with what crosses it; 0 where its speed is not known."""
    link = world.hosts[host].link_bytes_per_s
    return crossing.get(host, 0.0) / 2 / link if link > 0 else 0.0


def cpu_share_ratio(load_ratio: float) -> float:
    """Return the part of the CPU it wants that a guest gets on a host: all of it until the host is full."""
    return 1.0 if load_ratio <= 1.0 else 1.0 / load_ratio


def talks(world: World, guest_uuid: str) -> list[tuple[str, float]]:
    """Return whom the guest talks with (uuid) and their bytes per second, both directions together."""
    found = []
    for flow in world.flows_of.get(guest_uuid, ()):
        peer = flow.guest_b if flow.guest_a == guest_uuid else flow.guest_a
        if peer in world.guests:
            found.append((peer, flow.bytes_per_s))
    return found


def communication_ratio(topology: Topology, host_a: str, host_b: str, bytes_per_s: float) -> float | None:
    """Return the seconds a second that a flow between guests on two hosts takes; None if its level was not measured."""
    link = topology.links.get(topology.level(host_a, host_b))
    return None if link is None else bytes_per_s / link.bandwidth_bytes_per_s


@dataclass(frozen=True, slots=True)
class _Rank:
    """One rank's work, and its share of the CPU and seconds of communication before and after."""

    work: float
    shares: tuple[float, float]
    communication: tuple[float, float]

    @classmethod
    def of(cls, guest: Guest, *thens: tuple[Projection, Mapping[str, float]]) -> Self:
        (before, _), (after, _) = thens
        world = before.world
        seconds = [0.0, 0.0]
        for peer, bytes_per_s in talks(world, guest.uuid):
            old, new = (
                communication_ratio(world.topology, then.host_of(guest.uuid), then.host_of(peer), bytes_per_s)
                for then in (before, after)
            )
            if old is not None:
                seconds[0] += old
                seconds[1] += old if new is None else new
        for number, (then, crossing) in enumerate(thens):
            here = then.host_of(guest.uuid)
            if any(then.host_of(peer) != here for peer, _ in talks(world, guest.uuid)):
                seconds[number] = max(seconds[number], nic_ratio(world, here, crossing))
        return cls(
            work=guest.cpu_demand_vcpus / guest.vcpus,
            shares=(_share(guest, before), _share(guest, after)),
            communication=(seconds[0], seconds[1]),
        )


def _share(guest: Guest, then: Projection) -> float:
    return cpu_share_ratio(then.load_ratio(then.host_of(guest.uuid)))


def _step_ratio(ranks: Sequence[_Rank]) -> float:
    busiest = max(rank.communication[0] for rank in ranks)
    scale = min(1.0, MOST_COMMUNICATION_RATIO / busiest) if busiest > 0 else 1.0
    k = min(
        ((1.0 - scale * rank.communication[0]) * rank.shares[0] / rank.work for rank in ranks if rank.work > 0),
        default=0.0,
    )
    old, new = (
        max(k * rank.work / rank.shares[then] + scale * rank.communication[then] for rank in ranks) for then in (0, 1)
    )
    return new / old if old > 0 else 1.0


def _job_of(world: World, guest: Guest) -> tuple[str, list[Guest]]:
    """Return the name of the guest's job and the guests that wait for each other in it, this one included."""
    job = world.jobs.get(guest.job) if guest.job is not None else None
    if job is None or guest.uuid not in job.guests:
        return guest.uuid, [guest]
    return job.name, [world.guests[uuid] for uuid in job.guests if uuid in world.guests]

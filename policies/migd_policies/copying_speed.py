"""How fast a job goes while one of its guests is copied, before any migration of it was watched.

    v = 1 / ((1 − c) / (TRACKED · s'/s) + c / v_talk)

c     seconds a second that its ranks on both hosts talk with others elsewhere; that part goes at `v_talk`, which is the
      site's `speed_while_migrating_ratio`: half as fast where messages share a NIC with the copy
s'/s  CPU that these ranks get once Dom0 copies, to what they get now: all of it where a core is to spare

HPL, which talks much on two CPUs, went at 0.24 to 0.56 of its speed in the paper; jobs that only compute hardly notice
a copy. One watched migration of the job itself is worth more than all of this (`learned_speed`).
"""

from collections.abc import Mapping
from typing import Final

from migd_core.pricing import Interval
from migd_core.world import Guest, Move, World
from migd_policies.scoring import MOST_COMMUNICATION_RATIO, cpu_share_ratio
from migd_policies.talk import Crossing, Way, crossings, flow_s, guest_s, talks

# A page faults at its first write after each round; what that costs a guest that writes all over its memory.
TRACKED_RATIO: Final = 0.85
# What copying asks of each of the two Dom0s: half a core to one at 1 Gbit/s.
COPYING_VCPUS: Final = 0.7
# The 10 and 90 % ends, in shares of v: that it is too high is the likelier and the dearer error.
LOW_RATIO: Final = 0.6
HIGH_RATIO: Final = 1.15


def expected_speed(world: World, move: Move, job: str) -> Interval:
    """Return v of `job` (a guest's uuid where it is of none) while `move` is made; the guest and hosts must exist."""
    known = world.jobs.get(job)
    guests = [world.guests[uuid] for uuid in known.guests if uuid in world.guests] if known is not None else []
    ranks = [each for each in guests or [world.guests[move.guest]] if each.host in (move.source, move.target)]
    cpu_ratio = min((_cpu_ratio(world, each.host) for each in ranks), default=1.0)
    talking = [each for each in ranks if each.uuid in world.flows_of]
    crossing = crossings(world, lambda uuid: world.guests[uuid].host) if talking else {}
    talk = min(MOST_COMMUNICATION_RATIO, max((_talk_ratio(world, each, crossing) for each in talking), default=0.0))
    v_talk = world.pricing.speed_while_migrating.median
    median = 1.0 / ((1.0 - talk) / (TRACKED_RATIO * cpu_ratio) + talk / v_talk)
    return Interval(LOW_RATIO * median, median, min(1.0, HIGH_RATIO * median))


def _cpu_ratio(world: World, uuid: str) -> float:
    host = world.hosts[uuid]
    return cpu_share_ratio(host.load_ratio + COPYING_VCPUS / host.cpus) / cpu_share_ratio(host.load_ratio)


def _talk_ratio(world: World, guest: Guest, crossing: Mapping[Way, Crossing]) -> float:
    ends = [(world.guests[peer].host, bytes_per_s) for peer, bytes_per_s in talks(world, guest.uuid)]
    return guest_s(
        guest, [flow_s(world, crossing, guest.host, host, rate) for host, rate in ends if host != guest.host]
    )

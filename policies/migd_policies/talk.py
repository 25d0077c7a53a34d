"""How long guests talk, once messages share links: seconds a second, by where guests are.

All ranks of a bulk-synchronous job talk at the same time, so what they send shares each link on its way evenly: a NIC
of either host, and what lies between two switches. Of n flows that carry F together, one of f is through after

    min(n·f, F) / capacity          as it is if all are alike; no sooner than f / bandwidth of the level that it crosses

A flow counts both directions together and a full-duplex link carries them at once, so f is half of it. A rank talks
with one peer after the other; a guest that keeps several vCPUs busy has a rank on each, and its flows are theirs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from migd_core.world import Guest, Level, World

# A link that is busy for less of the time than this slows no message that is worth looking at.
IDLE_RATIO: Final = 5e-3
# A host's uuid stands for its NIC, a pair of switches for the way between them.
Way = str | frozenset[str | None]


class Crossing(NamedTuple):
    """The flows on one way: how many, and their bytes a second in one direction."""

    flows: int = 0
    bytes_per_s: float = 0.0

    def is_idle(self, capacity_bytes_per_s: float) -> bool:
        """Whether the flows hold nobody up; so they are taken to where the capacity is not known (0)."""
        return self.bytes_per_s <= IDLE_RATIO * capacity_bytes_per_s or capacity_bytes_per_s <= 0

    def shared_s(self, bytes_per_s: float, capacity_bytes_per_s: float) -> float:
        """Return the seconds a second that one flow of these takes."""
        if self.is_idle(capacity_bytes_per_s):
            return 0.0
        return min(self.flows * bytes_per_s / 2, self.bytes_per_s) / capacity_bytes_per_s

    def shifted(self, flows: int, bytes_per_s: float) -> "Crossing":
        """Return it with so many flows more."""
        return Crossing(self.flows + flows, self.bytes_per_s + bytes_per_s)


NOTHING: Final = Crossing()


def talks(world: World, guest_uuid: str) -> list[tuple[str, float]]:
    """Return whom the guest talks with (uuid) and their bytes per second, both directions together."""
    found = []
    for flow in world.flows_of.get(guest_uuid, ()):
        peer = flow.guest_b if flow.guest_a == guest_uuid else flow.guest_a
        if peer in world.guests:
            found.append((peer, flow.bytes_per_s))
    return found


def ways(world: World, host_a: str, host_b: str) -> tuple[Way, ...]:
    """Return what a flow between guests on two hosts shares with others; nothing within a host."""
    if host_a == host_b:
        return ()
    if world.topology.level(host_a, host_b) is not Level.WIDE_AREA:
        return (host_a, host_b)
    switch_of = world.topology.switch_of
    return (host_a, host_b, frozenset((switch_of.get(host_a), switch_of.get(host_b))))


def crossings(world: World, host_of: Callable[[str], str]) -> dict[Way, Crossing]:
    """Return what crosses each way, with guests where `host_of` says; no entry where nothing does."""
    flows: dict[Way, int] = {}
    bytes_per_s: dict[Way, float] = {}
    for flow in world.flows:
        if flow.guest_a in world.guests and flow.guest_b in world.guests:
            for way in ways(world, host_of(flow.guest_a), host_of(flow.guest_b)):
                flows[way] = flows.get(way, 0) + 1
                bytes_per_s[way] = bytes_per_s.get(way, 0.0) + flow.bytes_per_s / 2
    return {way: Crossing(count, bytes_per_s[way]) for way, count in flows.items()}


def capacity_bytes_per_s(world: World, way: Way) -> float:
    """Return what a way carries in one direction; 0 where that is not known."""
    if isinstance(way, str):
        return world.hosts[way].link_bytes_per_s
    link = world.topology.links.get(Level.WIDE_AREA)
    return link.bandwidth_bytes_per_s if link is not None else 0.0


def level_s(world: World, host_a: str, host_b: str, bytes_per_s: float) -> float | None:
    """Return the seconds a second of a flow that has its level for itself; None if that was not measured."""
    link = world.topology.links.get(world.topology.level(host_a, host_b))
    return None if link is None else bytes_per_s / 2 / link.bandwidth_bytes_per_s


def flow_s(
    world: World,
    crossing: Mapping[Way, Crossing],
    host_a: str,
    host_b: str,
    bytes_per_s: float,
    now_s: float = 0.0,
) -> float:
    """Return the seconds a second that a flow between guests on two hosts takes, given what crosses each way.

    Where its level was not measured nothing is gained there: it takes no less than `now_s`.
    """
    longest = level_s(world, host_a, host_b, bytes_per_s)
    longest = now_s if longest is None else longest
    for way in ways(world, host_a, host_b):
        longest = max(longest, crossing.get(way, NOTHING).shared_s(bytes_per_s, capacity_bytes_per_s(world, way)))
    return longest


def guest_s(guest: Guest, flows_s: Sequence[float]) -> float:
    """Return the seconds a second that a guest's ranks talk, given those of each of its flows."""
    if not flows_s:
        return 0.0
    ranks = max(1, round(guest.cpu_demand_vcpus))
    return max(max(flows_s), sum(flows_s) / ranks)

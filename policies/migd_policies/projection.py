"""Where guests will be, and how full hosts will be, once the moves under way and those accepted since are done.

The running totals a planner works on: a move costs two additions, where `World.after` copies the cluster.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from migd_core.world import Guest, Host, Move, World

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Projection:
    """The world of a plan's end. Loads count arrivals and departures; memory counts arrivals only.

    A guest being migrated takes memory on both ends, so what it leaves behind is not given away before it has left.
    """

    def __init__(self, world: World, promised: Mapping[str, str] = NOTHING) -> None:
        """Start with the moves that are under way done, and with guests (uuid) where they are `promised` to be (uuid).

        `world` has the memory of both on the target taken already.
        """
        self.world = world
        self._moving = {move.guest for move in world.moves_in_flight}
        self._host_of: dict[str, str] = {}
        self._shift_vcpus: dict[str, float] = {}
        self._taken_bytes: dict[str, int] = {}
        for move in world.moves_in_flight:
            # The guest may be gone, or the pool's word of its arrival may be newer than the task's.
            if move.guest in world.guests and move.target in world.hosts:
                self._relocate(world.guests[move.guest], move.target)
        for guest, target in promised.items():
            if guest in world.guests and target in world.hosts:
                self._relocate(world.guests[guest], target)

    def accept(self, move: Move) -> None:
        """Count `move` as done: its guest's load on the target, and its memory taken there."""
        guest = self.world.guests[move.guest]
        self._moving.add(guest.uuid)
        self._relocate(guest, move.target)
        self._taken_bytes[move.target] = self._taken_bytes.get(move.target, 0) + guest.memory_bytes

    def host_of(self, guest_uuid: str) -> str:
        """Return the host (uuid) where the guest will be."""
        moved_to = self._host_of.get(guest_uuid)
        return self.world.guests[guest_uuid].host if moved_to is None else moved_to

    def guests_on(self, host_uuid: str) -> list[Guest]:
        """Return the guests that will be on the host, those that stay first."""
        staying = [g for g in self.world.guests_on[host_uuid] if self._host_of.get(g.uuid, host_uuid) == host_uuid]
        arrived = [
            self.world.guests[uuid]
            for uuid, moved_to in self._host_of.items()
            if moved_to == host_uuid and self.world.guests[uuid].host != host_uuid
        ]
        return staying + arrived

    def load_ratio(self, host_uuid: str) -> float:
        """Return the host's load then: the CPU wanted over the CPUs it has."""
        return max(0.0, self.world.hosts[host_uuid].load_ratio + self.shift_ratio(host_uuid))

    def shift_ratio(self, host_uuid: str) -> float:
        """Return how much higher (or, negative, lower) the host's load will be than it is now."""
        return self._shift_vcpus.get(host_uuid, 0.0) / self.world.hosts[host_uuid].cpus

    def free_bytes(self, host_uuid: str) -> int:
        """Return the memory that one more arriving guest may take."""
        return self.world.hosts[host_uuid].memory_free_bytes - self._taken_bytes.get(host_uuid, 0)

    def may_take(self, host: Host, guest: Guest) -> bool:
        """Whether the host is one the guest can run on, enabled, live, has the memory free, and is not where the guest
        will be anyway; and whether the guest's group is at least as much apart as it was."""
        return guest.memory_bytes <= self.free_bytes(host.uuid) and self.would_take(host, guest)

    def would_take(self, host: Host, guest: Guest) -> bool:
        """Whether the host may take the guest as soon as it has the memory free."""
        return (
            host.may_receive
            and self.host_of(guest.uuid) != host.uuid
            and host.uuid not in guest.barred
            and self.crowding(host.uuid, guest) is None
        )

    def crowding(self, host_uuid: str, guest: Guest) -> tuple[int, int] | None:
        """Return how many of the guest's group are on the host and where the guest is, if moving it crowds them more.

        XAPI spreads the guests of an anti-affinity group when they start, and counts those on their way as arrived; it
        lets migrations undo that. Equal is not worse: two of three hosts may exchange who has more.
        """
        if guest.group is None:
            return None
        places = [self._place_of(member) for member in self.world.groups[guest.group] if member.uuid != guest.uuid]
        there, here = places.count(host_uuid), places.count(self._place_of(guest)) + 1
        return (there, here) if there >= here else None

    def may_leave(self, guest: Guest) -> bool:
        """Whether the guest may be moved now: nothing forbids it, it is not moving yet, and it has rested since."""
        return guest.immovable_because is None and guest.cooldown_s <= 0 and guest.uuid not in self._moving

    def _place_of(self, guest: Guest) -> str:
        return self._host_of.get(guest.uuid) or guest.arriving_at or guest.host

    def _relocate(self, guest: Guest, target: str) -> None:
        source = self.host_of(guest.uuid)
        if source == target:
            return
        self._host_of[guest.uuid] = target
        self._shift_vcpus[source] = self._shift_vcpus.get(source, 0.0) - guest.cpu_demand_vcpus
        self._shift_vcpus[target] = self._shift_vcpus.get(target, 0.0) + guest.cpu_demand_vcpus

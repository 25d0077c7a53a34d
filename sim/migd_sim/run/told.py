"""What a scenario wants in place of a policy: guests on hosts, as one set of moves, until they are there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from migd_core.world import Move, Plan, Reason, World

WANTED: Final = Reason("told", "the scenario wants it")


@dataclass(frozen=True, slots=True)
class Told:
    """A policy that proposes what it is told, by names, once the dirty pages of those guests were counted."""

    name: ClassVar[str] = "told"
    summary: ClassVar[str] = "what the scenario wants"

    wants: Mapping[str, str]

    def propose(self, world: World) -> Plan:
        host_of = {host.name: host.uuid for host in world.hosts.values()}
        moving = {move.guest for move in world.moves_in_flight}
        away = [
            guest
            for guest in world.guests.values()
            if self.wants.get(guest.name, guest.host) not in (guest.host, world.hosts[guest.host].name)
            and guest.uuid not in moving
        ]
        if not away:
            return Plan((), Reason("done", "all are where they are wanted, or on their way"))
        if any(guest.cooldown_s > 0 or guest.dirty_curve is None for guest in away):
            return Plan(
                (), Reason("resting", "a guest that is wanted elsewhere rests, or its writes were not counted yet")
            )
        moves = (Move(g.uuid, g.host, host_of[self.wants[g.name]], WANTED, together=self.name) for g in away)
        return Plan(tuple(moves), WANTED)

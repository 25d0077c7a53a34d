"""Keeps some memory free on every host, so that a guest can always be started: an example of a policy of one's own.

The wrong choice where memory is not what runs short: it knows nothing of CPU, talk or jobs.
"""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from migd_core.units import format_bytes
from migd_core.world import Guest, Host, Move, Plan, Reason, World


class FreeMemory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Moves the smallest guest off the fullest host, to the emptiest one that stays above the minimum itself."""

    name: ClassVar[str] = "free-memory"
    summary: ClassVar[str] = "keeps some memory free on every host"

    least_free_ratio: Annotated[float, Meta(ge=0, lt=1)] = 0.1

    def propose(self, world: World) -> Plan:
        hosts = [host for host in world.hosts.values() if host.frozen_because is None]
        if world.moves_in_flight or not hosts:
            return Plan((), Reason("waiting", "no host reports, or a move is under way: memory is about to change"))
        fullest = min(hosts, key=lambda host: (_free_ratio(host), host.uuid))
        ratio, least = _free_ratio(fullest), self.least_free_ratio
        text = f"host {fullest.name} is the fullest and has {format_bytes(fullest.memory_free_bytes)} of memory free"
        reason = Reason("fullest-host", text, ratio, least, "ratio")
        guests = [guest for guest in world.guests_on[fullest.uuid] if guest.immovable_because is None]
        if ratio >= least or not guests:
            return Plan((), reason)
        smallest = min(guests, key=lambda guest: (guest.memory_bytes, guest.uuid))
        targets = [host for host in hosts if host.may_receive and _free_ratio(host, smallest) >= least]
        if not targets:
            return Plan((), reason)
        target = max(targets, key=lambda host: (_free_ratio(host, smallest), host.uuid))
        return Plan((Move(smallest.uuid, fullest.uuid, target.uuid, reason),), reason)


def _free_ratio(host: Host, arriving: Guest | None = None) -> float:
    taken = arriving.memory_bytes if arriving is not None else 0
    return (host.memory_free_bytes - taken) / host.memory_bytes

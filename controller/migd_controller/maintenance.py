"""Hosts that an operator has taken out of service: they receive nothing, and are emptied if that is asked for. Pure.

Emptying goes on beside whatever policy is active: in each control period the guests that may leave now are moved first
(`migd_policies.evacuate` says which, and where to), and the policy proposes with these under way. An operator has asked
for it, so automation levels do not stand against it; every other gate that holds for guests in danger does.
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from migd_controller.config import GuardsSection
from migd_core.units import format_duration
from migd_core.world import EVACUATION, Move, World
from migd_policies.evacuate import Emptying, Evacuate, emptying

# What the policy's own settings allow.
_MOST: Final = 64


class Maintenance(msgspec.Struct, frozen=True, kw_only=True):
    """A host out of service since, and until (Unix time; None: until somebody says so).

    While it `is_emptied` its guests leave it.
    """

    since: float
    until: float | None = None
    is_emptied: bool = False

    def is_over(self, now_s: float) -> bool:
        """Return whether the host may receive again, though no control period has taken that in yet."""
        return self.until is not None and self.until <= now_s

    def text(self, now_s: float) -> str:
        """Say how long it is out of service."""
        left = "" if self.until is None else f" for another {format_duration(max(0.0, self.until - now_s))}"
        return f"it is in maintenance{left}" + (", and is being emptied" if self.is_emptied else "")


OutOfService = Mapping[str, Maintenance]


def begun(known: OutOfService, host: str, until: float | None, now_s: float) -> dict[str, Maintenance]:
    """Return who is out of service once an operator has said so of one more host, or has given it another end."""
    return {**known, host: replace(_unfinished(known, host, now_s), until=until)}


def ended(known: OutOfService, host: str) -> dict[str, Maintenance]:
    """Return who is out of service once one host may receive guests again."""
    return {uuid: each for uuid, each in known.items() if uuid != host}


def to_be_emptied(known: OutOfService, host: str, now_s: float) -> dict[str, Maintenance]:
    """Return who is out of service once one host is to be emptied; it stays out of service when it is empty."""
    return {**known, host: replace(_unfinished(known, host, now_s), is_emptied=True)}


def left_as_it_is(known: OutOfService, host: str) -> dict[str, Maintenance]:
    """Return who is out of service once no more guests are to leave one host."""
    return {uuid: replace(each, is_emptied=False) if uuid == host else each for uuid, each in known.items()}


def _unfinished(known: OutOfService, host: str, now_s: float) -> Maintenance:
    """Return a host's maintenance, one that begins now where it has none, or one that is over."""
    found = known.get(host)
    return Maintenance(since=now_s) if found is None or found.is_over(now_s) else found


def current(known: OutOfService, occupied: Collection[str], now_s: float) -> OutOfService:
    """Return who is still out of service at `now_s`; a host that is not `occupied` any more has been emptied."""
    kept = {
        uuid: each if uuid in occupied else replace(each, is_emptied=False)
        for uuid, each in known.items()
        if not each.is_over(now_s)
    }
    return known if kept == known else kept


def is_asked_for(known: OutOfService, move: Move) -> bool:
    """Return whether a move is one by which a host is emptied that an operator wants empty."""
    found = known.get(move.source)
    return found is not None and found.is_emptied and move.reason.code == EVACUATION


def leaving(known: OutOfService, world: World, limits: GuardsSection) -> Emptying | None:
    """Return how the guests of the hosts that are to be emptied leave them; None where there is no such host."""
    hosts = {
        uuid: f"host {world.hosts[uuid].name} is emptied for an operator"
        for uuid, each in known.items()
        if each.is_emptied and uuid in world.hosts
    }
    return emptied(world, hosts, limits) if hosts else None


def emptied(world: World, hosts: Mapping[str, str], limits: GuardsSection) -> Emptying:
    """Return how the guests of `hosts` (uuid: why) leave them, as many at a time as the guards let through."""
    settings = Evacuate(
        max_concurrent=min(_MOST, limits.max_concurrent),
        max_per_host=min(_MOST, limits.max_concurrent_per_source, limits.max_concurrent_per_target),
    )
    return emptying(world, hosts, settings)

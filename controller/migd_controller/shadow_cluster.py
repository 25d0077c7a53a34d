"""The clusters that policies are compared on: the measured one, with guests where they would be. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from migd_controller.contest import Contender
from migd_controller.memory import Memory
from migd_controller.migration import Migration
from migd_core.world import Move, Reason, World
from migd_policies.counterfactual import elsewhere


def as_unmoved(world: World, home: Mapping[str, str], begun: Collection[Migration]) -> World:
    """Return the cluster had the active policy moved nothing; `world` is without the load of copying.

    `home` is where the guests (uuids) that it has moved would be; `begun` are its migrations under way.
    """
    guests, hosts = dict(world.guests), dict(world.hosts)
    for migration in begun:
        guest = guests.get(migration.guest)
        if guest is None or migration.target not in hosts:
            continue
        if guest.host != migration.target:
            target = hosts[migration.target]
            free_bytes = target.memory_free_bytes + guest.memory_bytes
            hosts[target.uuid] = replace(target, memory_free_bytes=free_bytes)
        keeps = guest.host in hosts and hosts[guest.host].frozen_because is not None
        why = guest.immovable_because if keeps else None
        guests[guest.uuid] = replace(guest, arriving_at=None, immovable_because=why)
    mine = {m.guest for m in begun}
    world = replace(
        world,
        guests=MappingProxyType(guests),
        hosts=MappingProxyType(hosts),
        moves_in_flight=tuple(move for move in world.moves_in_flight if move.guest not in mine),
    )
    at = {m.guest: m.source for m in begun if m.source in hosts} | {**home}
    return elsewhere(world, {uuid: host for uuid, host in at.items() if uuid in guests})


def cluster_of(shadow: Contender, base: World, memory: Memory, cooldown_s: float) -> World:
    """Return the cluster as it would be had the shadow been the active policy; `base` is where nothing was moved."""
    world = elsewhere(base, {uuid: at.host for uuid, at in shadow.placed.items() if uuid in base.guests})
    rests = {uuid: cooldown_s - max(0.0, base.now_s - at) for uuid, at in shadow.last_moved_at.items()}
    for hold in memory.holds.values():
        if hold.until is not None:
            rests[hold.guest] = max(rests.get(hold.guest, 0.0), hold.until - base.now_s)
    guests = dict(world.guests)
    for uuid, guest in world.guests.items():
        rest_s = max(0.0, rests.get(uuid, 0.0))
        if guest.cooldown_s != rest_s:
            guests[uuid] = replace(guest, cooldown_s=rest_s)
    world = replace(world, guests=MappingProxyType(guests))
    for m in shadow.in_flight.values():
        world = world.with_in_flight(Move(m.guest, m.source, m.target, Reason("in-flight", f"under way as {m.cause}")))
    return world

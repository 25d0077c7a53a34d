"""What sets under way still need, so that nothing else takes it: memory on their targets, and their guests. Pure."""

from dataclasses import replace
from types import MappingProxyType

from migd_controller.move_sets import Sets
from migd_core.world import PROMISED, Move, Reason, World


def without_promised(world: World, sets: Sets) -> World:
    """Return the world for moves of no set: what sets have been promised is taken, and their guests stay."""
    waiting = [(name, step) for name, each in sets.items() for step in each.waiting]
    if not waiting:
        return world
    hosts, guests = dict(world.hosts), dict(world.guests)
    for name, step in waiting:
        if step.guest not in guests:
            continue
        guest = guests[step.guest]
        if guest.immovable_because is None:
            text = f"its move to {step.target_name} is step {step.number + 1} of {name}, which is under way"
            guests[step.guest] = replace(guest, immovable_because=text)
        if (host := hosts.get(step.target)) is not None:
            hosts[step.target] = replace(host, memory_free_bytes=host.memory_free_bytes - guest.memory_bytes)
    return replace(world, hosts=MappingProxyType(hosts), guests=MappingProxyType(guests))


def promised(sets: Sets, besides: str = "") -> dict[str, str]:
    """Return where (host uuid) sets still are to take guests (uuid) in the end, but for the set `besides`."""
    return {step.guest: step.target for name, each in sets.items() if name != besides for step in each.waiting}


def as_promised(world: World, sets: Sets) -> World:
    """Return the world as policies see it: what sets still are to do counts as under way."""
    moves = tuple(
        Move(step.guest, world.guests[step.guest].host, step.target, Reason(PROMISED, f"a step of {name} to come"))
        for name, each in sets.items()
        for step in {waiting.guest: waiting for waiting in each.waiting}.values()
        if step.guest in world.guests
    )
    if not moves:
        return world
    return replace(without_promised(world, sets), moves_in_flight=(*world.moves_in_flight, *moves))

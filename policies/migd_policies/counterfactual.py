"""The measured cluster with guests where they are not: what load hosts would have there, and how fast jobs would step.

A guest takes along the CPU it wants, as measured where it really is, and its memory. What is assumed is what `scoring`
assumes, and that a guest wants the same elsewhere: true of ranks that compute or spin, less so of one that sleeps while
it waits for others.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from migd_core.world import Move, Reason, World
from migd_policies.scoring import counts, job_step_ratios

_WERE_IT_SO: Final = Reason("counterfactual", "as if it had been moved")

Places = Mapping[str, str]


def elsewhere(world: World, places: Places) -> World:
    """Return the world with each guest of `places` on the host named for it (uuids); they must exist in `world`.

    The loads of earlier periods are shifted as much as the one of now: nobody would otherwise see a trend in them.
    """
    shift_vcpus, shift_bytes, guests = dict[str, float](), dict[str, int](), dict(world.guests)
    for uuid, target in places.items():
        guest = guests[uuid]
        if guest.host == target:
            continue
        for end, sign in ((guest.host, -1), (target, +1)):
            shift_vcpus[end] = shift_vcpus.get(end, 0.0) + sign * guest.cpu_demand_vcpus
            shift_bytes[end] = shift_bytes.get(end, 0) + sign * guest.memory_bytes
        guests[uuid] = replace(guest, host=target)
    if not shift_vcpus:
        return world
    hosts = dict(world.hosts)
    for uuid, vcpus in shift_vcpus.items():
        host = hosts[uuid]
        by = vcpus / host.cpus
        hosts[uuid] = replace(
            host,
            load_ratio=max(0.0, host.load_ratio + by),
            recent_load_ratios=tuple(max(0.0, load + by) for load in host.recent_load_ratios),
            memory_free_bytes=max(0, host.memory_free_bytes - shift_bytes[uuid]),
        )
    return replace(world, hosts=MappingProxyType(hosts), guests=MappingProxyType(guests))


def gain_rate(world: World, places: Places) -> float | None:
    """Return the job-seconds a second that jobs would gain with guests at `places`: Σ (1 − g), as the ledger has it.

    Where jobs are named, a guest of none counts with what it loses only (`scoring.counts`). None where a host that one
    of them would leave or go to is frozen: its load is not known.
    """
    moves = [
        Move(uuid, world.guests[uuid].host, target, _WERE_IT_SO)
        for uuid, target in places.items()
        if world.guests[uuid].host != target
    ]
    if not moves:
        return 0.0
    touched = {uuid for move in moves for uuid in (move.source, move.target)}
    if any(world.hosts[uuid].frozen_because is not None for uuid in touched):
        return None
    gains = ((job, 1.0 - ratio) for job, ratio in job_step_ratios(world, *moves).items())
    return math.fsum(gain if counts(world, job) else min(0.0, gain) for job, gain in gains)

"""The world without the load that migrations themselves make, so that nobody chases the shadow of his own moves.

Copying a guest keeps Dom0 busy on both hosts: tenths of a host's CPUs on a small one, for as long as the copy lasts and
no longer. On hosts with a migration under way Dom0 is taken to want no more than on the others.
"""

import math
from dataclasses import replace
from statistics import median
from types import MappingProxyType

from migd_core.world import PROMISED, World


def without_own_load(world: World) -> World:
    """Return the world with the loads of hosts that migrate lowered to what their guests and an idle Dom0 want."""
    copying = [move for move in world.moves_in_flight if move.reason.code != PROMISED]
    migrating = {uuid for move in copying for uuid in (move.source, move.target)} & world.hosts.keys()
    if not migrating:
        return world
    besides = {
        uuid: max(0.0, host.load_ratio - math.fsum(g.cpu_demand_vcpus for g in world.guests_on[uuid]) / host.cpus)
        for uuid, host in world.hosts.items()
        if host.frozen_because is None
    }
    calm = [besides[uuid] for uuid in besides.keys() - migrating]
    usual = median(calm) if calm else 0.0
    hosts = dict(world.hosts)
    for uuid in migrating & besides.keys():
        excess = max(0.0, besides[uuid] - usual)
        host = hosts[uuid]
        hosts[uuid] = replace(
            host,
            load_ratio=host.load_ratio - excess,
            recent_load_ratios=tuple(max(0.0, load - excess) for load in host.recent_load_ratios),
        )
    return replace(world, hosts=MappingProxyType(hosts))

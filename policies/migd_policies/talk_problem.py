"""A world as what `talk_search` searches: who talks with whom, what each level costs, and where there is room.

Only so many guests at a time, those first whose flows could become cheapest by most: others stay, and count as where
they are. A level that was not measured costs nothing to guests that meet there, since they stay there, and more than
anything could save to others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from migd_core.world import Guest, Host, Level, World
from migd_policies.projection import Projection
from migd_policies.talk_search import Flags, Talk
from migd_policies.target_ladder import handicap

MOST_GUESTS: Final = 256
# Those with these guests or the ones that they talk with, and others, least loaded first.
MOST_HOSTS: Final = 256
# In seconds a byte: a byte a second across such a level would cost more than any cluster could save.
UNMEASURED_S_PER_BYTE: Final = 1e3
# Among hosts that talk alike, the less loaded; among guests, the one that copies less. Parts of the price of a move.
LOAD_PART: Final = 1e-3
MEMORY_PART: Final = 1e-3


@dataclass(frozen=True, slots=True)
class TalkProblem:
    """The arrays, and the guests and hosts that their rows and columns are."""

    talk: Talk
    guests: tuple[Guest, ...]
    hosts: tuple[Host, ...]


def talk_problem(
    world: World,
    projection: Projection,
    load_of: Callable[[Host], float | None],
    max_load_ratio: float,
    move_price: float,
) -> TalkProblem:
    """Return the problem of `world`, moves under way done, with `move_price` for each move (seconds a second).

    `load_of` is what a host counts with; one without (None) receives nothing.
    """
    guests = _most_to_gain(world, projection)
    hosts = _hosts(world, projection, guests, load_of)
    row = {guest.uuid: n for n, guest in enumerate(guests)}
    column = {host.uuid: n for n, host in enumerate(hosts)}
    levels = [[world.topology.level(a.uuid, b.uuid) for b in hosts] for a in hosts]
    cost_of = {level: _s_per_byte(world, level) for level in Level}
    s_per_byte = np.array([[cost_of[level] for level in line] for line in levels])
    home = np.array([column[guest.host] for guest in guests], dtype=np.intp)
    receives = [host.may_receive and load_of(host) is not None for host in hosts]
    may_go = np.zeros((len(guests), len(hosts)), dtype=np.bool_)
    for line, guest in zip(may_go, guests, strict=True):
        line[:] = [takes and host.uuid not in guest.barred for takes, host in zip(receives, hosts, strict=True)]
    may_go[np.arange(len(guests)), home] = True
    near: list[dict[int, float]] = [{} for _ in guests]
    anchored = np.zeros((len(guests), len(hosts)))
    for flow in world.flows:
        for one, other in ((flow.guest_a, flow.guest_b), (flow.guest_b, flow.guest_a)):
            if one not in row or other not in world.guests:
                continue
            n, there = row[one], projection.host_of(other)
            if world.topology.level(projection.host_of(one), there) not in world.topology.links:
                may_go[n] &= _same_level(levels, int(home[n]), column.get(there), hosts)
            elif other in row:
                near[n][row[other]] = near[n].get(row[other], 0.0) + flow.bytes_per_s
            else:
                away = [cost_of[world.topology.level(host.uuid, there)] for host in hosts]
                anchored[n] += flow.bytes_per_s * np.array(away)
    demand = np.array([guest.cpu_demand_vcpus for guest in guests])
    wanted = np.bincount(home, demand, len(hosts))
    loads = np.array([load if (load := load_of(host)) is not None else np.inf for host in hosts])
    cpus = np.array([float(host.cpus) for host in hosts])
    memory = np.array([float(guest.memory_bytes) for guest in guests])
    seldom = LOAD_PART * np.minimum(1.0, np.where(np.isfinite(loads), loads, 1.0)) + [handicap(host) for host in hosts]
    copied = MEMORY_PART * memory / memory.max(initial=1.0)
    price = move_price * (1.0 + seldom[None, :] + copied[:, None])
    price[np.arange(len(guests)), home] = 0.0
    room = np.where(np.isfinite(loads), max_load_ratio - loads, 0.0) * cpus + wanted
    is_full = room < wanted
    may_go &= ~is_full[None, :] | (home[:, None] == np.arange(len(hosts)))
    return TalkProblem(
        talk=Talk(
            near=near,
            anchored=anchored,
            s_per_byte=s_per_byte,
            price=price,
            may_go=may_go,
            demand=demand,
            room_vcpus=np.maximum(room, wanted),
            memory=memory,
            free=np.array([float(projection.free_bytes(host.uuid)) for host in hosts]),
            home=home,
        ),
        guests=guests,
        hosts=hosts,
    )


def _s_per_byte(world: World, level: Level) -> float:
    link = world.topology.links.get(level)
    return UNMEASURED_S_PER_BYTE if link is None else 1.0 / link.bandwidth_bytes_per_s


def _same_level(levels: list[list[Level]], home: int, there: int | None, hosts: tuple[Host, ...]) -> Flags:
    """Return the hosts from which a guest would meet its peer at the level where it meets it now.

    Within a switch both stay where they are: each by itself could come to the host that the other comes to.
    """
    stays = np.zeros(len(hosts), dtype=np.bool_)
    stays[home] = True
    if there is not None and levels[home][there] is Level.WIDE_AREA:
        stays |= np.array([level is not Level.WIDE_AREA for level in levels[home]])
    return stays


def _most_to_gain(world: World, projection: Projection) -> tuple[Guest, ...]:
    """Return the guests that may leave, by uuid: those whose flows could become cheaper, those first by most."""
    best = min(1.0 / link.bandwidth_bytes_per_s for link in world.topology.links.values())
    potential: dict[str, float] = {}
    for uuid, flows in world.flows_of.items():
        guest = world.guests.get(uuid)
        if guest is None or not projection.may_leave(guest) or world.hosts[guest.host].frozen_because is not None:
            continue
        potential[uuid] = 0.0
        for flow in flows:
            peer = flow.guest_b if flow.guest_a == uuid else flow.guest_a
            if peer in world.guests:
                level = world.topology.level(guest.host, projection.host_of(peer))
                if level in world.topology.links:
                    potential[uuid] += flow.bytes_per_s * (_s_per_byte(world, level) - best)
    chosen = sorted(potential, key=lambda uuid: (-potential[uuid], uuid))[:MOST_GUESTS]
    return tuple(world.guests[uuid] for uuid in sorted(chosen))


def _hosts(
    world: World, projection: Projection, guests: tuple[Guest, ...], load_of: Callable[[Host], float | None]
) -> tuple[Host, ...]:
    """Return the hosts that matter, by uuid."""
    needed = {guest.host for guest in guests}
    near = {
        projection.host_of(uuid)
        for guest in guests
        for flow in world.flows_of[guest.uuid]
        for uuid in (flow.guest_a, flow.guest_b)
        if uuid in world.guests
    }

    def rank(host: Host) -> tuple[bool, bool, float, str]:
        load = load_of(host)
        return host.uuid not in needed, host.uuid not in near, np.inf if load is None else load, host.uuid

    chosen = sorted(world.hosts.values(), key=rank)[: max(MOST_HOSTS, len(needed))]
    return tuple(sorted(chosen, key=lambda host: host.uuid))

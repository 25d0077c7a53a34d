"""Inventory and telemetry become a `World`: what a policy may know at this moment.

The pool's word decides which guests exist and where they are; the agents' word decides what they do. Where the two do
not fit, or a word is missing or old, the host or guest is frozen with the reason.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from migd_controller.config import ControllerConfig, TelemetrySection
from migd_controller.events import PoolHost
from migd_controller.inventory import Inventory
from migd_controller.jobs import described
from migd_controller.memory import Memory
from migd_controller.residents import Residents
from migd_controller.telemetry import HostTelemetry, Telemetry
from migd_core.health import HealthState
from migd_core.world import Flow, Guest, Host, Job, Level, Link, Move, Reason, Topology, World

# The agent's collector of the host's own figures; while it fails, samples repeat the last ones.
DOM0: Final = "dom0"


def build_world(
    now_s: float, inventory: Inventory, telemetry: Telemetry, memory: Memory, config: ControllerConfig
) -> World:
    """Return the cluster as it is known at `now_s` (Unix time)."""
    moves = tuple(
        Move(m.guest, m.source, m.target, Reason("in-flight", f"under way as {m.cause}"))
        for m in memory.in_flight.values()
    )
    residents = Residents(now_s, inventory, telemetry, memory, config.guards.cooldown_s)
    reserved = _reserved_bytes(inventory, memory)
    fastest = max((host.cpu_mhz for host in inventory.hosts.values()), default=0.0)
    hosts: dict[str, Host] = {}
    guests: dict[str, Guest] = {}
    for uuid, pool_host in inventory.hosts.items():
        known = telemetry.hosts.get(uuid)
        silent_because = _silent_because(pool_host, telemetry, now_s, config.telemetry)
        frozen_because = silent_because or _doubtful_because(pool_host, telemetry)
        health = telemetry.health(uuid)
        # What is wrong with a host must not keep its guests on it, as long as they are measured themselves.
        closed = memory.maintenance.get(uuid)
        closed = None if closed is not None and closed.is_over(now_s) else closed
        is_enabled = pool_host.is_enabled and not pool_host.is_evacuating and closed is None
        is_to_be_left = health.state is HealthState.FAILING or not is_enabled
        kept_because = silent_because if is_to_be_left else frozen_because
        found = residents.of(uuid, kept_because)
        guests.update((guest.uuid, guest) for guest in found)
        host = _host(pool_host, known, found, reserved.get(uuid, 0), frozen_because)
        stood_s = max(0.0, now_s - known.standing.since_s) if known is not None and known.standing is not None else 0.0
        hosts[uuid] = replace(
            host,
            health=health,
            load_stood_s=stood_s,
            speed_ratio=_speed_ratio(pool_host, fastest),
            is_enabled=is_enabled,
            closed_because=None if closed is None else closed.text(now_s),
        )
    return World(
        now_s=now_s,
        hosts=MappingProxyType(hosts),
        guests=MappingProxyType(guests),
        jobs=_jobs(memory, guests, config.ledger.speed_while_migrating_ratio, now_s),
        flows=_flows(inventory, telemetry, guests),
        topology=_topology(inventory, memory, config),
        rule_set=config.ledger.rule_set,
        pricing=config.ledger.pricing,
        learned=memory.learned,
        moves_in_flight=moves,
    )


def _silent_because(host: PoolHost, telemetry: Telemetry, now_s: float, limits: TelemetrySection) -> str | None:
    """Return why nothing is known of the host or its guests now."""
    if not host.is_live:
        return "the pool reports it dead"
    if host.cpus < 1:
        return "the pool reports no CPUs for it"
    age_s, problem = telemetry.age_s(host.uuid, now_s), telemetry.problems.get(host.uuid)
    if age_s is None:
        told = f", and XAPI's own measurements cannot be had: {problem}" if problem is not None else ""
        return f"no agent has reported from it yet{told}"
    known = telemetry.hosts[host.uuid]
    if age_s > (limit_s := limits.stale_after(known.source)):
        told = f"; XAPI's own measurements cannot be had: {problem}" if problem is not None else ""
        return f"last sample is {age_s:.1f} s old (limit {limit_s:g} s){told}"
    return None


def _doubtful_because(host: PoolHost, telemetry: Telemetry) -> str | None:
    """Return why what a host says of itself cannot be believed, whatever it says of its guests."""
    known = telemetry.hosts[host.uuid]
    newest = known.newest
    if DOM0 in newest.failed_collectors:
        return "its agent cannot read the host's own figures; see the agent's log"
    if newest.cpus != host.cpus:
        return f"its {known.source} sees {newest.cpus} CPUs, the pool {host.cpus}: one of them is wrong"
    return None


def _host(
    host: PoolHost, known: HostTelemetry | None, guests: list[Guest], reserved_bytes: int, frozen_because: str | None
) -> Host:
    load = 0.0
    if known is not None and host.cpus > 0:
        load = sum(guest.cpu_demand_vcpus for guest in guests) / host.cpus + known.dom0_cpu_ratio
    return Host(
        uuid=host.uuid,
        name=host.name,
        cpus=max(1, host.cpus),  # a host without CPUs is frozen; nothing may divide by them meanwhile
        memory_bytes=host.memory_for_guests_bytes,
        memory_free_bytes=max(0, host.memory_for_guests_bytes - reserved_bytes),
        link_bytes_per_s=known.newest.link_bytes_per_s if known is not None else 0.0,
        load_ratio=load,
        recent_load_ratios=(*known.load_ratios, load) if known is not None and frozen_because is None else (),
        frozen_because=frozen_because,
    )


def _speed_ratio(host: PoolHost, fastest_mhz: float) -> float:
    """How fast a CPU of the host is next to the fastest of the pool, by their clocks; 1 where that is not known."""
    return host.cpu_mhz / fastest_mhz if host.cpu_mhz > 0 else 1.0


def _reserved_bytes(inventory: Inventory, memory: Memory) -> dict[str, int]:
    """Memory taken on each host. A guest under migration counts on both, as the pool and this controller know it."""
    places = {
        (guest.uuid, place)
        for guest in inventory.guests.values()
        for place in (guest.host, guest.arriving_at)
        if place is not None
    }
    places |= {(m.guest, m.target) for m in memory.in_flight.values()}
    reserved: dict[str, int] = {}
    for guest_uuid, place in places:
        if guest_uuid in inventory.guests:
            reserved[place] = reserved.get(place, 0) + inventory.guests[guest_uuid].memory_bytes
    return reserved


def _jobs(memory: Memory, guests: Mapping[str, Guest], prior_ratio: float, now_s: float) -> Mapping[str, Job]:
    jobs = memory.jobs.values()
    return MappingProxyType({job.name: described(memory, job, guests.keys(), prior_ratio, now_s) for job in jobs})


def _flows(inventory: Inventory, telemetry: Telemetry, guests: Mapping[str, Guest]) -> tuple[Flow, ...]:
    """Pair traffic by guest. Two hosts may both see a flow; the greater reading is taken, not the sum."""
    directed: dict[tuple[str, str], float] = {}
    for known in telemetry.hosts.values():
        for (source_mac, target_mac), rate in known.flows.items():
            source, target = inventory.guest_of_mac.get(source_mac), inventory.guest_of_mac.get(target_mac)
            if source in guests and target in guests and source is not None and target is not None and source != target:
                directed[source, target] = max(rate, directed.get((source, target), 0.0))
    pairs: dict[tuple[str, str], float] = {}
    for (source, target), rate in directed.items():
        pair = (min(source, target), max(source, target))
        pairs[pair] = pairs.get(pair, 0.0) + rate
    return tuple(Flow(a, b, rate) for (a, b), rate in sorted(pairs.items()))


def unknown_switch_hosts(inventory: Inventory, config: ControllerConfig) -> list[str]:
    """Return the names in `[topology.switches]` that no host of the pool bears; none while the pool is not known."""
    if not inventory.is_known:
        return []
    named = (name for names in config.topology.switches.values() for name in names)
    return sorted(name for name in named if inventory.host_named(name) is None)


def _topology(inventory: Inventory, memory: Memory, config: ControllerConfig) -> Topology:
    switch_of: dict[str, str] = {}
    for switch, names in config.topology.switches.items():
        for name in names:
            if (host := inventory.host_named(name)) is not None:
                switch_of[host.uuid] = switch
    links = {Level(level): Link(s.bandwidth_bytes_per_s, s.latency_s) for level, s in config.topology.links.items()}
    for level, known in memory.links.items():
        links[level] = Link(known.link.bandwidth_bytes_per_s, known.link.latency_s)
    return Topology(links=MappingProxyType(links), switch_of=MappingProxyType(switch_of))

"""Clusters in a line: `world(host("a", cpus=8), guest("rank0", on="a", job="brams"))`.

Every uuid is the name. What a real snapshot keeps consistent, `world` keeps consistent too: a host's load is its own
`load` (Dom0 and whatever has no guest here) plus what its guests want, its free memory is what guests and arriving moves
leave, and its load has been steady for a few periods unless `recent` says otherwise.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from hypothesis import assume

from migd_core.health import UNKNOWN, HostHealth
from migd_core.messages import DirtyCurve
from migd_core.pricing import DEFAULT_PRICING, Pricing
from migd_core.units import GIB
from migd_core.world import Flow, Guest, Host, Job, Level, Link, Move, Reason, Remaining, Topology, World
from migd_policies.ledger import PlanPrice, bandwidth_bytes_per_s, price
from migd_policies.second_thoughts import WATCHED_AT_LEAST_S, Copying, Promise, reconsider

STEADY_PERIODS = 3


def host(
    name: str,
    *,
    cpus: int = 4,
    memory_bytes: int = 64 * GIB,
    load: float = 0.0,
    recent: Iterable[float] = (),
    link_bytes_per_s: float = 125e6,
    is_enabled: bool = True,
    frozen_because: str | None = None,
    health: HostHealth = UNKNOWN,
    speed_ratio: float = 1.0,
) -> Host:
    """Return a host; `load` is what is wanted besides the guests that `world` is given, in shares of its CPUs.

    `recent` holds the loads of earlier periods, oldest first; without it the load was what it is.
    """
    return Host(
        uuid=name,
        name=name,
        cpus=cpus,
        memory_bytes=memory_bytes,
        memory_free_bytes=memory_bytes,
        link_bytes_per_s=link_bytes_per_s,
        load_ratio=load,
        recent_load_ratios=tuple(recent),
        is_enabled=is_enabled,
        frozen_because=frozen_because,
        health=health,
        speed_ratio=speed_ratio,
    )


def guest(
    name: str,
    *,
    on: str,
    vcpus: int = 1,
    demand: float | None = None,
    used: float | None = None,
    memory_bytes: int = 4 * GIB,
    rx_bytes_per_s: float = 0.0,
    tx_bytes_per_s: float = 0.0,
    dirty_curve: DirtyCurve | None = None,
    job: str | None = None,
    tags: Iterable[str] = (),
    immovable_because: str | None = None,
    cooldown_s: float = 0.0,
) -> Guest:
    """Return a guest of host `on`; like an MPI rank that spins, it wants all of its vCPUs unless `demand` says less."""
    demand = float(vcpus) if demand is None else demand
    return Guest(
        uuid=name,
        name=name,
        host=on,
        vcpus=vcpus,
        memory_bytes=memory_bytes,
        cpu_demand_vcpus=demand,
        cpu_used_vcpus=demand if used is None else used,
        rx_bytes_per_s=rx_bytes_per_s,
        tx_bytes_per_s=tx_bytes_per_s,
        dirty_curves=() if dirty_curve is None else (dirty_curve,),
        job=job,
        tags=frozenset(tags),
        immovable_because=immovable_because,
        cooldown_s=cooldown_s,
    )


def job(name: str, *guests: str, remaining_s: float | None = None) -> Job:
    """Return a job of the named guests; `world` writes its name into them."""
    remaining = None if remaining_s is None else Remaining(remaining_s, remaining_s, remaining_s, "a test says so")
    return Job(name=name, guests=guests, remaining=remaining)


def flow(guest_a: str, guest_b: str, bytes_per_s: float) -> Flow:
    """Return what two guests send each other, both directions together."""
    return Flow(min(guest_a, guest_b), max(guest_a, guest_b), bytes_per_s)


def move(guest_name: str, source: str, target: str) -> Move:
    """Return a move that nobody gave a particular reason for."""
    return Move(guest_name, source, target, Reason("test", "a test asks for it"))


def promise_of(priced: PlanPrice) -> Promise:
    """Return what the one move of a plan is begun for."""
    (mine,) = priced.moves
    own = next(each for each in priced.jobs if each.job == mine.job)
    migration = mine.migration
    return Promise(
        gain_s=priced.gain_s,
        own_rate=own.gain_rate,
        lasts_s=own.lasts_s,
        total_s=migration.total_s.median,
        pause_s=migration.pause_s.median,
        cost_s=mine.cost_s.median,
    )


def check_let_finish(parts: Sequence[Host | Guest | Job], of: Move, part: float) -> None:
    """Hold that `of`, if it paid when it began, is let finish after that `part` (0..1) of it went as predicted."""
    before = world(*parts)
    priced = price(before, [of])
    (mine,) = priced.moves
    copying_s = mine.migration.total_s.median - mine.migration.pause_s.median
    assume(priced.net_s >= 0 and copying_s >= WATCHED_AT_LEAST_S)
    watched_s = WATCHED_AT_LEAST_S + part * (copying_s - WATCHED_AT_LEAST_S)
    copying = Copying(bandwidth_bytes_per_s(before, of) * watched_s, watched_s)
    found = reconsider(world(*parts, in_flight=[of]), of, watched_s, copying, promise_of(priced))
    assert found is not None
    assert found.is_worth_finishing, found.text


def topology(links: Mapping[Level, Link] | None = None, **switch_of: str) -> Topology:
    """Return a topology: `topology(PAPER_LINKS, a="rack1", b="rack2")`."""
    return Topology(links=MappingProxyType(dict(links or {})), switch_of=MappingProxyType(switch_of))


def world(
    *parts: Host | Guest | Job | Flow,
    topology: Topology | None = None,
    in_flight: Iterable[Move] = (),
    rule_set: str = "xen-4.6",
    now_s: float = 1000.0,
    pricing: Pricing = DEFAULT_PRICING,
) -> World:
    """Return the cluster made of `parts`. A job that guests name and no part describes is made of those guests."""
    jobs = {part.name: part for part in parts if isinstance(part, Job)}
    job_of = {name: found.name for found in jobs.values() for name in found.guests}
    guests = {
        part.uuid: replace(part, job=job_of.get(part.uuid, part.job)) for part in parts if isinstance(part, Guest)
    }
    for name in {one.job for one in guests.values() if one.job is not None} - jobs.keys():
        jobs[name] = Job(name, tuple(one.uuid for one in guests.values() if one.job == name))
    moves = tuple(in_flight)
    return World(
        now_s=now_s,
        hosts=MappingProxyType({p.uuid: _filled(p, guests, moves) for p in parts if isinstance(p, Host)}),
        guests=MappingProxyType(guests),
        jobs=MappingProxyType(dict(sorted(jobs.items()))),
        flows=tuple(part for part in parts if isinstance(part, Flow)),
        topology=topology if topology is not None else Topology(),
        rule_set=rule_set,
        pricing=pricing,
        moves_in_flight=moves,
    )


def _filled(empty: Host, guests: Mapping[str, Guest], moves: Iterable[Move]) -> Host:
    residents = [one for one in guests.values() if one.host == empty.uuid]
    arriving = [guests[one.guest] for one in moves if one.target == empty.uuid and guests[one.guest] not in residents]
    taken_bytes = sum(one.memory_bytes for one in [*residents, *arriving])
    load = empty.load_ratio + sum(one.cpu_demand_vcpus for one in residents) / empty.cpus
    return replace(
        empty,
        load_ratio=load,
        recent_load_ratios=(*(empty.recent_load_ratios or (load,) * (STEADY_PERIODS - 1)), load),
        memory_free_bytes=max(0, empty.memory_bytes - taken_bytes),
    )

"""The sets of cases: each a function from a random stream to a case. Same stream, same case.

mixed          4–16 hosts, jobs of 4–32 ranks that take minutes to days, loads that stay for minutes to hours, links
               of 11.7 MB/s to 1.25 GB/s; a quarter with a second job, some with two kinds of hosts
seed-like      the paper's cluster: 4–5 hosts of two CPUs, 320 MiB guests, Fast Ethernet, jobs of 2 to 25 minutes
communication  two switches with a slow line between them; ranks on both sides; few loads
failing        as mixed, and a host turns degraded, then failing, and mostly dies; jobs go on from checkpoints
adversarial    every host has a load of its own that wakes as soon as a guest of the job arrives there
"""

from collections.abc import Callable, Mapping
from dataclasses import replace as with_fields
from random import Random
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from migd_core.health import HealthState
from migd_core.units import GIB, MIB, PAGE_BYTES
from migd_core.world import Level
from migd_sim.model import Cluster, PoolSpec
from migd_sim.model.spec import GuestSpec, HogSpec, HostSpec, JobSpec, LevelSpec
from migd_sim.model.writes import ArraySweep, RandomWrites
from migd_sim.run.evaluation import drawing
from migd_sim.run.evaluation.case import Case, Death, HealthTurn
from migd_sim.run.evaluation.drawing import Room, Talk, between

MINUTE_S: Final = 60.0
HOUR_S: Final = 3600.0
DAY_S: Final = 86400.0
NEVER_TAG: Final = "migd:never"
# So many times as long as with nobody in its way a job may take.
PATIENCE: Final = 6.0
BANDWIDTH_ERROR: Final = 0.03
CLOCK_ERROR: Final = 0.06
ROOM_FOR_NOISE_BYTES: Final = 64 * GIB


def draw(set_name: str, seed: int, number: int) -> Case:
    """Return case `number` of a set for a seed; KeyError if there is no such set."""
    return SETS[set_name](Random(f"{set_name} {seed} {number}"), f"{set_name}-{seed}-{number}")


def _mixed(rng: Random, name: str) -> Case:
    hosts = _hosts(rng, rng.randint(4, 16), rng.choice((11.7e6, 117e6, 117e6, 1.25e9)))
    length_s = between(rng, 5 * MINUTE_S, 2 * DAY_S)
    guests, jobs = _jobs(rng, hosts, length_s, 2 if rng.random() < 0.25 else 1)
    noise = _noise(rng, hosts, guests, rng.randint(1, len(hosts)))
    hogs = drawing.hogs(rng, noise, rng.randint(1, 8), length_s, (2 * MINUTE_S, 6 * HOUR_S))
    levels = _levels(hosts[0].link_bytes_per_s)
    return _case(
        rng, name, hosts, [*guests, *noise], jobs, hogs, levels, rng.choice(("xen-4.6", "xcp-ng", "xenserver"))
    )


def _seed_like(rng: Random, name: str) -> Case:
    count = rng.randint(4, 5)
    hosts = [HostSpec(name=f"node{n}", cpus=2, memory_bytes=480 * MIB, link_bytes_per_s=11.7e6) for n in range(count)]
    length_s = between(rng, 2 * MINUTE_S, 25 * MINUTE_S)
    ranks = [f"rank{n}" for n in range(rng.randint(3, count - 1))]
    matrix = int(rng.uniform(0.4, 0.75) * 320 * MIB) // PAGE_BYTES
    written = (
        (RandomWrites(pages=matrix, tau_s=between(rng, 1.0, 5.0)),)
        if rng.random() < 0.5
        else (ArraySweep(pages=matrix, period_s=between(rng, 2.5, 8.0)),)
    )
    guests = [
        GuestSpec(name=rank, host=hosts[n].name, vcpus=1, memory_bytes=320 * MIB, writes=written)
        for n, rank in enumerate(ranks)
    ]
    noise = [
        GuestSpec(name=f"noise{n}", host=hosts[n].name, vcpus=2, memory_bytes=96 * MIB, tags=_pinned(rng))
        for n in rng.sample(range(count), rng.randint(1, 2))
    ]
    hogs = drawing.hogs(rng, noise, rng.randint(1, 3), length_s, (MINUTE_S, 20 * MINUTE_S))
    job = drawing.job(rng, "job0", ranks, 1, length_s, Talk(0.02, 0.25, 11.7e6))
    return _case(rng, name, hosts, [*guests, *noise], [job], hogs, _levels(11.7e6), "xen-legacy")


def _communication(rng: Random, name: str) -> Case:
    hosts = [
        replace(host, switch=f"switch{n % 2}") for n, host in enumerate(_hosts(rng, rng.randint(4, 12), 117e6, 1.0))
    ]
    length_s = between(rng, 20 * MINUTE_S, DAY_S)
    wide_area = LevelSpec(bandwidth_bytes_per_s=between(rng, 2e6, 30e6), latency_s=between(rng, 0.5e-3, 10e-3))
    levels = _levels(117e6) | {Level.WIDE_AREA: wide_area}
    talk = Talk(0.05, 0.4, wide_area.bandwidth_bytes_per_s * rng.uniform(1.0, 3.0))
    guests, jobs = _jobs(rng, hosts, length_s, 1, talk)
    noise = _noise(rng, hosts, guests, 2)
    hogs = drawing.hogs(rng, noise, rng.randint(0, 2), length_s, (2 * MINUTE_S, 6 * HOUR_S))
    return _case(rng, name, hosts, [*guests, *noise], jobs, hogs, levels, "xen-4.6")


def _failing(rng: Random, name: str) -> Case:
    case = _mixed(rng, name)
    with_ranks = {guest.host for guest in case.pool.guests if any(guest.name in job.ranks for job in case.pool.jobs)}
    bearers = sorted(host for host in with_ranks if host is not None)
    host = rng.choice(bearers) if rng.random() < 0.85 else rng.choice(case.pool.hosts).name
    length_s = case.horizon_s / PATIENCE
    degraded_s = rng.uniform(0.05, 0.8) * length_s
    failing_s = degraded_s + between(rng, MINUTE_S, HOUR_S)
    turns = (HealthTurn(degraded_s, host, HealthState.DEGRADED), HealthTurn(failing_s, host, HealthState.FAILING))
    dies_s = failing_s + between(rng, 2 * MINUTE_S, 2 * HOUR_S)
    is_alarm_false = rng.random() < 0.2
    return with_fields(
        case,
        turns=turns,
        deaths=() if is_alarm_false else (Death(dies_s, host),),
        checkpoint_steps=rng.choice((0, max(1, case.pool.jobs[0].steps // rng.randint(3, 20)))),
    )


def _adversarial(rng: Random, name: str) -> Case:
    count, cpus = rng.randint(4, 8), rng.choice((4, 8))
    link = rng.choice((117e6, 1.25e9))
    hosts = [HostSpec(name=f"host{n}", cpus=cpus, memory_bytes=256 * GIB, link_bytes_per_s=link) for n in range(count)]
    length_s = between(rng, 20 * MINUTE_S, 8 * HOUR_S)
    guests, jobs = _jobs(rng, hosts, length_s, 1)
    sleepers = [
        GuestSpec(name=f"sleeper{n}", host=host.name, vcpus=cpus, memory_bytes=GIB, tags=(NEVER_TAG,))
        for n, host in enumerate(hosts)
    ]
    bearers = {guest.host for guest in guests}
    awake = rng.choice([sleeper for sleeper in sleepers if sleeper.host in bearers])
    hogs = [HogSpec(guest=awake.name, vcpus=cpus, starts_s=MINUTE_S, lasts_s=PATIENCE * length_s)]
    case = _case(rng, name, hosts, [*guests, *sleepers], jobs, hogs, _levels(link), "xen-4.6")
    return with_fields(case, loads_follow=True)


def _hosts(rng: Random, count: int, link_bytes_per_s: float, slower: float = 0.8) -> list[HostSpec]:
    """Equal hosts; in one of five draws some of them are up to a third slower."""
    cpus = rng.choice((4, 8, 16))
    speeds = (1.0, 1.0) if rng.random() < slower else (1.0, rng.uniform(0.65, 0.9))
    return [
        HostSpec(
            name=f"host{n}",
            cpus=cpus,
            memory_bytes=256 * GIB,
            speed=rng.choice(speeds),
            link_bytes_per_s=link_bytes_per_s,
        )
        for n in range(count)
    ]


def _jobs(
    rng: Random, hosts: list[HostSpec], length_s: float, count: int, talk: Talk | None = None
) -> tuple[list[GuestSpec], list[JobSpec]]:
    """Jobs of 4 to 32 ranks, in guests of 1, 2 or 4, on hosts that none of them overloads; mostly some stay empty.

    Two jobs have hosts of their own, two at least, as batch systems give them out; otherwise there is one.
    """
    talk = talk or Talk(0.0, 0.3, min(110e6, hosts[0].link_bytes_per_s))
    used = rng.sample(
        hosts, rng.randint(max(2, len(hosts) // 2), len(hosts) - 1 if rng.random() < 0.85 else len(hosts))
    )
    count = min(count, len(used) // 2)
    guests: list[GuestSpec] = []
    jobs: list[JobSpec] = []
    for number in range(count):
        ranks_each = rng.choice((1, 2, 4))
        wanted = max(2, rng.randint(4, 32) // ranks_each)
        memory = drawing.memory_bytes(rng, hosts[0].link_bytes_per_s)
        own = used[number::count]
        rooms = [Room(host, host.cpus, host.memory_bytes - ROOM_FOR_NOISE_BYTES) for host in own]
        places = drawing.place_ranks(rng, rooms, wanted, ranks_each, memory)
        written = drawing.writes(rng, memory, 0.5)
        names = [f"job{number}-{n}" for n in range(len(places))]
        for guest, place in zip(names, places, strict=True):
            guests.append(GuestSpec(name=guest, host=place, vcpus=ranks_each, memory_bytes=memory, writes=written))
        length_of_it_s = length_s * (1.0 if number == 0 else rng.uniform(0.3, 1.0))
        jobs.append(drawing.job(rng, f"job{number}", names, ranks_each, length_of_it_s, talk))
    return guests, jobs


def _noise(rng: Random, hosts: list[HostSpec], guests: list[GuestSpec], count: int) -> list[GuestSpec]:
    """Guests that belong to nobody's job, rather where ranks are; half of them are never to be moved."""
    bearers = [host for host in hosts if any(guest.host == host.name for guest in guests)]
    found = []
    for number in range(min(count, 16)):
        host = rng.choice(bearers if rng.random() < 0.7 else hosts)
        memory = min(4 * GIB, drawing.memory_bytes(rng, host.link_bytes_per_s))
        found.append(
            GuestSpec(
                name=f"noise{number}",
                host=host.name,
                vcpus=max(1, rng.randint(host.cpus // 4, host.cpus)),
                memory_bytes=memory,
                tags=_pinned(rng),
            )
        )
    return found


def _pinned(rng: Random) -> tuple[str, ...]:
    return (NEVER_TAG,) if rng.random() < 0.5 else ()


def _levels(link_bytes_per_s: float) -> dict[Level, LevelSpec]:
    """Within a switch the NIC is the limit; within a host netback, slower than a fast NIC, faster than a slow one."""
    return {Level.SAME_SWITCH: LevelSpec(bandwidth_bytes_per_s=link_bytes_per_s * 0.94, latency_s=80e-6)}


def _case(
    rng: Random,
    name: str,
    hosts: list[HostSpec],
    guests: list[GuestSpec],
    jobs: list[JobSpec],
    hogs: list[HogSpec],
    levels: dict[Level, LevelSpec],
    rule_set: str,
) -> Case:
    pool = replace(
        PoolSpec(name=name, hosts=tuple(hosts), guests=tuple(guests), jobs=tuple(jobs), levels=levels),
        rule_set=rule_set,
    )
    takes_s = undisturbed_s(pool)
    asked_s = {job: drawing.asked_s(rng, seconds) for job, seconds in takes_s.items()}
    link_errors = {level: rng.gauss(0.0, BANDWIDTH_ERROR / 2) for level in Level}
    clock_errors = {speed: rng.gauss(0.0, CLOCK_ERROR / 2) for speed in sorted({host.speed for host in hosts})}
    return Case(
        name=name,
        pool=replace(pool, hogs=tuple(hogs)),
        asked_s=asked_s,
        horizon_s=PATIENCE * max(takes_s.values()),
        link_errors=link_errors,
        clock_errors={host.name: clock_errors[host.speed] for host in hosts},
    )


def undisturbed_s(pool: PoolSpec) -> dict[str, float]:
    """Return how long each job takes if nothing ever changes."""
    cluster = Cluster(pool)
    assert cluster.next_event_s is not None  # forms the rates
    return {job.name: job.spec.steps / job.steps_per_s for job in cluster.jobs.values()}


SETS: Final[Mapping[str, Callable[[Random, str], Case]]] = MappingProxyType(
    {
        "mixed": _mixed,
        "seed-like": _seed_like,
        "communication": _communication,
        "failing": _failing,
        "adversarial": _adversarial,
    }
)

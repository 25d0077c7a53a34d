"""The forecast: 48 hours of weather by BRAMS on 16 hosts, drawn from a seed as a case of the evaluation.

It is computed in a day to a day and a half. A step stands for 30 s of weather. Radiation is worked out every half hour
of it, history dumped every hour; where there are clouds microphysics takes more work, and clouds wander over the
domain. Meanwhile other users' jobs come and go, on hosts that their batch system takes for free, loads come and go in
guests of nobody's job, one host degrades, fails and dies, another is taken out of service for two hours, and the
controller is restarted three times.
"""

from math import ceil
from random import Random
from typing import Final

from migd_core.health import HealthState
from migd_core.units import GIB, MIB, PAGE_BYTES
from migd_core.world import Level
from migd_sim.model.spec import FrontSpec, GuestSpec, HogSpec, HostSpec, JobSpec, LevelSpec, PhaseSpec, PoolSpec
from migd_sim.model.writes import ArraySweep, RandomWrites
from migd_sim.run.evaluation.case import Case, Death, HealthTurn, Maintenance
from migd_sim.run.evaluation.drawing import between
from migd_sim.run.evaluation.sets import NEVER_TAG

HOUR_S: Final = 3600.0
FORECAST: Final = "brams"
HOSTS: Final = 16
OLDER_HOSTS: Final = 2
CPUS: Final = 8
NIC_BYTES_PER_S: Final = 1.25e9
GUESTS: Final = 32
RANKS_A_GUEST: Final = 2
RANKS: Final = GUESTS * RANKS_A_GUEST
STEPS_AN_HOUR: Final = 120
STEP_WORK_S: Final = 14.0
FRONTS: Final = 3
OTHER_JOBS: Final = 10
LOADS: Final = 12
# It takes about so much longer than its steps' plain work, with nobody in its way.
WEATHER_RATIO: Final = 1.15


def brams(seed: int, weather_h: int = 48) -> Case:
    """Return the forecast for a seed. A shorter one has fewer others beside it, at the same rate."""
    rng = Random(f"brams {seed} {weather_h}")
    steps = weather_h * STEPS_AN_HOUR
    # When others come: the time that the forecast takes with nobody in its way, about.
    span_s = WEATHER_RATIO * STEP_WORK_S * steps
    hosts = [
        HostSpec(
            name=f"xen{n:02}",
            cpus=CPUS,
            memory_bytes=128 * GIB,
            link_bytes_per_s=NIC_BYTES_PER_S,
            speed=1.0 if n <= HOSTS - OLDER_HOSTS else 0.85,
        )
        for n in range(1, HOSTS + 1)
    ]
    guests = [_rank(n, hosts[n % HOSTS]) for n in range(GUESTS)]
    jobs = [_forecast(rng, guests, steps)]
    for number in range(ceil(OTHER_JOBS * weather_h / 48)):
        theirs, job = _other(rng, number, hosts, span_s)
        guests += theirs
        jobs.append(job)
    loads, hogs = _loads(rng, hosts, span_s)
    first, second = rng.sample(hosts[: HOSTS - OLDER_HOSTS], 2)
    degraded_s = rng.uniform(0.2, 0.6) * span_s
    failing_s = degraded_s + between(rng, 0.2 * HOUR_S, 2 * HOUR_S)
    level = LevelSpec(bandwidth_bytes_per_s=0.94 * NIC_BYTES_PER_S, latency_s=50e-6)
    near = LevelSpec(bandwidth_bytes_per_s=2e9, latency_s=40e-6)
    return Case(
        name=f"brams-{seed}",
        pool=PoolSpec(
            name=f"brams-{seed}",
            hosts=tuple(hosts),
            guests=(*guests, *loads),
            jobs=tuple(jobs),
            hogs=tuple(hogs),
            levels={Level.SAME_SWITCH: level, Level.SAME_HOST: near},
        ),
        asked_s={job.name: 6.0 * job.steps * STEP_WORK_S for job in jobs},
        horizon_s=5 * span_s,
        turns=(
            HealthTurn(degraded_s, first.name, HealthState.DEGRADED),
            HealthTurn(failing_s, first.name, HealthState.FAILING),
        ),
        deaths=(Death(failing_s + between(rng, 0.3 * HOUR_S, 2 * HOUR_S), first.name),),
        maintenances=(
            Maintenance(host=second.name, at_s=rng.uniform(0.3, 0.8) * span_s, grace_s=1800.0, lasts_s=2 * HOUR_S),
        ),
        restarts_s=tuple(sorted(rng.uniform(0.0, span_s) for _ in range(3))),
        # Its history is what a forecast goes on from.
        checkpoint_steps=STEPS_AN_HOUR,
        clock_errors={host.name: rng.gauss(0.0, 0.01) for host in hosts},
    )


def _rank(number: int, host: HostSpec) -> GuestSpec:
    """A guest of the forecast: its part of the domain is swept once a step, some tables are written all the time."""
    swept, tables = 1536 * MIB // PAGE_BYTES, 96 * MIB // PAGE_BYTES
    return GuestSpec(
        name=f"brams-{number:02}",
        host=host.name,
        vcpus=RANKS_A_GUEST,
        memory_bytes=4 * GIB,
        writes=(ArraySweep(pages=swept, period_s=STEP_WORK_S), RandomWrites(pages=tables, tau_s=2.0)),
    )


def _forecast(rng: Random, guests: list[GuestSpec], steps: int) -> JobSpec:
    return JobSpec(
        name=FORECAST,
        ranks=tuple(guest.name for guest in guests for _ in range(RANKS_A_GUEST)),
        work_s=STEP_WORK_S,
        exchange_bytes=24e6,
        phases=(
            PhaseSpec(name="radiation", every_steps=STEPS_AN_HOUR // 2, steps=1, work_factor=3.0),
            PhaseSpec(name="history", every_steps=STEPS_AN_HOUR, steps=1, extra_s=25.0, writes_ratio=0.05),
        ),
        fronts=tuple(_front(rng, number, steps) for number in range(FRONTS)),
        steps=steps,
        reports_progress=True,
    )


def _front(rng: Random, number: int, steps: int) -> FrontSpec:
    """Clouds that take a quarter to three quarters of the forecast to go over much of the domain."""
    over = rng.randint(RANKS // 3, RANKS)
    lasts_steps = int(rng.uniform(0.25, 0.75) * steps)
    return FrontSpec(
        name=f"front-{number + 1}",
        first_rank=rng.randrange(RANKS),
        width_ranks=rng.randint(4, 10),
        over_ranks=over,
        steps_a_rank=max(1, lasts_steps // over),
        work_factor=rng.uniform(1.1, 1.35),
        from_step=rng.randrange(steps // 2),
    )


def _other(rng: Random, number: int, hosts: list[HostSpec], span_s: float) -> tuple[list[GuestSpec], JobSpec]:
    """Somebody else's job: 2 to 4 guests of 2 or 4 ranks, an hour to eight long."""
    ranks_each = rng.choice((2, 4))
    theirs = [
        GuestSpec(
            name=f"user{number:02}-{n}",
            host=host.name,
            vcpus=ranks_each,
            memory_bytes=4 * GIB,
            writes=(ArraySweep(pages=_pages(rng), period_s=between(rng, 5.0, 60.0)),),
        )
        for n, host in enumerate(rng.sample(hosts, rng.randint(2, 4)))
    ]
    step_s = between(rng, 0.5, 10.0)
    job = JobSpec(
        name=f"user{number:02}",
        ranks=tuple(guest.name for guest in theirs for _ in range(ranks_each)),
        work_s=step_s,
        exchange_bytes=step_s * 2e6,
        starts_s=rng.uniform(0.0, 0.9) * span_s,
        steps=ceil(between(rng, HOUR_S, 8 * HOUR_S) / step_s),
    )
    return theirs, job


def _pages(rng: Random) -> int:
    """Return a quarter to one and a half GiB, in pages."""
    return int(between(rng, 256 * MIB, 1536 * MIB)) // PAGE_BYTES


def _loads(rng: Random, hosts: list[HostSpec], span_s: float) -> tuple[list[GuestSpec], list[HogSpec]]:
    """Guests of nobody's job: compilers and post-processing for minutes to hours; half of them must not be moved."""
    loads = [
        GuestSpec(
            name=f"load{n:02}",
            host=rng.choice(hosts).name,
            vcpus=rng.choice((2, 4, 6)),
            memory_bytes=2 * GIB,
            tags=(NEVER_TAG,) if rng.random() < 0.5 else (),
        )
        for n in range(LOADS)
    ]
    hogs: list[HogSpec] = []
    for load in loads:
        at_s = rng.uniform(0.0, 0.4) * span_s
        while at_s < span_s:
            lasts_s = between(rng, 0.1 * HOUR_S, 5 * HOUR_S)
            hogs.append(HogSpec(guest=load.name, vcpus=load.vcpus, starts_s=at_s, lasts_s=lasts_s))
            at_s += lasts_s + between(rng, 0.5 * HOUR_S, 8 * HOUR_S)
    return loads, hogs

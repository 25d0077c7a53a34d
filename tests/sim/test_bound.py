"""The bound: no placement of a job's guests is faster than the state that stands for it, however they are placed."""

import random
from itertools import product

import pytest
from msgspec.structs import replace

from migd_core.units import GIB, MIB
from migd_core.world import Level
from migd_sim.model import Cluster, PoolSpec
from migd_sim.model.spec import GuestSpec, HostSpec, JobSpec, LevelSpec
from migd_sim.run.evaluation.by_count import counted
from migd_sim.run.evaluation.case import Case
from migd_sim.run.evaluation.relaxed import relax
from migd_sim.run.evaluation.talk_left import Slow

# What the simulated Dom0s are off by, which the bound takes at their idle; and talk that is not worth a move.
SLACK_RATIO = 1.011


def small(seed: int) -> Case:
    """Three hosts, four guests of one job that talk a lot, nothing else."""
    rng = random.Random(seed)
    link, cpus = rng.choice((11.7e6, 117e6, 1.25e9)), rng.choice((4, 8))
    switches = ("one", "other") if rng.random() < 0.3 else ("one",)
    hosts = tuple(
        HostSpec(
            name=f"h{n}",
            cpus=cpus,
            memory_bytes=64 * GIB,
            link_bytes_per_s=link,
            speed=rng.choice((1.0, 1.0, 0.8)),
            switch=switches[n % len(switches)],
        )
        for n in range(3)
    )
    ranks_each = rng.choice((1, 2))
    guests = tuple(
        GuestSpec(name=f"g{n}", host=f"h{rng.randrange(3)}", vcpus=ranks_each, memory_bytes=256 * MIB) for n in range(4)
    )
    ranks = tuple(guest.name for guest in guests for _ in range(ranks_each))
    job = JobSpec(name="job", ranks=ranks, work_s=0.1, exchange_bytes=rng.uniform(0.01, 0.2) * link, steps=1000)
    levels = {Level.SAME_SWITCH: LevelSpec(bandwidth_bytes_per_s=link * 0.94, latency_s=80e-6)}
    pool = PoolSpec(name="small", hosts=hosts, guests=guests, jobs=(job,), levels=levels)
    return Case(name="small", pool=pool, asked_s={}, horizon_s=1e6)


def steps_per_s(case: Case, place: dict[str, str]) -> float:
    """Return how fast the job really is with its guests there."""
    guests = tuple(replace(guest, host=place[guest.name]) for guest in case.pool.guests)
    cluster = Cluster(replace(case.pool, guests=guests))
    cluster.run_until(1.0)  # Dom0's part follows from the traffic
    (job,) = cluster.jobs.values()
    return job.steps_per_s


@pytest.mark.parametrize("seed", range(24))
def test_no_placement_is_faster_than_its_state(seed: int) -> None:
    case = small(seed)
    home = {guest.name: guest.host for guest in case.pool.guests}
    relaxed = relax(case, case.pool.jobs[0])
    for_speed = relax(case, case.pool.jobs[0], talk_is_free=True)
    by_count = counted(case, relaxed)
    assert (len(relaxed.epochs), len(for_speed.epochs)) == (1, 1)
    for hosts in product([host.name for host in case.pool.hosts], repeat=4):
        place = dict(zip(home, hosts, strict=True))
        away = {guest for guest in home if place[guest] != home[guest]}
        true = steps_per_s(case, place)
        if by_count is not None:
            assert true <= SLACK_RATIO * by_count.epochs[0].steps_per_s[len(away)], place
        for one in (relaxed, for_speed):
            counts = tuple(min(group.size, sum(guest in away for guest in group.guests)) for group in one.groups)
            assert true <= SLACK_RATIO * one.epochs[0].steps_per_s[one.states.index(counts)], place


def test_a_guest_that_is_away_mends_the_messages_that_it_takes_part_in() -> None:
    ring = Slow([("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")], lambda left: float(left))
    at_home = {"a": "x", "b": "y", "c": "x", "d": "y"}
    assert [ring.left(at_home, {"x": count}) for count in range(4)] == [4, 2, 0, 0]
    assert ring.left(at_home, {"x": 1, "y": 1}) == 0  # at least: a and c are not told apart, so neither are b and d
    assert ring.left(dict.fromkeys("abcd", "anywhere"), {"anywhere": 1}) == 2


def test_each_number_of_guests_away_takes_as_many_moves_at_least() -> None:
    case = next(case for case in map(small, range(100)) if counted(case, relax(case, case.pool.jobs[0])) is not None)
    by_count = counted(case, relax(case, case.pool.jobs[0]))
    assert by_count is not None
    one, three = by_count.change(0, 1), by_count.change(4, 1)
    turns = -(-3 // by_count.homes)
    assert (three.lasts_s, three.lost_s) == (turns * one.lasts_s, turns * one.lost_s)
    assert one == by_count.cheapest

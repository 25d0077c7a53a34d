"""Job-time: sets of moves that end jobs earlier, or nothing."""

import math
import random
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import flow, guest, host, job, move, topology, world
from migd_core.health import HealthState, HostHealth
from migd_core.messages import DirtyCurve
from migd_core.pricing import Pricing
from migd_core.units import GIB
from migd_core.world import EVACUATION, PAPER_LINKS, Guest, Move, Plan, World
from migd_policies.job_time import JobTime
from migd_policies.ledger import price
from migd_policies.own_load import without_own_load
from migd_policies.scoring import job_step_ratios
from migd_policies.step_times import StepTimes
from random_worlds import worlds

QUIET = DirtyCurve((0.1, 1.0, 10.0), (100, 1000, 5000))
HOT = DirtyCurve((0.1, 1.0, 10.0), (100_000, 800_000, 1_000_000))
MB = 1e6


def rank(name: str, on: str, curve: DirtyCurve = QUIET, demand: float | None = None, job: str = "brams") -> Guest:
    return guest(name, on=on, job=job, dirty_curve=curve, demand=demand)


def going(plan: Plan) -> dict[str, str]:
    return {one.guest: one.target for one in plan.moves}


def two_slow_ranks(remaining_s: float | None = None) -> World:
    """Hosts `a` and `b` are overloaded by a quarter, each with one rank; `c` and `d` are empty."""
    hosts = [host("a", load=1.0), host("b", load=1.0), host("c"), host("d")]
    return world(
        *hosts, rank("rank0", "a"), rank("rank1", "b"), job("brams", "rank0", "rank1", remaining_s=remaining_s)
    )


def test_two_equally_slow_ranks_move_as_one_set():
    plan = JobTime().propose(two_slow_ranks())
    assert going(plan) == {"rank0": "c", "rank1": "d"}
    assert {one.together for one in plan.moves} == {"brams"}
    assert plan.reason.code == "job-time"


def with_failing_a(before: World) -> World:
    broken = HostHealth(state=HealthState.FAILING, reasons=("its memory is broken",))
    hosts = {**before.hosts, "a": replace(before.hosts["a"], health=broken)}
    return replace(before, hosts=MappingProxyType(hosts))


def test_guests_of_a_failing_host_leave_it_though_no_step_gets_shorter():
    before = world(host("a"), host("b"), host("c"), rank("rank0", "a"), rank("rank1", "b"))
    assert JobTime().propose(before).moves == ()
    plan = JobTime().propose(with_failing_a(before))
    assert (going(plan), plan.reason.code, plan.moves[0].reason.code) == ({"rank0": "c"}, EVACUATION, EVACUATION)
    assert plan.reason.text.startswith("guests to leave a: 1, the last in about ")
    assert "; besides: no job could gain more than " in plan.reason.text
    assert JobTime(leaves_failing=False).propose(with_failing_a(before)).moves == ()


def test_a_failing_host_that_nobody_is_on_changes_nothing():
    before = world(host("a"), host("b"), rank("rank0", "b"))
    assert JobTime().propose(with_failing_a(before)) == JobTime().propose(before)


def test_while_a_failing_host_is_left_jobs_elsewhere_get_faster():
    before = world(
        *(host("a"), host("b", load=1.0), host("c"), host("d")),
        *(rank("rank0", "a", job="one"), rank("rank1", "b", job="other")),
        *(job("one", "rank0"), job("other", "rank1")),
    )
    assert going(JobTime().propose(with_failing_a(before))) == {"rank0": "c", "rank1": "d"}


def test_one_of_two_equally_slow_ranks_is_left_where_the_other_cannot_move():
    before = two_slow_ranks()
    pinned = replace(before.guests["rank1"], immovable_because="it is tagged migd:never")
    before = replace(before, guests=MappingProxyType({**before.guests, "rank1": pinned}))
    plan = JobTime().propose(before)
    assert plan.moves == ()
    assert plan.reason.code == "no-move"


def test_a_job_that_ends_soon_is_left_alone():
    plan = JobTime().propose(two_slow_ranks(remaining_s=60.0))
    assert plan.moves == ()
    assert plan.reason.code in ("no-move", "not-worth-it")


def test_a_rank_without_a_twin_moves_alone_and_belongs_to_no_set():
    before = world(host("a", load=1.0), host("b"), host("c"), rank("rank0", "a"), rank("rank1", "b"))
    (only,) = JobTime().propose(before).moves
    assert (only.guest, only.together) == ("rank0", "")
    assert only.target == "c"


def test_of_two_guests_of_one_host_the_one_that_writes_less_moves():
    slow = [
        rank("hot", "a", HOT),
        rank("calm", "a", job="other"),
        *(rank(f"x{n}", "a", HOT, job="x") for n in range(3)),
    ]
    before = world(host("a", cpus=4), host("b"), *slow)
    assert going(JobTime().propose(before)) == {"calm": "b"}


def test_a_neighbour_that_would_lose_more_is_not_crowded():
    crowd = [rank(f"x{n}", "b", job="wide") for n in range(4)]
    before = world(host("a", load=1.0), host("b"), rank("rank0", "a"), *crowd)
    plan = JobTime().propose(before)
    assert plan.moves == ()


def test_once_a_job_is_named_no_rank_makes_way_for_a_guest_that_nobody_waits_for():
    hog = guest("hog", on="a", vcpus=4, immovable_because="it is tagged migd:never", dirty_curve=QUIET)
    ranks = [rank("rank0", "a"), rank("rank1", "b", demand=1.0)]
    stuck = guest("wide", on="b", vcpus=4, immovable_because="it is tagged migd:never", dirty_curve=QUIET)
    pinned = replace(ranks[1], immovable_because="it is tagged migd:never")
    hosts = [host("a"), host("b"), host("c")]
    assert JobTime().propose(world(*hosts, hog, stuck, ranks[0], pinned)).moves == ()
    nobody_named = [replace(one, job=None) for one in (ranks[0], pinned)]
    assert going(JobTime().propose(world(*hosts, hog, stuck, *nobody_named))) == {"rank0": "c"}


def test_a_rank_changes_places_with_a_guest_that_wants_less():
    big = guest("big", on="a", vcpus=4, immovable_because="it is tagged migd:never", job="big")
    beside = [rank("half", "b", demand=0.5, job="half"), rank("whole", "b", job="whole")]
    before = world(host("a", cpus=4), host("b", cpus=2), big, rank("rank0", "a"), *beside)
    plan = JobTime().propose(replace(before, pricing=Pricing(horizon_s=3600.0)))
    # alone on top of `b` it would be as slow there as it is, and slow down two others
    assert going(plan) == {"rank0": "b", "half": "a"}


def test_a_chatty_rank_goes_where_its_messages_are_faster():
    ranks = [rank("rank0", "a"), rank("rank1", "b")]
    levels = topology(PAPER_LINKS, a="r1", b="r2", c="r2")
    hosts = [host("a", memory_bytes=5 * GIB), host("b", memory_bytes=5 * GIB), host("c")]
    small = [replace(one, memory_bytes=GIB // 4) for one in ranks]
    before = world(*hosts, *small, flow("rank0", "rank1", 1.2 * MB), job("brams", "rank0", "rank1"), topology=levels)
    plan = JobTime().propose(replace(before, pricing=Pricing(horizon_s=86400.0)))
    assert plan.moves
    assert job_step_ratios(before, *plan.moves)["brams"] < 0.6


def test_a_load_that_was_lower_a_period_ago_moves_nothing():
    before = two_slow_ranks()
    calm = {uuid: replace(h, recent_load_ratios=(0.5, 0.5, h.load_ratio)) for uuid, h in before.hosts.items()}
    plan = JobTime().propose(replace(before, hosts=MappingProxyType(calm)))
    assert plan.moves == ()
    assert plan.reason.code == "not-sustained"


def test_what_cannot_be_priced_is_not_proposed():
    before = two_slow_ranks()
    unknown = {uuid: replace(h, link_bytes_per_s=0.0) for uuid, h in before.hosts.items()}
    before = replace(before, hosts=MappingProxyType(unknown), pricing=Pricing(bandwidth_bytes_per_s=0.0))
    assert JobTime().propose(before).moves == ()


def test_the_rest_of_a_set_follows_while_its_first_move_is_under_way():
    before = two_slow_ranks().with_in_flight(move("rank0", "a", "c"))
    assert going(JobTime().propose(before)) == {"rank1": "d"}


def test_what_migrating_asks_of_dom0_drives_nobody_away():
    """The hosts of a migration want a third more while it lasts, and all of their guests fit."""
    ranks = [rank(f"rank{n}", "a", job=f"job{n}") for n in range(4)]
    before = world(host("a", load=0.35), host("b", load=0.35), host("c"), host("d"), *ranks, rank("leaving", "a"))
    assert JobTime().propose(before).moves
    under_way = before.with_in_flight(move("leaving", "a", "b"))
    assert JobTime().propose(under_way).moves
    assert JobTime().propose(without_own_load(under_way)).moves == ()


SETTINGS = st.builds(
    JobTime,
    min_gain_s=st.sampled_from((0.01, 10.0, 60.0)),
    certainty_sds=st.sampled_from((0.0, 1.0, 2.0)),
    max_moves=st.integers(1, 8),
)


@st.composite
def counted_worlds(draw: st.DrawFn) -> World:
    """Worlds whose guests' dirty pages were counted, and whose jobs end at some time."""
    before, some = draw(worlds()), random.Random(draw(st.integers(0, 2**16)))
    guests = {uuid: replace(g, dirty_curves=(some.choice((QUIET, HOT)),)) for uuid, g in before.guests.items()}
    jobs = {
        name: job(name, *each.guests, remaining_s=some.choice((None, 30.0, 600.0, 7200.0)))
        for name, each in before.jobs.items()
    }
    return replace(before, guests=MappingProxyType(guests), jobs=MappingProxyType(jobs))


@settings(max_examples=150, deadline=None)
@given(before=counted_worlds(), policy=SETTINGS)
def test_every_set_gains_what_it_must_for_sure_with_those_before_it_under_way(before: World, policy: JobTime):
    sets: dict[str, list[Move]] = {}
    moves_proposed = policy.propose(before).moves
    for one in moves_proposed:
        sets.setdefault(one.together or one.guest, []).append(one)
    for moves in sets.values():
        assert price(before, moves).sure_s(policy.certainty_sds) >= policy.min_gain_s
        for one in moves:
            before = before.with_in_flight(one)


@settings(max_examples=150, deadline=None)
@given(before=worlds(), data=st.data())
def test_step_times_by_difference_are_those_of_scoring(before: World, data: st.DataObject):
    if not before.guests or len(before.hosts) < 2:
        return
    some = data.draw(st.randoms(use_true_random=False))
    chosen = some.sample(sorted(before.guests), min(len(before.guests), some.randint(1, 4)))
    moving = {one.guest for one in before.moves_in_flight}
    moves = [
        move(uuid, before.guests[uuid].host, target)
        for uuid in chosen
        if uuid not in moving and (target := some.choice(sorted(before.hosts))) != before.guests[uuid].host
    ]
    times = StepTimes(before)
    found = times.ratios(times.changed({one.guest: one.target for one in moves}))
    expected = job_step_ratios(before, *moves)
    assert {name: found.get(name, 1.0) for name in expected} == pytest.approx(dict(expected))
    assert all(math.isclose(ratio, 1.0) for name, ratio in found.items() if name not in expected)

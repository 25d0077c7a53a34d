"""Evacuate: guests leave hosts that are failing, disabled or named, the smallest pause first, or rightly stay."""

from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import guest, host, job, move, world
from migd_core.health import HealthState, HostHealth
from migd_core.messages import DirtyCurve
from migd_core.pricing import Pricing
from migd_core.units import GIB
from migd_core.world import EVACUATION, Guest, Plan, World
from migd_policies.evacuate import Evacuate
from random_worlds import worlds

QUIET = DirtyCurve((0.1, 1.0, 10.0), (100, 1000, 5000))
HOT = DirtyCurve((0.1, 1.0, 10.0), (100_000, 800_000, 1_000_000))
FAILING = HostHealth(state=HealthState.FAILING, reasons=("memory A1 had 2 uncorrected errors",))
DEGRADED = HostHealth(state=HealthState.DEGRADED, reasons=("fan 2 turns at 300 RPM",))


def going(plan: Plan) -> list[tuple[str, str]]:
    return [(one.guest, one.target) for one in plan.moves]


def with_guest(before: World, uuid: str, **values: object) -> World:
    changed = replace(before.guests[uuid], **values)  # type: ignore[arg-type]
    return replace(before, guests=MappingProxyType({**before.guests, uuid: changed}))


def failing(*guests: Guest, **values: object) -> World:
    return world(host("a", health=FAILING), host("b", load=0.5), host("c"), *guests)


def test_guests_of_a_failing_host_leave_the_smallest_pause_first():
    hot, calm = guest("hot", on="a", dirty_curve=HOT), guest("tame", on="a", dirty_curve=QUIET)
    before = failing(hot, calm)
    plan = Evacuate().propose(before)
    assert going(plan) == [("tame", "c")]
    assert plan.moves[0].reason.code == EVACUATION
    assert plan.moves[0].reason.text.startswith(
        "host a is failing: memory A1 had 2 uncorrected errors; tame pauses for "
    )
    assert going(Evacuate(max_per_host=2).propose(before)) == [("tame", "c"), ("hot", "c")]


def test_a_healthy_cluster_is_left_alone():
    plan = Evacuate().propose(world(host("a"), host("b"), guest("rank0", on="a")))
    assert plan.moves == ()
    assert plan.reason.code == "no-host-to-leave"


@pytest.mark.parametrize(
    ("policy", "of_a"),
    [
        (Evacuate(), {"is_enabled": False}),
        (Evacuate(hosts="b2, a"), {}),
        (Evacuate(degraded=True), {"health": DEGRADED}),
    ],
)
def test_hosts_in_maintenance_and_on_request_degraded_ones_are_left(policy: Evacuate, of_a: dict[str, object]):
    before = world(host("a", **of_a), host("b"), guest("rank0", on="a"))  # type: ignore[arg-type]
    assert going(policy.propose(before)) == [("rank0", "b")]


def test_a_degraded_host_keeps_its_guests_unless_told_otherwise():
    before = world(host("a", health=DEGRADED), host("b"), guest("rank0", on="a"))
    assert Evacuate().propose(before).moves == ()


def test_no_guest_goes_to_a_host_that_is_to_be_emptied_itself():
    before = world(host("a", health=FAILING), host("b"), host("c", load=0.9), guest("rank0", on="a"))
    assert going(Evacuate(hosts="b").propose(before)) == [("rank0", "c")]


def test_a_name_that_is_no_host_is_told():
    plan = Evacuate(hosts="xen9").propose(world(host("a"), host("b")))
    assert "`hosts` names xen9, which is no host of the pool" in plan.reason.text


def test_guests_of_jobs_that_end_before_the_deadline_stay():
    parts = [guest("soon", on="a"), guest("long", on="a"), job("short", "soon", remaining_s=500.0)]
    before = world(host("a", is_enabled=False), host("b"), *parts, job("wide", "long", remaining_s=5000.0))
    plan = Evacuate(deadline_s=before.now_s + 600.0, max_per_host=2).propose(before)
    assert going(plan) == [("long", "b")]
    assert "soon (its job ends in 8 min 20 s)" in plan.reason.text


def test_a_failing_host_is_left_whatever_the_deadline_but_by_guests_that_end_before_they_could_be_away():
    parts = [guest("soon", on="a"), guest("now", on="a"), job("short", "soon", remaining_s=500.0)]
    before = failing(*parts, job("over", "now", remaining_s=5.0))
    plan = Evacuate(deadline_s=before.now_s + 600.0, max_per_host=2).propose(before)
    assert going(plan) == [("soon", "c")]


def test_a_deadline_that_cannot_be_kept_is_told():
    guests = [guest(f"rank{n}", on="a", memory_bytes=8 * GIB) for n in range(4)]
    before = world(host("a", is_enabled=False), host("b"), *guests)
    assert "too late for the deadline in 30 s" in Evacuate(deadline_s=before.now_s + 30.0).propose(before).reason.text
    assert "in time for the deadline" in Evacuate(deadline_s=before.now_s + 86400.0).propose(before).reason.text


def test_failing_hosts_are_left_before_others():
    before = world(
        host("a", is_enabled=False),
        host("b", health=FAILING),
        host("c"),
        guest("tame", on="a", dirty_curve=QUIET),
        guest("hot", on="b", dirty_curve=HOT),
    )
    assert going(Evacuate().propose(before)) == [("hot", "c")]


def test_cooldown_keeps_nobody_but_lets_others_go_first():
    before = with_guest(failing(guest("rank0", on="a"), guest("rank1", on="a")), "rank0", cooldown_s=1000.0)
    assert going(Evacuate().propose(before)) == [("rank1", "c")]
    alone = with_guest(failing(guest("rank0", on="a")), "rank0", cooldown_s=1000.0)
    assert going(Evacuate().propose(alone)) == [("rank0", "c")]


def test_a_guest_that_may_not_move_stays_and_is_told():
    before = failing(guest("rank0", on="a", immovable_because="it is tagged migd:never"), guest("rank1", on="a"))
    plan = Evacuate().propose(before)
    assert going(plan) == [("rank1", "c")]
    assert "guests that stay: rank0 (it is tagged migd:never)" in plan.reason.text


def test_a_host_whose_own_figures_are_doubted_lets_its_guests_go():
    doubted = host("a", health=FAILING, frozen_because="its agent sees 4 CPUs, the pool 8: one of them is wrong")
    assert going(Evacuate().propose(world(doubted, host("b"), guest("rank0", on="a")))) == [("rank0", "b")]


def test_guests_to_be_kept_apart_leave_for_different_hosts():
    guests = [guest(f"rank{n}", on="a", tags=("migd:apart=db",)) for n in range(2)]
    before = world(host("a", is_enabled=False), host("b"), host("c", load=0.9), *guests)
    assert sorted(target for _, target in going(Evacuate(max_per_host=2).propose(before))) == ["b", "c"]


def test_no_more_leave_than_may_beside_those_under_way():
    before = failing(guest("rank0", on="a"), guest("rank1", on="a")).with_in_flight(move("rank0", "a", "b"))
    plan = Evacuate().propose(before)
    assert plan.moves == ()
    assert plan.reason.code == "already-moving"


def test_where_nobody_has_room_nobody_leaves_and_that_is_told():
    before = world(host("a", health=FAILING), host("b", memory_bytes=GIB), guest("rank0", on="a"))
    plan = Evacuate().propose(before)
    assert plan.moves == ()
    assert plan.reason.code == "nobody-may-leave"
    assert "rank0 (no host that may receive takes it)" in plan.reason.text


def test_guests_leave_a_failing_host_even_where_no_link_is_known_to_carry_anything():
    before = world(
        host("a", health=FAILING, link_bytes_per_s=0.0),
        host("b", link_bytes_per_s=0.0),
        guest("rank0", on="a"),
        pricing=Pricing(bandwidth_bytes_per_s=0.0),
    )
    assert going(Evacuate().propose(before)) == [("rank0", "b")]


@settings(max_examples=150, deadline=None)
@given(before=worlds(), named=st.sets(st.sampled_from([f"host{n}" for n in range(6)])), each=st.integers(1, 8))
def test_every_prefix_of_the_order_has_its_memory(before: World, named: set[str], each: int):
    """Each guest takes its memory on its target before any that leaves frees its own."""
    plan = Evacuate(hosts=",".join(sorted(named)), max_per_host=each, max_concurrent=16).propose(before)
    free = {uuid: one.memory_free_bytes for uuid, one in before.hosts.items()}
    for one in plan.moves:
        free[one.target] -= before.guests[one.guest].memory_bytes
        assert free[one.target] >= 0
        assert one.target not in named
        assert before.hosts[one.target].may_receive

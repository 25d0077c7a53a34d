"""Each gate stops what it is there to stop, lets the rest through, and says so with its figures."""

from dataclasses import replace

import msgspec
import pytest
from msgspec.structs import replace as replaced

from builders import guest, host, job, move, world
from migd_controller.accounts import Entry
from migd_controller.config import GuardsSection
from migd_controller.decision import Bound, Gate, Price
from migd_controller.guards import Situation, judge
from migd_controller.holds import Hold
from migd_controller.pool_failures import Scope, Then
from migd_core.health import HealthState, HostHealth
from migd_core.job_limits import JobLimits
from migd_core.pricing import Interval
from migd_core.units import GIB
from migd_core.world import EVACUATION, Reason, World

NOW_S = 1000.0
PRICE = Price(total_s=30.0, pause_s=1.0, sent_bytes=1e9, cost_s=20.0, gain_s=120.0, basis="measured")
TWO_HOSTS = (host("a", memory_bytes=16 * GIB), host("b", memory_bytes=16 * GIB))
RANK = guest("rank0", on="a", memory_bytes=4 * GIB)
LIMITS = GuardsSection(cooldown_s=600.0, min_gain_s=10.0)


def situation(seen: World, **values: object) -> Situation:
    good = Situation(
        world=seen, limits=LIMITS, last_moved_at=None, price=PRICE, is_paused=False, is_pool_reachable=True
    )
    return replace(good, **values)  # type: ignore[arg-type]


def failed(seen: World, *, by_hand: bool = False, target: str = "b", **values: object) -> list[Gate]:
    gates = judge(move("rank0", "a", target), situation(seen, **values), by_hand=by_hand)
    return [gate for gate in gates if not gate.passed]


def test_a_good_move_passes_every_gate() -> None:
    gates = judge(move("rank0", "a", "b"), situation(world(*TWO_HOSTS, RANK)), by_hand=False)
    assert all(gate.passed for gate in gates)
    assert [gate.name for gate in gates] == [
        "known",
        "pause",
        "pool",
        "one-at-a-time",
        "movable",
        "target",
        "health",
        "placement",
        "anti-affinity",
        "rules",
        "capacity",
        "pool-limit",
        "source-limit",
        "target-limit",
        "hours",
        "cooldown",
        "rest",
        "behind",
        "stall",
        "gain",
    ]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (move("nobody", "a", "b"), "guest nobody is not running in this pool"),
        (move("rank0", "a", "nowhere"), "host nowhere is not in this pool"),
        (move("rank0", "b", "a"), "guest rank0 is on a, not on b"),
        (move("rank0", "a", "a"), "guest rank0 is on a already"),
    ],
)
def test_a_move_of_what_does_not_exist_meets_one_gate(asked: object, why: str) -> None:
    gates = judge(asked, situation(world(*TWO_HOSTS, RANK)), by_hand=False)  # type: ignore[arg-type]
    assert [(gate.name, gate.passed, gate.text) for gate in gates] == [("known", False, why)]


BRAMS = job("brams", "rank0", remaining_s=400.0)
COST_50 = Entry(cause="D1.1", ended_at=NOW_S - 100.0, cost_s=120.0, pause_s=12.0, gain_rate=0.2, lasts_s=600.0)


def test_a_job_that_past_moves_left_behind_is_let_catch_up() -> None:
    seen, standing = world(*TWO_HOSTS, RANK, BRAMS), {"job": "brams", "accounts": {"brams": (COST_50,)}}
    dear = msgspec.structs.replace(PRICE, gain_s=110.0)
    (gate,) = failed(seen, price=dear, **standing)
    assert (gate.name, gate.value, gate.threshold) == ("behind", pytest.approx(100.0), 60.0)
    assert gate.text == (
        "past moves have left job brams 100 s behind where it would be had it stayed (at most 60 s, or what this move "
        "makes up for sure)"
    )
    assert failed(seen, price=dear, by_hand=True, **standing) == []
    assert failed(replace(seen, now_s=NOW_S + 300.0), price=dear, **standing) == []
    assert failed(seen, price=msgspec.structs.replace(PRICE, gain_s=120.1), **standing) == [], "it makes up for it"


def test_a_job_stands_still_for_no_longer_than_its_budget() -> None:
    limits = msgspec.structs.replace(LIMITS, stall_per_hour_s=12.5, behind_at_least_s=600.0)
    seen, standing = world(*TWO_HOSTS, RANK, BRAMS), {"job": "brams", "accounts": {"brams": (COST_50,)}}
    (gate,) = failed(seen, limits=limits, **standing)
    assert (gate.name, gate.value, gate.threshold) == ("stall", pytest.approx(13.0), 12.5)
    assert failed(seen, limits=limits, job="brams") == []


def test_a_job_is_not_stalled_in_its_last_minutes() -> None:
    """The guest stands still at the end of its migration, which takes 30 s."""
    limits = msgspec.structs.replace(LIMITS, no_stall_last_s=600.0)
    (gate,) = failed(world(*TWO_HOSTS, RANK, BRAMS), limits=limits, job="brams")
    assert (gate.name, gate.value, gate.threshold) == ("stall", 370.0, 600.0)
    assert failed(world(*TWO_HOSTS, RANK, BRAMS), limits=replaced(limits, no_stall_last_s=370.0), job="brams") == []
    assert failed(world(*TWO_HOSTS, RANK), limits=limits, job="brams") == [], "nobody knows when it ends"


def test_a_jobs_own_budget_counts_instead_of_everybodys() -> None:
    seen, standing = world(*TWO_HOSTS, RANK, BRAMS), {"job": "brams", "accounts": {"brams": (COST_50,)}}
    limits = replaced(LIMITS, stall_per_hour_s=5.0, behind_at_least_s=600.0, no_stall_last_s=600.0)
    own = JobLimits(stall_per_hour_s=12.0, no_stall_last_s=0.0)
    (gate,) = failed(seen, limits=limits, own=own, **standing)
    assert gate.text == (
        "job brams has stood still for 12 s within an hour, and this adds up to 1.0 s (at most 12 s, its own limit)"
    )
    assert (gate.name, gate.value, gate.threshold) == ("stall", 13.0, 12.0)
    assert failed(seen, limits=limits, own=replaced(own, stall_per_hour_s=13.0), **standing) == []
    (gate,) = failed(seen, limits=limits, own=replaced(own, no_stall_last_s=380.0), **standing)
    assert gate.text == (
        "job brams would stand still 6 min 10 s before it ends, and is not stalled in its last 6 min 20 s, its own limit"
    )


def test_a_guest_that_leaves_for_its_safety_is_stalled_whatever_its_job_asked_for() -> None:
    leaving = replace(move("rank0", "a", "b"), reason=Reason(EVACUATION, "host a is failing"))
    own = JobLimits(stall_per_hour_s=0.0, allowed_hours=("Sat 00:00-24:00",))
    seen = situation(world(*TWO_HOSTS, RANK, BRAMS), job="brams", own=own, is_jobs_hour=False)
    assert [gate.name for gate in judge(leaving, seen, by_hand=False) if not gate.passed] == []
    assert [gate.name for gate in judge(move("rank0", "a", "b"), seen, by_hand=False) if not gate.passed] == [
        "hours",
        "stall",
    ]


def test_a_guest_that_leaves_for_its_safety_rests_after_a_failure_and_skips_what_weighs_gain_alone() -> None:
    leaving = replace(move("rank0", "a", "b"), reason=Reason(EVACUATION, "host a is failing"))
    rest = Hold(
        guest="rank0",
        guest_name="rank0",
        target="b",
        target_name="b",
        then=Then.RETRY_LATER,
        scope=Scope.GUEST,
        code="INTERNAL_ERROR",
        text="it failed",
        cause="D1.1",
        at=NOW_S,
        until=NOW_S + 600.0,
    )
    seen = situation(world(*TWO_HOSTS, RANK), rest=rest, last_moved_at=NOW_S, price=None)
    assert [gate.name for gate in judge(leaving, seen, by_hand=False) if not gate.passed] == ["rest"]


def test_nothing_moves_while_paused() -> None:
    assert [gate.name for gate in failed(world(*TWO_HOSTS, RANK), is_paused=True)] == ["pause"]


def test_nothing_is_asked_of_a_pool_that_does_not_answer() -> None:
    assert [gate.name for gate in failed(world(*TWO_HOSTS, RANK), is_pool_reachable=False)] == ["pool"]


def test_a_guest_that_may_not_move_stays_with_its_reason() -> None:
    (gate,) = failed(world(*TWO_HOSTS, replace(RANK, immovable_because="it is tagged migd:never")))
    assert gate.text == "guest rank0 may not be migrated: it is tagged migd:never"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (host("b", is_enabled=False), "host b receives nothing: it is disabled or being evacuated"),
        (host("b", frozen_because="last sample is 9.0 s old (limit 5 s)"), "last sample is 9.0 s old"),
    ],
)
def test_disabled_or_silent_host_receives_nothing(target: object, why: str) -> None:
    (gate,) = failed(world(TWO_HOSTS[0], target, RANK))  # type: ignore[arg-type]
    assert gate.name == "target"
    assert why in gate.text


@pytest.mark.parametrize(
    ("state", "passes", "text"),
    [
        (HealthState.FAILING, False, "host b is failing: disk sda is dying; fan 2 stands still"),
        (
            HealthState.DEGRADED,
            True,
            "host b is degraded, which does not forbid it: disk sda is dying; fan 2 stands still",
        ),
        (HealthState.OK, True, "nothing bad was found on host b by hwmon, smart"),
        (HealthState.UNKNOWN, True, "nobody watches the health of host b"),
    ],
)
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_failing_host_receives_nothing_by_hand_either(
    state: HealthState, passes: bool, text: str, by_hand: bool
) -> None:
    reasons = ("disk sda is dying", "fan 2 stands still")
    ill = host("b", health=HostHealth(state=state, reasons=reasons, watched=("hwmon", "smart")))
    gates = judge(move("rank0", "a", "b"), situation(world(TWO_HOSTS[0], ill, RANK)), by_hand=by_hand)
    assert [(gate.passed, gate.text) for gate in gates if gate.name == "health"] == [(passes, text)]


def test_guests_may_leave_a_failing_host() -> None:
    ill = host("a", health=HostHealth(state=HealthState.FAILING, reasons=("disk sda is dying",)))
    assert failed(world(ill, TWO_HOSTS[1], RANK)) == []


def test_full_host_receives_nothing_and_moves_in_flight_fill_it() -> None:
    resident = guest("big", on="b", memory_bytes=10 * GIB)
    arriving = guest("other", on="c", memory_bytes=3 * GIB)
    parts = (*TWO_HOSTS, host("c"), RANK, resident, arriving)
    assert failed(world(*parts)) == []
    (gate,) = failed(
        world(*parts, in_flight=[move("other", "c", "b")]), limits=GuardsSection(max_concurrent_per_target=2)
    )
    assert (gate.name, gate.value, gate.threshold, gate.unit) == ("capacity", 4.0 * GIB, 3.0 * GIB, "bytes")


def test_the_reserve_of_a_host_stays_free() -> None:
    resident = guest("big", on="b", memory_bytes=12 * GIB)
    assert failed(world(*TWO_HOSTS, RANK, resident)) == []
    (gate,) = failed(world(*TWO_HOSTS, RANK, resident), limits=GuardsSection(memory_reserve_ratio=0.1))
    assert gate.name == "capacity"


def test_concurrency_is_limited_in_the_pool_per_source_and_per_target() -> None:
    others = (guest("x", on="a"), guest("y", on="c"))
    seen = world(*TWO_HOSTS, host("c"), RANK, *others, in_flight=[move("x", "a", "c"), move("y", "c", "b")])
    assert [gate.name for gate in failed(seen)] == ["pool-limit", "source-limit", "target-limit"]


def test_a_guest_in_flight_is_not_moved_again() -> None:
    seen = world(*TWO_HOSTS, host("c"), RANK, in_flight=[move("rank0", "a", "c")])
    assert "one-at-a-time" in [gate.name for gate in failed(seen)]


def test_cooldown_holds_until_it_is_over() -> None:
    (gate,) = failed(world(*TWO_HOSTS, RANK), last_moved_at=NOW_S - 599.0)
    assert (gate.name, gate.value, gate.threshold) == ("cooldown", 599.0, 600.0)
    assert failed(world(*TWO_HOSTS, RANK), last_moved_at=NOW_S - 600.0) == []


def test_a_move_that_gains_less_than_it_costs_is_refused() -> None:
    poor = Price(total_s=30.0, pause_s=1.0, sent_bytes=1e9, cost_s=20.0, gain_s=25.0, basis="measured")
    (gate,) = failed(world(*TWO_HOSTS, RANK), price=poor)
    assert (gate.name, gate.value, gate.threshold) == ("gain", 5.0, 10.0)


def test_a_guest_whose_dirty_pages_nobody_counts_is_judged_by_the_dearest_it_may_be() -> None:
    most = Bound(total_s=95.0, pause_s=30.0, cost_s=115.0)
    (gate,) = failed(world(*TWO_HOSTS, RANK), price=msgspec.structs.replace(PRICE, most=most))
    assert (gate.name, gate.value, gate.threshold) == ("gain", 5.0, 10.0)
    assert "loses up to 115 s (measured)" in gate.text


def test_a_gain_that_is_too_small_to_be_sure_of_is_refused_and_told_with_its_range() -> None:
    sure = msgspec.structs.replace(PRICE, cost=Interval(12.0, 20.0, 44.0), gain=Interval(15.0, 80.0, 400.0))
    assert failed(world(*TWO_HOSTS, RANK), price=sure) == []
    (gate,) = failed(world(*TWO_HOSTS, RANK), price=msgspec.structs.replace(sure, ratio_sd_s=95.0))
    assert gate.text == (
        "gains 2 min (15 s to 6 min 40 s) of job time and loses 20 s (12 s to 44 s): 4.2 s net for sure (at least 10 s)"
    )


def test_a_request_by_hand_skips_cooldown_and_gain_and_nothing_else() -> None:
    seen = world(*TWO_HOSTS, RANK)
    assert failed(seen, by_hand=True, last_moved_at=NOW_S - 1.0, price=None) == []
    unsafe = world(host("a"), host("b", is_enabled=False, memory_bytes=GIB), replace(RANK, immovable_because="blocked"))
    assert [gate.name for gate in failed(unsafe, by_hand=True)] == ["movable", "target", "capacity"]

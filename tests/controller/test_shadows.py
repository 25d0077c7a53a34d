"""Policies beside the active one: they move nothing, and are held against what the loads turn out to be."""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest
from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from migd_controller.commands import AnyCommand, RecordShadow
from migd_controller.comparison import comparison_view, shadows_view
from migd_controller.config import ShadowSection
from migd_controller.contest import NO_CONTEST, Contender, Contest, Placed
from migd_controller.core import first_memory
from migd_controller.events import (
    AnyEvent,
    AutomationSet,
    InventoryChanged,
    JobAdded,
    JobProgressed,
    MigrationEnded,
    MigrationRequested,
    Paused,
    PolicySet,
    PoolReachability,
    RecommendationApproved,
    SampleArrived,
    ShadowAdded,
    ShadowRemoved,
    ShadowTurn,
    Tick,
)
from migd_controller.memory import Memory
from migd_controller.shadow_policies import ShadowPolicies
from migd_core.automation import Automation
from migd_core.progress import Progress
from migd_core.units import GIB
from migd_core.world import Move, Plan, Reason, World
from migd_policies.policy import Policy
from migd_policies.registry import configure

HOG = {"hog": 4.0}
CALM = {"hog": 0.1}


class Raises(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fails on every world."""

    name: ClassVar[str] = "raises"
    summary: ClassVar[str] = "raises"

    def propose(self, world: World) -> Plan:
        raise ZeroDivisionError("division by zero")


class Moves(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Wants one guest on one host, wherever it is."""

    name: ClassVar[str] = "moves"
    summary: ClassVar[str] = "moves"
    guest: str = "rank0"
    to: str = "b"

    def propose(self, world: World) -> Plan:
        if world.moves_in_flight or world.guests[self.guest].host == self.to:
            return Plan((), Reason("there", "it is there"))
        move = Move(self.guest, world.guests[self.guest].host, self.to, Reason("told", "told"))
        return Plan((move,), move.reason)


def made(name: str, values: Any) -> Policy:
    """Return a policy of this file, or a real one."""
    found = {"raises": Raises, "moves": Moves}.get(name)
    return found(**values) if found is not None else configure(name, values)


def crowded(policy: str = "observe", memory: Memory | None = None) -> Cluster:
    """A hog of 4 vCPUs and the only rank of a job on `a`, nothing on `b` and `c`."""
    config = replace(CONFIG, guards=replace(CONFIG.guards, certainty_sds=0.0))
    hosts = [pool_host("a"), pool_host("b"), pool_host("c")]
    guests = [pool_guest("hog", "a", vcpus=4, tags=("migd:never",)), pool_guest("rank0", "a", memory_bytes=GIB)]
    cluster = Cluster(hosts, guests, config, memory)
    cluster.core.shadow_policies = ShadowPolicies(made)
    if memory is None:
        cluster.tell(JobAdded(name="brams", guests=("rank0",), remaining_s=36000.0))
        cluster.set_policy(policy)
    return cluster


def with_shadows(cluster: Cluster, *names: str, **config: object) -> Cluster:
    for name in names:
        cluster.tell(ShadowAdded(label=name, name=name, config=config))
    return cluster


def shadow(cluster: Cluster, label: str) -> Contender:
    return cluster.core.memory.contest.shadows[label]


def active(cluster: Cluster) -> Contender:
    found = cluster.core.memory.contest.active
    assert found is not None
    return found


def run(cluster: Cluster, periods: int, wants: dict[str, float]) -> None:
    """Let periods pass; the pool ends each migration after just what was predicted, at the control period after it."""
    for _ in range(periods):
        cluster.run(1, wants)
        for m in tuple(cluster.core.memory.in_flight.values()):
            if m.asked_at + (m.predicted_s or 0.0) <= cluster.now_s and m.guest in cluster.guests:
                cluster.guests[m.guest] = replace(cluster.guests[m.guest], host=m.target)
                cluster.tell(MigrationEnded(cause=m.cause, host_now=m.target))


def test_a_shadow_moves_nothing_and_says_what_it_would_have_moved() -> None:
    cluster = with_shadows(crowded(), "least-loaded")
    cluster.run(30, HOG)
    assert cluster.started == []
    told = [command for command in cluster.commands if isinstance(command, RecordShadow)]
    assert [(each.shadow, [c.guest for c in each.decision.candidates]) for each in told] == [
        ("least-loaded", ["rank0"])
    ]
    record = shadow(cluster, "least-loaded")
    assert record.placed.keys() == {"rank0"}
    assert record.tally.moves == 1


def test_what_an_operator_approves_is_put_to_the_active_policys_record() -> None:
    """Asked for a word or not, the same move has the same price, and gains the same from then on."""
    waiting = with_shadows(crowded("least-loaded"), "observe")
    waiting.tell(AutomationSet(level=Automation.RECOMMEND))
    run(waiting, 20, HOG)
    assert active(waiting).tally.moves == 0
    (name,) = waiting.core.memory.recommendations
    waiting.tell(RecommendationApproved(name=name))
    assert [each.guest for each in waiting.started] == ["rank0"]
    free = with_shadows(crowded("least-loaded"), "observe")
    run(free, 20, HOG)
    run(waiting, 60, HOG)
    promised, automatic = active(waiting).tally, active(free).tally
    assert (promised.moves, promised.cost_s) == (1, pytest.approx(automatic.cost_s, rel=0.01))
    assert active(waiting).placed.keys() == active(free).placed.keys() == {"rank0"}
    assert promised.gained_s > promised.cost_s
    assert shadow(waiting, "observe").ahead_s == pytest.approx(promised.cost_s - promised.gained_s)


def test_what_it_would_have_gained_is_what_was_promised_where_loads_stay() -> None:
    cluster = with_shadows(crowded(), "least-loaded")
    cluster.run(60, HOG)
    tally = shadow(cluster, "least-loaded").tally
    assert tally.gained_s == pytest.approx(tally.due_s, rel=0.02)
    assert tally.gained_s > tally.cost_s > 0
    assert shadow(cluster, "least-loaded").ahead_s == pytest.approx(tally.net_s)


def test_an_imbalance_that_ends_gains_no_more() -> None:
    cluster = with_shadows(crowded(), "least-loaded")
    cluster.run(40, HOG)
    before = shadow(cluster, "least-loaded").tally
    cluster.run(6, CALM)  # what is smoothed needs a while
    settled = shadow(cluster, "least-loaded").tally
    cluster.run(40, CALM)
    after = shadow(cluster, "least-loaded").tally
    assert after.gained_s == pytest.approx(settled.gained_s)
    assert after.due_s > settled.due_s > before.due_s


def test_a_target_that_fills_up_makes_the_move_a_loss() -> None:
    cluster = crowded()
    cluster.guests["other"] = pool_guest("other", "b", vcpus=4)
    cluster.tell_inventory()
    with_shadows(cluster, "moves")
    cluster.run(40, HOG | {"other": 0.0})
    assert shadow(cluster, "moves").placed.keys() == {"rank0"}
    gained_s = shadow(cluster, "moves").tally.gained_s
    assert gained_s > 0
    cluster.run(40, CALM | {"other": 4.0})
    assert shadow(cluster, "moves").tally.gained_s < gained_s - 10.0
    assert comparison_view(cluster.core).best == "observe"


def test_the_active_policys_own_shadow_is_neither_ahead_nor_behind() -> None:
    """The two are held against one baseline by one formula: moves that were made, and moves that were not."""
    cluster = with_shadows(crowded("least-loaded"), "least-loaded")
    run(cluster, 80, HOG)
    assert len(cluster.started) == 1
    record = shadow(cluster, "least-loaded")
    assert record.placed.keys() == active(cluster).placed.keys() == {"rank0"}
    assert active(cluster).tally.gained_s > 10.0
    assert record.ahead_s == pytest.approx(0.0, abs=0.5)  # less than a period of its gain
    assert record.tally.cost_s == pytest.approx(active(cluster).tally.cost_s)
    assert record.tally.predicted_s == pytest.approx(active(cluster).tally.predicted_s)


def test_a_shadow_sees_the_cluster_without_the_moves_of_the_active_policy() -> None:
    cluster = with_shadows(crowded("least-loaded"), "observe")
    cluster.tell(ShadowAdded(label="elsewhere", name="moves", config={"to": "c"}))
    run(cluster, 60, HOG)
    assert cluster.guests["rank0"].host == "b"
    record = shadow(cluster, "elsewhere")
    assert record.placed["rank0"].host == "c"
    assert record.tally.gained_s > 10.0
    assert shadow(cluster, "observe").tally.gained_s == 0.0
    assert shadow(cluster, "observe").ahead_s == pytest.approx(-active(cluster).tally.net_s)


def test_a_shadow_that_raises_is_named_and_asked_no_more_and_the_rest_goes_on() -> None:
    cluster = with_shadows(crowded("least-loaded"), "raises", "least-loaded")
    run(cluster, 40, HOG)
    assert len(cluster.started) == 1
    assert shadow(cluster, "raises").problem == (
        "policy raises failed with ZeroDivisionError: division by zero; nothing moves because of it"
    )
    told = [c for c in cluster.commands if isinstance(c, RecordShadow) and c.problem]
    assert [each.shadow for each in told] == ["raises"]
    assert shadow(cluster, "least-loaded").tally.moves == 1
    (broken,) = [view for view in comparison_view(cluster.core).contenders if view.problem]
    assert broken.label == "raises"


def test_a_shadow_whose_package_is_gone_is_named_too() -> None:
    cluster = with_shadows(crowded("least-loaded"), "vanished")
    run(cluster, 20, HOG)
    assert "UnknownName: no policy is called 'vanished'" in shadow(cluster, "vanished").problem
    assert len(cluster.started) == 1


def test_records_that_cannot_be_followed_end_the_comparison_and_not_the_controller() -> None:
    cluster = with_shadows(crowded("least-loaded"), "observe")
    cluster.run(2, HOG)
    broken = replace(cluster.core.memory.contest, active=None)  # as no controller writes it
    cluster.core.memory = replace(cluster.core.memory, contest=broken)
    run(cluster, 20, HOG)
    assert shadow(cluster, "observe").problem.startswith("they cannot be compared: AssertionError")
    assert len(cluster.started) == 1


@pytest.mark.parametrize("names", [("raises",), ("job-time", "balance", "moves"), ("least-loaded",)])
def test_the_controller_does_with_shadows_what_it_does_without(names: Sequence[str]) -> None:
    def commands(cluster: Cluster) -> list[AnyCommand]:
        run(cluster, 40, HOG)
        run(cluster, 40, CALM)
        return [command for command in cluster.commands if not isinstance(command, RecordShadow)]

    assert commands(with_shadows(crowded("least-loaded"), *names)) == commands(crowded("least-loaded"))


def test_shadows_are_asked_in_turn() -> None:
    cluster = with_shadows(crowded(), "observe", "balance", "colocate")
    seen: list[str] = []
    for _ in range(6):
        cluster.run(1, HOG)
        views = {view.label: view.last for view in shadows_view(cluster.core)}
        newest = max((last.at, label) for label, last in views.items() if last is not None)
        seen.append(newest[1])
    assert seen == ["observe", "balance", "colocate"] * 2


def test_a_guest_that_an_operator_moves_is_of_nobodys_record() -> None:
    cluster = with_shadows(crowded(), "least-loaded")
    cluster.run(20, HOG)
    assert shadow(cluster, "least-loaded").placed
    cluster.tell(MigrationRequested(guest="rank0", target="c"))
    (start,) = cluster.started
    cluster.guests["rank0"] = replace(cluster.guests["rank0"], host="c")
    cluster.tell(MigrationEnded(cause=start.cause, host_now="c"))
    assert shadow(cluster, "least-loaded").placed == {}
    cluster.run(2, HOG)
    assert shadow(cluster, "least-loaded").placed == {}
    assert active(cluster).tally.moves == 0


def test_a_guest_that_the_pool_moves_or_that_is_gone_is_of_nobodys_record() -> None:
    for event in (InventoryChanged(guests=(pool_guest("rank0", "c"),)), InventoryChanged(gone=("rank0",))):
        cluster = with_shadows(crowded(), "moves")
        cluster.run(20, HOG)
        assert shadow(cluster, "moves").placed
        cluster.tell(event)
        cluster.core.handle(Tick(), cluster.now_s)
        cluster.core.handle(ShadowTurn(), cluster.now_s)
        assert shadow(cluster, "moves").placed == {}


def test_a_placement_is_followed_for_as_long_as_the_horizon() -> None:
    config = replace(CONFIG, ledger=replace(CONFIG.ledger, horizon_s=400.0, life_at_least_s=400.0))
    cluster = crowded()
    cluster.core.config = replace(config, guards=replace(cluster.core.config.guards, cooldown_s=3600.0))
    with_shadows(cluster, "moves")
    cluster.run(30, HOG)
    assert shadow(cluster, "moves").placed
    cluster.run(80, HOG)
    record = shadow(cluster, "moves")
    assert record.placed == {}
    assert record.tally.gained_s == pytest.approx(400.0 * 0.2, rel=0.1)


def test_silence_of_a_host_counts_for_nobody() -> None:
    cluster = with_shadows(crowded(), "moves")
    cluster.run(30, HOG)
    before = shadow(cluster, "moves")
    cluster.silent = {"b"}
    cluster.run(3, HOG)
    frozen = shadow(cluster, "moves")
    cluster.run(10, HOG)
    after = shadow(cluster, "moves")
    assert after.blind_s - frozen.blind_s == pytest.approx(50.0)
    assert (after.tally, after.ahead_s) == (frozen.tally, frozen.ahead_s)
    assert before.blind_s == 0.0


def test_a_migration_that_fails_is_counted_and_costs_what_it_was_to_cost() -> None:
    cluster = with_shadows(crowded("least-loaded"), "observe")
    cluster.run(5, HOG)
    (start,) = cluster.started
    cluster.tell(MigrationEnded(cause=start.cause, host_now="a", code="INTERNAL_ERROR"))
    cluster.run(10, HOG)
    tally = active(cluster).tally
    assert (tally.moves, tally.failed, tally.gained_s) == (1, 1, 0.0)
    assert tally.cost_s > 0
    assert shadow(cluster, "observe").ahead_s == pytest.approx(tally.cost_s)


def test_a_move_that_the_pool_refused_at_once_is_none() -> None:
    """Its end comes before the shadows' turn."""
    cluster = with_shadows(crowded("least-loaded"), "observe")
    cluster.run(2, HOG)
    cluster.now_s += CONFIG.period_s
    for host in cluster.hosts:
        cluster.sequence += 1
        cluster.tell(SampleArrived(sample=cluster.sample(host, HOG)))
    cluster.tell(Tick())
    (start,) = cluster.started
    cluster.tell(MigrationEnded(cause=start.cause, host_now="a", code="REFUSED"))
    cluster.tell(ShadowTurn())
    assert (active(cluster).tally.moves, active(cluster).in_flight) == (0, {})


def test_how_wrong_the_ledger_was_is_known_of_real_migrations_only() -> None:
    cluster = with_shadows(crowded("least-loaded"), "least-loaded")
    cluster.run(5, HOG)
    (migration,) = cluster.core.memory.in_flight.values()
    assert migration.predicted_s is not None
    assert comparison_view(cluster.core).took_ratio is None
    cluster.now_s = migration.asked_at + 2 * migration.predicted_s
    cluster.guests["rank0"] = replace(cluster.guests["rank0"], host=migration.target)
    cluster.tell(MigrationEnded(cause=migration.cause, host_now=migration.target))
    assert comparison_view(cluster.core).took_ratio == pytest.approx(2.0)
    assert shadow(cluster, "least-loaded").tally.expected_s == 0.0


def test_what_jobs_tell_of_their_steps_is_held_against_what_the_ledger_said() -> None:
    """The hog takes a fifth of the rank's time: with the rank elsewhere a step takes 80 %; this one takes 85 %."""
    cluster, done = with_shadows(crowded("least-loaded"), "observe"), 0.0
    for period in range(60):
        run(cluster, 1, HOG if period > 5 else CALM)
        done += CONFIG.period_s / (1.0 if cluster.guests["rank0"].host == "a" else 0.85)
        cluster.tell(JobProgressed(name="brams", progress=Progress(done)))
    view = comparison_view(cluster.core)
    assert (view.checked, view.step_ratio) == (1, pytest.approx(0.85))
    assert view.expected_step_ratio == pytest.approx(0.8, rel=0.05)
    assert cluster.core.memory.contest.checks == {}


def test_a_move_that_fails_says_nothing_of_steps() -> None:
    cluster, done = with_shadows(crowded("least-loaded"), "observe"), 0.0
    for period in range(40):
        cluster.run(1, HOG if period > 5 else CALM)
        cluster.tell(JobProgressed(name="brams", progress=Progress(done := done + 5.0)))
        for start in cluster.started[:1] if cluster.core.memory.in_flight else []:
            assert cluster.core.memory.contest.checks.keys() == {"brams"}
            cluster.tell(MigrationEnded(cause=start.cause, host_now="a", code="INTERNAL_ERROR"))
    assert len(cluster.started) == 1
    assert cluster.core.memory.contest.checks == {}
    assert comparison_view(cluster.core).checked == 0


def test_a_shadow_added_later_begins_where_the_guests_are() -> None:
    """What the active policy had gained by then, both go on gaining: nothing of it sets them apart."""
    cluster = with_shadows(crowded("least-loaded"), "moves", to="c")
    run(cluster, 40, HOG)
    with_shadows(cluster, "observe")
    run(cluster, 40, HOG)
    assert active(cluster).placed
    late = shadow(cluster, "observe")
    assert late.ahead_s == pytest.approx(0.0, abs=1e-6)
    assert late.tally.gained_s > 10.0
    assert late.tally.moves == 0


def test_another_active_policy_begins_the_comparison_anew_and_the_same_does_not() -> None:
    cluster = with_shadows(crowded(), "moves")
    cluster.run(30, HOG)
    before = cluster.core.memory.contest
    cluster.tell(PolicySet(name="observe", config={}))
    assert cluster.core.memory.contest == before
    cluster.tell(PolicySet(name="balance", config={}))
    anew = cluster.core.memory.contest
    assert (active(cluster).policy, anew.shadows["moves"].placed) == ("balance", {})
    assert anew.shadows["moves"].tally.gained_s == 0.0


def test_records_outlive_a_restart_and_the_time_between_counts_for_nobody() -> None:
    cluster = with_shadows(crowded(), "moves")
    cluster.run(30, HOG)
    before = shadow(cluster, "moves")
    memory = msgspec.msgpack.decode(msgspec.msgpack.encode(cluster.core.memory), type=Memory)
    assert memory == cluster.core.memory
    again = crowded(memory=memory)
    again.now_s = cluster.now_s + 600.0
    again.run(1, HOG)
    after = shadow(again, "moves")
    assert after.placed == before.placed
    assert after.blind_s == pytest.approx(605.0)
    assert after.tally.gained_s == before.tally.gained_s
    again.run(10, HOG)
    assert shadow(again, "moves").tally.gained_s > before.tally.gained_s


def test_the_last_shadow_takes_the_contest_with_it() -> None:
    cluster = with_shadows(crowded("least-loaded"), "observe", "balance")
    run(cluster, 20, HOG)
    cluster.tell(ShadowRemoved(label="observe"))
    assert cluster.core.memory.contest.shadows.keys() == {"balance"}
    cluster.tell(ShadowRemoved(label="balance"))
    assert cluster.core.memory.contest == NO_CONTEST
    assert comparison_view(cluster.core).contenders == []


def test_shadows_of_the_configuration_are_there_at_the_very_first_start() -> None:
    section = ShadowSection(name="job-time", label="patient", config={"sustained_periods": 12})
    memory = first_memory(replace(CONFIG, shadow=(section, ShadowSection(name="observe"))))
    assert {label: each.policy for label, each in memory.contest.shadows.items()} == {
        "patient": "job-time",
        "observe": "observe",
    }
    cluster = crowded(memory=memory)
    cluster.run(3, HOG)
    record = shadow(cluster, "patient")
    assert (record.watched_s, record.blind_s, record.since) == (10.0, 0.0, cluster.now_s - 10.0)


def test_while_migd_is_paused_shadows_would_begin_nothing_either() -> None:
    cluster = with_shadows(crowded(), "moves")
    cluster.tell(Paused())
    cluster.run(10, HOG)
    (view,) = shadows_view(cluster.core)
    assert (view.moves, view.under_way) == (0, 0)
    assert view.last is not None
    assert [gate.name for gate in view.last.candidates[0].gates if not gate.passed] == ["pause"]


@given(
    at=st.floats(0, 1e6),
    gain_s=st.floats(-1e4, 1e4),
    lasts_s=st.floats(0.1, 1e5),
    looks_s=st.lists(st.floats(0.1, 1e4), min_size=1, max_size=8),
)
def test_what_is_promised_comes_due_piece_by_piece_and_never_more(
    at: float, gain_s: float, lasts_s: float, looks_s: list[float]
) -> None:
    placed, now_s, due_s = Placed(host="b", at=at, gain_s=gain_s, lasts_s=lasts_s), at, 0.0
    for look_s in looks_s:
        due_s += placed.due_s(now_s, now_s + look_s)
        now_s += look_s
    assert due_s == pytest.approx(gain_s * min(1.0, (now_s - at) / lasts_s), abs=1e-3)
    assert placed.due_s(at - 10.0, at) == 0.0


NAMES = st.sampled_from(["a", "b", "c", "hog", "rank0", "ghost"])
LABELS = st.sampled_from(["moves", "least-loaded", "job-time", "raises"])
EVENTS: st.SearchStrategy[AnyEvent] = st.one_of(
    st.just(Tick()),
    st.just(ShadowTurn()),
    st.builds(PoolReachability, is_reachable=st.booleans()),
    st.builds(MigrationRequested, guest=NAMES, target=NAMES),
    st.builds(MigrationEnded, cause=st.sampled_from([f"D{n}.1" for n in range(1, 30)]), host_now=st.none() | NAMES),
    st.builds(InventoryChanged, gone=st.tuples(NAMES)),
    st.builds(lambda name, on: InventoryChanged(guests=(pool_guest(name, on),)), NAMES, st.sampled_from("abc")),
    st.builds(lambda name: InventoryChanged(hosts=(pool_host(name),)), st.sampled_from("abc")),
    st.builds(lambda name: ShadowAdded(label=name, name=name, config={}), LABELS),
    st.builds(ShadowRemoved, label=LABELS),
    st.builds(lambda name: PolicySet(name=name, config={}), st.sampled_from(["observe", "least-loaded"])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=40), st.integers(0, 8))
def test_whatever_happens_records_stay_small_and_whole_and_the_same_events_give_the_same_records(
    events: list[AnyEvent], periods: int
) -> None:
    def contest() -> Contest:
        cluster = with_shadows(crowded("least-loaded"), "moves", "least-loaded")
        run(cluster, periods, HOG)
        for event in events:
            cluster.now_s += 2.5
            cluster.tell(event)
            found = cluster.core.memory.contest
            for each in [*found.shadows.values(), *([found.active] if found.active is not None else [])]:
                assert len(each.placed) <= len(cluster.guests) + 1
                assert len(each.in_flight) <= 8
                assert each.watched_s >= 0
            assert (found.active is None) == (not found.shadows)
            memory = cluster.core.memory
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(memory), type=Memory) == memory
        return cluster.core.memory.contest

    assert contest() == contest()

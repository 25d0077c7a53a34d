"""The whole mind at once: events in, commands out, on a numbered clock."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import pytest
from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from migd_controller import core as core_module
from migd_controller import judging
from migd_controller.commands import AnyCommand, CancelMigration, FollowMigration, RecordHealth
from migd_controller.core import Core, first_memory
from migd_controller.events import (
    AnyEvent,
    AutomationSet,
    CancelRequested,
    EvacuationAsked,
    EvacuationStopped,
    InventoryChanged,
    JobAdded,
    JobProgressed,
    JobRemoved,
    MaintenanceBegun,
    MaintenanceEnded,
    MigrationAccepted,
    MigrationEnded,
    MigrationProgressed,
    MigrationRequested,
    MigrationTaskLost,
    Paused,
    PoolReachability,
    RecommendationApproved,
    RecommendationRefused,
    Resumed,
    SampleArrived,
    Tick,
)
from migd_controller.migration import State
from migd_controller.record.core_state import state_of
from migd_controller.record.format import encode
from migd_core.automation import Automation
from migd_core.health import HealthState, HostHealth
from migd_core.progress import Progress
from migd_core.world import Move, Plan, Reason, World

HOG = {"hog": 4.0, "other": 2.0}


def overloaded(**values: object) -> Cluster:
    """Host `a`: a 4-vCPU guest that may become a hog, and two ranks. Host `b`: half full, so the hog fits nowhere."""
    guests = [pool_guest("hog", "a", vcpus=4), pool_guest("rank0", "a", **values), pool_guest("rank1", "a")]
    guests.append(pool_guest("other", "b", vcpus=2))
    return Cluster([pool_host("a"), pool_host("b")], guests)


def acting(**values: object) -> Cluster:
    cluster = overloaded(**values)
    cluster.set_policy("least-loaded")
    return cluster


def test_the_first_policy_observes_and_moves_nothing() -> None:
    cluster = overloaded()
    decision = cluster.run(20, HOG)
    assert cluster.started == []
    assert decision.policy == "observe"


def test_a_sustained_overload_moves_one_rank_away() -> None:
    cluster = acting()
    cluster.run(10, HOG)
    (start,) = cluster.started
    assert start.guest in ("rank0", "rank1")
    assert start.target == "b"


def test_a_short_overload_moves_nothing() -> None:
    cluster = acting()
    cluster.run(5, {"hog": 0.1})
    cluster.run(1, HOG)
    cluster.run(5, {"hog": 0.1})
    assert cluster.started == []


def test_a_decision_keeps_each_gate_and_the_price() -> None:
    cluster = acting()
    cluster.run(10, HOG)
    decision = next(d for d in _decisions(cluster) if d.candidates)
    (candidate,) = [c for c in decision.candidates if c.is_accepted]
    assert {gate.name for gate in candidate.gates} >= {"capacity", "cooldown", "gain", "target"}
    assert candidate.price is not None
    assert candidate.price.total_s > 0
    assert "no dirty curve" in candidate.price.basis
    assert candidate.price.least is not None
    assert candidate.price.most is not None
    assert candidate.price.least.total_s < candidate.price.total_s < candidate.price.most.total_s
    assert candidate.price.least.cost_s < candidate.price.cost_s < candidate.price.cost_at_most_s


def _decisions(cluster: Cluster) -> list[core_module.Decision]:
    return [c.decision for c in cluster.commands if isinstance(c, core_module.RecordDecision)]


def test_a_plan_is_what_the_next_tick_decides_and_changes_nothing() -> None:
    cluster = acting()
    cluster.run(2, HOG)
    before = cluster.core.memory
    for _ in range(10):
        planned = cluster.core.plan(cluster.now_s)
        assert cluster.core.memory is before
        if planned.candidates:
            break
        cluster.run(1, HOG)
        before = cluster.core.memory
    assert planned.candidates
    assert cluster.core.last_decision != planned


def test_a_silent_host_is_frozen_neither_source_nor_target() -> None:
    for silent in ("a", "b"):
        cluster = acting()
        cluster.run(1, HOG)
        cluster.silent = {silent}
        cluster.run(10, HOG)
        assert cluster.started == [], silent


def test_a_host_that_speaks_again_must_show_a_trend_again() -> None:
    cluster = acting()
    cluster.run(1, HOG)
    cluster.silent = {"a"}
    cluster.run(3, HOG)
    cluster.silent = set()
    cluster.run(1, HOG)
    assert cluster.started == []
    cluster.run(9, HOG)
    assert len(cluster.started) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"tags": ("migd:never",)},
        {"blocked_because": "blocked_operations forbids it (backup)"},
        {"memory_may_shrink": True},
    ],
)
def test_a_guest_that_may_not_move_is_left_alone(values: dict[str, object]) -> None:
    guests = [pool_guest("hog", "a", vcpus=4, **values), pool_guest("rank0", "a", **values)]
    cluster = Cluster([pool_host("a"), pool_host("b")], guests)
    cluster.set_policy("least-loaded")
    cluster.run(10, HOG)
    assert cluster.started == []


def test_disabled_dead_and_evacuating_hosts_receive_nothing() -> None:
    for values in ({"is_enabled": False}, {"is_live": False}, {"is_evacuating": True}):
        guests = [pool_guest("hog", "a", vcpus=4), pool_guest("rank0", "a")]
        cluster = Cluster([pool_host("a"), pool_host("b", **values)], guests)
        cluster.set_policy("least-loaded")
        cluster.run(10, HOG)
        assert cluster.started == [], values


def test_an_agent_that_sees_other_cpus_than_the_pool_freezes_its_host() -> None:
    cluster = Cluster(
        [pool_host("a"), pool_host("b", cpus=8)], [pool_guest("hog", "a", vcpus=4), pool_guest("rank0", "a")]
    )
    cluster.set_policy("least-loaded")
    cluster.run(10, HOG)
    assert cluster.started == []
    assert cluster.core.world(cluster.now_s).hosts["b"].frozen_because == (
        "its agent sees 4 CPUs, the pool 8: one of them is wrong"
    )


def test_a_host_without_cpus_is_frozen_and_divides_nothing() -> None:
    cluster = Cluster([pool_host("a", cpus=0), pool_host("b")], [pool_guest("rank0", "a"), pool_guest("rank1", "b")])
    cluster.set_policy("least-loaded")
    cluster.run(5)
    assert cluster.core.world(cluster.now_s).hosts["a"].frozen_because == "the pool reports no CPUs for it"


def test_pause_stops_new_migrations_and_resume_allows_them() -> None:
    cluster = acting()
    cluster.tell(Paused())
    cluster.run(10, HOG)
    assert cluster.started == []
    cluster.tell(Resumed())
    cluster.run(1, HOG)
    assert len(cluster.started) == 1


def started(cluster: Cluster) -> str:
    cluster.run(10, HOG)
    (start,) = cluster.started
    return start.cause


def test_a_migration_is_moved_when_the_guest_is_on_its_target_whatever_the_task_said() -> None:
    cluster = acting()
    cause = started(cluster)
    cluster.tell(MigrationAccepted(cause=cause, task="OpaqueRef:t"))
    (record,) = cluster.tell(MigrationEnded(cause=cause, host_now="b", code="INTERNAL_ERROR", text="late trouble"))
    assert isinstance(record, core_module.RecordMigration)
    assert record.migration.state is State.MOVED
    assert cluster.core.memory.in_flight == {}


def test_a_migration_has_stayed_when_the_guest_is_still_on_its_source_though_the_task_succeeded() -> None:
    cluster = acting()
    (record,) = cluster.tell(MigrationEnded(cause=started(cluster), host_now="a"))
    assert isinstance(record, core_module.RecordMigration)
    assert record.migration.state is State.STAYED


@pytest.mark.parametrize("host_now", ["a", "b"])
def test_a_guest_is_where_its_migration_has_ended_before_the_pool_says_so(host_now: str) -> None:
    """Until then it takes memory on one host, not on two."""
    cluster = acting()
    cause = started(cluster)
    guest = cluster.core.memory.in_flight[cause].guest
    cluster.guests[guest] = replace(cluster.guests[guest], arriving_at="b")
    cluster.tell_inventory()
    cluster.tell(MigrationEnded(cause=cause, host_now=host_now))
    expected = replace(cluster.guests[guest], host=host_now, arriving_at=None)
    assert cluster.core.inventory.guests[guest] == expected


def test_a_guest_that_somebody_else_took_to_a_third_host_has_neither_moved_nor_stayed() -> None:
    cluster = acting()
    (record,) = cluster.tell(MigrationEnded(cause=started(cluster), host_now="elsewhere", code="X", text="X(y)"))
    assert isinstance(record, core_module.RecordMigration)
    assert record.migration.state is State.ELSEWHERE
    assert record.migration.text == "X(y); somebody else has moved the guest to host elsewhere"
    assert cluster.core.memory.in_flight == {}


def test_a_guest_that_disappears_while_it_is_moved_is_gone_and_the_loop_goes_on() -> None:
    cluster = acting()
    cause = started(cluster)
    guest = cluster.core.memory.in_flight[cause].guest
    del cluster.guests[guest]
    cluster.tell(InventoryChanged(gone=(guest,)))
    cluster.run(2, HOG)
    (record,) = cluster.tell(MigrationEnded(cause=cause, host_now=None, code="VM_BAD_POWER_STATE", text="halted"))
    assert isinstance(record, core_module.RecordMigration)
    assert record.migration.state is State.GONE
    cluster.run(2, HOG)


def test_cooldown_starts_on_failure_too() -> None:
    cluster = acting()
    cause = started(cluster)
    guest = cluster.core.memory.in_flight[cause].guest
    cluster.tell(MigrationEnded(cause=cause, host_now="a", code="HOST_NOT_ENOUGH_FREE_MEMORY", text="full"))
    cluster.commands.clear()
    cluster.run(20, HOG)
    assert guest not in [start.guest for start in cluster.started]


def test_a_cooldown_counts_from_the_end_of_the_migration_not_from_its_beginning() -> None:
    cluster = acting()
    cause = started(cluster)
    guest = cluster.core.memory.in_flight[cause].guest
    cluster.now_s += 400.0
    cluster.tell(MigrationEnded(cause=cause, host_now="b"))
    cluster.now_s += 599.0  # of the cooldown's 600
    assert cluster.core.world(cluster.now_s).guests[guest].cooldown_s == 1.0


def test_the_next_guest_is_chosen_while_the_best_one_rests() -> None:
    cluster = acting()
    cause = started(cluster)
    first = cluster.core.memory.in_flight[cause].guest
    cluster.tell(MigrationEnded(cause=cause, host_now="a", code="VM_FAILED_SUSPEND_ACKNOWLEDGMENT", text="no answer"))
    cluster.run(10, HOG)
    assert {start.guest for start in cluster.started} == {"rank0", "rank1"}
    assert cluster.started[0].guest == first


def test_a_host_whose_own_figures_fail_is_frozen_though_it_reports() -> None:
    cluster = acting()
    cluster.failing_collectors["a"] = ("dom0",)
    cluster.run(10, HOG)
    assert cluster.started == []
    assert "cannot read the host's own figures" in str(cluster.core.world(cluster.now_s).hosts["a"].frozen_because)


def test_a_failing_host_receives_nothing_and_each_change_of_its_health_is_told_once() -> None:
    cluster = Cluster(
        [pool_host("a"), pool_host("b"), pool_host("c")],
        [pool_guest("hog", "a", vcpus=4), pool_guest("rank0", "a"), pool_guest("rank1", "a"), pool_guest("c0", "c")],
    )
    cluster.set_policy("least-loaded")
    dying = HostHealth(state=HealthState.FAILING, reasons=("disk /dev/sda says of itself that it is failing",))
    worn = HostHealth(state=HealthState.DEGRADED, reasons=("fan fan2 turns at 320 RPM (at least 600 RPM)",))
    hotter = replace(worn, reasons=("fan fan2 turns at 310 RPM (at least 600 RPM)",))
    cluster.health["b"] = worn
    cluster.run(1)
    cluster.health["b"] = hotter
    cluster.run(1)
    cluster.health["b"] = dying
    cluster.run(10, HOG)
    assert cluster.core.world(cluster.now_s).hosts["b"].health == dying
    assert cluster.started[0].target == "c"  # b is empty and would have been better
    changes = [command for command in cluster.commands if isinstance(command, RecordHealth)]
    assert changes == [
        RecordHealth(host="b", host_name="b", before=HealthState.UNKNOWN, health=worn),
        RecordHealth(host="b", host_name="b", before=HealthState.DEGRADED, health=dying),
    ]


def test_a_sample_that_comes_twice_or_late_changes_nothing_whatever_it_says() -> None:
    cluster = acting()
    cluster.tell(MigrationAccepted(cause=started(cluster), task="OpaqueRef:t"))
    newest = replace(cluster.sample("a", HOG), sequence=cluster.sequence + 1, tx_bytes_per_s=1e8)
    cluster.tell(SampleArrived(sample=newest))
    before = encode(state_of(cluster.core))
    cluster.now_s += 1.0
    dying = HostHealth(state=HealthState.FAILING, reasons=("disk /dev/sda says of itself that it is failing",))
    for sequence in (newest.sequence, newest.sequence - 1, 0):
        late = replace(newest, sequence=sequence, monotonic_s=0.0, tx_bytes_per_s=1.0, guests=(), health=dying)
        assert cluster.tell(SampleArrived(sample=late)) == []
    assert encode(state_of(cluster.core)) == before


def test_words_about_an_unknown_or_finished_migration_change_nothing() -> None:
    cluster = acting()
    cause = started(cluster)
    cluster.tell(MigrationEnded(cause=cause, host_now="b"))
    before = cluster.core.memory
    for event in (
        MigrationEnded(cause=cause, host_now="a"),
        MigrationAccepted(cause=cause, task="t"),
        MigrationProgressed(cause="D999.1", progress_ratio=0.5),
    ):
        assert cluster.tell(event) == []
    assert cluster.core.memory == before


def test_after_a_restart_a_migration_is_followed_not_repeated() -> None:
    cluster = acting()
    cause = started(cluster)
    cluster.tell(MigrationAccepted(cause=cause, task="OpaqueRef:t"))
    remembered = msgspec.msgpack.decode(msgspec.msgpack.encode(cluster.core.memory), type=type(cluster.core.memory))
    restarted = Core(CONFIG, remembered)
    guest = remembered.in_flight[cause].guest
    (followed,) = restarted.adopt(0.0)
    assert isinstance(followed, FollowMigration)
    assert followed.predicted_at_most_s > 0
    assert replace(followed, predicted_at_most_s=0.0) == FollowMigration(
        cause=cause, guest=guest, target="b", task="OpaqueRef:t"
    )
    again = Cluster(cluster.hosts.values(), cluster.guests.values(), memory=remembered)
    again.run(20, HOG)
    assert guest not in [start.guest for start in again.started]


def test_a_migration_remembers_which_toolstacks_it_was_asked_of() -> None:
    """After a restart, too; one that starts anew makes others of them, and a host that does not tell none."""
    cluster = acting()
    cluster.hosts = {uuid: replace(host, toolstack_since="100.") for uuid, host in cluster.hosts.items()}
    cluster.tell(InventoryChanged(hosts=tuple(cluster.hosts.values())))
    toolstacks = cluster.core.inventory.toolstacks
    started(cluster)
    assert [start.toolstacks for start in cluster.started] == [toolstacks]
    (followed,) = Core(CONFIG, cluster.core.memory).adopt(0.0)
    assert isinstance(followed, FollowMigration)
    assert followed.toolstacks == toolstacks != ""
    for since, is_told in (("101.", True), ("", False)):
        cluster.tell(InventoryChanged(hosts=(replace(cluster.hosts["a"], toolstack_since=since),)))
        assert cluster.core.inventory.toolstacks != toolstacks
        assert bool(cluster.core.inventory.toolstacks) == is_told


def test_policy_pause_jobs_and_cooldown_survive_a_restart() -> None:
    cluster = acting()
    cause = started(cluster)
    cluster.tell(MigrationEnded(cause=cause, host_now="b"))
    cluster.tell(JobAdded(name="brams", guests=("rank0", "rank1"), remaining_s=3600.0))
    cluster.tell(Paused())
    memory = cluster.core.memory
    restarted = Core(CONFIG, memory)
    assert restarted.policy.name == "least-loaded"
    assert restarted.memory.is_paused
    assert restarted.memory.last_moved_at == memory.last_moved_at != {}
    world = restarted.world(cluster.now_s + 600.0)
    assert world.jobs["brams"].remaining_s == 3000.0


def test_where_the_pools_hosts_answer_survives_a_restart() -> None:
    cluster = Cluster([pool_host("a", address="192.0.2.1"), pool_host("b", address="192.0.2.2")], [])
    assert cluster.core.memory.pool_addresses == ("192.0.2.1", "192.0.2.2")
    core = Core(CONFIG, cluster.core.memory)
    core.handle(InventoryChanged(is_complete=True), 1.0)  # of a pool that has just started and knows no host
    assert core.memory.pool_addresses == ("192.0.2.1", "192.0.2.2")


def test_a_migration_is_cancelled_by_its_task_once_there_is_one() -> None:
    cluster = acting()
    cluster.run(10, HOG)
    cause = cluster.started[0].cause
    assert cancellations(cluster.tell(CancelRequested(cause=cause))) == []
    assert cluster.core.memory.in_flight[cause].is_cancelling
    assert cancellations(cluster.tell(MigrationAccepted(cause=cause, task="t1"))) == ["t1"]
    assert cancellations(cluster.tell(CancelRequested(cause=cause))) == ["t1"]
    cluster.tell(MigrationEnded(cause=cause, host_now="a", code="CANCELLED", text="the migration was cancelled"))
    assert cancellations(cluster.tell(CancelRequested(cause=cause))) == []


def test_a_migration_whose_task_the_pool_has_lost_is_on_record_so_and_cancelled_once_it_has_another() -> None:
    cluster = acting()
    cause = started(cluster)
    cluster.tell(MigrationAccepted(cause=cause, task="t1"))
    running = cluster.core.memory.in_flight[cause]
    lost = replace(running, task=None, is_task_lost=True)
    assert cluster.tell(MigrationTaskLost(cause=cause)) == [core_module.RecordMigration(migration=lost)]
    (followed,) = Core(CONFIG, cluster.core.memory).adopt(cluster.now_s)
    assert isinstance(followed, FollowMigration)
    assert followed.task is None
    assert cancellations(cluster.tell(CancelRequested(cause=cause))) == []
    assert cancellations(cluster.tell(MigrationAccepted(cause=cause, task="t2"))) == ["t2"]
    assert cluster.core.memory.in_flight == {cause: replace(running, task="t2", is_cancelling=True)}


def test_a_cancellation_survives_a_restart() -> None:
    cluster = acting()
    cluster.run(10, HOG)
    cause = cluster.started[0].cause
    cluster.tell(MigrationAccepted(cause=cause, task="t1"))
    cluster.tell(CancelRequested(cause=cause))
    core = Core(CONFIG, cluster.core.memory)
    (follow,) = core.adopt(0.0)
    assert isinstance(follow, FollowMigration)
    assert cancellations(core.handle(MigrationAccepted(cause=cause, task="t1"), 1.0)) == ["t1"]


def cancellations(commands: list[AnyCommand]) -> list[str]:
    return [command.task for command in commands if isinstance(command, CancelMigration)]


def test_a_remembered_policy_that_no_longer_exists_becomes_observe() -> None:
    core = Core(CONFIG, replace(first_memory(CONFIG), policy="uninstalled"))
    assert core.policy.name == "observe"
    assert "uninstalled" in core.policy_problem


def test_a_clock_set_back_across_a_restart_freezes_a_guest_for_one_cooldown_at_most() -> None:
    memory = replace(first_memory(CONFIG), policy="least-loaded", last_moved_at={"rank0": 9e12, "rank1": 9e12})
    guests = [pool_guest("hog", "a", vcpus=4), pool_guest("rank0", "a"), pool_guest("rank1", "a")]
    cluster = Cluster([pool_host("a"), pool_host("b")], guests, memory=memory)
    cluster.run(int(CONFIG.guards.cooldown_s / CONFIG.period_s) + 2, HOG)
    assert len(cluster.started) == 1


def test_a_request_by_hand_is_carried_out_without_a_policy() -> None:
    cluster = overloaded()
    cluster.run(1, HOG)
    cluster.tell(MigrationRequested(guest="rank0", target="b"))
    (start,) = cluster.started
    assert (start.guest, start.target) == ("rank0", "b")
    assert cluster.core.memory.in_flight[start.cause].requested_by == "by hand"


def test_a_request_by_hand_that_is_not_safe_is_refused_with_its_gates() -> None:
    cluster = overloaded(tags=("migd:never",))
    cluster.run(1, HOG)
    cluster.tell(MigrationRequested(guest="rank0", target="b"))
    assert cluster.started == []
    assert cluster.core.last_decision is not None
    (candidate,) = cluster.core.last_decision.candidates
    assert [gate.name for gate in candidate.gates if not gate.passed] == ["movable"]


def test_nothing_is_decided_before_the_inventory_is_known() -> None:
    core = Core(CONFIG, first_memory(CONFIG))
    core.handle(PoolReachability(is_reachable=False, problem="connection refused"), 1.0)
    core.handle(Tick(), 2.0)
    assert core.last_decision is not None
    assert core.last_decision.reason.code == "no-inventory"
    assert "connection refused" in core.last_decision.reason.text


class Raises(msgspec.Struct, frozen=True):
    """A policy with a bug."""

    name: ClassVar[str] = "raises"
    summary: ClassVar[str] = "fails"

    def propose(self, world: World) -> Plan:
        raise ZeroDivisionError("division by zero")


class Proposes(msgspec.Struct, frozen=True):
    """A policy that proposes what it is told to."""

    name: ClassVar[str] = "proposes"
    summary: ClassVar[str] = "proposes"
    moves: tuple[Move, ...] = ()

    def propose(self, world: World) -> Plan:
        return Plan(self.moves, Reason("told", "it was told to"))


class AnswersNothing(Raises, frozen=True):
    """A policy that forgets to return a plan."""

    name: ClassVar[str] = "answers-nothing"

    def propose(self, world: World) -> Plan:
        return None  # type: ignore[return-value]


def test_a_policy_that_answers_no_plan_moves_nothing_and_is_named() -> None:
    cluster = overloaded()
    cluster.core.policy = AnswersNothing()
    decision = cluster.run(1)
    assert "policy answers-nothing failed with TypeError: propose returned NoneType, not a Plan" in decision.reason.text


class RaisesHalfACharacter(Raises, frozen=True):
    """Says why it failed in a text that no encoding takes."""

    name: ClassVar[str] = "raises-half"

    def propose(self, world: World) -> Plan:
        raise ValueError("half of \ud83d")


def test_the_reason_of_a_policy_that_raises_can_be_journaled_whatever_it_says() -> None:
    cluster = overloaded()
    cluster.core.policy = RaisesHalfACharacter()
    decision = cluster.run(1)
    assert r"ValueError: half of \ud83d" in decision.reason.text
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(decision), type=core_module.Decision) == decision


def test_a_policy_that_raises_moves_nothing_and_is_named() -> None:
    cluster = overloaded()
    cluster.core.policy = Raises()
    decision = cluster.run(1)
    assert decision.reason.code == "policy-failed"
    assert "policy raises failed with ZeroDivisionError: division by zero" in decision.reason.text


REASON = Reason("told", "it was told to")


class Answers(msgspec.Struct, frozen=True):
    """A policy that answers what it is told to, be it a plan or not."""

    name: ClassVar[str] = "answers"
    summary: ClassVar[str] = "answers"
    plan: Any = None

    def propose(self, world: World) -> Plan:
        answer: Plan = self.plan
        return answer


# What a type checker would not let through.
WRONG: Any = "text"
NOTHING: Any = None


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (Plan((), WRONG), "Expected `object`, got `str` - at `$.reason`"),
        (Plan(NOTHING, REASON), "Expected `array`, got `None` - at `$.moves`"),
        (Plan((NOTHING,), REASON), "Expected `object`, got `None` - at `$.moves[0]`"),
        (Plan((Move("rank0", "a", "b", WRONG),), REASON), "Expected `object`, got `str` - at `$.moves[0].reason`"),
        (Plan((Move(NOTHING, "a", "b", REASON),), REASON), "Expected `str`, got `None` - at `$.moves[0].guest`"),
        (Plan((), Reason("told", NOTHING)), "Expected `str`, got `None` - at `$.reason.text`"),
        (Plan((), Reason("told", "told", value=WRONG)), "Expected `float | null`, got `str` - at `$.reason.value`"),
        (Plan((), Reason("told", "told", value=1 << 80)), "OverflowError: can't serialize ints"),
        (Plan((), Reason("told", "half of \ud83d")), "UnicodeEncodeError: "),
    ],
)
def test_a_plan_that_the_journal_cannot_keep_moves_nothing_and_names_the_policy(plan: Plan, why: str) -> None:
    cluster = overloaded()
    cluster.core.policy = Answers(plan)
    decision = cluster.run(1, HOG)
    assert cluster.started == []
    assert decision.reason.code == "policy-failed"
    assert decision.reason.text.startswith("policy answers failed with ")
    assert why in decision.reason.text
    msgspec.msgpack.encode(cluster.commands)


class Exits(Raises, frozen=True):
    """A policy that was written as a script."""

    name: ClassVar[str] = "exits"

    def propose(self, world: World) -> Plan:
        raise SystemExit(3)


def test_a_policy_that_would_end_the_process_moves_nothing_and_is_named() -> None:
    cluster = overloaded()
    cluster.core.policy = Exits()
    decision = cluster.run(1)
    assert "policy exits failed with SystemExit: 3" in decision.reason.text


def test_a_move_that_cannot_be_priced_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(judging, "prices", fail)
    cluster = overloaded()
    cluster.core.policy = Proposes((Move("rank0", "a", "b", REASON),))
    decision = cluster.run(1, HOG)
    assert cluster.started == []
    assert [gate.text for gate in decision.candidates[0].gates if not gate.passed] == [
        "the move could not be priced: ZeroDivisionError: float division by zero"
    ]
    cluster.tell(MigrationRequested(guest="rank0", target="b"))
    assert [start.guest for start in cluster.started] == ["rank0"]


def failing(state: str = "failing") -> HostHealth:
    return HostHealth(state=HealthState(state), reasons=("memory A1 had 2 uncorrected errors",))


def test_guests_leave_a_failing_host_though_they_gain_nothing_and_have_just_been_moved() -> None:
    cluster = Cluster([pool_host("a"), pool_host("b")], [pool_guest("rank0", "a")])
    cluster.core.memory = replace(cluster.core.memory, last_moved_at={"rank0": cluster.now_s})
    cluster.set_policy("evacuate")
    cluster.health["a"] = failing()
    decision = cluster.run(1)
    assert [(start.guest, start.target) for start in cluster.started] == [("rank0", "b")]
    texts = {gate.name: gate.text for gate in decision.candidates[0].gates}
    for name in ("gain", "cooldown"):
        assert texts[name].endswith("; that does not count, the guest leaves for its safety")


def test_a_failing_host_that_sees_other_cpus_than_the_pool_lets_its_measured_guests_go() -> None:
    for health, expected in ((failing(), ["rank0"]), (failing("degraded"), [])):
        cluster = Cluster([pool_host("a", cpus=8), pool_host("b")], [pool_guest("rank0", "a")])
        cluster.set_policy("evacuate", degraded=True)
        cluster.health["a"] = health
        cluster.run(2)
        assert [start.guest for start in cluster.started] == expected


def test_a_failing_host_that_is_silent_keeps_its_guests() -> None:
    cluster = Cluster([pool_host("a"), pool_host("b")], [pool_guest("rank0", "a")])
    cluster.set_policy("evacuate")
    cluster.run(1)
    cluster.health["a"] = failing()
    cluster.silent = {"a"}
    cluster.run(5)
    assert cluster.started == []


def test_safety_excuses_from_no_gate_of_safety() -> None:
    cluster = Cluster([pool_host("a"), pool_host("b", is_enabled=False)], [pool_guest("rank0", "a")])
    cluster.core.policy = Proposes((Move("rank0", "a", "b", Reason("evacuation", "it must")),))
    cluster.run(1)
    assert cluster.started == []


def in_a_set(guest: str, source: str, target: str) -> Move:
    return Move(guest, source, target, REASON, together="brams")


def two_slow_ranks(**values: object) -> Cluster:
    """Hosts `a` and `b` each have a hog and a rank of one job; `c` and `d` are empty."""
    guests = [pool_guest("hog0", "a", vcpus=4), pool_guest("hog1", "b", vcpus=4)]
    guests += [pool_guest("rank0", "a"), pool_guest("rank1", "b", **values)]
    cluster = Cluster([pool_host(name) for name in "abcd"], guests)
    cluster.tell(JobAdded(name="brams", guests=("rank0", "rank1"), remaining_s=36000.0))
    return cluster


TWO_HOGS = {"hog0": 4.0, "hog1": 4.0}


def test_moves_that_gain_nothing_singly_pass_as_one_set() -> None:
    singly, together = two_slow_ranks(), two_slow_ranks()
    moves = (in_a_set("rank0", "a", "c"), in_a_set("rank1", "b", "d"))
    # less than both relieved hosts and the job gain together, more than either move does
    for cluster in (singly, together):
        limits = replace(CONFIG.guards, min_gain_s=1000.0)
        cluster.core.config = replace(CONFIG, guards=limits)
    singly.core.policy = Proposes(tuple(Move(m.guest, m.source, m.target, REASON) for m in moves))
    together.core.policy = Proposes(moves)
    alone = singly.run(5, TWO_HOGS).candidates
    decision = together.run(1, TWO_HOGS)
    assert [gate.name for each in alone for gate in each.gates if not gate.passed] == ["gain", "gain"]
    assert [start.guest for start in together.started] == ["rank0", "rank1"]
    texts = [gate.text for each in decision.candidates for gate in each.gates if gate.name == "gain"]
    assert texts[0].startswith("together with rank1: gains ")
    assert texts[1].startswith("together with rank0: gains ")


def test_the_net_gain_of_a_set_is_shared_among_its_moves() -> None:
    cluster = two_slow_ranks()
    cluster.core.policy = Proposes((in_a_set("rank0", "a", "c"), in_a_set("rank1", "b", "d")))
    first, second = (each.price for each in cluster.run(1, TWO_HOGS).candidates)
    assert first is not None
    assert second is not None
    assert first.together is not None
    assert first.gain_s + second.gain_s == pytest.approx(first.together.gain_s)
    assert first.gain_s - first.cost_s == pytest.approx(second.gain_s - second.cost_s)


def test_what_forbids_one_move_of_a_set_refuses_them_all() -> None:
    cluster = two_slow_ranks(tags=("migd:never",))
    cluster.core.policy = Proposes((in_a_set("rank0", "a", "c"), in_a_set("rank1", "b", "d")))
    decision = cluster.run(1, TWO_HOGS)
    assert cluster.started == []
    refused = [[(gate.name, gate.text) for gate in each.gates if not gate.passed] for each in decision.candidates]
    never = "guest rank1 may not be migrated: it is tagged migd:never"
    assert refused == [
        [("together", f"belongs together with the move of rank1, which movable refuses: {never}")],
        [("movable", never)],
    ]


def test_a_move_whose_turn_has_not_come_does_not_hold_back_its_set() -> None:
    cluster = two_slow_ranks()
    cluster.core.config = replace(CONFIG, guards=replace(CONFIG.guards, max_concurrent=1))
    cluster.core.policy = Proposes((in_a_set("rank0", "a", "c"), in_a_set("rank1", "b", "d")))
    decision = cluster.run(1, TWO_HOGS)
    assert [start.guest for start in cluster.started] == ["rank0"]
    assert [gate.name for gate in decision.candidates[1].gates if not gate.passed] == ["pool-limit"]


def test_a_guest_that_a_set_names_twice_moves_once() -> None:
    cluster = two_slow_ranks()
    cluster.core.policy = Proposes((in_a_set("rank0", "a", "c"), in_a_set("rank0", "a", "d")))
    cluster.run(1, TWO_HOGS)
    assert [start.target for start in cluster.started] == ["c"]


@pytest.mark.parametrize(
    ("move", "why"),
    [
        (("nobody", "a", "b"), "guest nobody is not running in this pool"),
        (("rank0", "a", "nowhere"), "host nowhere is not in this pool"),
        (("rank0", "b", "a"), "guest rank0 is on a, not on b"),
        (("big", "a", "b"), "guest big needs 100 GiB, host b has 64 GiB free after moves in flight"),
    ],
)
def test_a_policy_that_proposes_the_impossible_is_refused_by_name(move: tuple[str, str, str], why: str) -> None:
    guests = [pool_guest("rank0", "a"), pool_guest("big", "a", memory_bytes=100 << 30)]
    cluster = Cluster([pool_host("a"), pool_host("b")], guests)
    cluster.core.policy = Proposes((Move(*move, Reason("told", "told")),))
    decision = cluster.run(1)
    assert cluster.started == []
    assert why in [gate.text for gate in decision.candidates[0].gates if not gate.passed]


def test_moves_of_one_plan_share_memory_and_limits() -> None:
    """The second of two guests that each fit alone finds the memory taken by the first."""
    guests = [pool_guest("x", "a", memory_bytes=40 << 30), pool_guest("y", "c", memory_bytes=40 << 30)]
    cluster = Cluster([pool_host("a"), pool_host("b"), pool_host("c")], guests)
    reason = Reason("told", "told")
    cluster.core.policy = Proposes((Move("x", "a", "b", reason), Move("y", "c", "b", reason)))
    cluster.core.config = replace(CONFIG, guards=replace(CONFIG.guards, min_gain_s=-1e9, max_concurrent_per_target=9))
    decision = cluster.run(1, {"x": 0.0, "y": 0.0})
    failed = [[gate.name for gate in c.gates if not gate.passed] for c in decision.candidates]
    assert failed == [[], ["capacity"]]


def test_a_job_is_forgotten_when_it_is_removed_and_outlives_its_guests() -> None:
    cluster = overloaded()
    cluster.tell(JobAdded(name="brams", guests=("rank0", "rank1")))
    cluster.tell(InventoryChanged(gone=("rank1",)))
    assert cluster.core.world(cluster.now_s).jobs["brams"].guests == ("rank0",)
    cluster.tell(JobRemoved(name="brams"))
    assert cluster.core.world(cluster.now_s).jobs == {}


def test_the_same_events_give_the_same_commands() -> None:
    def commands() -> list[object]:
        cluster = acting()
        cluster.run(10, HOG)
        return [msgspec.msgpack.encode(command) for command in cluster.commands]

    assert commands() == commands()


NAMES = st.sampled_from(["a", "b", "c", "hog", "rank0", "rank1", "ghost"])
EVENTS: st.SearchStrategy[AnyEvent] = st.one_of(
    st.just(Tick()),
    st.just(Paused()),
    st.just(Resumed()),
    st.builds(PoolReachability, is_reachable=st.booleans()),
    st.builds(MigrationRequested, guest=NAMES, target=NAMES),
    st.builds(MigrationEnded, cause=st.sampled_from([f"D{n}.1" for n in range(1, 12)]), host_now=st.none() | NAMES),
    st.builds(MigrationAccepted, cause=st.sampled_from([f"D{n}.1" for n in range(1, 12)]), task=st.just("t")),
    st.builds(InventoryChanged, gone=st.tuples(NAMES)),
    st.builds(JobAdded, name=NAMES, guests=st.tuples(NAMES), remaining_s=st.none() | st.floats(0, 1e6)),
    st.builds(JobProgressed, name=NAMES, progress=st.builds(Progress, done=st.floats(0, 9), total=st.floats(9, 99))),
    st.builds(JobRemoved, name=NAMES),
    st.builds(AutomationSet, level=st.sampled_from([None, *Automation])),
    st.builds(RecommendationApproved, name=st.sampled_from([f"D{n}.r1" for n in range(1, 24)])),
    st.builds(RecommendationRefused, name=st.sampled_from([f"D{n}.r1" for n in range(1, 24)])),
    st.builds(MaintenanceBegun, host=NAMES, until=st.none() | st.floats(0, 2e6)),
    st.builds(MaintenanceEnded, host=NAMES),
    st.builds(EvacuationAsked, host=NAMES),
    st.builds(EvacuationStopped, host=NAMES),
    st.builds(lambda name, on: InventoryChanged(guests=(pool_guest(name, on),)), NAMES, st.sampled_from(["a", "b"])),
    st.builds(lambda name, live: InventoryChanged(hosts=(pool_host(name, is_live=live),)), NAMES, st.booleans()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=40))
def test_whatever_happens_a_guest_has_one_migration_and_each_is_asked_for_once(events: list[AnyEvent]) -> None:
    cluster = acting()
    cluster.run(3, HOG)
    asked = {start.cause for start in cluster.started}
    for event in events:
        for command in cluster.tell(event):
            if isinstance(command, core_module.StartMigration):
                assert command.cause not in asked
                asked.add(command.cause)
        in_flight: Mapping[str, core_module.Migration] = cluster.core.memory.in_flight
        guests = [migration.guest for migration in in_flight.values()]
        assert len(guests) == len(set(guests))
        assert in_flight.keys() <= asked
        recommended = [guest for each in cluster.core.memory.recommendations.values() for guest in each.guests]
        assert len(recommended) == len(set(recommended))

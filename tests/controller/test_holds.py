"""What a failed migration leads to: a rest that doubles, a quarantine with its reason, and their ends."""

import msgspec
import pytest
from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host
from msgspec.structs import replace

from migd_controller.config import GuardsSection
from migd_controller.core import Core
from migd_controller.decision import Gate
from migd_controller.events import (
    GuestReleased,
    InventoryChanged,
    MigrationEnded,
    MigrationRequested,
    PoolReachability,
    Tick,
)
from migd_controller.holds import Hold
from migd_controller.memory import Memory
from migd_controller.pool_failures import MEANINGS, UNKNOWN, Scope, Then, meaning_of
from migd_controller.views import guests_view
from xapi_reference import reference

LIMITS = GuardsSection(cooldown_s=0.0, retry_after_s=100.0, retry_at_most_s=1000.0, min_gain_s=1.0, max_concurrent=4)
HOG = {"hog": 4.0}


def cluster_of(*, memory: Memory | None = None, hog_tags: tuple[str, ...] = ()) -> Cluster:
    """Host `a` with a hog and a rank, `b` and `c` empty."""
    guests = [pool_guest("hog", "a", vcpus=4, tags=hog_tags), pool_guest("rank0", "a")]
    hosts = [pool_host("a"), pool_host("b"), pool_host("c")]
    cluster = Cluster(hosts, guests, replace(CONFIG, guards=LIMITS), memory)
    cluster.run(1)
    return cluster


def try_to_move(cluster: Cluster, guest: str, target: str) -> dict[str, Gate]:
    """Ask by hand; return the gates that were not passed."""
    cluster.tell(MigrationRequested(guest=guest, target=target))
    assert cluster.core.last_decision is not None
    (candidate,) = cluster.core.last_decision.candidates
    return {gate.name: gate for gate in candidate.gates if not gate.passed}


def fail(cluster: Cluster, code: str, *, guest: str = "rank0", target: str = "b", host_now: str | None = "a") -> str:
    """Let a migration fail with a code; return its id."""
    assert try_to_move(cluster, guest, target) == {}
    cause = cluster.started[-1].cause
    cluster.tell(MigrationEnded(cause=cause, host_now=host_now, code=code, text=f"{code}(x)"))
    return cause


def change(cluster: Cluster, **values: object) -> None:
    """Let the pool say something else of `rank0`."""
    cluster.guests["rank0"] = replace(cluster.guests["rank0"], **values)
    cluster.tell(InventoryChanged(guests=(cluster.guests["rank0"],)))


def why_fixed(cluster: Cluster, guest: str = "rank0") -> str | None:
    return cluster.core.world(cluster.now_s).guests[guest].immovable_because


def hold_of(cluster: Cluster) -> Hold:
    (hold,) = cluster.core.memory.holds.values()
    return hold


def test_a_rest_doubles_with_each_failure_in_a_row_up_to_its_limit() -> None:
    cluster = cluster_of()
    rests = []
    for _ in range(6):
        fail(cluster, "HOST_NOT_ENOUGH_FREE_MEMORY")
        until = hold_of(cluster).until
        assert until is not None
        rests.append(until - cluster.now_s)
    assert rests == [100.0, 200.0, 400.0, 800.0, 1000.0, 1000.0]
    assert hold_of(cluster).failures == 6


def test_a_policy_lets_a_guest_rest_and_an_operator_need_not() -> None:
    free = cluster_of(hog_tags=("migd:never",))
    free.set_policy("least-loaded")
    free.run(10, HOG)
    assert {start.guest for start in free.started} == {"rank0"}
    cluster = cluster_of(hog_tags=("migd:never",))
    cluster.run(3, HOG)
    fail(cluster, "INTERNAL_ERROR")
    assert cluster.core.world(cluster.now_s).guests["rank0"].cooldown_s == 100.0
    cluster.set_policy("least-loaded")
    before = len(cluster.started)
    cluster.run(10, HOG)
    assert "rank0" not in {start.guest for start in cluster.started[before:]}
    assert "rest" not in try_to_move(cluster, "rank0", "c")


def test_the_gate_says_how_long_a_guest_rests_and_after_what() -> None:
    cluster = cluster_of()
    fail(cluster, "INTERNAL_ERROR")
    fail(cluster, "INTERNAL_ERROR")
    cluster.run(6)
    (view,) = [view for view in guests_view(cluster.core, cluster.now_s) if view.name == "rank0"]
    assert view.resting_because == (
        "rests for 2 min 50 s: 2 migrations in a row failed, INTERNAL_ERROR(x): see the log of the source host's toolstack"
    )
    assert view.immovable_because is None


def test_a_migration_that_succeeds_ends_the_row_of_failures() -> None:
    cluster = cluster_of()
    fail(cluster, "INTERNAL_ERROR")
    assert try_to_move(cluster, "rank0", "b") == {}
    cluster.tell(MigrationEnded(cause=cluster.started[-1].cause, host_now="b"))
    assert cluster.core.memory.holds == {}


def test_a_rest_is_forgotten_long_after_it_was_over() -> None:
    cluster = cluster_of()
    fail(cluster, "INTERNAL_ERROR")
    cluster.now_s += LIMITS.retry_after_s + LIMITS.retry_at_most_s - 10.0
    cluster.run(1)
    assert len(cluster.core.memory.holds) == 1
    cluster.now_s += 10.0
    cluster.run(1)
    assert cluster.core.memory.holds == {}


def test_a_clock_set_back_across_a_restart_does_not_prolong_a_rest() -> None:
    cluster = cluster_of()
    fail(cluster, "INTERNAL_ERROR")
    core = Core(cluster.core.config, cluster.core.memory)
    for event in (
        PoolReachability(is_reachable=True),
        InventoryChanged(hosts=tuple(cluster.hosts.values()), guests=tuple(cluster.guests.values()), is_complete=True),
        Tick(),
    ):
        core.handle(event, 1.0)
    (hold,) = core.memory.holds.values()
    assert hold.until == 1.0 + LIMITS.retry_at_most_s


def test_a_quarantine_keeps_a_guest_from_policies_and_operators_and_says_why() -> None:
    cluster = cluster_of()
    cause = fail(cluster, "VM_LACKS_FEATURE")
    reason = (
        f"it is in quarantine since {cause}: VM_LACKS_FEATURE(x): install the guest tools in it, or start them; "
        "`migctl release rank0` lifts it"
    )
    assert why_fixed(cluster) == reason
    assert try_to_move(cluster, "rank0", "c")["movable"].text == f"guest rank0 may not be migrated: {reason}"
    assert try_to_move(cluster, "hog", "c") == {}


def test_a_quarantine_for_one_target_leaves_the_others_open() -> None:
    cluster = cluster_of()
    cause = fail(cluster, "VM_REQUIRES_SR", target="b")
    assert why_fixed(cluster) is None
    assert try_to_move(cluster, "rank0", "b")["placement"].text == (
        f"in quarantine since {cause}: VM_REQUIRES_SR(x): attach its storage to the target; "
        "`migctl release rank0` lifts it"
    )
    fail(cluster, "VM_REQUIRES_SR", target="c")
    assert len(cluster.core.memory.holds) == 2
    cluster.tell(GuestReleased(guest="rank0"))
    assert cluster.core.memory.holds == {}
    assert try_to_move(cluster, "rank0", "b") == {}


def test_what_concerns_every_guest_holds_every_guest_until_the_pool_answers_anew() -> None:
    cluster = cluster_of()
    fail(cluster, "RBAC_PERMISSION_DENIED")
    assert "give migd's user the role vm-power-admin" in (why_fixed(cluster, "hog") or "")
    cluster.tell(PoolReachability(is_reachable=True))
    assert why_fixed(cluster, "hog") is not None
    cluster.tell(PoolReachability(is_reachable=False, problem="gone"))
    cluster.tell(PoolReachability(is_reachable=True))
    assert why_fixed(cluster, "hog") is None


def test_an_operator_releases_a_guest_and_it_may_move_at_once() -> None:
    cluster = cluster_of()
    fail(cluster, "VM_IS_IMMOBILE")
    cluster.tell(GuestReleased(guest="rank0"))
    assert why_fixed(cluster) is None
    assert try_to_move(cluster, "rank0", "b") == {}


@pytest.mark.parametrize(
    "values", [{"blocked_because": "blocked_operations forbids it"}, {"vcpus": 2}, {"memory_may_shrink": True}]
)
def test_a_quarantine_ends_when_the_guest_itself_changes(values: dict[str, object]) -> None:
    cluster = cluster_of()
    fail(cluster, "OPERATION_BLOCKED")
    cluster.run(2)
    assert len(cluster.core.memory.holds) == 1
    change(cluster, **values)
    cluster.run(1)
    assert cluster.core.memory.holds == {}


@pytest.mark.parametrize("values", [{"tags": ("x",)}, {"name": "renamed"}, {"host": "c"}, {"busy_with": "snapshot"}])
def test_a_quarantine_outlives_what_has_nothing_to_do_with_it(values: dict[str, object]) -> None:
    cluster = cluster_of()
    fail(cluster, "OPERATION_BLOCKED")
    cluster.run(1)
    change(cluster, **values)
    cluster.run(1)
    assert len(cluster.core.memory.holds) == 1


def test_a_guest_that_is_power_cycled_leaves_its_quarantine() -> None:
    cluster = cluster_of()
    fail(cluster, "VM_LACKS_FEATURE")
    cluster.run(1)
    cluster.tell(InventoryChanged(gone=("rank0",)))
    cluster.run(1)
    assert cluster.core.memory.holds == {}


def test_a_quarantine_for_a_target_ends_when_the_target_changes() -> None:
    cluster = cluster_of()
    fail(cluster, "HOST_CANNOT_ATTACH_NETWORK", target="b")
    cluster.run(1)
    cluster.tell(InventoryChanged(hosts=(pool_host("c", networks=("lan",)),)))
    cluster.run(1)
    assert len(cluster.core.memory.holds) == 1
    cluster.tell(InventoryChanged(hosts=(pool_host("b", networks=("lan",)),)))
    cluster.run(1)
    assert cluster.core.memory.holds == {}


def test_records_in_mid_change_are_not_taken_for_a_change_of_the_cause() -> None:
    """XAPI empties the operations of a guest before it lists the allowed ones anew."""
    cluster = cluster_of()
    fail(cluster, "VM_NON_SUSPENDABLE")
    change(cluster, blocked_because="pool_migrate is not among its allowed operations")
    change(cluster, blocked_because="")
    cluster.run(2)
    assert len(cluster.core.memory.holds) == 1


def test_a_guest_that_no_longer_runs_after_its_migration_needs_a_human_until_it_runs_again() -> None:
    cluster = cluster_of()
    cause = fail(cluster, "VM_SUSPEND_TIMEOUT", host_now=None)
    hold = hold_of(cluster)
    assert hold.then is Then.NEEDS_A_HUMAN
    assert hold.text == (
        f"VM_SUSPEND_TIMEOUT(x): it no longer runs since its migration {cause}; see the logs of both hosts, and start it"
    )
    cluster.tell(InventoryChanged(gone=("rank0",)))
    cluster.run(2)
    assert hold_of(cluster).guest_name == "rank0"
    cluster.tell(InventoryChanged(guests=(pool_guest("rank0", "c"),)))
    cluster.run(1)
    assert cluster.core.memory.holds == {}


def test_a_guest_that_is_started_again_at_once_needs_nobody_any_more() -> None:
    cluster = cluster_of()
    fail(cluster, "VM_SUSPEND_TIMEOUT", host_now=None)
    cluster.tell(InventoryChanged(guests=(pool_guest("rank0", "c"),)))
    cluster.run(1)
    assert cluster.core.memory.holds == {}


def test_a_cancelled_migration_is_no_failure() -> None:
    cluster = cluster_of()
    fail(cluster, "CANCELLED")
    assert cluster.core.memory.holds == {}


def test_a_guest_that_somebody_else_moved_or_shut_down_meanwhile_is_none_either() -> None:
    for host_now in ("c", None):
        cluster = cluster_of()
        assert try_to_move(cluster, "rank0", "b") == {}
        cluster.tell(MigrationEnded(cause=cluster.started[-1].cause, host_now=host_now))
        assert cluster.core.memory.holds == {}


def test_a_task_that_succeeds_with_the_guest_where_it_was_is_one() -> None:
    cluster = cluster_of()
    assert try_to_move(cluster, "rank0", "b") == {}
    cluster.tell(MigrationEnded(cause=cluster.started[-1].cause, host_now="a"))
    assert hold_of(cluster).text == "the guest did not move: the pool reported success, and yet it is not on the target"


def test_holds_survive_a_restart() -> None:
    cluster = cluster_of()
    cause = fail(cluster, "VM_LACKS_FEATURE")
    cluster.run(1)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(cluster.core.memory), type=Memory)
    again = cluster_of(memory=stored)
    again.run(2)
    assert cause in (why_fixed(again) or "")


def test_nothing_is_lifted_while_the_inventory_is_not_known() -> None:
    cluster = cluster_of()
    fail(cluster, "VM_LACKS_FEATURE")
    cluster.run(1)
    core = Core(cluster.core.config, cluster.core.memory)
    core.handle(Tick(), cluster.now_s)
    assert core.memory.holds == cluster.core.memory.holds


# The migrate path of XAPI, each code once; what belongs to migrate_send alone is not asked for by migd.
MIGRATE_PATH = [
    "MESSAGE_METHOD_UNKNOWN",
    "MESSAGE_PARAMETER_COUNT_MISMATCH",
    "MESSAGE_REMOVED",
    "HANDLE_INVALID",
    "UUID_INVALID",
    "SESSION_INVALID",
    "SESSION_AUTHENTICATION_FAILED",
    "SESSION_AUTHORIZATION_FAILED",
    "RBAC_PERMISSION_DENIED",
    "HOST_IS_SLAVE",
    "HOST_IN_EMERGENCY_MODE",
    "HOST_STILL_BOOTING",
    "VM_INCOMPATIBLE_WITH_THIS_HOST",
    "NOT_SUPPORTED_DURING_UPGRADE",
    "OTHER_OPERATION_IN_PROGRESS",
    "HOST_OFFLINE",
    "CANNOT_CONTACT_HOST",
    "LICENCE_RESTRICTION",
    "VM_FAILED_SUSPEND_ACKNOWLEDGMENT",
    "VM_SUSPEND_TIMEOUT",
    "BALLOONING_TIMEOUT_BEFORE_MIGRATION",
    "OPERATION_BLOCKED",
    "VM_BAD_POWER_STATE",
    "VM_IS_TEMPLATE",
    "VM_IS_SNAPSHOT",
    "VM_IS_IMMOBILE",
    "OPERATION_NOT_ALLOWED",
    "VM_NON_SUSPENDABLE",
    "VM_LACKS_FEATURE",
    "VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION",
    "VM_HAS_PCI_ATTACHED",
    "VM_HAS_VGPU",
    "VM_HAS_VUSBS",
    "INVALID_VALUE",
    "MEMORY_CONSTRAINT_VIOLATION",
    "HOST_NOT_LIVE",
    "HOST_DISABLED",
    "VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION",
    "VM_REQUIRES_SR",
    "VM_REQUIRES_NETWORK",
    "HOST_CANNOT_ATTACH_NETWORK",
    "VM_HVM_REQUIRED",
    "HOST_NOT_ENOUGH_FREE_MEMORY",
    "HOST_NOT_ENOUGH_PCPUS",
    "HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN",
    "INTERNAL_ERROR",
]
OWN = {"", "NOT_ASKED", "ANSWER_LOST", "TASK_VANISHED", "CHANGED_MEANWHILE"}
# Raised by xapi, but not published with the datamodel.
UNPUBLISHED = {"Fault", "VM_IS_SNAPSHOT"}


def test_every_code_of_the_migrate_path_has_a_meaning() -> None:
    assert set(MIGRATE_PATH) - MEANINGS.keys() == set()
    assert meaning_of("SOMETHING_NEW") is UNKNOWN
    assert all(meaning.advice for meaning in MEANINGS.values())


def test_every_code_in_the_table_is_one_of_xapis() -> None:
    published = reference("xapi-errors.json")
    assert MEANINGS.keys() - OWN - UNPUBLISHED - published.keys() == set()


def test_what_only_a_target_lacks_never_keeps_a_guest_from_other_targets() -> None:
    for code, meaning in MEANINGS.items():
        if code.startswith("VM_REQUIRES_") or code in ("HOST_CANNOT_ATTACH_NETWORK", "HOST_NOT_ENOUGH_PCPUS"):
            assert (meaning.then, meaning.scope) == (Then.NEVER, Scope.TARGET), code


def test_a_guest_whose_memory_a_migration_would_shrink_is_refused_with_what_to_do() -> None:
    cluster = cluster_of()
    change(cluster, memory_may_shrink=True)
    assert try_to_move(cluster, "rank0", "b")["movable"].text == (
        "guest rank0 may not be migrated: its dynamic memory minimum is below its maximum, so a migration would shrink "
        "it; set memory_dynamic_min = memory_dynamic_max"
    )

"""A migration as clients see it: what changes, in which order, and how it fails."""

from itertools import pairwise
from typing import Any

import pytest
import XenAPI
from pool_client import NULL, Pool, Watch


@pytest.fixture
def a(pool: Any, session: XenAPI.Session) -> Pool:
    return Pool(pool, session)


def test_a_migrated_guest_is_there_when_the_task_says_so(a: Pool) -> None:
    record = a.finished(a.migrate())
    assert (record["status"], record["progress"], record["result"]) == ("success", 1.0, "<value></value>")
    assert (record["name_label"], record["type"], record["error_info"]) == ("Async.VM.pool_migrate", "<none/>", [])
    vm = a.api.VM.get_record(a.vm)
    assert (vm["resident_on"], vm["scheduled_to_be_resident_on"], vm["power_state"]) == (a.there, NULL, "Running")
    assert (vm["current_operations"], "pool_migrate" in vm["allowed_operations"]) == ({}, True)
    assert a.api.host.get_current_operations(a.there) == {}
    assert a.vm in a.api.host.get_resident_VMs(a.there)
    assert a.vm not in a.api.host.get_resident_VMs(a.here)
    (message,) = a.api.message.get_all_records().values()
    assert (message["name"], message["priority"], message["obj_uuid"]) == ("VM_MIGRATED", "5", "guest-0")


def test_a_task_is_born_pending_and_unfinished(a: Pool) -> None:
    a.hold()
    record = a.api.task.get_record(a.migrate())
    assert (record["status"], record["progress"], record["finished"].value) == ("pending", 0.0, "19700101T00:00:00Z")
    assert (record["subtask_of"], record["backtrace"], record["resident_on"]) == (NULL, "()", a.here)
    (migration,) = a.migrations(1)
    a.end(migration)


def test_while_a_guest_moves_it_counts_on_both_hosts(a: Pool) -> None:
    free_here, free_there = (a.api.host.compute_free_memory(host) for host in (a.here, a.there))
    a.hold()
    task = a.migrate()
    (migration,) = a.migrations(1)
    vm = a.api.VM.get_record(a.vm)
    assert (vm["resident_on"], vm["scheduled_to_be_resident_on"]) == (a.here, a.there)
    assert (vm["current_operations"], vm["allowed_operations"]) == (
        {task: "pool_migrate"},
        ["hard_reboot", "hard_shutdown"],
    )
    target = a.api.host.get_record(a.there)
    assert target["current_operations"] == {task: "vm_migrate"}
    assert not {"evacuate", "reboot", "shutdown"} & set(target["allowed_operations"])
    assert a.api.host.compute_free_memory(a.here) == free_here
    assert int(a.api.host.compute_free_memory(a.there)) < int(free_there)
    assert a.api.VM.get_possible_hosts(a.vm) == [a.there]
    assert a.api.task.get_allowed_operations(task) == ["cancel"]
    a.end(migration)
    a.finished(task)


def test_progress_goes_back_before_the_end(a: Pool) -> None:
    watch = Watch(a.session, ["task"])
    task = a.migrate()
    watch.until(lambda now: task in now and now[task]["status"] == "success")
    shown = [record["progress"] for ref, record in watch.seen if ref == task]
    assert any(later < earlier for earlier, later in pairwise(shown))
    assert shown[-1] == 1.0


def test_residence_flips_in_one_step(a: Pool) -> None:
    watch = Watch(a.session, ["vm"])
    a.migrate()
    watch.until(lambda now: now[a.vm]["resident_on"] == a.there and not now[a.vm]["current_operations"])
    states = [(r["resident_on"], r["scheduled_to_be_resident_on"]) for ref, r in watch.seen if ref == a.vm]
    assert set(states) <= {(a.here, NULL), (a.here, a.there), (a.there, NULL)}


def test_a_cancelled_migration_leaves_the_guest_where_it_was(a: Pool) -> None:
    a.hold()
    task = a.migrate()
    a.migrations(1)
    a.api.task.cancel(task)
    record = a.finished(task)
    assert (record["status"], record["progress"], record["error_info"]) == ("cancelled", 1.0, [])
    assert list(record["current_operations"].values()) == ["cancel"]
    vm = a.api.VM.get_record(a.vm)
    assert (vm["resident_on"], vm["scheduled_to_be_resident_on"], vm["current_operations"]) == (a.here, NULL, {})
    assert a.api.message.get_all() == []


def test_a_cancel_that_comes_too_late_changes_nothing(a: Pool) -> None:
    a.hold()
    task = a.migrate()
    (migration,) = a.migrations(1)
    migration.may_be_cancelled = False
    a.api.task.cancel(task)
    a.end(migration)
    assert a.finished(task)["status"] == "success"
    a.api.task.cancel(task)
    assert a.api.VM.get_resident_on(a.vm) == a.there


def test_a_second_migration_of_a_guest_waits_and_then_runs(a: Pool) -> None:
    a.hold()
    first = a.migrate()
    (migration,) = a.migrations(1)
    second = a.migrate(a.elsewhere)
    assert a.api.task.get_status(second) == "pending"
    a.end(migration)
    assert a.finished(first)["status"] == "success"
    a.end(a.migrations(2)[1])
    assert a.finished(second)["status"] == "success"
    assert a.api.VM.get_resident_on(a.vm) == a.elsewhere


def test_a_destroyed_task_is_gone_once_it_is_over(a: Pool) -> None:
    a.hold()
    task = a.migrate()
    (migration,) = a.migrations(1)
    a.api.task.destroy(task)
    assert list(a.api.task.get_current_operations(task).values()) == ["destroy"]
    a.end(migration)
    a.finished(task)
    a.api.task.destroy(task)
    with pytest.raises(XenAPI.Failure) as caught:
        a.api.task.get_record(task)
    assert caught.value.details == ["HANDLE_INVALID", "task", task]


def test_a_call_that_is_not_asynchronous_returns_when_all_is_done(a: Pool) -> None:
    assert a.api.VM.pool_migrate(a.vm, a.there, {}) == ""
    assert a.api.VM.get_resident_on(a.vm) == a.there
    assert a.api.task.get_all() == []


def test_a_guest_may_migrate_to_its_own_host(a: Pool) -> None:
    assert a.finished(a.migrate(a.here))["status"] == "success"
    assert a.api.VM.get_resident_on(a.vm) == a.here


def test_failures_of_the_checks_come_in_the_task(a: Pool) -> None:
    a.api.VM.add_to_blocked_operations(a.vm, "pool_migrate", "pinned")
    assert a.failure(a.migrate()) == ["OPERATION_BLOCKED", a.vm, "pinned"]
    a.api.VM.remove_from_blocked_operations(a.vm, "pool_migrate")

    a.api.host.disable(a.there)
    assert a.failure(a.migrate()) == ["HOST_DISABLED", a.there]
    a.api.host.enable(a.there)

    dom0 = a.api.host.get_control_domain(a.here)
    assert a.failure(a.migrate(vm=dom0)) == [
        "OPERATION_NOT_ALLOWED",
        "This operation is not allowed on a control domain",
    ]

    a.api.VM.set_is_a_template(a.vm, True)
    assert a.failure(a.migrate()) == ["VM_IS_TEMPLATE", a.vm, "pool_migrate"]
    a.api.VM.set_is_a_template(a.vm, False)

    assert a.failure(a.migrate("OpaqueRef:none")) == ["HANDLE_INVALID", "host", "OpaqueRef:none"]
    assert a.api.VM.get_current_operations(a.vm) == {}
    assert a.api.VM.get_resident_on(a.vm) == a.here


def test_a_guest_needs_its_storage_and_memory_on_the_target(a: Pool) -> None:
    (repository,) = a.api.SR.get_all()
    (pbd,) = (ref for ref in a.api.host.get_PBDs(a.there))
    a.change("PBD", pbd, currently_attached=False)
    assert a.failure(a.migrate()) == ["VM_REQUIRES_SR", a.vm, repository]
    a.change("PBD", pbd, currently_attached=True)

    a.change("host", a.there, memory_overhead=15 << 30)
    needed = int(a.api.VM.get_memory_dynamic_min(a.vm)) + int(a.api.VM.get_memory_overhead(a.vm))
    available = a.api.host.compute_free_memory(a.there)
    assert a.failure(a.migrate()) == ["HOST_NOT_ENOUGH_FREE_MEMORY", str(needed), available]


def test_a_dead_host_is_neither_source_nor_target(a: Pool) -> None:
    a.change("host_metrics", a.api.host.get_metrics(a.there), live=False)
    assert a.failure(a.migrate()) == ["HOST_NOT_LIVE"]
    a.change("host_metrics", a.api.host.get_metrics(a.here), live=False)
    assert a.failure(a.migrate(a.elsewhere)) == ["HOST_OFFLINE", a.here]


def test_a_halted_or_toolless_guest_does_not_migrate(a: Pool) -> None:
    a.change("VM_guest_metrics", a.api.VM.get_guest_metrics(a.vm), PV_drivers_detected=False, other={})
    assert a.failure(a.migrate()) == ["VM_LACKS_FEATURE", a.vm]
    assert a.finished(a.migrate(force="true"))["status"] == "success"
    a.change("VM", a.vm, power_state="Halted")
    assert a.failure(a.migrate()) == ["VM_BAD_POWER_STATE", a.vm, "running", "halted"]


def test_a_failure_below_leaves_no_trace_of_the_operation(a: Pool) -> None:
    a.change("VM", a.vm, power_state="Running")
    a.served.backend._put("guest-0", None)
    assert a.failure(a.migrate()) == ["INTERNAL_ERROR", "guest guest-0 does not run"]
    vm = a.api.VM.get_record(a.vm)
    assert (vm["current_operations"], vm["scheduled_to_be_resident_on"]) == ({}, NULL)
    assert a.api.host.get_current_operations(a.there) == {}

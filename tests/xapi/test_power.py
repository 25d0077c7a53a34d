"""Guests that are started, stopped, paused and suspended, as clients see it."""

from collections.abc import Callable
from typing import Any

import pytest
import XenAPI
from pool_client import NULL, Pool, Watch, failure


@pytest.fixture
def a(pool: Any, session: XenAPI.Session) -> Pool:
    return Pool(pool, session)


def test_a_guest_that_is_shut_down_is_nowhere_and_can_be_started_again(a: Pool) -> None:
    a.api.VM.clean_shutdown(a.vm)
    vm = a.record()
    assert (vm["power_state"], vm["resident_on"], vm["domid"], vm["current_operations"]) == ("Halted", NULL, "-1", {})
    assert {"start", "start_on"} <= set(vm["allowed_operations"])
    assert not {"pool_migrate", "hard_shutdown"} & set(vm["allowed_operations"])
    assert a.vm not in a.api.host.get_resident_VMs(a.here)
    assert not any(a.api.VBD.get_currently_attached(vbd) for vbd in vm["VBDs"])

    a.api.VM.start(a.vm, False, False)
    vm = a.record()
    assert (vm["power_state"], vm["scheduled_to_be_resident_on"]) == ("Running", NULL)
    assert a.vm in a.api.host.get_resident_VMs(vm["resident_on"])
    assert int(vm["domid"]) > 0
    assert "pool_migrate" in vm["allowed_operations"]
    assert all(a.api.VIF.get_currently_attached(vif) for vif in vm["VIFs"])
    assert a.messages() == ["VM_SHUTDOWN", "VM_STARTED"]


def test_a_start_reserves_its_place_first(a: Pool) -> None:
    a.api.VM.hard_shutdown(a.vm)
    watch = Watch(a.session, ["vm", "host"])
    task = a.api.Async.VM.start_on(a.vm, a.there, False, False)
    watch.until(lambda now: now[a.vm]["power_state"] == "Running" and not now[a.vm]["current_operations"])
    assert a.finished(task)["status"] == "success"
    states = [(vm["power_state"], vm["resident_on"]) for ref, vm in watch.seen if ref == a.vm]
    assert set(states) <= {("Halted", NULL), ("Running", a.there)}
    assert a.api.host.get_current_operations(a.there) == {}


def test_a_guest_without_room_or_storage_does_not_start(a: Pool) -> None:
    a.api.VM.hard_shutdown(a.vm)
    needed = int(a.record()["memory_dynamic_min"]) + int(a.record()["memory_overhead"])
    overhead = a.api.host.get_memory_overhead(a.there)
    a.change("host", a.there, memory_overhead=15 << 30)
    available = a.api.host.compute_free_memory(a.there)
    assert failure(a.api.VM.start_on, a.vm, a.there, False, False) == [
        "HOST_NOT_ENOUGH_FREE_MEMORY",
        str(needed),
        available,
    ]
    a.change("host", a.there, memory_overhead=int(overhead))
    for pbd in a.api.PBD.get_all():
        a.change("PBD", pbd, currently_attached=False)
    (repository,) = a.api.SR.get_all()
    assert failure(a.api.VM.start_on, a.vm, a.there, False, False) == ["VM_REQUIRES_SR", a.vm, repository]
    assert failure(a.api.VM.start, a.vm, False, False) == ["NO_HOSTS_AVAILABLE"]
    vm = a.record()
    assert (vm["power_state"], vm["scheduled_to_be_resident_on"], vm["current_operations"]) == ("Halted", NULL, {})


def test_a_disabled_or_evacuating_host_starts_nothing(a: Pool) -> None:
    a.api.VM.hard_shutdown(a.vm)
    a.api.host.disable(a.there)
    assert failure(a.api.VM.start_on, a.vm, a.there, False, False) == ["HOST_DISABLED", a.there]
    a.change("host", a.elsewhere, current_operations={"task": "evacuate"})
    assert failure(a.api.VM.start_on, a.vm, a.elsewhere, False, False) == ["HOST_EVACUATE_IN_PROGRESS", a.elsewhere]
    a.api.VM.start(a.vm, False, False)
    assert a.record()["resident_on"] == a.here


def test_a_guest_prefers_its_affinity_and_is_not_bound_by_it(a: Pool) -> None:
    a.api.VM.set_affinity(a.vm, a.elsewhere)
    a.api.VM.hard_shutdown(a.vm)
    a.api.VM.start(a.vm, False, False)
    assert a.record()["resident_on"] == a.elsewhere
    a.api.VM.pool_migrate(a.vm, a.there, {})
    a.api.VM.hard_shutdown(a.vm)
    a.api.host.disable(a.elsewhere)
    a.api.VM.start(a.vm, False, False)
    assert a.record()["resident_on"] in (a.here, a.there)


def test_a_guest_has_no_tools_until_it_has_booted(
    serve: Callable[..., Any], connect: Callable[..., XenAPI.Session]
) -> None:
    served = serve(boot_s=30.0)
    a = Pool(served, connect(served))
    assert "pool_migrate" in a.record()["allowed_operations"]
    a.api.VM.hard_reboot(a.vm)
    vm = a.record()
    assert (vm["power_state"], vm["guest_metrics"]) == ("Running", NULL)
    assert {"hard_shutdown", "pause"} <= set(vm["allowed_operations"])
    assert not {"pool_migrate", "suspend", "clean_shutdown", "clean_reboot"} & set(vm["allowed_operations"])
    assert a.failure(a.migrate()) == ["VM_LACKS_FEATURE", a.vm]
    served.do(lambda: served.server.pool.booting[a.vm].when())  # it boots: there is a timer
    a.api.VM.hard_shutdown(a.vm)
    assert served.do(lambda: served.server.pool.booting) == {}


def test_the_tools_report_when_the_guest_has_booted(
    serve: Callable[..., Any], connect: Callable[..., XenAPI.Session]
) -> None:
    served = serve(boot_s=0.1)
    a = Pool(served, connect(served))
    a.api.VM.hard_reboot(a.vm)
    watch = Watch(a.session, ["vm"])
    watch.until(lambda now: "pool_migrate" in now[a.vm]["allowed_operations"])
    metrics = a.api.VM_guest_metrics.get_record(a.record()["guest_metrics"])
    assert (metrics["PV_drivers_detected"], metrics["other"]["feature-suspend"]) == (True, "1")


def test_a_reboot_makes_a_new_domain_in_the_same_place(a: Pool) -> None:
    before = a.record()
    for reboot, message in ((a.api.VM.clean_reboot, "VM_REBOOTED"), (a.api.VM.hard_reboot, "VM_REBOOTED")):
        reboot(a.vm)
        after = a.record()
        assert (after["power_state"], after["resident_on"]) == ("Running", before["resident_on"])
        assert int(after["domid"]) > int(before["domid"])
        assert a.messages()[-1] == message
        before = after


def test_a_paused_guest_gets_no_cpu_and_does_not_migrate(a: Pool) -> None:
    a.api.VM.pause(a.vm)
    vm = a.record()
    assert (vm["power_state"], vm["resident_on"]) == ("Paused", a.here)
    assert "unpause" in vm["allowed_operations"]
    assert a.served.backend.paused == {"guest-0"}
    assert a.failure(a.migrate()) == ["VM_BAD_POWER_STATE", a.vm, "running", "paused"]
    a.api.VM.unpause(a.vm)
    assert (a.record()["power_state"], a.served.backend.paused) == ("Running", set())
    assert a.messages() == ["VM_PAUSED", "VM_UNPAUSED"]


def test_a_guest_may_be_started_paused(a: Pool) -> None:
    a.api.VM.hard_shutdown(a.vm)
    a.api.VM.start(a.vm, True, False)
    assert (a.record()["power_state"], a.served.backend.paused) == ("Paused", {"guest-0"})
    a.api.VM.unpause(a.vm)
    assert a.record()["guest_metrics"] != NULL


def test_a_suspended_guest_is_nowhere_but_on_its_storage(a: Pool) -> None:
    free = a.api.host.compute_free_memory(a.here)
    a.api.VM.suspend(a.vm)
    vm = a.record()
    assert (vm["power_state"], vm["resident_on"], vm["domid"]) == ("Suspended", NULL, "-1")
    assert a.api.VDI.get_type(vm["suspend_VDI"]) == "suspend"
    assert int(a.api.host.compute_free_memory(a.here)) > int(free)
    a.api.VM.resume_on(a.vm, a.there, False, False)
    vm = a.record()
    assert (vm["power_state"], vm["resident_on"], vm["suspend_VDI"]) == ("Running", a.there, NULL)
    assert "suspend" not in [vdi["type"] for vdi in a.api.VDI.get_all_records().values()]
    assert a.messages() == ["VM_SUSPENDED", "VM_RESUMED"]
    a.api.VM.suspend(a.vm)
    a.api.VM.hard_shutdown(a.vm)
    assert (a.record()["power_state"], a.record()["suspend_VDI"]) == ("Halted", NULL)


@pytest.mark.parametrize(
    ("method", "state", "expected"),
    [
        ("start", "Running", "halted"),
        ("clean_shutdown", "Halted", "running"),
        ("hard_shutdown", "Halted", "paused, suspended, running"),
        ("unpause", "Running", "paused"),
        ("hard_reboot", "Halted", "paused, running"),
        ("resume", "Running", "suspended"),
    ],
)
def test_what_does_not_fit_the_power_state_is_refused(a: Pool, method: str, state: str, expected: str) -> None:
    if state == "Halted":
        a.api.VM.hard_shutdown(a.vm)
    more = (False, False) if method in ("start", "resume") else ()
    assert failure(getattr(a.api.VM, method), a.vm, *more) == ["VM_BAD_POWER_STATE", a.vm, expected, state.lower()]


@pytest.mark.parametrize(("method", "end"), [("hard_shutdown", "Halted"), ("hard_reboot", "Running")])
def test_force_ends_a_migration_first(a: Pool, method: str, end: str) -> None:
    a.hold()
    migration = a.migrate()
    a.migrations(1)
    getattr(a.api.VM, method)(a.vm)
    assert a.api.task.get_status(migration) == "cancelled"
    vm = a.record()
    assert (vm["power_state"], vm["scheduled_to_be_resident_on"], vm["current_operations"]) == (end, NULL, {})
    assert vm["resident_on"] == (a.here if end == "Running" else NULL)
    assert a.api.host.get_current_operations(a.there) == {}


def test_force_waits_for_a_migration_that_cannot_be_stopped_any_more(a: Pool) -> None:
    a.hold()
    task = a.migrate()
    (migration,) = a.migrations(1)
    migration.may_be_cancelled = False
    shutdown = a.api.Async.VM.hard_shutdown(a.vm)
    watch = Watch(a.session, ["task"])
    watch.until(lambda now: bool(now[task]["current_operations"]))
    assert a.api.task.get_status(shutdown) == "pending"
    a.end(migration)
    assert a.finished(shutdown)["status"] == "success"
    assert a.api.task.get_status(task) == "success"
    assert a.record()["power_state"] == "Halted"


def test_a_shutdown_that_the_guest_takes_its_time_for_can_be_cancelled(
    serve: Callable[..., Any], connect: Callable[..., XenAPI.Session]
) -> None:
    served = serve(shutdown_s=60.0)
    a = Pool(served, connect(served))
    task = a.api.Async.VM.clean_shutdown(a.vm)
    watch = Watch(a.session, ["vm"])
    watch.until(lambda now: now[a.vm]["current_operations"] == {task: "clean_shutdown"})
    assert watch.now[a.vm]["allowed_operations"] == ["hard_reboot", "hard_shutdown"]
    a.api.task.cancel(task)
    assert a.finished(task)["status"] == "cancelled"
    assert a.record()["power_state"] == "Running"
    a.api.Async.VM.clean_shutdown(a.vm)
    a.api.VM.hard_shutdown(a.vm)
    assert a.record()["power_state"] == "Halted"


def test_a_shutdown_of_a_guest_without_tools_is_forced(a: Pool) -> None:
    a.change("VM", a.vm, guest_metrics=NULL)
    assert failure(a.api.VM.clean_shutdown, a.vm) == ["VM_LACKS_FEATURE", a.vm]
    a.api.VM.shutdown(a.vm)
    assert a.record()["power_state"] == "Halted"


def test_a_guest_of_a_dead_host_runs_on_paper_until_somebody_says_that_it_does_not(a: Pool) -> None:
    assert failure(a.api.VM.power_state_reset, a.vm) == ["HOST_IS_LIVE", a.here]
    a.change("host_metrics", a.api.host.get_metrics(a.here), live=False)
    a.served.do(lambda: a.served.backend.stop("guest-0"))
    assert failure(a.api.VM.hard_shutdown, a.vm) == ["HOST_OFFLINE", a.here]
    assert a.record()["power_state"] == "Running"
    a.api.VM.power_state_reset(a.vm)
    assert (a.record()["power_state"], a.record()["resident_on"]) == ("Halted", NULL)
    a.api.VM.start(a.vm, False, False)
    assert a.record()["resident_on"] in (a.there, a.elsewhere)
    dom0 = a.api.host.get_control_domain(a.there)
    assert failure(a.api.VM.power_state_reset, dom0) == ["CANNOT_RESET_CONTROL_DOMAIN", dom0]


def test_operators_of_vms_start_them_where_xapi_likes(a: Pool, login: Callable[..., XenAPI.Session]) -> None:
    a.api.VM.hard_shutdown(a.vm)
    operator = login("operator").xenapi
    assert failure(operator.VM.start_on, a.vm, a.there, False, False)[:2] == ["RBAC_PERMISSION_DENIED", "VM.start_on"]
    operator.VM.start(a.vm, False, False)
    assert a.record()["power_state"] == "Running"

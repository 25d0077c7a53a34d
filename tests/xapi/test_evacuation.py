"""A host that is emptied, and what stands in the way."""

from collections.abc import Callable
from typing import Any

import pytest
import XenAPI
from pool_client import NULL, Pool, failure

from migd_xapi.settings import Group, GuestSettings, HighAvailability, Network, Storage

Make = Callable[..., Pool]


@pytest.fixture
def make(serve: Callable[..., Any], connect: Callable[..., XenAPI.Session]) -> Make:
    def made(size: tuple[int, int] = (3, 4), **settings: Any) -> Pool:
        served = serve(size=size, **settings)
        return Pool(served, connect(served))

    return made


def guests_on(a: Pool, host: str) -> int:
    return len(a.api.host.get_resident_VMs(host)) - 1  # Dom0 stays


def test_an_evacuated_host_is_empty_and_shows_it_while_it_lasts(make: Make) -> None:
    a = make()
    a.hold()
    a.api.host.disable(a.here)
    task = a.api.Async.host.evacuate(a.here)
    migrations = a.migrations(2)
    assert a.api.host.get_current_operations(a.here) == {task: "evacuate"}
    children = [record for record in a.api.task.get_all_records().values() if record["subtask_of"] == task]
    assert [child["name_label"] for child in children] == ["Async.VM.pool_migrate"] * 2
    for migration in migrations:
        a.end(migration)
    assert a.finished(task)["status"] == "success"
    assert (guests_on(a, a.here), a.api.host.get_current_operations(a.here)) == (0, {})
    assert a.api.task.get_all() == [task]
    assert a.messages() == ["VM_MIGRATED"] * 2


def test_guests_leave_so_many_at_a_time(make: Make) -> None:
    a = make((2, 6))
    a.hold()
    task = a.api.Async.host.evacuate(a.here, NULL, 2)
    first, second = a.migrations(2)
    assert {record["subtask_of"] for record in a.api.task.get_all_records().values()} == {NULL, task}
    a.end(first)
    third = a.migrations(3)[-1]
    for migration in (second, third):
        a.end(migration)
    assert a.finished(task)["status"] == "success"
    assert guests_on(a, a.here) == 0


def test_what_cannot_leave_is_named_and_nothing_is_moved(make: Make) -> None:
    a = make()
    a.api.VM.add_to_blocked_operations(a.vm, "pool_migrate", "pinned")
    reason = ["OPERATION_BLOCKED", a.vm, "pinned"]
    assert a.api.host.get_vms_which_prevent_evacuation(a.here) == {a.vm: reason}
    assert failure(a.api.host.assert_can_evacuate, a.here) == ["CANNOT_EVACUATE_HOST", ",".join(reason)]
    assert failure(a.api.host.evacuate, a.here) == reason
    assert guests_on(a, a.here) == 2
    a.api.VM.remove_from_blocked_operations(a.vm, "pool_migrate")
    a.api.host.assert_can_evacuate(a.here)


def test_without_another_enabled_host_nobody_leaves(make: Make) -> None:
    a = make((2, 1))
    a.api.host.disable(a.there)
    assert a.api.host.get_vms_which_prevent_evacuation(a.here) == {a.vm: ["NO_HOSTS_AVAILABLE", a.vm]}


def test_guests_for_which_there_is_no_room_stay(make: Make) -> None:
    a = make((2, 2))
    a.change("host", a.there, memory_overhead=15 << 30)
    assert a.api.host.get_vms_which_prevent_evacuation(a.here) == {a.vm: ["HOST_NOT_ENOUGH_FREE_MEMORY", a.vm]}


def test_a_guest_must_fit_each_of_the_other_hosts(make: Make) -> None:
    """XAPI does not look for one host that would do."""
    a = make(storage=(Storage(name="s", hosts=("xen0", "xen1")),))
    (repository,) = a.api.SR.get_all()
    found = a.api.host.get_vms_which_prevent_evacuation(a.here)
    assert set(map(tuple, found.values())) == {("VM_REQUIRES_SR", vm, repository) for vm in found}
    assert a.vm in found
    a.api.host.disable(a.elsewhere)
    a.api.host.evacuate(a.here)
    assert guests_on(a, a.there) == 3


def test_guests_that_are_to_be_apart_go_apart(make: Make) -> None:
    a = make((3, 6), groups=(Group(name="apart", guests=("rank0", "rank3")),))
    a.api.host.evacuate(a.here)
    homes = {a.api.VM.get_resident_on(a.api.VM.get_by_uuid(uuid)) for uuid in ("guest-0", "guest-3")}
    assert homes == {a.there, a.elsewhere}


def test_with_high_availability_only_protected_guests_leave(make: Make) -> None:
    a = make(ha=HighAvailability(), guests={"rank0": GuestSettings(ha_restart_priority="restart")})
    other = a.api.VM.get_by_uuid("guest-3")
    assert a.api.host.get_vms_which_prevent_evacuation(a.here) == {other: ["HOST_EVACUATE_VM_NOT_HA_PROTECTED", other]}
    assert a.api.pool.ha_compute_max_host_failures_to_tolerate() == "2"
    assert a.api.pool.ha_failover_plan_exists(1) is True
    a.api.VM.set_ha_restart_priority(other, "restart")
    assert a.api.host.get_vms_which_prevent_evacuation(a.here) == {}


def test_an_evacuation_waits_for_guests_that_arrive_and_then_lets_none(make: Make) -> None:
    a = make()
    a.hold()
    arriving = a.migrate(a.there)
    (migration,) = a.migrations(1)
    task = a.api.Async.host.evacuate(a.there)
    a.end(migration)
    assert a.finished(arriving)["status"] == "success"
    a.migrations(2)
    assert a.failure(a.migrate(a.there, vm=a.api.VM.get_by_uuid("guest-2"))) == [
        "OTHER_OPERATION_IN_PROGRESS",
        "host",
        a.there,
        "evacuate",
        task,
    ]
    for begun in a.migrations(3)[1:]:
        a.end(begun)
    assert a.finished(task)["status"] == "success"


def test_the_network_of_a_transfer_must_have_an_address_there(make: Make) -> None:
    a = make(networks=(Network(name="fast"), Network(name="near", hosts=("xen0",))))
    fast, near = (a.api.network.get_by_name_label(name)[0] for name in ("fast", "near"))
    (pif,) = (ref for ref in a.api.host.get_PIFs(a.there) if a.api.PIF.get_network(ref) == fast)
    assert a.failure(a.migrate(network=fast)) == ["INTERFACE_HAS_NO_IP", pif]
    assert a.failure(a.migrate(network=near)) == ["PIF_NOT_PRESENT", a.there, near]
    assert failure(a.api.host.evacuate, a.here, near)[0] == "PIF_NOT_PRESENT"
    a.change("PIF", pif, IP="10.0.0.2", currently_attached=False)
    assert a.failure(a.migrate(network=fast)) == ["REQUIRED_PIF_IS_UNPLUGGED", pif]
    a.change("PIF", pif, currently_attached=True)
    assert a.finished(a.migrate(network=fast))["status"] == "success"

"""The example of a pool full of obstacles, on the simulated cluster: each guest meets the one that its pool file says."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import XenAPI
from pool_client import NULL, Pool, Watch

POOL = Path(__file__).parents[2] / "examples" / "obstacles.toml"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [sys.executable, "-m", "migd_xapi", "--pool", str(POOL), "--listen", "127.0.0.1:0", "--faster", "100"]
    process = subprocess.Popen([*command, "--log-level", "error"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture
def a(url: str) -> Iterator[Pool]:
    session = XenAPI.Session(url)
    session.xenapi.login_with_password("root", "migd")
    yield Pool(None, session)
    session("close")()


def guest(a: Pool, name: str) -> str:
    (vm,) = a.api.VM.get_by_name_label(name)
    return str(vm)


@pytest.mark.parametrize(
    ("name", "target", "code"),
    [
        ("local-disk", "xen2", "VM_REQUIRES_SR"),
        ("adapter", "xen2", "VM_HAS_PCI_ATTACHED"),
        ("bare", "xen1", "VM_LACKS_FEATURE"),
        ("pinned", "xen1", "OPERATION_BLOCKED"),
        ("free", "xen3", "VM_INCOMPATIBLE_WITH_THIS_HOST"),
        ("spare", "xen1", "VM_BAD_POWER_STATE"),
        ("Debian Bookworm 12", "xen1", "VM_BAD_POWER_STATE"),
    ],
)
def test_a_guest_meets_the_obstacle_that_the_file_says(a: Pool, name: str, target: str, code: str) -> None:
    vm = guest(a, name)
    assert a.failure(a.migrate(a.api.host.get_by_name_label(target)[0], vm))[0] == code
    assert (a.api.VM.get_current_operations(vm), a.api.VM.get_scheduled_to_be_resident_on(vm)) == ({}, NULL)


def test_a_network_is_asked_for_where_force_passes_over_the_processor(a: Pool) -> None:
    vm = guest(a, "fabric")
    assert a.failure(a.migrate(a.elsewhere, vm, force="true"))[0] == "VM_REQUIRES_NETWORK"


def test_the_others_migrate(a: Pool) -> None:
    vm = guest(a, "elastic")
    assert a.finished(a.migrate(a.here, vm))["status"] == "success"
    assert a.api.VM.get_resident_on(vm) == a.here


def test_a_guest_migrates_to_its_own_host(a: Pool) -> None:
    vm = guest(a, "free")
    domid = int(a.api.VM.get_domid(vm))
    assert a.finished(a.migrate(a.here, vm))["status"] == "success"
    assert a.api.VM.get_resident_on(vm) == a.here
    assert int(a.api.VM.get_domid(vm)) > domid


def test_a_spare_guest_is_started_suspended_and_resumed(a: Pool) -> None:
    vm = guest(a, "spare")
    assert a.api.VM.get_power_state(vm) == "Halted"
    a.api.VM.start(vm, False, False)
    assert a.api.VM.get_resident_on(vm) == a.elsewhere  # its affinity
    watch = Watch(a.session, ["vm"])
    watch.until(lambda now: "suspend" in now[vm]["allowed_operations"])  # it has booted
    a.api.VM.suspend(vm)
    a.api.VM.resume_on(vm, a.here, False, False)
    assert a.api.VM.get_resident_on(vm) == a.here
    # Started where all hosts are one pool, it has what all processors have, and may go where others may not.
    assert a.finished(a.migrate(a.elsewhere, vm))["status"] == "success"
    a.api.VM.clean_reboot(vm)
    a.api.VM.pause(vm)
    a.api.VM.unpause(vm)
    a.api.VM.shutdown(vm)
    assert (a.api.VM.get_power_state(vm), a.api.VM.get_domid(vm)) == ("Halted", "-1")


def test_force_stops_a_guest_in_mid_migration(a: Pool) -> None:
    vm = guest(a, "free")
    task = a.migrate(a.there, vm)
    watch = Watch(a.session, ["task"])
    watch.until(lambda now: now[task]["progress"] > 0.0 or now[task]["status"] != "pending")
    a.api.VM.hard_reboot(vm)
    assert a.finished(task)["status"] in ("cancelled", "success")
    assert a.api.VM.get_current_operations(vm) == {}
    assert a.api.VM.get_power_state(vm) == "Running"


def test_what_stands_in_the_way_of_an_evacuation_is_told_of_each_guest(a: Pool) -> None:
    found: dict[str, Any] = a.api.host.get_vms_which_prevent_evacuation(a.there)
    reasons = {a.api.VM.get_name_label(vm): reason[0] for vm, reason in found.items()}
    assert reasons["bare"] == "VM_LACKS_FEATURE"
    assert reasons["pinned"] == "OPERATION_BLOCKED"

"""migd-xapi before Dom0s that know only xl: the program itself, the official SDK, and files that play the hosts."""

import copy
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dom0s import GUEST, LIST, UUIDS, Dom0s, Served
from pool_client import Watch, failure

from faulty_pool import until
from migd_controller.config import XapiSection
from migd_controller.xapi import Pool


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dom0s]:
    made = Dom0s(tmp_path_factory.mktemp("dom0s"))
    made.serve()
    yield made
    made.close()


@pytest.fixture
def dom0s(long_lived: Dom0s) -> Dom0s:
    """Hosts as they are at first, before the one server of all tests that leave it alive."""
    long_lived.reset()
    until(long_lived.clients[0].is_at_rest)
    return long_lived


@pytest.fixture
def served(dom0s: Dom0s) -> Served:
    return dom0s.clients[0]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Dom0s]:
    """Hosts without a server; the test starts its own."""
    made = Dom0s(tmp_path)
    yield made
    made.close()


def begun(dom0s: Dom0s) -> None:
    until(lambda: dom0s.domains("node2") == ["d1--incoming"])


def test_hosts_and_guests_are_shown_as_xl_has_them(served: Served) -> None:
    vm, host = served.api.VM.get_record(served.vm), served.api.host.get_record(served.host("node1"))
    assert (vm["name_label"], vm["power_state"], vm["domid"], vm["domain_type"]) == ("d1", "Running", "1", "pv")
    assert (vm["memory_dynamic_max"], vm["VCPUs_max"]) == (str(96 * 2**20), "1")
    assert [served.api.VIF.get_MAC(vif) for vif in vm["VIFs"]] == ["00:16:3e:00:00:01"]
    assert (host["uuid"], host["software_version"]["xen"], len(host["host_CPUs"])) == (UUIDS[0], "4.17.5", 1)
    assert served.where() == "node1"


def test_what_xen_says_is_free_is_what_the_pool_gives(served: Served) -> None:
    free_mib = int(served.api.host.compute_free_memory(served.host("node2"))) / 2**20
    info = (Path(__file__).parent / "dom0" / "xl-info.txt").read_text()
    said = next(int(line.partition(":")[2]) for line in info.splitlines() if line.startswith("free_memory"))
    assert free_mib == pytest.approx(said, abs=1)


def test_a_guest_goes_where_it_is_sent_and_events_tell(dom0s: Dom0s, served: Served) -> None:
    watch = Watch(served.session, ["vm", "task"])
    assert served.ended(served.migrate()) == ("success", [])
    assert (dom0s.domains("node1"), dom0s.domains("node2")) == ([], ["d1"])
    node2 = served.host("node2")
    watch.until(lambda now: now.get(served.vm, {}).get("resident_on") == node2)
    assert served.ended(served.migrate("node1")) == ("success", [])
    assert served.where() == "node1"


def test_while_it_moves_it_is_where_it_was(dom0s: Dom0s, served: Served) -> None:
    dom0s.let_migrations("wait")
    task = served.migrate()
    begun(dom0s)
    until(lambda: float(served.api.task.get_progress(task)) > 0.3)
    assert served.where() == "node1"
    assert list(served.api.VM.get_current_operations(served.vm).values()) == ["pool_migrate"]
    dom0s.let_migrations("succeed")
    assert served.ended(task) == ("success", [])


def test_a_cancelled_migration_leaves_the_guest_where_it_was(dom0s: Dom0s, served: Served) -> None:
    dom0s.let_migrations("wait")
    task = served.migrate()
    begun(dom0s)
    served.api.task.cancel(task)
    assert served.ended(task)[0] == "cancelled"
    assert (dom0s.domains("node1"), dom0s.domains("node2")) == (["d1"], [])


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("ssh: connect to host node2 port 22: Connection refused", "CANNOT_CONTACT_HOST"),
        ("libxl: error: failed to free memory for the domain", "HOST_NOT_ENOUGH_FREE_MEMORY"),
        ("Migration failed, failed to suspend at sender.", "VM_FAILED_SUSPEND_ACKNOWLEDGMENT"),
        ("xc: error: Failed to enable logdirty: 95,22,0: Internal error", "INTERNAL_ERROR"),
    ],
)
def test_what_xl_says_becomes_xapis_failure(dom0s: Dom0s, served: Served, said: str, code: str) -> None:
    dom0s.let_migrations(said)
    status, error = served.ended(served.migrate())
    assert (status, error[0]) == ("failure", code)
    assert served.where() == "node1"
    if code == "INTERNAL_ERROR":
        assert said in error[1]


def test_a_server_that_was_killed_finds_its_migration_again(own: Dom0s) -> None:
    served = own.serve()
    own.let_migrations("wait")
    served.migrate()
    begun(own)
    served.process.send_signal(signal.SIGKILL)
    served.process.wait(timeout=10)
    second = own.serve()
    until(lambda: list(second.api.VM.get_current_operations(second.vm).values()) == ["pool_migrate"])
    (task,) = second.api.VM.get_current_operations(second.vm)
    own.let_migrations("succeed")
    assert second.ended(task) == ("success", [])
    assert second.where() == "node2"


def test_two_servers_do_not_move_one_guest_at_once(dom0s: Dom0s, served: Served) -> None:
    other = dom0s.serve("other")
    dom0s.let_migrations("wait")
    task = served.migrate()
    begun(dom0s)
    status, error = other.ended(other.migrate())
    assert (status, error[0]) == ("failure", "INTERNAL_ERROR")
    assert "being migrated already" in error[1] or "another migd-xapi" in error[1]
    dom0s.let_migrations("succeed")
    assert served.ended(task) == ("success", [])
    until(lambda: other.where() == "node2")


def test_a_folder_of_state_has_one_server(dom0s: Dom0s, served: Served) -> None:
    second = subprocess.run(dom0s.command(), env=dom0s.environment(), capture_output=True, text=True, timeout=20)
    assert second.returncode == 3
    assert "another migd-xapi uses it" in second.stderr


def test_blocks_and_leases_hold_when_the_server_is_killed(own: Dom0s) -> None:
    served = own.serve()
    served.api.VM.add_to_blocked_operations(served.vm, "pool_migrate", "probed")
    served.api.VM.add_tags(served.vm, "migd:no-probe")
    (pool,) = served.api.pool.get_all()
    served.api.pool.add_to_other_config(pool, "migd:leader:1", "ctl1")
    served.process.kill()
    served.process.wait(timeout=10)
    second = own.serve()
    assert second.api.VM.get_tags(second.vm) == ["migd:no-probe"]
    (pool,) = second.api.pool.get_all()
    assert second.api.pool.get_other_config(pool) == {"migd:leader:1": "ctl1"}
    assert failure(second.api.pool.add_to_other_config, pool, "migd:leader:1", "ctl2") == [
        "MAP_DUPLICATE_KEY",
        "pool",
        "other_config",
        pool,
        "migd:leader:1",
    ]
    second.api.pool.remove_from_other_config(pool, "absent")
    blocked = failure(second.api.VM.pool_migrate, second.vm, second.host("node2"), {})
    assert blocked == ["OPERATION_BLOCKED", second.vm, "probed"]
    second.api.VM.remove_from_blocked_operations(second.vm, "pool_migrate")
    assert second.ended(second.migrate()) == ("success", [])


def test_guests_come_go_and_are_renamed_by_hand(dom0s: Dom0s, served: Served) -> None:
    new = copy.deepcopy(LIST[1])
    new["domid"] = 7
    new["config"]["c_info"] |= {"uuid": "00000000-0000-4000-8000-000000000007", "name": "d7"}
    dom0s.put("node2", [LIST[0], new])
    until(lambda: served.api.VM.get_by_name_label("d7"))
    (vm,) = served.api.VM.get_by_name_label("d7")
    assert served.api.VM.get_allowed_operations(vm).count("pool_migrate") == 1
    (dom0s.folder / "node2" / "paused-7").touch()
    until(lambda: served.api.VM.get_power_state(vm) == "Paused")
    (dom0s.folder / "node2" / "paused-7").unlink()
    renamed = copy.deepcopy(new)
    renamed["config"]["c_info"]["name"] = "seven"
    dom0s.put("node2", [LIST[0], renamed])
    until(lambda: served.api.VM.get_name_label(vm) == "seven")
    dom0s.put("node2", LIST[:1])
    until(lambda: served.api.VM.get_power_state(vm) == "Halted")


def test_a_guest_that_is_long_gone_is_forgotten(own: Dom0s) -> None:
    served = own.serve(forget_after_s=0.2)
    watch = Watch(served.session, ["vm"])
    own.put("node1", LIST[:1])
    until(lambda: not [vm for vm in served.api.VM.get_all_records().values() if vm["uuid"] == GUEST])
    assert watch.now


def test_a_guest_moved_by_hand_shows_up_on_its_host(dom0s: Dom0s, served: Served) -> None:
    dom0s.put("node2", LIST)
    dom0s.put("node1", LIST[:1])
    until(lambda: served.where() == "node2")
    assert served.api.VM.get_power_state(served.vm) == "Running"


def test_a_host_that_refuses_is_down_and_its_guests_are_where_they_were(dom0s: Dom0s, served: Served) -> None:
    dom0s.refuse("node1")
    until(lambda: not served.is_live("node1"))
    assert (served.where(), served.api.VM.get_power_state(served.vm)) == ("node1", "Running")
    assert failure(served.api.VM.pool_migrate, served.vm, served.host("node2"), {})[0] == "HOST_OFFLINE"
    dom0s.answer("node1")
    until(lambda: served.is_live("node1"))


def test_a_source_that_dies_fails_the_migration(dom0s: Dom0s, served: Served) -> None:
    dom0s.let_migrations("wait")
    task = served.migrate()
    begun(dom0s)
    node1 = served.host("node1")
    dom0s.refuse("node1")
    dom0s.put("node2", LIST[:1])
    assert served.ended(task) == ("failure", ["CANNOT_CONTACT_HOST", node1])
    dom0s.answer("node1")


@pytest.mark.parametrize("text", ["", "[{", '[{"domid": 1}]', '[{"domid": 1, "config": {"c_info": {"name": "x"}}}]'])
def test_a_host_that_talks_nonsense_is_not_believed(dom0s: Dom0s, served: Served, text: str) -> None:
    dom0s.put("node1", text)
    until(lambda: not served.is_live("node1"))
    assert (served.where(), served.api.VM.get_power_state(served.vm)) == ("node1", "Running")
    dom0s.put("node1", LIST)
    until(lambda: served.is_live("node1"))


def test_a_host_that_is_down_at_the_start_joins_when_it_answers(own: Dom0s) -> None:
    own.refuse("node2")
    served = own.serve()
    assert not served.is_live("node2")
    own.answer("node2")
    until(lambda: served.is_live("node2"))
    assert served.ended(served.migrate()) == ("success", [])


def test_without_any_host_there_is_no_pool(own: Dom0s) -> None:
    for name in ("node1", "node2"):
        own.refuse(name)
    process = subprocess.run(own.command(), env=own.environment(), capture_output=True, text=True, timeout=20)
    assert process.returncode == 3
    assert "no host answers" in process.stderr
    assert "Connection refused" in process.stderr


def test_only_moving_is_done_here(served: Served) -> None:
    error = failure(served.api.VM.hard_shutdown, served.vm)
    assert error[0] == "INTERNAL_ERROR"
    assert "xl destroy" in error[1]
    assert served.api.VM.get_power_state(served.vm) == "Running"


def test_the_controllers_own_client_speaks_to_it(dom0s: Dom0s, served: Served, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("migd")
    password.chmod(0o600)
    pool = Pool(XapiSection(url=served.url, username="root", password_file=password))
    try:
        records = pool.call("VM.get_all_records")
        assert GUEST in {record["uuid"] for record in records.values()}
    finally:
        pool.close()

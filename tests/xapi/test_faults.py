"""Faults on demand, as a client that knows nothing of them sees them."""

import ssl
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import XenAPI

from faulty_pool import FASTER, FaultyPool, until
from migd_xapi.settings import Settings, Tls

NULL = "OpaqueRef:NULL"
SLOW = 0.001  # of a link: a migration takes minutes


@pytest.fixture
def pool() -> Iterator[FaultyPool]:
    served = FaultyPool()
    try:
        yield served
    finally:
        served.close()


@pytest.fixture
def api(pool: FaultyPool) -> Any:
    return pool.client().xenapi


def vm(api: Any, name: str) -> str:
    (found,) = api.VM.get_by_name_label(name)
    return str(found)


def host(api: Any, name: str) -> str:
    (found,) = api.host.get_by_name_label(name)
    return str(found)


def is_live(api: Any, name: str) -> bool:
    return bool(api.host_metrics.get_live(api.host.get_metrics(host(api, name))))


def migrate(api: Any, guest: str, target: str) -> str:
    return str(api.Async.VM.pool_migrate(vm(api, guest), host(api, target), {}))


def copying(api: Any, guest: str, target: str) -> str:
    """Return the task of a migration that has begun to copy."""
    task = migrate(api, guest, target)
    until(lambda: api.task.get_progress(task) > 0)
    return task


def ended(api: Any, task: str) -> dict[str, Any]:
    until(lambda: api.task.get_status(task) != "pending")
    record: dict[str, Any] = api.task.get_record(task)
    return record


def failure(api: Any, task: str) -> list[str]:
    record = ended(api, task)
    assert record["status"] == "failure"
    return list(record["error_info"])


def events(api: Any, classes: list[str], token: str, timeout_s: float = 0.0) -> dict[str, Any]:
    batch: dict[str, Any] = getattr(api.event, "from")(classes, token, timeout_s)
    return batch


def failing(call: Any, *arguments: Any) -> list[str]:
    with pytest.raises(XenAPI.Failure) as caught:
        call(*arguments)
    return list(caught.value.details)


def test_a_dead_host_is_believed_alive_until_the_pool_notices(pool: FaultyPool, api: Any) -> None:
    guest = vm(api, "rank1")
    pool.fault("host-dies", host="xen2", noticed_after_s=3600.0)
    assert (pool.host_of("rank1"), pool.answers("xen2")) == (None, "silent")
    record = api.VM.get_record(guest)
    assert (record["power_state"], record["resident_on"]) == ("Running", host(api, "xen2"))
    assert is_live(api, "xen2")


def test_the_guests_of_a_dead_host_are_halted_once_the_pool_notices(pool: FaultyPool, api: Any) -> None:
    dead, guest = host(api, "xen2"), vm(api, "rank1")
    token = events(api, ["vm", "host_metrics"], "")["token"]
    pool.fault("host-dies", host="xen2", noticed_after_s=0.0)
    until(lambda: api.VM.get_power_state(guest) == "Halted")
    record = api.VM.get_record(guest)
    assert (record["resident_on"], record["domid"], record["current_operations"]) == (NULL, "-1", {})
    assert ("start" in record["allowed_operations"], "pool_migrate" in record["allowed_operations"]) == (True, False)
    assert not any(api.VBD.get_currently_attached(each) for each in record["VBDs"])
    assert not is_live(api, "xen2")
    assert api.host.get_resident_VMs(dead) == [api.host.get_control_domain(dead)]
    told = {(each["class"], each["ref"]) for each in events(api, ["vm", "host_metrics"], token)["events"]}
    assert told == {
        ("host_metrics", api.host.get_metrics(dead)),
        ("vm", guest),
        ("vm", vm(api, "rank4")),
    }
    assert failure(api, migrate(api, "rank0", "xen2")) == ["HOST_NOT_LIVE"]
    assert api.VM.get_power_state(vm(api, "rank0")) == "Running"


def test_a_host_that_returns_is_empty_and_takes_guests_again(pool: FaultyPool, api: Any) -> None:
    pool.fault("host-dies", host="xen2", noticed_after_s=3600.0)
    pool.fault("host-returns", host="xen2")
    assert (is_live(api, "xen2"), api.VM.get_power_state(vm(api, "rank1"))) == (True, "Halted")
    assert pool.answers("xen2", within_s=5.0) == f"HOST_IS_SLAVE {pool.address('xen1')}"
    assert ended(api, migrate(api, "rank0", "xen2"))["status"] == "success"
    assert pool.host_of("rank0") == "xen2"


def test_a_migration_whose_source_dies_fails_and_its_guest_is_gone(pool: FaultyPool, api: Any) -> None:
    pool.fault("link-slows", host="xen2", factor=SLOW)
    task = copying(api, "rank1", "xen3")
    pool.fault("host-dies", host="xen2", noticed_after_s=0.0)
    assert failure(api, task) == ["CANNOT_CONTACT_HOST", host(api, "xen2")]
    until(lambda: api.VM.get_power_state(vm(api, "rank1")) == "Halted")
    record = api.VM.get_record(vm(api, "rank1"))
    assert (record["scheduled_to_be_resident_on"], record["current_operations"]) == (NULL, {})
    assert api.host.get_current_operations(host(api, "xen3")) == {}


def test_a_migration_whose_target_dies_leaves_the_guest_where_it_runs(pool: FaultyPool, api: Any) -> None:
    pool.fault("link-slows", host="xen3", factor=SLOW)
    task = copying(api, "rank1", "xen3")
    pool.fault("host-dies", host="xen3", noticed_after_s=0.0)
    assert failure(api, task) == ["INTERNAL_ERROR", "host xen3 died"]
    record = api.VM.get_record(vm(api, "rank1"))
    assert (record["power_state"], record["resident_on"], record["current_operations"]) == (
        "Running",
        host(api, "xen2"),
        {},
    )
    assert pool.host_of("rank1") == "xen2"


def test_a_dead_coordinator_leaves_the_pool_unanswered_until_another_takes_over(pool: FaultyPool, api: Any) -> None:
    guest = vm(api, "rank0")
    pool.fault("host-dies", host="xen1", noticed_after_s=0.0)
    assert pool.answers("xen1") == "silent"
    assert pool.answers("xen2", within_s=5.0) == f"HOST_IS_SLAVE {pool.address('xen1')}"
    pool.fault("coordinator-changes", host="xen2", down_s=0.05)
    until(lambda: pool.answers("xen2") == "success")
    new = pool.client("xen2").xenapi
    (record,) = new.pool.get_all_records().values()
    assert record["master"] == host(new, "xen2")
    until(lambda: new.VM.get_power_state(guest) == "Halted")
    assert not is_live(new, "xen1")
    assert new.VM.get_power_state(vm(new, "rank1")) == "Running"
    assert [each["name"] for each in new.message.get_all_records().values()] == ["POOL_MASTER_TRANSITION"]
    pool.fault("host-returns", host="xen1")
    assert pool.answers("xen1", within_s=5.0) == f"HOST_IS_SLAVE {pool.address('xen2')}"


def test_a_coordinator_that_returns_notices_who_died_meanwhile(pool: FaultyPool, api: Any) -> None:
    pool.fault("host-dies", host="xen2", noticed_after_s=0.0)
    pool.fault("host-dies", host="xen1", noticed_after_s=0.0)
    pool.fault("host-dies", host="xen3", noticed_after_s=0.0)
    pool.fault("host-returns", host="xen1")
    until(lambda: pool.answers("xen1") == "success")
    new = pool.client("xen1").xenapi
    until(lambda: {name for name in ("xen1", "xen2", "xen3") if is_live(new, name)} == {"xen1"})
    assert new.VM.get_power_state(vm(new, "rank1")) == "Halted"


def test_a_slow_link_slows_a_migration_and_recovers(pool: FaultyPool, api: Any) -> None:
    healthy = pool.ask("GET", "/truth")["hosts"]
    pool.fault("link-slows", host="xen3", factor=SLOW)
    (slow,) = (each for each in pool.ask("GET", "/truth")["hosts"] if each["name"] == "xen3")
    assert slow["link_bytes_per_s"] == pytest.approx(healthy[2]["link_bytes_per_s"] * SLOW)
    task = copying(api, "rank1", "xen3")
    assert api.task.get_status(task) == "pending"
    pool.fault("link-recovers", host="xen3")
    assert pool.ask("GET", "/truth")["hosts"] == healthy
    assert ended(api, task)["status"] == "success"


def test_a_link_that_is_slow_for_a_time_recovers_by_itself(pool: FaultyPool, api: Any) -> None:
    healthy = pool.ask("GET", "/truth")["hosts"]
    pool.fault("link-slows", host="xen3", factor=SLOW, lasts_s=0.1)
    assert ended(api, migrate(api, "rank1", "xen3"))["status"] == "success"
    assert pool.ask("GET", "/truth")["hosts"] == healthy


def test_a_suspend_that_is_not_acknowledged_fails_in_the_task_and_the_guest_lives_on(
    pool: FaultyPool, api: Any
) -> None:
    pool.fault("suspend-hangs", guest="rank1")
    began_s = time.monotonic()
    assert failure(api, migrate(api, "rank1", "xen3")) == ["VM_FAILED_SUSPEND_ACKNOWLEDGMENT", vm(api, "rank1")]
    assert time.monotonic() - began_s >= 30.0 / FASTER
    record = api.VM.get_record(vm(api, "rank1"))
    assert (record["power_state"], record["resident_on"]) == ("Running", host(api, "xen2"))
    assert (record["current_operations"], record["scheduled_to_be_resident_on"]) == ({}, NULL)
    assert (pool.host_of("rank1"), api.message.get_all()) == ("xen2", [])


def test_a_guest_whose_suspend_hung_for_a_time_migrates_later(pool: FaultyPool, api: Any) -> None:
    pool.fault("suspend-hangs", guest="rank1", lasts_s=0.001)
    until(lambda: pool.ask("GET", "/truth")["now_s"] > pool.ask("GET", "/faults")[0]["at_s"] + 0.001)
    assert ended(api, migrate(api, "rank1", "xen3"))["status"] == "success"


@pytest.mark.parametrize("takes_effect", [True, False])
def test_a_call_whose_answer_is_lost_took_effect_or_did_not(pool: FaultyPool, api: Any, *, takes_effect: bool) -> None:
    """Twice, because xmlrpc.client by itself repeats a call whose kept connection broke."""
    guest = vm(api, "rank1")
    pool.fault("connection-dropped", method="VM.add_tags", takes_effect=takes_effect, times=2)
    with pytest.raises(ConnectionError):
        api.VM.add_tags(guest, "lost")
    assert api.VM.get_tags(guest) == (["lost"] if takes_effect else [])
    api.VM.add_tags(guest, "told")
    assert "told" in api.VM.get_tags(guest)


def test_xmlrpc_client_makes_two_requests_of_one_whose_answer_is_lost(pool: FaultyPool, api: Any) -> None:
    pool.fault("connection-dropped", method="VM.pool_migrate", takes_effect=True)
    task = migrate(api, "rank1", "xen3")
    tasks = [ref for ref, record in api.task.get_all_records().items() if record["name_label"].endswith("pool_migrate")]
    assert (len(tasks), task in tasks) == (2, True)


def test_answers_to_a_named_method_come_late(pool: FaultyPool, api: Any) -> None:
    pool.fault("answers-delayed", method="VM.get_tags", by_s=0.3)
    guest = vm(api, "rank1")
    durations_s = []
    for method in (api.VM.get_tags, api.VM.get_power_state):
        began_s = time.monotonic()
        method(guest)
        durations_s.append(time.monotonic() - began_s)
    assert durations_s[0] >= 0.3 > durations_s[1]


def test_late_answers_are_late_for_a_time(pool: FaultyPool, api: Any) -> None:
    pool.fault("answers-delayed", by_s=30.0, lasts_s=0.05)
    assert pool.answers("xen1") == "silent"
    until(lambda: pool.ask("GET", "/truth")["now_s"] > pool.ask("GET", "/faults")[0]["at_s"] + 0.05)
    assert pool.answers("xen1", within_s=5.0) == "success"


def test_sessions_and_tasks_end_with_the_coordinator_and_migrations_do_not(pool: FaultyPool, api: Any) -> None:
    pool.fault("link-slows", host="xen3", factor=SLOW)
    task, session = copying(api, "rank1", "xen3"), pool.client()
    pool.fault("coordinator-changes", host="xen2", down_s=0.05)
    until(lambda: pool.answers("xen1") == f"HOST_IS_SLAVE {pool.address('xen2')}")
    assert failing(api.VM.get_all) == ["HOST_IS_SLAVE", pool.address("xen2")]
    until(lambda: pool.answers("xen2") == "success")
    new = pool.client("xen2").xenapi
    stale = pool.client("xen2").session.get_last_active(session.handle, session.handle)
    assert stale["ErrorDescription"] == ["SESSION_INVALID", session.handle]
    assert failing(new.task.get_record, task) == ["HANDLE_INVALID", "task", task]
    assert new.VM.get_current_operations(vm(new, "rank1")) == {}
    pool.fault("link-recovers", host="xen3")
    until(lambda: new.VM.get_resident_on(vm(new, "rank1")) == host(new, "xen3"))
    assert pool.host_of("rank1") == "xen3"


def test_a_restarting_toolstack_refuses_connections_and_then_knows_no_session(pool: FaultyPool, api: Any) -> None:
    session = pool.client()
    pool.fault("toolstack-restarts", down_s=0.3)
    assert pool.answers("xen1") == "refused"
    assert pool.answers("xen2", within_s=5.0) == f"HOST_IS_SLAVE {pool.address('xen1')}"
    until(lambda: pool.answers("xen1") == "success")
    assert session.VM.get_all(session.handle)["ErrorDescription"][0] == "SESSION_INVALID"
    assert len(session.xenapi.VM.get_all()) == 9  # XenAPI.py logs in again by itself


def test_a_host_that_answers_again_shows_the_same_certificate() -> None:
    pool = FaultyPool(Settings(tls=Tls()))
    try:
        address = (pool.address("xen1"), pool.port)
        before = ssl.get_server_certificate(address)
        pool.fault("toolstack-restarts", down_s=0.01)

        def shown() -> str:
            try:
                return ssl.get_server_certificate(address)
            except OSError:
                return ""

        assert until(shown) == before
    finally:
        pool.close()


def test_a_token_from_before_a_restart_tells_of_no_task_that_is_gone(pool: FaultyPool, api: Any) -> None:
    task = migrate(api, "rank0", "xen2")
    ended(api, task)
    before = events(api, ["task", "vm"], "")
    assert task in {each["ref"] for each in before["events"]}
    pool.fault("toolstack-restarts", down_s=0.01)
    until(lambda: pool.answers("xen1") == "success")
    api.VM.add_tags(vm(api, "rank5"), "after")
    after = events(api, ["task", "vm"], before["token"], timeout_s=5.0)
    assert [(each["class"], each["operation"], each["ref"]) for each in after["events"]] == [
        ("vm", "mod", vm(api, "rank5"))
    ]
    assert after["valid_ref_counts"]["task"] == 0
    assert failing(api.task.get_status, task) == ["HANDLE_INVALID", "task", task]


def test_a_migration_goes_on_without_the_toolstack_that_began_it(pool: FaultyPool, api: Any) -> None:
    pool.fault("link-slows", host="xen3", factor=SLOW)
    copying(api, "rank1", "xen3")
    pool.fault("toolstack-restarts", down_s=0.01)
    until(lambda: pool.answers("xen1") == "success")
    record = api.VM.get_record(vm(api, "rank1"))
    assert (record["current_operations"], record["scheduled_to_be_resident_on"]) == ({}, NULL)
    assert (record["resident_on"], pool.host_of("rank1")) == (host(api, "xen2"), "xen2")
    assert failure(api, migrate(api, "rank1", "xen1")) == ["INTERNAL_ERROR", "guest rank1 is being migrated"]
    pool.fault("link-recovers", host="xen3")
    until(lambda: api.VM.get_resident_on(vm(api, "rank1")) == host(api, "xen3"))
    assert pool.host_of("rank1") == "xen3"


def test_a_guest_that_moves_unattended_can_be_rebooted_and_stays_where_that_was(pool: FaultyPool, api: Any) -> None:
    pool.fault("link-slows", host="xen3", factor=SLOW)
    copying(api, "rank1", "xen3")
    pool.fault("toolstack-restarts", down_s=0.01)
    until(lambda: pool.answers("xen1") == "success")
    assert ended(api, api.Async.VM.hard_reboot(vm(api, "rank1")))["status"] == "success"
    record = api.VM.get_record(vm(api, "rank1"))
    assert (record["power_state"], record["resident_on"]) == ("Running", host(api, "xen2"))
    assert (pool.host_of("rank1"), record["current_operations"]) == ("xen2", {})


def test_a_migration_fails_with_the_toolstacks_of_its_hosts(pool: FaultyPool, api: Any) -> None:
    pool.fault("link-slows", host="xen3", factor=SLOW)
    copying(api, "rank1", "xen3")
    pool.fault("toolstack-restarts", down_s=0.01, migrations="fail")
    until(lambda: pool.answers("xen1") == "success")
    assert (api.VM.get_resident_on(vm(api, "rank1")), pool.host_of("rank1")) == (host(api, "xen2"), "xen2")
    assert ended(api, migrate(api, "rank1", "xen1"))["status"] == "success"


def test_a_clock_that_jumps_shows_in_every_stamp(pool: FaultyPool, api: Any) -> None:
    def now() -> datetime:
        return datetime.strptime(str(api.host.get_servertime(host(api, "xen1"))), "%Y%m%dT%H:%M:%SZ")  # noqa: DTZ007 - both sides are the pool's UTC

    before = now()
    pool.fault("clock-jumps", by_s=-7200.0)
    assert -7200 <= (now() - before).total_seconds() < -7100
    record = ended(api, migrate(api, "rank1", "xen3"))
    for field in ("created", "finished"):
        assert str(record[field]).startswith(now().strftime("%Y%m%dT"))
        assert str(record[field]) < before.strftime("%Y%m%dT%H:%M:%SZ")
    session = pool.client()
    assert str(session.xenapi.session.get_last_active(session.handle)) < before.strftime("%Y%m%dT%H:%M:%SZ")


def test_a_human_migrates_renames_tags_and_disables_like_any_client(pool: FaultyPool, api: Any) -> None:
    guest = vm(api, "rank1")
    token = events(api, ["task"], "")["token"]
    pool.fault("human-migrates", guest="rank1", host="xen3")
    (task,) = {each["ref"] for each in events(api, ["task"], token, timeout_s=5.0)["events"]}
    assert ended(api, task)["name_label"] == "Async.VM.pool_migrate"
    assert (api.VM.get_resident_on(guest), pool.host_of("rank1")) == (host(api, "xen3"), "xen3")
    pool.fault("human-renames", guest="rank1", name="renamed")
    pool.fault("human-tags", guest="rank1", tag="migd:never")
    assert (api.VM.get_name_label(guest), api.VM.get_tags(guest)) == ("renamed", ["migd:never"])
    pool.fault("human-disables", host="xen2")
    assert failure(api, migrate(api, "rank0", "xen2")) == ["HOST_DISABLED", host(api, "xen2")]
    pool.fault("human-enables", host="xen2")
    assert ended(api, migrate(api, "rank0", "xen2"))["status"] == "success"


def test_a_human_shuts_down_reboots_and_starts_like_any_client(pool: FaultyPool, api: Any) -> None:
    guest = vm(api, "rank1")
    pool.fault("human-shuts-down", guest="rank1", is_clean=True)
    until(lambda: api.VM.get_power_state(guest) == "Halted")
    pool.fault("human-starts", guest="rank1", host="xen3")
    until(lambda: api.VM.get_resident_on(guest) == host(api, "xen3"))
    domid = api.VM.get_domid(guest)
    pool.fault("human-reboots", guest="rank1")
    until(lambda: api.VM.get_domid(guest) != domid)
    assert pool.host_of("rank1") == "xen3"
    names = [record["name"] for record in api.message.get_all_records().values()]
    assert sorted(names) == ["VM_REBOOTED", "VM_SHUTDOWN", "VM_STARTED"]


def test_what_cannot_happen_is_refused_with_the_reason(pool: FaultyPool, api: Any) -> None:
    assert pool.refusal("host-dies", host="xen9") == (409, "no host has the name or uuid xen9")
    assert pool.refusal("human-tags", guest="nobody", tag="t") == (409, "no guest has the name or uuid nobody")
    assert pool.refusal("host-returns", host="xen2") == (409, "host xen2 is up")
    assert pool.refusal("coordinator-changes", host="xen1")[0] == 409
    pool.fault("host-dies", host="xen2")
    assert pool.refusal("host-dies", host="xen2") == (409, "host xen2 is down already")
    pool.fault("host-dies", host="xen1")
    for kind, fields in (("human-tags", {"guest": "rank0", "tag": "t"}), ("toolstack-restarts", {})):
        code, text = pool.refusal(kind, **fields)
        assert (code, "the coordinator, host xen1, is down" in text) == (409, True)
    code, text = pool.refusal("host-explodes", host="xen2")
    assert (code, "host-explodes" in text) == (400, True)


def test_a_hosts_health_changes_where_its_dom0_reads_it_and_nowhere_else(pool: FaultyPool, api: Any) -> None:
    uuid = api.host.get_uuid(host(api, "xen2"))
    before = api.host.get_record(host(api, "xen2"))
    assert pool.ask("GET", f"/dom0/{uuid}")["health"]["state"] == "unknown"
    pool.fault("health-changes", host="xen2", state="failing", reasons=["fan 3 stands still"])
    assert pool.ask("GET", f"/dom0/{uuid}")["health"] == {
        "type": "host-health",
        "state": "failing",
        "reasons": ["fan 3 stands still"],
        "watched": ["emulated"],
    }
    assert api.host.get_record(host(api, "xen2")) == before
    pool.fault("health-changes", host="xen2", state="ok")
    assert pool.ask("GET", f"/dom0/{uuid}")["health"]["state"] == "ok"


def test_a_fault_happens_when_its_time_comes_and_is_told_of_then(pool: FaultyPool, api: Any) -> None:
    pool.fault("human-tags", guest="rank1", tag="later", at_s=0.1)
    assert (api.VM.get_tags(vm(api, "rank1")), pool.ask("GET", "/faults")) == ([], [])
    until(lambda: api.VM.get_tags(vm(api, "rank1")) == ["later"])
    (happened,) = pool.ask("GET", "/faults")
    assert happened["fault"] == {"kind": "human-tags", "guest": "rank1", "tag": "later", "at_s": 0.1}

"""Messages, the old way of events, and what a client asks before it moves a guest with its disks."""

from collections.abc import Callable
from typing import Any
from xmlrpc.client import DateTime

import pytest
import XenAPI
from pool_client import Pool, failure

from migd_xapi.settings import Storage


@pytest.fixture
def a(pool: Any, session: XenAPI.Session) -> Pool:
    return Pool(pool, session)


def test_messages_are_written_found_by_their_object_and_deleted(a: Pool) -> None:
    ref = a.api.message.create("NOTE", 4, "Host", "host-0", "text")
    record = a.api.message.get_record(ref)
    assert (record["name"], record["priority"], record["cls"], record["body"]) == ("NOTE", "4", "Host", "text")
    long_ago, ahead = "20000101T00:00:00Z", "29990101T00:00:00Z"
    assert list(a.api.message.get("Host", "host-0", DateTime(long_ago))) == [ref]
    assert a.api.message.get("Host", "host-1", DateTime(long_ago)) == {}
    assert list(a.api.message.get_since(DateTime(long_ago))) == [ref]
    assert a.api.message.get_since(DateTime(ahead)) == {}
    assert failure(a.api.message.create, "NOTE", 4, "VM", "host-0", "") == ["UUID_INVALID", "VM", "host-0"]
    a.api.message.destroy(ref)
    others = [a.api.message.create("NOTE", 4, "Host", "host-0", "") for _ in range(2)]
    a.api.message.destroy_many(others)
    assert a.api.message.get_all() == []


def test_a_host_has_no_plugins(a: Pool) -> None:
    assert failure(a.api.host.call_plugin, a.here, "xenops", "list", {}) == ["XENAPI_MISSING_PLUGIN", "xenops"]


def test_records_are_chosen_by_an_expression(a: Pool) -> None:
    running = a.api.VM.get_all_records_where(
        'field "power_state" = "Running" and not field "is_control_domain" = "true"'
    )
    assert {record["name_label"] for record in running.values()} == {f"rank{number}" for number in range(4)}
    assert failure(a.api.VM.get_all_records_where, "rubbish")[0] == "INTERNAL_ERROR"


def test_old_clients_hear_of_what_they_registered_for(a: Pool, login: Callable[..., XenAPI.Session]) -> None:
    events = a.api.event
    assert failure(events.next) == ["SESSION_NOT_REGISTERED", a.session._session]
    events.register(["VM"])
    other = login().xenapi
    other.VM.set_name_label(a.vm, "renamed")
    other.host.set_name_label(a.here, "renamed")
    (event,) = events.next()
    assert (event["class"], event["operation"], event["ref"]) == ("vm", "mod", a.vm)
    assert event["snapshot"]["name_label"] == "renamed"
    events.register(["host"])
    other.host.add_tags(a.here, "x")
    assert [each["class"] for each in events.next()] == ["host"]
    events.unregister(["VM", "host"])
    assert failure(events.next)[0] == "SESSION_NOT_REGISTERED"


def test_deletions_beyond_remembrance_are_lost_to_old_clients(a: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    a.api.event.register(["task"])
    a.served.do(
        lambda: monkeypatch.setattr(a.served.server.pool.db, "_forgotten", a.served.server.pool.db.generation + 1)
    )
    assert failure(a.api.event.next) == ["EVENTS_LOST"]


def test_a_guest_may_go_with_its_disks_where_all_of_them_have_a_place(
    serve: Callable[..., Any], connect: Callable[..., XenAPI.Session]
) -> None:
    served = serve(storage=(Storage(name="local", is_shared=False),))
    a = Pool(served, connect(served))
    management = a.api.PIF.get_network(a.api.host.get_PIFs(a.there)[0])
    destination = a.api.host.migrate_receive(a.there, management, {})
    assert destination["host"] == a.there
    assert destination["SM"].startswith(f"http://{a.api.host.get_address(a.there)}/services/SM?session_id=")
    (disk,) = (a.api.VBD.get_VDI(vbd) for vbd in a.api.VM.get_VBDs(a.vm))
    (here, there) = (a.api.PBD.get_SR(a.api.host.get_PBDs(host)[0]) for host in (a.here, a.there))

    def check(disks: dict[str, str], networks: dict[str, str] | None = None) -> Any:
        return a.api.VM.assert_can_migrate(a.vm, destination, True, disks, networks or {}, {})

    assert a.failure(a.migrate()) == ["VM_REQUIRES_SR", a.vm, here]
    assert failure(check, {}) == ["VDI_NOT_IN_MAP", disk]
    assert failure(check, {disk: here}) == ["VM_REQUIRES_SR", a.vm, here]
    assert failure(check, {disk: there}, {"x": management})[0] == "OPERATION_NOT_ALLOWED"
    check({disk: there})

"""What a client learns from event.from."""

import threading
import time
from typing import Any

import pytest
import XenAPI

from migd_xapi.events import token_of


def events_from(session: XenAPI.Session, classes: list[str], token: str, timeout_s: float = 5.0) -> dict[str, Any]:
    return dict(getattr(session.xenapi.event, "from")(classes, token, timeout_s))


def told(batch: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(event["operation"], event["class"], event["ref"]) for event in batch["events"]]


def test_the_first_batch_has_every_object_and_its_whole_record(session: XenAPI.Session) -> None:
    batch = events_from(session, ["VM"], "")
    assert {event["ref"]: event["snapshot"] for event in batch["events"]} == session.xenapi.VM.get_all_records()
    assert {(event["operation"], event["class"], event["timestamp"]) for event in batch["events"]} == {
        ("add", "vm", "0.0")
    }


def test_reference_counts_are_numbers_for_all_tables(session: XenAPI.Session) -> None:
    counts = events_from(session, ["pool"], "")["valid_ref_counts"]
    assert (counts["host"], counts["vm"], counts["task"]) == (3, 7, 0)
    assert "session" not in counts


def test_two_changes_are_told_once_and_a_flash_not_at_all(session: XenAPI.Session) -> None:
    token = events_from(session, ["*"], "")["token"]
    vm = session.xenapi.VM.get_by_uuid("guest-0")
    session.xenapi.VM.set_name_label(vm, "first")
    session.xenapi.VM.set_name_label(vm, "second")
    task = session.xenapi.task.create("flash", "")
    session.xenapi.task.set_status(task, "success")
    session.xenapi.task.destroy(task)
    batch = events_from(session, ["*"], token)
    assert told(batch) == [("mod", "vm", vm)]
    assert batch["events"][0]["snapshot"]["name_label"] == "second"


def test_what_was_made_at_the_token_itself_and_changed_since_has_not_been_added_since(
    session: XenAPI.Session, pool: Any
) -> None:
    task = session.xenapi.task.create("mine", "")
    made = pool.do(lambda: pool.server.pool.db.get("task", task).created)
    session.xenapi.task.set_status(task, "failure")
    assert told(events_from(session, ["task"], token_of(made))) == [("mod", "task", task)]
    assert told(events_from(session, ["task"], token_of(made - 1))) == [("add", "task", task)]


def test_what_is_gone_is_told_without_a_record(session: XenAPI.Session) -> None:
    task = session.xenapi.task.create("mine", "")
    token = events_from(session, ["task"], "")["token"]
    session.xenapi.task.set_status(task, "failure")
    session.xenapi.task.destroy(task)
    batch = events_from(session, ["task"], token)
    assert told(batch) == [("del", "task", task)]
    assert "snapshot" not in batch["events"][0]


def test_a_filter_may_name_one_object(session: XenAPI.Session) -> None:
    mine, other = (session.xenapi.VM.get_by_uuid(f"guest-{number}") for number in (0, 1))
    token = events_from(session, [f"vm/{mine}"], "")["token"]
    session.xenapi.VM.set_name_label(other, "other")
    session.xenapi.VM.set_name_label(mine, "mine")
    assert told(events_from(session, [f"vm/{mine}"], token)) == [("mod", "vm", mine)]


def test_nothing_new_is_an_empty_batch_with_a_token(session: XenAPI.Session) -> None:
    token = events_from(session, ["vm"], "")["token"]
    batch = events_from(session, ["vm"], token, 0.2)
    assert batch["events"] == []
    assert batch["token"] >= token


def test_a_waiting_client_is_woken_by_a_change(session: XenAPI.Session, login: Any) -> None:
    vm = session.xenapi.VM.get_by_uuid("guest-0")
    token = events_from(session, ["vm"], "")["token"]
    other = login()
    change = threading.Timer(0.1, lambda: other.xenapi.VM.set_name_label(vm, "changed"))
    began_s = time.monotonic()
    change.start()
    assert told(events_from(session, ["vm"], token, 30.0)) == [("mod", "vm", vm)]
    assert time.monotonic() - began_s < 5.0
    change.join()


def test_logging_out_ends_the_wait(session: XenAPI.Session, login: Any, pool: Any) -> None:
    waiting = login()
    token = events_from(waiting, ["vm"], "")["token"]
    ref = waiting._session
    timer = threading.Timer(0.1, lambda: pool.do(lambda: pool.server.pool.sessions.log_out(open_session(pool, ref))))
    timer.start()
    # The SDK logs in anew on SESSION_INVALID and asks once more, so the answer itself is looked at here.
    answer = getattr(waiting.event, "from")(ref, ["vm"], token, 30.0)
    assert answer["ErrorDescription"] == ["SESSION_INVALID", ref]
    timer.join()


def open_session(pool: Any, ref: str) -> Any:
    return pool.server.pool.sessions.get(ref)


def test_an_injected_event_comes_after_its_token(session: XenAPI.Session) -> None:
    pool = session.xenapi.pool.get_all()[0]
    token = session.xenapi.event.inject("pool", pool)
    assert told(events_from(session, ["pool"], token)) == [("mod", "pool", pool)]
    with pytest.raises(XenAPI.Failure) as caught:
        session.xenapi.event.inject("vm", pool)
    assert caught.value.details == ["HANDLE_INVALID", "VM", pool]

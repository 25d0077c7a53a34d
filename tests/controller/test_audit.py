"""Who asked for what, when, and what came of it."""

import asyncio
import getpass
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from served import OverTcp

from migd_controller import audit
from migd_controller.audit import AuditLog
from migd_controller.journal import Journal, JournalError
from migd_core.api import AuditView, Role

MOVE = {"guest": "rank0", "host": "b"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[OverTcp]:
    served = OverTcp(tmp_path)
    async with served.answering():
        yield served


async def entries(served: OverTcp) -> list[dict[str, Any]]:
    """Return the audit log as an admin reads it, without times."""
    status, found = await served.ask("GET", "/v1/audit", served.token(Role.ADMIN))
    assert status == 200
    assert all(abs(each.pop("at") - time.time()) < 60.0 for each in found)
    return list(found)


async def test_a_command_stands_there_with_who_asked_and_what_came_of_it(served: OverTcp) -> None:
    anna = served.token(Role.OPERATOR, "anna")
    assert (await served.ask("POST", "/v1/migrations", anna, MOVE))[0] == 202
    async with served.on_socket.post("http://localhost/v1/pause") as answer:
        assert answer.status == 200
    refused = await served.ask("POST", "/v1/migrations", anna, {"guest": "nobody", "host": "b"})
    paused, moved, unknown = (
        {"method": "POST", "path": "/v1/pause", "body": "", "status": 200, "text": ""},
        {
            "method": "POST",
            "path": "/v1/migrations",
            "body": '{"guest":"rank0","host":"b"}',
            "status": 202,
            "text": "",
        },
        {
            "method": "POST",
            "path": "/v1/migrations",
            "body": '{"guest":"nobody","host":"b"}',
            "status": 404,
            "text": refused[1]["text"],
        },
    )
    by_anna = {"name": "anna", "role": "operator", "address": "127.0.0.1"}
    by_peer = {"name": getpass.getuser(), "role": "admin", "address": f"socket, uid {os.getuid()}"}
    assert await entries(served) == [by_anna | unknown, by_peer | paused, by_anna | moved]


async def test_questions_and_progress_are_not_commands(served: OverTcp) -> None:
    operator = served.token(Role.OPERATOR)
    await served.ask("GET", "/v1/status", operator)
    await served.ask("POST", "/v1/jobs", operator, {"name": "brams", "guests": ["rank0"]})
    await served.ask("POST", "/v1/jobs/brams/progress", operator, {"done": 3})
    assert [each["path"] for each in await entries(served)] == ["/v1/jobs"]


async def test_two_operators_who_want_the_same_guest_elsewhere_get_one_migration(served: OverTcp) -> None:
    anna, bert = served.token(Role.OPERATOR, "anna"), served.token(Role.OPERATOR, "bert")
    answers = await asyncio.gather(
        served.ask("POST", "/v1/migrations", anna, MOVE), served.ask("POST", "/v1/migrations", bert, MOVE)
    )
    assert sorted(status for status, _ in answers) == [202, 409]
    (taken,) = [body for status, body in answers if status == 202]
    (refused,) = [body for status, body in answers if status == 409]
    assert len(served.asked) == 1
    assert taken["requested_by"] in ("by hand, anna", "by hand, bert")
    winner = taken["requested_by"].partition(", ")[2]
    assert "migrat" in refused["text"]
    found = {(each["name"], each["status"]) for each in await entries(served)}
    assert found == {(winner, 202), ({"anna": "bert", "bert": "anna"}[winner], 409)}
    explained = await served.ask("GET", "/v1/explain/rank0", anna)
    assert {each["text"] for each in explained[1]["decisions"]} >= {f"asked for by {winner}"}


async def test_two_admins_who_make_a_token_of_one_name_make_one(served: OverTcp) -> None:
    admin = served.token(Role.ADMIN)
    asked = {"name": "grafana", "role": "viewer"}
    answers = await asyncio.gather(*(served.ask("POST", "/v1/tokens", admin, asked) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [201] + [409] * 7
    (made,) = [body for status, body in answers if status == 201]
    assert (await served.ask("GET", "/v1/session", made["token"]))[0] == 200


async def test_a_disk_that_fills_up_is_told_and_questions_are_answered(served: OverTcp) -> None:
    """SQLite may add no page to its file."""
    operator = served.token(Role.OPERATOR)
    with served.journal.transaction() as database:
        pages = database.exec_driver_sql("PRAGMA page_count").scalar_one()
        database.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    job = {"name": "j" * 3000, "guests": ["rank0"]}
    for _ in range(200):
        status, problem = await served.ask("POST", "/v1/jobs", operator, job)
        if status != 201:
            break
    assert (status, problem["code"]) == (500, "JournalError")
    assert "cannot be written: database or disk is full; nothing is migrated without it" in problem["text"]
    assert (await served.ask("GET", "/v1/status", operator))[0] == 200


async def test_a_full_disk_refuses_commands_and_answers_questions(served: OverTcp) -> None:
    operator = served.token(Role.OPERATOR)
    with served.journal.transaction() as database:
        database.exec_driver_sql("PRAGMA query_only = ON")
    status, problem = await served.ask("POST", "/v1/pause", operator)
    assert (status, problem["code"]) == (500, "JournalError")
    assert "Check the disk's free space and health" in problem["text"]
    assert not served.cluster.core.memory.is_paused
    assert (await served.ask("GET", "/v1/status", operator))[0] == 200
    with pytest.raises(JournalError):  # and the controller ends, as for any event that it cannot keep
        await asyncio.wait_for(served.control.fails(), 5.0)
    with served.journal.transaction() as database:
        database.exec_driver_sql("PRAGMA query_only = OFF")


def entry(number: int) -> AuditView:
    """Return one of many."""
    return AuditView(at=float(number), name="a", role=Role.ADMIN, address="", method="POST", path="/v1/pause")


def test_a_command_that_the_controller_died_in_has_no_outcome(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    AuditLog(journal).begin(entry(1))
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    assert AuditLog(again).newest(10) == [entry(1)]
    again.close()


def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "KEPT", 3)
    journal = Journal(tmp_path / "journal.sqlite")
    log = AuditLog(journal)
    for number in range(6):
        log.begin(entry(number))
    assert log.newest(10) == [entry(5), entry(4), entry(3)]
    assert log.newest(2) == [entry(5), entry(4)]
    with journal.transaction() as database:
        database.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(JournalError):
        log.begin(entry(7))
    journal.close()

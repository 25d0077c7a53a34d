"""The routes that pictures are drawn from, asked over HTTP: what they tell, and within which bounds."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from served import OverTcp

from migd_controller.events import JobAdded, MigrationAccepted, MigrationEnded, MigrationRequested, Paused
from migd_core.api import Role


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[OverTcp]:
    served = OverTcp(tmp_path)
    async with served.answering():
        yield served


def moved(served: OverTcp, *, ok: bool) -> None:
    """Let an operator move rank0 from a to b and back to nowhere: 12 s later it is on b, or still on a."""
    commands = served.control.dispatch(MigrationRequested(guest="rank0", target="b"))
    cause = next(command.cause for command in commands if hasattr(command, "source"))
    served.control.dispatch(MigrationAccepted(cause=cause, task="task"))
    served.cluster.now_s += 12.0
    served.control.dispatch(MigrationEnded(cause=cause, host_now="b" if ok else "a", text="" if ok else "it is full"))


async def test_a_guests_predictions_stand_beside_what_happened(served: OverTcp) -> None:
    viewer = served.token(Role.VIEWER)
    moved(served, ok=False)
    status, body = await served.ask("GET", "/v1/guests/rank0/dirty", viewer)
    assert status == 200
    assert (body["guest_name"], body["memory_pages"], body["curves"], body["fit"]) == ("rank0", 1048576, [], None)
    (outcome,) = body["outcomes"]
    assert (outcome["ok"], outcome["actual_s"], outcome["text"]) == (False, 12.0, "it is full")
    assert 0 < outcome["predicted"]["low"] < outcome["predicted"]["median"] < outcome["predicted"]["high"]


async def test_history_counts_what_moved_and_tells_who_did_what(served: OverTcp) -> None:
    viewer = served.token(Role.VIEWER)
    served.control.dispatch(JobAdded(name="brams", guests=("rank0", "rank1")))
    moved(served, ok=True)
    served.cluster.now_s += 1.0
    served.control.dispatch(Paused())
    status, body = await served.ask("GET", "/v1/history?hours=2", viewer)
    assert (status, sum(body["moved"]), sum(body["failed"]), body["predicted"]) == (200, 1, 0, 1)
    assert len(body["bucket_at"]) == len(body["moved"]) <= 122
    assert [each["text"] for each in body["happenings"]] == ["paused by an operator", "job brams of 2 guests named"]


async def test_a_jobs_timeline_has_the_migrations_of_its_guests(served: OverTcp) -> None:
    viewer = served.token(Role.VIEWER)
    served.control.dispatch(JobAdded(name="brams", guests=("rank0", "rank1")))
    moved(served, ok=True)
    status, body = await served.ask("GET", "/v1/jobs/brams/timeline", viewer)
    assert (status, [each["guest_name"] for each in body["migrations"]]) == (200, ["rank0"])
    assert len(body["at"]) == len(body["speed_per_s"]) == len(body["served_ratio"])


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/v1/history?hours=0", "hours: expected a number from 0.01 to 744, found '0'"),
        ("/v1/history?hours=nan", "hours: expected a number from 0.01 to 744, found 'nan'"),
        ("/v1/traffic?limit=many", "limit: expected a number from 1 to 1024, found 'many'"),
        ("/v1/decisions?limit=1e9", "limit: expected a number from 1 to 200, found '1e9'"),
        ("/v1/jobs/nobody/timeline", "no job is called nobody; known jobs: there are none"),
        ("/v1/guests/nobody/dirty", "no single running guest is called 'nobody'; `migctl guests` lists them"),
    ],
)
async def test_what_cannot_be_answered_says_what_can(served: OverTcp, path: str, text: str) -> None:
    status, body = await served.ask("GET", path, served.token(Role.VIEWER))
    assert (status, body["text"]) == (404 if "nobody" in path else 409, text)

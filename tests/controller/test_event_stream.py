"""Server-sent events over real TCP: a snapshot, then what changes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from served import OverTcp

from migd_controller.events import Paused
from migd_core.api import Role

LIMIT_S = 20.0


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[OverTcp]:
    served = OverTcp(tmp_path)
    async with served.answering():
        yield served


async def frame(answer: aiohttp.ClientResponse) -> tuple[str, str, Any]:
    """Return id, kind and content of the next frame; comments and the retry line are passed over."""
    found: dict[str, str] = {}
    async with asyncio.timeout(LIMIT_S):
        while True:
            line = (await answer.content.readline()).decode()
            assert line, "the stream has ended"
            if line == "\n" and "data" in found:
                return found["id"], found["event"], msgspec.json.decode(found["data"])
            name, _, value = line.rstrip("\n").partition(": ")
            found[name] = value


async def test_the_whole_comes_first_and_then_what_changes(served: OverTcp) -> None:
    headers = {"Authorization": f"Bearer {served.token(Role.VIEWER)}"}
    async with served.client.get(f"{served.url}/v1/events", headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        first, kind, snapshot = await frame(answer)
        assert kind == "snapshot"
        assert snapshot.keys() == {"status", "hosts", "guests", "jobs", "migrations", "plan"}
        assert snapshot["guests"]["hog"]["host_name"] == "a"
        served.control.dispatch(Paused())
        second, kind, change = await frame(answer)
        assert (kind, change) == ("change", {"status": {"is_paused": True}})
        assert (int(second.partition("-")[2]), second.partition("-")[0]) == (
            int(first.partition("-")[2]) + 1,
            first.partition("-")[0],
        )

"""Who is let in over TCP, as whom, and with what words others are sent away."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from served import OverTcp

from migd_core.api import ROLES, ROUTES, Role


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[OverTcp]:
    served = OverTcp(tmp_path)
    async with served.answering():
        yield served


def test_every_route_says_which_role_may_ask() -> None:
    assert ROUTES.keys() <= ROLES.keys()
    assert {route for route, role in ROLES.items() if role is Role.VIEWER and route[0] != "GET"} == {
        ("DELETE", "/v1/session")
    }


@pytest.mark.parametrize("path", ["/v1/status", "/v1/events", "/v1/session", "/v1/nothing", "/v1/explain/rank0"])
async def test_without_a_token_nothing_is_told(served: OverTcp, path: str) -> None:
    status, problem = await served.ask("GET", path)
    assert (status, problem["code"]) == (401, "NotLetIn")
    assert problem["text"].startswith("no token came with the request: send `Authorization: Bearer TOKEN`")


async def test_a_viewer_sees_and_does_not_steer(served: OverTcp) -> None:
    viewer = served.token(Role.VIEWER)
    assert (await served.ask("GET", "/v1/status", viewer))[0] == 200
    status, problem = await served.ask("POST", "/v1/pause", viewer)
    assert (status, problem["code"]) == (403, "NotAllowed")
    assert problem["text"] == (
        "POST /v1/pause needs the role operator, and token the-viewer has the role viewer; "
        "an admin makes another with `migctl token new NAME --role operator`"
    )
    assert not served.cluster.core.memory.is_paused


async def test_an_operator_steers(served: OverTcp) -> None:
    assert (await served.ask("POST", "/v1/pause", served.token(Role.OPERATOR)))[0] == 200
    assert served.cluster.core.memory.is_paused


async def test_the_page_is_there_for_everybody(served: OverTcp) -> None:
    async with served.client.get(served.url + "/") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert "script-src 'self';" in answer.headers["Content-Security-Policy"]

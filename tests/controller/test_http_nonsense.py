"""What is hardly HTTP: whoever can connect can send it, so it gets words for an answer and leaves few in the log."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from served import OverTcp

from migd_controller.http.listener import COMPLAINTS_AT_ONCE
from migd_core.api import Role


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[OverTcp]:
    served = OverTcp(tmp_path)
    async with served.answering():
        yield served


async def send(served: OverTcp, *headers: bytes, over_tcp: bool = True) -> tuple[int, bytes]:
    """Return the status and the body of an answer to a command with these headers, as they are."""
    connected = (
        asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
        if over_tcp
        else asyncio.open_unix_connection(served.config.socket)
    )
    reader, writer = await connected
    lines = (b"POST /v1/pause HTTP/1.1", *headers, b"Connection: close", b"Content-Length: 2", b"", b"{}")
    writer.write(b"\r\n".join(lines))
    head, _, body = (await asyncio.wait_for(reader.read(), 10.0)).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


@pytest.mark.parametrize("over_tcp", [True, False])
@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ((b"Host: a", b"Origin: http://["), "POST /v1/pause: asked for by another site, http://["),
        ((b"Host: a", b"Origin: \xff\xfe"), "POST /v1/pause: asked for by another site, \\udcff\\udcfe"),
    ],
)
async def test_an_origin_that_cannot_be_read_is_another_site(
    served: OverTcp, headers: tuple[bytes, ...], text: str, over_tcp: bool
) -> None:
    status, body = await send(served, *(headers if over_tcp else (b"Host: localhost", headers[1])), over_tcp=over_tcp)
    assert (status, json.loads(body)) == (403, {"code": "NotAllowed", "text": text})
    assert not served.cluster.core.memory.is_paused


async def test_a_browser_that_comes_to_the_socket_by_a_name_that_cannot_be_read_is_refused(served: OverTcp) -> None:
    status, body = await send(served, b"Host: [\xff", b"Sec-Fetch-Site: none", over_tcp=False)
    assert (status, json.loads(body)["text"]) == (
        403,
        "a browser came by the name [\\udcff; through a tunnel to the socket, go by localhost",
    )
    assert (await send(served, b"Host: [", over_tcp=False))[0] == 200, (
        "who opens the socket itself may call it anything"
    )


async def test_a_body_that_is_not_compressed_as_it_says_is_refused_with_words(served: OverTcp) -> None:
    token = b"Authorization: Bearer " + served.token(Role.ADMIN).encode()
    status, body = await send(served, b"Host: a", token, b"Content-Encoding: gzip")
    assert (status, json.loads(body)["text"]) == (
        400,
        "POST /v1/pause: the body is not what its Content-Encoding says; send it as it is",
    )


async def test_what_is_no_http_leaves_few_words_in_the_log(served: OverTcp, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a token, and each with a traceback of its own in aiohttp's hands."""
    for headers in ((b"Host: a", b": x"), (b"Host: a", b"Expect: \xff")) * (2 * COMPLAINTS_AT_ONCE):
        assert (await send(served, *headers))[0] in (400, 500)
    assert capsys.readouterr().out.count("a request could not be answered") == COMPLAINTS_AT_ONCE
    assert (await served.ask("GET", "/v1/status", served.token(Role.VIEWER)))[0] == 200

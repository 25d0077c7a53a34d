"""The HTTP around the calls: what is kept open, what is refused, and with which headers."""

import http.client
import json
import socket
import xmlrpc.client
from collections.abc import Iterator
from typing import Any

import pytest

CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "system.listMethods", "params": []}).encode()


@pytest.fixture
def connection(pool: Any) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(pool.url.removeprefix("http://"), timeout=10)
    yield connection
    connection.close()


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_a_connection_is_kept_for_many_calls_in_both_dialects(connection: http.client.HTTPConnection) -> None:
    connection.connect()
    first: socket.socket = connection.sock
    for _ in range(3):
        assert ask(connection, "POST", "/jsonrpc", CALL)[0] == 200
        assert ask(connection, "POST", "/RPC2", xmlrpc.client.dumps((), "system.listMethods").encode())[0] == 200
    assert connection.sock is first


def test_an_answer_has_the_headers_of_xapi_and_no_others(connection: http.client.HTTPConnection) -> None:
    _, headers, _ = ask(connection, "POST", "/jsonrpc", CALL)
    assert headers.pop("date")
    assert int(headers.pop("content-length")) > 100
    assert headers == {
        "content-type": "application/json",
        "access-control-allow-origin": "*",
        "access-control-allow-headers": "X-Requested-With",
        "cache-control": "no-cache, no-store",
    }


def test_options_allow_what_a_browser_asks_for(connection: http.client.HTTPConnection) -> None:
    status, headers, body = ask(connection, "OPTIONS", "/jsonrpc", Access_Control_Request_Headers="content-type")
    assert (status, body) == (200, b"")
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-allow-headers"] == "content-type, X-Requested-With"
    assert headers["access-control-allow-methods"] == "PUT"


@pytest.mark.parametrize("path", ["/jsonrpc", "/", "/xmlrpc"])
def test_a_body_at_the_limit_is_read_and_one_beyond_it_is_not(
    connection: http.client.HTTPConnection, path: str
) -> None:
    padded = CALL.ljust(300 * 1024) if path == "/jsonrpc" else xmlrpc.client.dumps(("x",), "a.b").encode()
    assert ask(connection, "POST", path, padded.ljust(300 * 1024))[0] == 200
    status, headers, body = ask(connection, "POST", path, padded.ljust(300 * 1024 + 1))
    assert (status, headers["content-type"]) == (500, "text/html")
    assert b"at most 307200 are read" in body


def test_a_body_of_unknown_length_is_refused(connection: http.client.HTTPConnection) -> None:
    connection.request("POST", "/jsonrpc", iter([CALL]), encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, b"content-length" in answer.read()) == (500, True)


@pytest.mark.parametrize(("method", "status"), [("GET", 403), ("PUT", 403), ("DELETE", 501)])
def test_what_is_not_served_is_refused_as_xapi_refuses_it(
    connection: http.client.HTTPConnection, method: str, status: int
) -> None:
    answered, headers, _ = ask(connection, method, "/nowhere")
    assert (answered, headers["content-type"], headers["connection"]) == (status, "text/html", "close")

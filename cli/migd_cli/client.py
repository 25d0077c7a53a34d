"""The controller's API over its Unix socket: one request a connection, HTTP/1.1."""

import http.client
import socket
from typing import Final, TypeVar

import msgspec

from migd_cli.failures import RequestFailed, Unreachable
from migd_cli.unreachable import why_unreachable
from migd_core import __version__
from migd_core.api import Problem
from migd_core.decoding import UNDECODABLE

T = TypeVar("T")

# A dry run over a thousand hosts takes a few seconds; anything above is a controller that hangs.
TIMEOUT_S: Final = 20.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Asks the controller that listens on one socket."""

    def __init__(self, socket_path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._path = socket_path
        self._timeout_s = timeout_s

    def ask(self, method: str, path: str, body: msgspec.Struct | None = None) -> bytes:
        """Return the body of a 2xx answer. Raises Unreachable or RequestFailed."""
        headers = {"Accept": "application/json", "Connection": "close", "User-Agent": f"migctl/{__version__}"}
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, path, content, {**headers, **self._credentials()})
            answer = connection.getresponse()
            read = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(self._why(error)) from error
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise _failure(method, path, answer.status, read)
        return read

    def _connection(self) -> http.client.HTTPConnection:
        return _UnixConnection(self._path, self._timeout_s)

    def _credentials(self) -> dict[str, str]:
        return {}

    def _why(self, error: Exception) -> str:
        return why_unreachable(self._path, error, self._timeout_s)

    def get(self, path: str, type_: type[T]) -> T:
        """Return the answer to `GET path` as a `type_`. Raises Unreachable or RequestFailed."""
        return decode(self.ask("GET", path), type_)


def decode(answer: bytes, type_: type[T]) -> T:
    """Return an answer's body as a `type_`. Raises RequestFailed when it is not one."""
    try:
        return msgspec.json.decode(answer, type=type_)
    except UNDECODABLE as error:
        raise RequestFailed(
            f"the controller's answer is not what this migctl ({__version__}) understands: {error}; "
            "the two are of different releases, so update the older one (--json prints answers unread)"
        ) from error


def _failure(method: str, path: str, status: int, body: bytes) -> RequestFailed:
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except UNDECODABLE:
        if status in (404, 405):
            text = (
                f"the controller does not know {method} {path}; it is of another release than this migctl "
                f"({__version__}): `migctl status` shows its version, update the older one"
            )
        else:
            text = (
                f"the controller answered {method} {path} with {status} and no explanation; "
                "`journalctl -u migd-controller` has more"
            )
        return RequestFailed(text)
    return RequestFailed(problem.text, body)

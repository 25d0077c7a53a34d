"""HTTP GET over one kept connection, with every wait bounded: what an agent needs to ask an emulated pool."""

import http.client
import select
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from migd_core.errors import MigdError

MAX_BODY_BYTES: Final = 4 * 1024 * 1024


class EndpointError(MigdError):
    """The endpoint could not be asked; the text says which URL, what happened, and what to look at."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint said to the GET of `url`."""

    url: str
    status: int
    body: bytes


class PendingAnswer:
    """A request under way on a connection of its own, so that nobody has to wait for it: poll `fileno`."""

    def __init__(self, url: str, path: str, timeout_s: float) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._connection = _connection(url, timeout_s)
        try:
            self._connection.request("GET", path)
            self._socket = self._connection.sock
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise _error(url + path, error) from error
        self._path = path

    def fileno(self) -> int:
        """Return the descriptor that turns readable when the answer comes."""
        return self._socket.fileno()

    @property
    def is_readable(self) -> bool:
        """Whether the answer has begun to arrive, or the connection is broken."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def take(self) -> Answer:
        """Return the answer, which has begun to arrive, and close the connection. Raises EndpointError."""
        try:
            return _answer(self._connection, self._url + self._path, self._timeout_s)
        except (OSError, http.client.HTTPException) as error:
            raise _error(self._url + self._path, error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Give the request up."""
        self._connection.close()


class ControlEndpoint:
    """One HTTP server, asked by GET; no request waits longer than about `timeout_s`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._connection = _connection(self._url, timeout_s)

    def get(self, path: str) -> Answer:
        """Return the answer to a GET of `path`, whatever its status. Raises EndpointError."""
        is_reused = self._connection.sock is not None
        try:
            try:
                return self._ask(path)
            except ConnectionError:
                # The server may have closed the kept connection meanwhile; that says nothing about the server.
                if not is_reused:
                    raise
                self._connection.close()
                return self._ask(path)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise _error(self._url + path, error) from error

    def begin(self, path: str) -> PendingAnswer:
        """Send a GET of `path` and return without waiting for the answer. Raises EndpointError."""
        return PendingAnswer(self._url, path, self._timeout_s)

    def close(self) -> None:
        """Close the kept connection."""
        self._connection.close()

    def _ask(self, path: str) -> Answer:
        self._connection.request("GET", path)
        return _answer(self._connection, self._url + path, self._timeout_s)


def _connection(url: str, timeout_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout_s)


def _answer(connection: http.client.HTTPConnection, url: str, timeout_s: float) -> Answer:
    deadline_s = time.monotonic() + timeout_s
    body = bytearray()
    with connection.getresponse() as response:
        while chunk := response.read1(65536):
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise http.client.HTTPException(f"an answer of more than {MAX_BODY_BYTES} bytes")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the answer took more than {timeout_s:g} s")
    return Answer(url, response.status, bytes(body))


def _error(url: str, error: Exception) -> EndpointError:
    what = str(error) or type(error).__name__
    return EndpointError(f"GET {url}: {what}; is the emulated pool running, and is this its control endpoint?")

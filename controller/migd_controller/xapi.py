"""The one place that talks to XenAPI.py, and the one place that reads its failures.

XenAPI.py blocks and a session of it belongs to one thread, so `Pool` keeps one session a thread and everything here is
called from worker threads. Two kinds of trouble come out: `PoolRefusal`, the pool's own word with its code, and
`PoolUnreachable`, when there was no word: then nobody knows whether the request took effect.
"""

import contextlib
import http.client
import ssl
import threading
import urllib.parse
import xml.parsers.expat
import xmlrpc.client
from collections.abc import Iterator
from typing import Any, Final

import XenAPI

from migd_controller.config import XapiSection
from migd_controller.xapi_transport import SafeTransport, Transport
from migd_core.errors import ConfigError, MigdError

ORIGINATOR: Final = "migd"
NULL_REF: Final = "OpaqueRef:NULL"


class PoolRefusal(MigdError):
    """The pool answered with a failure; `code` and `params` are XAPI's."""

    def __init__(self, details: list[str]) -> None:
        self.code, self.params = details[0], details[1:]
        super().__init__(f"{self.code}({', '.join(self.params)})" if self.params else self.code)


class PoolUnreachable(MigdError):
    """The pool gave no answer. Whether a request in mid-air took effect is not known."""


class Pool:
    """One pool's coordinator. Safe to share between threads; each gets a session of its own."""

    def __init__(self, section: XapiSection) -> None:
        """Remember how to log in; nothing is contacted yet. Raises ConfigError."""
        self._section = section
        self._url = urllib.parse.urlsplit(section.url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise ConfigError(f"xapi.url: expected https://HOST, found {section.url!r}")
        if self._url.scheme == "http" and self._url.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ConfigError(f"xapi.url: the password would travel unencrypted to {self._url.hostname}; use https://")
        _read_password(section)
        self._local = threading.local()
        self._open: list[_Connection] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def call(self, method: str, *args: Any, wait_s: float = 0.0) -> Any:
        """Return the answer to `class.method(args)`; `wait_s` is how long the pool may itself hold the answer back.

        Raises PoolRefusal, or PoolUnreachable: then the call may have had its effect all the same.
        """
        try:
            with self._connection() as connection:
                connection.transport.timeout_s = self._section.timeout_s + wait_s
                bound = connection.session.xenapi
                for part in method.split("."):
                    bound = getattr(bound, part)
                return bound(*args)
        except XenAPI.Failure as failure:
            if failure.details[0] == "HOST_IS_SLAVE":
                self._drop()
                raise PoolUnreachable("the coordinator has changed; following it") from failure
            raise PoolRefusal([str(part) for part in failure.details]) from failure
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            raise PoolUnreachable(f"{self._section.url} does not answer: {_words(error)}") from error
        except (xmlrpc.client.Error, xml.parsers.expat.ExpatError) as error:
            self._drop()
            raise PoolUnreachable(
                f"{self._section.url} does not speak XenAPI: {_words(error)}; is xapi.url right?"
            ) from error

    def close(self) -> None:
        """Cut every connection, also those that wait for an answer in another thread; no call gets through any more."""
        with self._lock:
            self._is_closed = True
            for connection in self._open:
                if connection.is_busy:
                    connection.transport.cut()  # its own thread closes it
                else:
                    connection.transport.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator["_Connection"]:
        """This thread's connection, busy while the block runs."""
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._login()
        with self._lock:
            self._check_open()
            connection.is_busy = True
        try:
            yield connection
        finally:
            with self._lock:
                connection.is_busy = False
                if self._is_closed:
                    connection.transport.close()

    def _login(self) -> "_Connection":
        netloc = self._url.netloc
        for _ in range(2):
            connection = _Connection(self._url.scheme, netloc, self._section)
            with self._lock:
                self._check_open()
                self._open.append(connection)
            try:
                connection.transport.timeout_s = self._section.timeout_s
                password = self._password()
                connection.session.login_with_password(self._section.username, password, "1.0", ORIGINATOR)
                return connection
            except XenAPI.Failure as failure:
                self._end(connection)
                if failure.details[0] != "HOST_IS_SLAVE":
                    raise _refused_login(failure, self._section) from failure
                port = f":{self._url.port}" if self._url.port is not None else ""
                netloc = f"{failure.details[1]}{port}"  # XAPI gives the address only
            except Exception:
                self._end(connection)
                raise
        raise PoolUnreachable(f"{self._section.url} and {netloc} each say that the other is the coordinator")

    def _drop(self) -> None:
        connection: _Connection | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            self._end(connection)

    def _end(self, connection: "_Connection") -> None:
        with self._lock:
            self._open.remove(connection)
            connection.transport.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise PoolUnreachable("the controller is stopping")

    def _password(self) -> str:
        try:
            return _read_password(self._section)
        except ConfigError as error:
            raise PoolUnreachable(str(error)) from error


class _Connection:
    """One session on one kept-alive connection."""

    def __init__(self, scheme: str, netloc: str, section: XapiSection) -> None:
        self.transport = Transport() if scheme == "http" else SafeTransport(context=_context(section))
        self.session = XenAPI.Session(f"{scheme}://{netloc}", transport=self.transport)
        self.is_busy = True


def _context(section: XapiSection) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(section.ca_file) if section.ca_file is not None else None)


def _read_password(section: XapiSection) -> str:
    """Read at every login, so that a password that is changed in the pool is changed in its file and nowhere else."""
    try:
        return section.password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"xapi.password_file: {section.password_file} cannot be read: {error.strerror}; "
            "put the password of the XAPI user in it, readable by migd only"
        ) from error


def _refused_login(failure: XenAPI.Failure, section: XapiSection) -> PoolRefusal:
    refusal = PoolRefusal([str(part) for part in failure.details])
    advice = {
        "SESSION_AUTHENTICATION_FAILED": f"the password in {section.password_file} is not {section.username}'s",
        "SESSION_AUTHORIZATION_FAILED": f"{section.username} has no role in the pool; give it pool-operator",
    }.get(refusal.code)
    if advice is not None:
        refusal.args = (f"{section.url} does not let {section.username} in: {advice} ({refusal})",)
    return refusal


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is the toolstack running?"
    return f"{type(error).__name__}: {error}"

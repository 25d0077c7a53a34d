"""The one place that talks to XenAPI.py, and the one place that reads its failures.

XenAPI.py blocks and a session of it belongs to one thread, so `Pool` keeps one session a thread and everything here is
called from worker threads. Two kinds of trouble come out: `PoolRefusal`, the pool's own word with its code, and
`PoolUnreachable`, when there was no word: then nobody knows whether the request took effect.
"""

import http.client
import socket
import ssl
import threading
import urllib.parse
import xmlrpc.client
from typing import Any, Final

import XenAPI

from migd_controller.config import XapiSection
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
        try:
            self._password = section.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(
                f"xapi.password_file: {section.password_file} cannot be read: {error.strerror}; "
                "put the password of the XAPI user in it, readable by migd only"
            ) from error
        self._local = threading.local()
        self._open: list[_Connection] = []
        self._lock = threading.Lock()

    def call(self, method: str, *args: Any, wait_s: float = 0.0) -> Any:
        """Return the answer to `class.method(args)`; `wait_s` is how long the pool may itself hold the answer back.

        Raises PoolRefusal or PoolUnreachable.
        """
        connection: _Connection | None = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = self._local.connection = self._login()
            connection.wait_for(self._section.timeout_s + wait_s)
            bound = connection.session.xenapi
            for part in method.split("."):
                bound = getattr(bound, part)
            return bound(*args)
        except XenAPI.Failure as failure:
            if failure.details[0] == "HOST_IS_SLAVE":
                self._drop()
                raise PoolUnreachable("the coordinator has changed; following it") from failure
            raise PoolRefusal([str(part) for part in failure.details]) from failure
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            self._drop()
            raise PoolUnreachable(f"{self._section.url} does not answer: {_words(error)}") from error

    def close(self) -> None:
        """Cut every connection, also those that wait for an answer in another thread."""
        with self._lock:
            connections, self._open = self._open, []
        for connection in connections:
            connection.cut()

    def _login(self) -> "_Connection":
        netloc = self._url.netloc
        for _ in range(2):
            connection = _Connection(self._url.scheme, netloc, self._section)
            connection.wait_for(self._section.timeout_s)
            try:
                connection.session.login_with_password(self._section.username, self._password, "1.0", ORIGINATOR)
            except XenAPI.Failure as failure:
                if failure.details[0] != "HOST_IS_SLAVE":
                    raise
                port = f":{self._url.port}" if self._url.port is not None else ""
                netloc = f"{failure.details[1]}{port}"  # XAPI gives the address only
                continue
            with self._lock:
                self._open.append(connection)
            return connection
        raise PoolUnreachable(f"{self._section.url} and {netloc} each say that the other is the coordinator")

    def _drop(self) -> None:
        connection: _Connection | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with self._lock:
                self._open = [other for other in self._open if other is not connection]
            connection.cut()


class _Connection:
    """One session on one kept-alive connection."""

    def __init__(self, scheme: str, netloc: str, section: XapiSection) -> None:
        self._transport = _Transport() if scheme == "http" else _SafeTransport(_context(section))
        self.session = XenAPI.Session(f"{scheme}://{netloc}", transport=self._transport)

    def wait_for(self, timeout_s: float) -> None:
        self._transport.wait_for(timeout_s)

    def cut(self) -> None:
        self._transport.cut()


class _Timeouts:
    """Gives xmlrpc's transports a time-out, and a way to end a wait from another thread."""

    _timeout_s: float = 30.0
    _http: http.client.HTTPConnection | None = None

    def wait_for(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        if self._http is not None:
            self._http.timeout = timeout_s
            if self._http.sock is not None:
                self._http.sock.settimeout(timeout_s)

    def cut(self) -> None:
        if self._http is not None and self._http.sock is not None:
            try:
                self._http.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is down already

    def _remember(self, connection: http.client.HTTPConnection) -> http.client.HTTPConnection:
        self._http = connection
        connection.timeout = self._timeout_s
        return connection


class _Transport(_Timeouts, xmlrpc.client.Transport):
    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return self._remember(super().make_connection(host))


class _SafeTransport(_Timeouts, xmlrpc.client.SafeTransport):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)

    def make_connection(self, host: Any) -> http.client.HTTPSConnection:
        connection = super().make_connection(host)
        self._remember(connection)
        return connection


def _context(section: XapiSection) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(section.ca_file) if section.ca_file is not None else None)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is the toolstack running?"
    return f"{type(error).__name__}: {error}"

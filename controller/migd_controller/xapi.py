"""The one place that talks to XenAPI.py, and the one place that reads its failures.

XenAPI.py blocks and a session of it belongs to one thread, so `Pool` keeps one session a thread and everything here is
called from worker threads. Two kinds of trouble come out: `PoolRefusal`, the pool's own word with its code, and
`PoolUnreachable`, when there was no word: then nobody knows whether the request took effect.

Only the coordinator answers. Where it is, is asked of the host it was last, of the configured one, and of every other
that the pool was seen to have: a member names the coordinator, so any host that lives will do.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import urllib.parse
import xml.parsers.expat
import xmlrpc.client
from collections.abc import Iterable, Iterator
from typing import Any, Final

import XenAPI

from migd_controller.config import XapiSection
from migd_controller.xapi_transport import (
    CONNECT_S,
    AuthorityTransport,
    PinnedTransport,
    Transport,
    WrongCertificate,
    authorities,
)
from migd_core import systemd
from migd_core.errors import ConfigError, MigdError

ORIGINATOR: Final = "migd"
# How often in a row a host may name another one as the coordinator.
HOPS: Final = 4
# What ends a session is not worth a longer wait at the end of a process.
LOGOUT_S: Final = 2.0
SESSION_INVALID: Final = "SESSION_INVALID"
_LOST_SESSION: Final = 401  # XenAPI.py's own fault code for it, once it may not log in by itself
_NOT_YET: Final = frozenset({"HOST_IN_EMERGENCY_MODE", "HOST_STILL_BOOTING", "HOST_HAS_NO_MANAGEMENT_IP"})


class PoolRefusal(MigdError):
    """The pool answered with a failure; `code` and `params` are XAPI's."""

    def __init__(self, details: list[str], text: str = "") -> None:
        self.code, self.params = details[0], details[1:]
        super().__init__(text or (f"{self.code}({', '.join(self.params)})" if self.params else self.code))


class PoolUnreachable(MigdError):
    """The pool gave no answer. Whether a request in mid-air took effect is not known."""


class _NotDone(Exception):
    """What was asked has not been done: the session is lost, or the host named `coordinator` is the one to ask."""

    def __init__(self, coordinator: str | None = None) -> None:
        self.coordinator = coordinator
        super().__init__(coordinator)


class Pool:
    """One pool's coordinator. Safe to share between threads; each gets a session of its own."""

    def __init__(self, section: XapiSection) -> None:
        """Remember how to log in; nothing is contacted yet. Raises ConfigError."""
        self._section = section
        self._url = urllib.parse.urlsplit(section.url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise ConfigError(f"xapi.url: expected https://HOST, found {section.url!r}")
        if self._url.scheme == "http":
            if not _is_loopback(self._url.hostname):
                raise ConfigError(
                    f"xapi.url: the password would travel unencrypted to {self._url.hostname}; use https://"
                )
            if section.ca_file is not None or section.fingerprints:
                raise ConfigError("xapi.url: there is no certificate to check over http://; use https://")
        self._authorities = authorities(section.ca_file) if not section.fingerprints else None
        _read_password(section)
        self._coordinator = self._url.hostname
        self._others: tuple[str, ...] = ()
        self._local = threading.local()
        self._open: list[_Connection] = []
        self._fetching: set[Transport] = set()
        self._is_closed = False
        self._lock = threading.Lock()

    def remember(self, addresses: Iterable[str]) -> None:
        """Note the addresses of the pool's hosts, to be asked for the coordinator when it is gone."""
        self._others = tuple(addresses)

    def call(
        self, method: str, *args: Any, wait_s: float = 0.0, in_any_session: bool = True, only_in: str | None = None
    ) -> Any:
        """Return the answer to `class.method(args)`; `wait_s` is how long the pool may itself hold the answer back.

        Where the session is lost, the call is made again in a new one, unless it makes sense in the old one only, or
        `only_in` the one with this handle: then it is refused with SESSION_INVALID. Raises PoolRefusal, or
        PoolUnreachable: then the call may have had its effect all the same.
        """
        in_any_session = in_any_session and only_in is None
        for _ in range(HOPS):
            try:
                with self._connection() as connection, _translated(connection.url):
                    if only_in not in (None, connection.session.handle):
                        raise PoolRefusal([SESSION_INVALID])
                    connection.transport.timeout_s = self._section.timeout_s + wait_s
                    return connection.call(method, args)
            except _NotDone as nothing:
                self._drop()
                if nothing.coordinator is not None:
                    self._coordinator = nothing.coordinator
                if not in_any_session:
                    raise PoolRefusal([SESSION_INVALID]) from nothing
            except PoolUnreachable:
                self._drop()
                raise
        raise PoolUnreachable(f"{self._section.url}: its hosts do not agree on which of them is the coordinator")

    def fetch(self, address: str, path: str) -> bytes:
        """Return what the host at `address` answers `GET path` with, in this thread's session.

        Raises PoolRefusal where the pool does not let migd in, PoolUnreachable where the host gives no such answer.
        """
        for _ in range(HOPS):
            with self._connection() as connection:
                session = urllib.parse.quote(connection.session.handle)
            status, body = self._get(address, f"{path}{'&' if '?' in path else '?'}session_id={session}")
            if status == 200:
                return body
            if status != 401:
                break
            self._drop()  # the session is lost
        raise PoolUnreachable(f"{self._url_of(address)}{path.partition('?')[0]} answers with HTTP status {status}")

    def session(self) -> str:
        """Return the handle of this thread's session, which it then has. Raises PoolRefusal, PoolUnreachable."""
        with self._connection() as connection:
            return str(connection.session.handle)

    def end_session(self, handle: str) -> None:
        """End a session, whoever's it is, or find it ended. Raises PoolRefusal, PoolUnreachable."""
        with self._connection() as connection:
            url = connection.url
        other = _Connection(url, self._transport())
        other.take(handle)
        try:
            with contextlib.suppress(_NotDone), _translated(url):
                other.transport.timeout_s = self._section.timeout_s
                other.call("session.logout", ())
        finally:
            other.transport.close()

    def session_record(self) -> dict[str, Any]:
        """Return what the pool knows of this thread's session. Raises PoolRefusal, PoolUnreachable."""
        with self._connection() as connection:
            handle = connection.session.handle
        record: dict[str, Any] = self.call("session.get_record", handle)
        return record

    def certificate(self, address: str) -> bytes | None:
        """Return the certificate (DER) that the host at `address` shows; None over http.

        Raises PoolUnreachable, also where it is none that is trusted.
        """
        if self._url.scheme == "http":
            return None
        url, transport = self._url_of(address), self._transport()
        transport.timeout_s = CONNECT_S
        try:
            with _translated(url):
                return transport.certificate(urllib.parse.urlsplit(url).netloc)
        finally:
            transport.close()

    def _get(self, address: str, path: str) -> tuple[int, bytes]:
        url, transport = self._url_of(address), self._transport()
        transport.timeout_s = self._section.timeout_s
        with self._lock:
            self._check_open()
            self._fetching.add(transport)
        try:
            with _translated(url):
                return transport.get(urllib.parse.urlsplit(url).netloc, path)
        finally:
            with self._lock:
                self._fetching.discard(transport)
                transport.close()

    def close(self) -> None:
        """Cut every connection, also those that wait for an answer in another thread; no call gets through any more."""
        with self._lock:
            self._is_closed = True
            busy = [connection for connection in self._open if connection.is_busy]
            idle = [connection for connection in self._open if not connection.is_busy]
            for transport in (*(connection.transport for connection in busy), *self._fetching):
                transport.cut()  # its own thread closes it
        for connection in idle:
            with contextlib.suppress(PoolUnreachable, PoolRefusal, _NotDone), _translated(connection.url):
                connection.transport.timeout_s = LOGOUT_S
                connection.call("session.logout", ())
            connection.transport.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator["_Connection"]:
        """This thread's connection, busy while the block runs."""
        connection = self._mine()
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
        """Log in at the coordinator, wherever it is. Raises PoolRefusal, or PoolUnreachable where no host answers."""
        candidates = list(dict.fromkeys((self._coordinator, self._url.hostname or "", *self._others)))
        problems: list[PoolUnreachable] = []
        for address in candidates:
            try:
                return self._login_from(address)
            except PoolUnreachable as error:
                problems.append(error)
        others = f"; nor does any of {len(candidates) - 1} other hosts of the pool" if len(candidates) > 1 else ""
        raise PoolUnreachable(f"{problems[0]}{others}") from problems[0]

    def _login_from(self, address: str) -> "_Connection":
        """Log in at the coordinator that this host is or names."""
        for _ in range(HOPS):
            connection = _Connection(self._url_of(address), self._transport())
            with self._lock:
                self._check_open()
                self._open.append(connection)
            try:
                with _translated(connection.url):
                    connection.transport.timeout_s = self._section.timeout_s
                    connection.log_in(self._section.username, self._password())
                self._coordinator = address
                return connection
            except _NotDone as nothing:
                self._end(connection)
                address = nothing.coordinator or address
            except PoolRefusal as refusal:
                self._end(connection)
                if refusal.code in _NOT_YET:
                    raise PoolUnreachable(f"{connection.url} is not ready: {refusal}") from refusal
                raise _refused_login(refusal, connection.url, self._section) from refusal
            except PoolUnreachable:
                self._end(connection)
                raise
        raise PoolUnreachable(f"{self._section.url}: its hosts do not agree on which of them is the coordinator")

    def _url_of(self, address: str) -> str:
        """XAPI names a host by its address only: the scheme and the port are the configured ones."""
        if self._url.scheme == "http" and not _is_loopback(address):
            raise PoolUnreachable(f"the password would travel unencrypted to {address}; use https:// in xapi.url")
        host = f"[{address}]" if ":" in address else address
        return f"{self._url.scheme}://{host}" + (f":{self._url.port}" if self._url.port is not None else "")

    def _transport(self) -> Transport:
        if self._url.scheme == "http":
            return Transport()
        if self._authorities is None:
            return PinnedTransport(self._section.fingerprints)
        return AuthorityTransport(context=self._authorities)

    def _password(self) -> str:
        try:
            return _read_password(self._section)
        except ConfigError as error:
            raise PoolUnreachable(str(error)) from error

    def _mine(self) -> "_Connection | None":
        connection: _Connection | None = getattr(self._local, "connection", None)
        return connection

    def _drop(self) -> None:
        connection, self._local.connection = self._mine(), None
        if connection is not None:
            self._end(connection)

    def _end(self, connection: "_Connection") -> None:
        with self._lock:
            self._open.remove(connection)
            connection.transport.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise PoolUnreachable("the controller is stopping")


class _Connection:
    """One session on one kept-alive connection."""

    def __init__(self, url: str, transport: Transport) -> None:
        self.url, self.transport = url, transport
        self.session = XenAPI.Session(url, transport=transport)
        self.is_busy = True

    def log_in(self, username: str, password: str) -> None:
        """Raises PoolRefusal, _NotDone."""
        self._ask("login_with_password", (username, password, "1.0", ORIGINATOR))
        # Left to itself, XenAPI.py would log in again unseen: with an old password, at a host that may have lost its
        # rank, and the event stream would go on with a token of another database.
        self.session.last_login_method = ""

    def take(self, handle: str) -> None:
        """Go on in a session that somebody else has begun."""
        self.session._session, self.session.last_login_method = handle, ""

    def call(self, method: str, args: tuple[Any, ...]) -> Any:
        """Raises PoolRefusal, _NotDone."""
        try:
            return self._ask(method, args)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _LOST_SESSION:
                raise _NotDone from fault
            raise

    def _ask(self, method: str, args: tuple[Any, ...]) -> Any:
        bound = self.session.xenapi
        for part in method.split("."):
            bound = getattr(bound, part)
        try:
            return bound(*args)
        except XenAPI.Failure as failure:
            details = [str(part) for part in failure.details]
            if details[0] == "HOST_IS_SLAVE" and len(details) > 1:
                raise _NotDone(details[1]) from failure
            raise PoolRefusal(details) from failure


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """Turn what goes wrong on the way to a host into a PoolUnreachable that says what to look at."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise PoolUnreachable(f"{url} does not answer: {_words(error)}") from error
    except (xmlrpc.client.Error, xml.parsers.expat.ExpatError) as error:
        raise PoolUnreachable(f"{url} does not speak XenAPI: {_words(error)}; is xapi.url right?") from error


def _read_password(section: XapiSection) -> str:
    """Read at every login, so that a password that is changed in the pool is changed in its file and nowhere else.

    From systemd it is a copy of that file, made when the service started.
    """
    try:
        return systemd.secret(section.password_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"xapi.password_file: {section.password_file} cannot be read: {error.strerror}; "
            "put the password of the XAPI user in it, readable by migd only"
        ) from error


def _refused_login(refusal: PoolRefusal, url: str, section: XapiSection) -> PoolRefusal:
    advice = {
        "SESSION_AUTHENTICATION_FAILED": f"the password in {section.password_file} is not {section.username}'s; "
        "put the right one there, it is read anew at every attempt",
        "SESSION_AUTHORIZATION_FAILED": f"{section.username} has no role in the pool; give it vm-power-admin",
    }.get(refusal.code, "see the log of its toolstack")
    return PoolRefusal(
        [refusal.code, *refusal.params], f"{url} does not let {section.username} in: {advice} ({refusal})"
    )


def _words(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer in time; is the address in xapi.url right, and does no firewall keep it from port 443?"
        case ConnectionRefusedError():
            return "connection refused; is the toolstack running? `systemctl status xapi` on the host tells"
        case socket.gaierror(strerror=words):
            return f"{words}; is the name in xapi.url right? `getent hosts NAME` tells whether this machine knows it"
        case ssl.SSLCertVerificationError():
            return (
                f"its certificate is not trusted ({error.verify_message}); "
                "name the authority in xapi.ca_file, or its SHA-256 fingerprint in xapi.fingerprints"
            )
        case WrongCertificate():
            return str(error)
        case _:
            return f"{type(error).__name__}: {error}"

"""The connections below XenAPI.py: every wait is bounded, no request is sent twice, another thread can end a wait.

Over TLS nothing is sent before the other end has shown a certificate that is trusted: by an authority, or because its
fingerprint is known. There is no third way.
"""

import hashlib
import http.client
import select
import socket
import ssl
import xmlrpc.client
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from migd_controller.pool_records import thinned
from migd_core.errors import ConfigError

# For TCP and TLS to come up; a host that takes longer is taken for dead, and the next one is tried.
CONNECT_S: Final = 5.0
# Texts as short as this are mostly the same ones again and again: names of fields, states, references, 0 and 1.
SHORT: Final = 64


class WrongCertificate(OSError):
    """The other end shows a certificate that is none of the pinned ones."""


class _Sparing(xmlrpc.client.Unmarshaller):
    """Reads an answer without keeping what nobody asks for: an event's record is thinned as soon as it is whole.

    The first answer of the event stream has every record of the pool: 330 MB of XML for 1,000 hosts and 20,000 guests.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[str, str] = {}
        mine: dict[str, Any] = {"string": self._string, "name": self._string, "struct": self._struct}
        # The base class calls them with itself, as functions.
        bound = {tag: lambda _, data, read=read: read(data) for tag, read in mine.items()}
        self.dispatch = {**self.dispatch, **bound}

    def end_string(self, data: str) -> None:
        """Called for values without a type, which are strings, too."""
        self._string(data)

    def _string(self, data: str) -> None:
        super().end_string(self._known.setdefault(data, data) if len(data) <= SHORT else data)

    def _struct(self, data: str) -> None:
        self.end_struct(data)
        found: Any = self._stack[-1]
        match found:
            case {"class": str(class_name), "snapshot": dict(record)}:
                found["snapshot"] = thinned(class_name, record)


class Transport(xmlrpc.client.Transport):
    """Plain HTTP, for loopback. `timeout_s` bounds each read and write of the next request."""

    timeout_s = 30.0
    _http: http.client.HTTPConnection | None = None
    _is_cut = False

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Send a request once. The base class sends it again when the connection is lost, which could migrate twice."""
        self._connected(host)  # the connection that `single_request` will use
        return self.single_request(host, handler, request_body, verbose)

    def getparser(self) -> tuple[Any, Any]:
        unmarshaller = _Sparing()
        return xmlrpc.client.ExpatParser(unmarshaller), unmarshaller

    def parse_response(self, response: Any) -> Any:
        """Return what an answer says: one map with a `Status`, as XenAPI.py takes for granted.

        Raises xmlrpc.client.Error, also for what the base class trips over.
        """
        try:
            answers = super().parse_response(response)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise xmlrpc.client.ResponseError(f"no answer in XML-RPC: {type(error).__name__}: {error}") from error
        match answers:
            case ({"Status": "Success"},):
                return answers
            case ({"Status": str(), "ErrorDescription": [str(), *others]},) if all(isinstance(o, str) for o in others):
                return answers
        raise xmlrpc.client.ResponseError(f"no answer of XenAPI, which has a Status: {str(answers)[:200]}")

    def get(self, host: str, path: str) -> tuple[int, bytes]:
        """Return the status and the body that a host (`address:port`) answers `GET path` with, asked once."""
        connection = self._connected(host)
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def certificate(self, host: str) -> bytes:
        """Return the certificate (DER) that the host shows over TLS. Raises OSError, also where it is not trusted."""
        sock = self._connected(host).sock
        assert isinstance(sock, ssl.SSLSocket)
        shown = sock.getpeercert(binary_form=True)
        assert shown is not None  # no server goes without one
        return shown

    def _connected(self, host: Any) -> http.client.HTTPConnection:
        """The connection to the host, open and checked. Raises OSError."""
        connection = self._http = self.make_connection(host)
        if connection.sock is not None and _has_ended(connection.sock):
            connection.close()  # the pool has closed a kept-alive connection; the next line opens another
        if connection.sock is None:
            connection.timeout = min(self.timeout_s, CONNECT_S)
            try:
                connection.connect()
                self.check(connection.sock)
            except OSError:
                connection.close()
                raise
        connection.sock.settimeout(self.timeout_s)
        if self._is_cut:  # before there was a connection that could be cut
            connection.close()
            raise ConnectionAbortedError("the controller is stopping")
        return connection

    def check(self, sock: Any) -> None:
        """Raise OSError where nothing may be sent over this new connection."""

    def cut(self) -> None:
        """End a wait for an answer, in whatever thread that is, and send nothing any more."""
        self._is_cut = True
        if self._http is not None and self._http.sock is not None:
            try:
                self._http.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is down already


class AuthorityTransport(Transport, xmlrpc.client.SafeTransport):
    """The same over TLS, to a certificate that an authority has signed for the address."""


class PinnedTransport(Transport, xmlrpc.client.SafeTransport):
    """The same over TLS, to a certificate with one of these SHA-256 fingerprints (hexadecimal, colons or none)."""

    def __init__(self, fingerprints: Iterable[str]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # `check` is what verifies
        super().__init__(context=context)
        self._fingerprints = {fingerprint.replace(":", "").lower() for fingerprint in fingerprints}

    def check(self, sock: Any) -> None:
        shown = hashlib.sha256(sock.getpeercert(binary_form=True)).hexdigest()
        if shown not in self._fingerprints:
            raise WrongCertificate(
                f"its certificate has the fingerprint {shown}, which is none of xapi.fingerprints; "
                "if the host was given a new certificate, put that one there"
            )


def authorities(ca_file: Path | None) -> ssl.SSLContext:
    """Return the context that trusts the authorities in a PEM file, or the system's. Raises ConfigError."""
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    except OSError as error:  # SSLError is one too
        raise ConfigError(
            f"xapi.ca_file: {ca_file} cannot be used: {error}; expected certificates in PEM, "
            "readable by migd: the authority that signed the hosts' certificates, or those themselves"
        ) from error


def _has_ended(sock: socket.socket) -> bool:
    """An idle connection has nothing to read, unless its other end has closed it."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))

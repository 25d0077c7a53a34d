"""The connections below XenAPI.py: every wait is bounded, no request is sent twice, another thread can end a wait."""

import http.client
import select
import socket
import xmlrpc.client
from typing import Any


class Transport(xmlrpc.client.Transport):
    """Plain HTTP, for loopback. `timeout_s` bounds each read and write of the next request."""

    timeout_s = 30.0
    _http: http.client.HTTPConnection | None = None

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Send a request once. The base class sends it again when the connection is lost, which could migrate twice."""
        self._http = self.make_connection(host)  # the one that `single_request` will use
        self._http.timeout = self.timeout_s
        if self._http.sock is not None:
            if _has_ended(self._http.sock):
                self._http.close()  # the pool has closed a kept-alive connection; the next line opens another
            else:
                self._http.sock.settimeout(self.timeout_s)
        return self.single_request(host, handler, request_body, verbose)

    def cut(self) -> None:
        """End a wait for an answer, in whatever thread that is."""
        if self._http is not None and self._http.sock is not None:
            try:
                self._http.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is down already


class SafeTransport(Transport, xmlrpc.client.SafeTransport):
    """The same over TLS: the connections are made by the second base class."""


def _has_ended(sock: socket.socket) -> bool:
    """An idle connection has nothing to read, unless its other end has closed it."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))

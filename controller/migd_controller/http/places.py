"""Room for so many connections; where one comes too many, that one goes which has asked for nothing for longest.

So connections that are opened and left alone, by mistake or on purpose, keep nobody out who has something to ask. They
are counted from the moment they are accepted: one that never gets through its TLS handshake takes up a place, too.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

HANDSHAKE_WITHIN_S: Final = 10.0


class Places:
    """The connections of one listener: a factory of protocols for `create_server`, which is given no TLS context."""

    def __init__(self, app: web.Application, most: int, context: ssl.SSLContext | None = None) -> None:
        """To be made before the application is set up; `serve` says what it is served by, once that is there."""
        self._most, self._context = most, context
        self._idle: dict[object, asyncio.Transport] = {}  # by socket, those that asked for something last at the end
        self._busy: dict[object, asyncio.Transport] = {}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._requests: Callable[[], asyncio.Protocol] | None = None
        app.middlewares.insert(0, self._held)

    def serve(self, requests: Callable[[], asyncio.Protocol]) -> None:
        """Hand connections to protocols that `requests` makes."""
        self._requests = requests

    def __call__(self) -> asyncio.Protocol:
        return _Arriving(self)

    @property
    def taken(self) -> int:
        """How many connections there are."""
        for places in (self._idle, self._busy):
            for key in [key for key, transport in places.items() if transport.is_closing()]:
                del places[key]
        return len(self._idle) + len(self._busy)

    def enter(self, transport: asyncio.Transport) -> None:
        """Take a new connection in, or end it where everybody else is being answered."""
        if self.taken >= self._most:
            if not self._idle:
                transport.abort()
                return
            self._idle.pop(next(iter(self._idle))).abort()
        self._idle[transport.get_extra_info("socket")] = transport
        assert self._requests is not None
        if self._context is None:
            _hand_over(transport, self._requests(), b"")
            return
        transport.pause_reading()  # what comes belongs to TLS
        task = asyncio.create_task(self._secure(transport, self._context, self._requests))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _secure(
        self, transport: asyncio.Transport, context: ssl.SSLContext, requests: Callable[[], asyncio.Protocol]
    ) -> None:
        waiting = _Waiting()
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, waiting, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_WITHIN_S
            )
        except OSError:  # SSLError is one: not TLS, not in time, or gone
            transport.abort()
            return
        if secured is None or waiting.is_over:
            transport.abort()
            return
        _hand_over(secured, requests(), bytes(waiting.received))

    @web.middleware
    async def _held(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Keep the place of a connection for as long as a request of it is answered."""
        key = request.transport.get_extra_info("socket") if request.transport is not None else None
        if (transport := self._idle.pop(key, None)) is None:
            return await handler(request)
        self._busy[key] = transport
        try:
            return await handler(request)
        finally:
            del self._busy[key]
            self._idle[key] = transport


class _Arriving(asyncio.Protocol):
    """A connection that has just been accepted."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._places.enter(transport)


class _Waiting(asyncio.Protocol):
    """Keeps what comes together with the end of the handshake until somebody can read it."""

    def __init__(self) -> None:
        self.received, self.is_over = bytearray(), False

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.is_over = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_over = True


def _hand_over(transport: asyncio.Transport, requests: asyncio.Protocol, received: bytes) -> None:
    transport.set_protocol(requests)
    requests.connection_made(transport)
    if received:
        requests.data_received(received)

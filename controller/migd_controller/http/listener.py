"""The listener over TCP: TLS, or plain HTTP where nobody but this machine can hear it."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from migd_controller.config import HttpSection
from migd_core.errors import MigdError

MAX_CONNECTIONS: Final = 256
HANDSHAKE_WITHIN_S: Final = 10.0
# A connection without a whole request's head for so long is closed, be it new or kept alive.
IDLE_S: Final = 20.0
UNREAD_S: Final = 30.0  # for so long a peer may leave what was sent to it unread


class _Full(asyncio.Protocol):
    """Stands in for a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


@contextlib.asynccontextmanager
async def serving_tcp(app: web.Application, section: HttpSection, context: ssl.SSLContext | None) -> AsyncIterator[str]:
    """Serve an application; yields its URL, where port 0 has become the one that was free. Raises MigdError."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=IDLE_S)
    await runner.setup()
    requests = runner.server
    assert requests is not None

    def connection() -> asyncio.Protocol:
        return requests() if len(requests.connections) < MAX_CONNECTIONS else _Full()

    host, _, port = section.listen.rpartition(":")
    try:
        listener = await asyncio.get_running_loop().create_server(
            connection,
            host.strip("[]"),
            int(port),
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_WITHIN_S if context is not None else None,
        )
    except OSError as error:
        await runner.cleanup()
        raise MigdError(
            f"http.listen {section.listen}: cannot be listened on: {error.strerror or error}; is another process on "
            "that port, or is the address another machine's?"
        ) from error
    try:
        for each in listener.sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_S * 1000))
        bound = listener.sockets[0].getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        yield f"{'https' if context is not None else 'http'}://{shown}:{bound[1]}"
    finally:
        listener.close()
        await runner.cleanup()

"""The listener over TCP: TLS, or plain HTTP where nobody but this machine can hear it."""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from migd_controller.config import HttpSection
from migd_controller.http.limits import Buckets
from migd_controller.http.places import Places
from migd_core.errors import MigdError

MAX_CONNECTIONS: Final = 256
BACKLOG: Final = 1024  # that may wait to be accepted while the loop is busy
# A connection without a whole request's head for so long is closed, be it new or kept alive.
IDLE_S: Final = 20.0
UNREAD_S: Final = 30.0  # for so long a peer may leave what was sent to it unread
# What is no HTTP is told with a traceback, and who can connect can send as much of it as they like.
COMPLAINTS_PER_S: Final = 1 / 60
COMPLAINTS_AT_ONCE: Final = 10

log = structlog.get_logger()


async def runner_of(app: web.Application, places: Places) -> web.AppRunner:
    """Return what answers for an application, set up, to the connections of `places`."""
    complaints = logging.Logger("aiohttp", logging.WARNING)
    complaints.addHandler(_Sparing())
    runner = web.AppRunner(app, logger=complaints, access_log=None, shutdown_timeout=1.0, keepalive_timeout=IDLE_S)
    await runner.setup()
    assert runner.server is not None
    places.serve(runner.server)
    return runner


@contextlib.asynccontextmanager
async def serving_tcp(app: web.Application, section: HttpSection, context: ssl.SSLContext | None) -> AsyncIterator[str]:
    """Serve an application; yields its URL, where port 0 has become the one that was free. Raises MigdError."""
    places = Places(app, MAX_CONNECTIONS, context)
    runner = await runner_of(app, places)
    host, _, port = section.listen.rpartition(":")
    try:
        listener = await asyncio.get_running_loop().create_server(places, host.strip("[]"), int(port), backlog=BACKLOG)
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


class _Sparing(logging.Handler):
    """Makes lines of migd's own log of what aiohttp complains of: some at once, then one a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._often = Buckets(COMPLAINTS_PER_S, COMPLAINTS_AT_ONCE)

    def emit(self, record: logging.LogRecord) -> None:
        if not self._often.take("", time.monotonic()):
            log.warning("a request could not be answered", why=record.getMessage(), exc_info=record.exc_info)

"""What befalls calls on their way: a dead host's silence, broken connections, late answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from migd_xapi.faults import AnswersDelayed, ConnectionDropped
from migd_xapi.method import ASYNC
from migd_xapi.wire import json_rpc, xml_rpc

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Disturbances:
    """The disturbances that are in force."""

    def __init__(self, is_silent: Callable[[web.Request], bool]) -> None:
        """`is_silent` tells whether the host that a request was sent to is dead."""
        self._is_silent = is_silent
        self._drops: list[ConnectionDropped] = []  # one for each call that is still to be lost
        self._delays: list[tuple[float, AnswersDelayed]] = []  # each until when

    def drop(self, fault: ConnectionDropped) -> None:
        """Lose the next calls that the fault is about."""
        self._drops += [fault] * fault.times

    def delay(self, fault: AnswersDelayed) -> None:
        """Hold answers back from now on."""
        until_s = time.monotonic() + fault.lasts_s if fault.lasts_s is not None else float("inf")
        self._delays.append((until_s, fault))

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, or do to it what is in force."""
        if self._is_silent(request):
            await _for_ever()
        drop, delay_s = await self._in_force(request)
        if drop is not None and not drop.takes_effect:
            await _break(request)
        response = await handler(request)
        await asyncio.sleep(delay_s)
        if drop is not None:
            await _break(request)
        if self._is_silent(request):
            await _for_ever()
        return response

    async def _in_force(self, request: web.Request) -> tuple[ConnectionDropped | None, float]:
        """Return how a request is to be lost, if it is, and how late its answer is to be."""
        now_s = time.monotonic()
        self._delays = [(until_s, fault) for until_s, fault in self._delays if now_s < until_s]
        if not self._drops and not self._delays:
            return None, 0.0
        name = await _name(request)
        drop = next((fault for fault in self._drops if _is_about(fault.method, name)), None)
        if drop is not None:
            self._drops.remove(drop)
        return drop, sum(fault.by_s for _, fault in self._delays if _is_about(fault.method, name))


def _is_about(method: str, name: str) -> bool:
    return method in ("", name, name.removeprefix(ASYNC))


async def _name(request: web.Request) -> str:
    """Return the method that is called, or the path where there is none."""
    body = await request.read()
    try:
        return json_rpc.read_call(body).method if request.path.startswith("/jsonrpc") else xml_rpc.read_call(body)[0]
    except (json_rpc.NotJsonRpc, xml_rpc.NotXmlRpc):
        return request.path


async def _break(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    await _for_ever()


async def _for_ever() -> None:
    """Wait until the connection is gone: that cancels who answers it."""
    await asyncio.Event().wait()

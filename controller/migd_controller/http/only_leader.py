"""Keeps commands off a controller that stands by, and answers those of the leader once they cannot get lost."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from migd_core.api import ROUTES
from migd_core.errors import Refused

# Tokens are each controller's own, and a dry run changes nothing.
_ANYWHERE: Final = {("POST", "/v1/tokens"), ("DELETE", "/v1/tokens/{name}"), ("POST", "/v1/policy/dry-run")}
STEERING: Final = {route for route in ROUTES if route[0] != "GET"} - _ANYWHERE
# A job may tell its progress every few seconds, and does so again.
_NOT_WAITED_FOR: Final = {("POST", "/v1/jobs/{name}/progress")}


def only_leader(refusal: Callable[[], str], settled: Callable[[], Awaitable[None]]) -> Middleware:
    """Return the middleware; `refusal` says why no command is taken, `settled` waits until the next leader knows."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = (request.method, resource.canonical if resource is not None else "")
        if route not in STEERING:
            return await handler(request)
        if why := refusal():
            raise Refused(why)
        response = await handler(request)
        if route not in _NOT_WAITED_FOR:
            await settled()
        return response

    return middleware

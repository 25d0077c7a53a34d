"""Keeps on record who asks for what: every command that comes in, before it is carried out."""

import time
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from msgspec.structs import replace

from migd_controller.audit import AuditLog
from migd_controller.http.answers import read, refusal_of
from migd_controller.http.callers import caller_of
from migd_core.api import ROUTES, AuditView, Problem
from migd_core.errors import MigdError

BODY_KEPT: Final = 2048
TEXT_KEPT: Final = 512
# What measures and does not command; a job may tell its progress every few seconds.
_NOT_COMMANDS: Final = {("POST", "/v1/jobs/{name}/progress")}
COMMANDS: Final = {route for route in ROUTES if route[0] != "GET"} - _NOT_COMMANDS


def audited(log: AuditLog) -> Middleware:
    """Return the middleware that keeps commands in this log. It stands behind the one that knows who asks."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is None or (request.method, resource.canonical) not in COMMANDS:
            return await handler(request)
        caller = caller_of(request)
        entry = AuditView(
            at=time.time(),
            name=caller.name,
            role=caller.role,
            address=caller.address,
            method=request.method,
            path=request.path,
            body=(await read(request))[:BODY_KEPT].decode(errors="replace"),
        )
        number = log.begin(entry)
        try:
            response = await handler(request)
        except (MigdError, web.HTTPException) as error:
            problem, status = refusal_of(request, error)
            log.end(number, replace(entry, status=status, text=problem.text[:TEXT_KEPT]))
            raise
        log.end(number, replace(entry, status=response.status, text=_text(response)))
        return response

    return middleware


def _text(response: web.StreamResponse) -> str:
    """Return what a refusal that was not raised says; what was done needs no words."""
    if response.status < 400 or not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return ""
    return msgspec.json.decode(response.body, type=Problem).text[:TEXT_KEPT]

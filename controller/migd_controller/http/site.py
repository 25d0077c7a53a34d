"""What both listeners serve: the API's routes, sessions, the event stream and the page, with headers for browsers."""

from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST

from migd_controller.api import Api
from migd_controller.http.answers import answer, body
from migd_controller.http.callers import Gate, caller_of, socket_peer
from migd_controller.http.event_stream import EventStream
from migd_controller.http.openapi import openapi
from migd_controller.http.page import add_page
from migd_controller.http.sessions import COOKIE
from migd_controller.metrics import Metrics
from migd_core.api import SessionRequest, SessionView

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_A_YEAR_S = 31_536_000


def application(api: Api, stream: EventStream, metrics: Metrics, gate: Gate | None) -> web.Application:
    """Return everything that is served: on the socket without a gate, over TCP behind one."""
    app = api.application(gate.middleware if gate is not None else socket_peer, api.audited(), *api.behind_audit)
    listener = "socket" if gate is None else "tcp"

    async def scrape(request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def counted(request: web.Request, response: web.StreamResponse) -> None:
        method = request.method if request.method in hdrs.METH_ALL else "other"
        metrics.requests.labels(listener=listener, method=method, status=str(response.status)).inc()

    async def events(request: web.Request) -> web.StreamResponse:
        return await stream.follow(request, lambda: gate is None or gate.is_still_let_in(request))

    app.router.add_get("/v1/events", events, allow_head=False)
    app.router.add_get("/v1/openapi.json", _openapi)
    app.router.add_get("/metrics", scrape)
    _add_session(app, gate)
    add_page(app)
    app.on_response_prepare.append(_headers)
    app.on_response_prepare.append(counted)
    app.on_shutdown.append(stream.end)
    return app


async def _openapi(request: web.Request) -> web.Response:
    return answer(openapi())


async def _headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.path.startswith("/v1/"):
        response.headers.setdefault("Cache-Control", "no-store")
    if request.secure:
        response.headers.setdefault("Strict-Transport-Security", f"max-age={_A_YEAR_S}")


def _add_session(app: web.Application, gate: Gate | None) -> None:
    async def who(request: web.Request) -> web.Response:
        caller = caller_of(request)
        return answer(SessionView(name=caller.name, role=caller.role, expires_at=caller.expires_at))

    async def log_in(request: web.Request) -> web.Response:
        if gate is None:
            return await who(request)
        secret = (await body(request, SessionRequest)).token
        caller = gate.bearer(secret, request)
        now_s = gate.now_s()
        cookie, ends_at = gate.sessions.cookie(caller.name, gate.tokens.all()[caller.name], now_s)
        response = answer(SessionView(name=caller.name, role=caller.role, expires_at=ends_at))
        response.set_cookie(
            COOKIE, cookie, max_age=int(ends_at - now_s), path="/", httponly=True, secure=True, samesite="Strict"
        )
        return response

    async def log_out(request: web.Request) -> web.Response:
        response = await who(request)
        response.del_cookie(COOKIE, path="/", httponly=True, secure=True, samesite="Strict")
        return response

    app.router.add_get("/v1/session", who)
    app.router.add_post("/v1/session", log_in)
    app.router.add_delete("/v1/session", log_out)

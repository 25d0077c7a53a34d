"""Who asks, and whether that may be: by the socket's peer, by token, or by the cookie of a browser that logged in."""

import math
import pwd
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp.web_urldispatcher import AbstractResource

from migd_controller.http.answers import NotAllowed, NotLetIn, TooMuch
from migd_controller.http.limits import Buckets
from migd_controller.http.sessions import COOKIE, Sessions
from migd_controller.http.tokens import Token, Tokens
from migd_core.api import ROLES, Role

log = structlog.get_logger()
_READING: Final = ("GET", "HEAD")
_OF_THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")
_NEXT: Final = "`migctl token new NAME --role viewer` on the controller makes a token"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a user of this machine, or a token's name; with what role, and from where."""

    name: str
    role: Role
    address: str
    expires_at: float | None = None


CALLER: Final = web.RequestKey("caller", Caller)


def caller_of(request: web.Request) -> Caller:
    """Return who asks, which every listener finds out before any handler runs."""
    return request[CALLER]


@web.middleware
async def socket_peer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let in whom the socket's mode lets in. A browser may reach it through `ssh -L`; other sites in it may not."""
    is_browser = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
    if is_browser and host_in(request.host) not in _OF_THIS_MACHINE:
        raise NotAllowed(
            f"a browser came by the name {printable(request.host)}; through a tunnel to the socket, go by localhost"
        )
    refuse_other_sites(request)
    peer = request.transport.get_extra_info("socket") if request.transport is not None else None
    if peer is None:
        raise NotLetIn("the connection has ended")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    request[CALLER] = Caller(_user(uid), Role.ADMIN, f"socket, uid {uid}")
    return await handler(request)


class Gate:
    """Lets in who comes over TCP with a token whose role will do."""

    def __init__(self, tokens: Tokens, sessions: Sessions, now_s: Callable[[], float] = time.time) -> None:
        """`now_s` is the wall clock: that is what a date of expiry means to who gave it."""
        self.tokens, self.sessions, self.now_s = tokens, sessions, now_s
        self.requests = Buckets(per_s=50.0, burst=400.0)
        self.failures = Buckets(per_s=0.1, burst=10.0)
        self.refused = 0

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Find out who asks, and refuse what the role does not allow. Files of the page are anybody's."""
        needed = _needed_role(request)
        refuse_other_sites(request)
        if needed is None:
            self._slow_down(f"address {request.remote}")
            return await handler(request)
        caller = self.caller(request)
        self._slow_down(f"token {caller.name}")
        if not caller.role.includes(needed):
            raise NotAllowed(
                f"{request.method} {request.path} needs the role {needed.value}, and token {caller.name} has the role "
                f"{caller.role.value}; an admin makes another with `migctl token new NAME --role {needed.value}`"
            )
        request[CALLER] = caller
        return await handler(request)

    def caller(self, request: web.Request) -> Caller:
        """Return who asks. Raises NotLetIn, or TooMuch once it was the wrong token too often."""
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.bearer(secret.strip(), request)
        if (cookie := request.cookies.get(COOKIE)) is not None:
            if request.method not in _READING and request.can_read_body and request.content_type != "application/json":
                raise NotAllowed(f"{request.method} {request.path}: a browser's command is application/json")
            found = self.sessions.of(cookie, self.tokens.all(), self.now_s())
            if found is None:
                raise NotLetIn(f"this browser's session is over; log in with a token ({_NEXT})")
            name, token, ends_at = found
            return Caller(name, self._valid(name, token).role, str(request.remote), ends_at)
        raise NotLetIn(f"no token came with the request: send `Authorization: Bearer TOKEN`; {_NEXT}")

    def bearer(self, secret: str, request: web.Request) -> Caller:
        """Return whose token that is. Raises NotLetIn, or TooMuch once it was wrong too often from there."""
        found = self.tokens.of(secret)
        try:
            if found is None:
                raise NotLetIn(f"the token is not one of this controller, or it was revoked; {_NEXT}")
            name, token = found
            return Caller(name, self._valid(name, token).role, str(request.remote), token.expires_at)
        except NotLetIn as error:
            self._failed(request, str(error))
            raise

    def is_still_let_in(self, request: web.Request) -> bool:
        """True while what a long answer began with still counts."""
        try:
            return self.caller(request).role is caller_of(request).role
        except (NotLetIn, TooMuch):
            return False

    def _valid(self, name: str, token: Token) -> Token:
        if token.has_expired(self.now_s()):
            on = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(token.expires_at))
            raise NotLetIn(f"token {name} expired on {on}; {_NEXT}")
        return token

    def _failed(self, request: web.Request, why: str) -> None:
        self.refused += 1
        if wait_s := self.failures.take(str(request.remote), time.monotonic()):
            raise TooMuch("too many wrong tokens from this address; wait a while", math.ceil(wait_s))
        log.warning("not let in", address=request.remote, why=why)

    def _slow_down(self, who: str) -> None:
        if wait_s := self.requests.take(who, time.monotonic()):
            raise TooMuch(f"{who} asks more often than 50 times a second; slow down", math.ceil(wait_s))


def refuse_other_sites(request: web.Request) -> None:
    """Refuse what another site makes a browser do here. Raises NotAllowed."""
    origin = request.headers.get("Origin")
    is_foreign = origin is not None and not is_from(origin, request.host)
    if request.method not in _READING and request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        is_foreign = True
    if is_foreign:
        raise NotAllowed(
            f"{request.method} {request.path}: asked for by another site, {printable(origin or 'unknown')}"
        )


def is_from(origin: str, host: str) -> bool:
    """Return whether an Origin header names the host that a Host header names; one that cannot be read does not."""
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def host_in(host: str) -> str | None:
    """Return the name in a Host header, without its port; None where it cannot be read."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def printable(header: str) -> str:
    """Return a header for a text to a person; bytes that are no UTF-8 have come as surrogates."""
    return header.encode(errors="backslashreplace").decode()


def _needed_role(request: web.Request) -> Role | None:
    """Return the least role for a request; None where nobody need be known."""
    if request.path == "/v1/session" and request.method == "POST":
        return None
    if not request.path.startswith("/v1/") and request.path != "/metrics":
        return None
    resource: AbstractResource | None = request.match_info.route.resource
    if resource is None or not resource.canonical.startswith(("/v1/", "/metrics")):
        return Role.VIEWER  # there is no such thing, which whoever is let in may hear
    method = "GET" if request.method == "HEAD" else request.method
    return ROLES.get((method, resource.canonical), Role.ADMIN)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"

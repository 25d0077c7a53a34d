"""The routes about who may ask and who did: tokens and the audit log."""

import time
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec.structs import asdict

from migd_controller.audit import AuditLog
from migd_controller.http.answers import answer, body
from migd_controller.http.tokens import Token, Tokens
from migd_core import api
from migd_core.errors import Refused

AUDIT_LIMIT = 1000


class AccessApi:
    """The handlers for one list of tokens and one audit log."""

    def __init__(self, tokens: Tokens, audit: AuditLog) -> None:
        self._tokens, self._audit = tokens, audit
        self.handlers: Mapping[tuple[str, str], Handler] = {
            ("GET", "/v1/tokens"): self._list,
            ("POST", "/v1/tokens"): self._new,
            ("DELETE", "/v1/tokens/{name}"): self._revoke,
            ("GET", "/v1/audit"): self._audited,
        }

    async def _list(self, request: web.Request) -> web.Response:
        tokens = self._tokens.readable()
        return answer([_view(name, token) for name, token in sorted(tokens.items())])

    async def _new(self, request: web.Request) -> web.Response:
        asked = await body(request, api.TokenRequest)
        secret = self._tokens.new(asked.name, asked.role, time.time(), asked.expires_at)
        view = _view(asked.name, self._tokens.all()[asked.name])
        return answer(api.NewTokenView(token=secret, **asdict(view)), status=201)

    async def _revoke(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return answer(_view(name, self._tokens.revoke(name)))

    async def _audited(self, request: web.Request) -> web.Response:
        text = request.query.get("limit", "50")
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= AUDIT_LIMIT):
            raise Refused(f"limit: expected a whole number from 1 to {AUDIT_LIMIT}, found {text[:32]!r}")
        return answer(self._audit.newest(int(text)))


def _view(name: str, token: Token) -> api.TokenView:
    return api.TokenView(
        name=name,
        role=token.role,
        created_at=token.created_at,
        expires_at=token.expires_at,
        has_expired=token.has_expired(time.time()),
    )

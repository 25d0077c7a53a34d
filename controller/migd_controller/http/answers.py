"""Bodies in and out: JSON of Structs, and every refusal as a `Problem` with a text for a person."""

import asyncio
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from migd_core import api
from migd_core.decoding import UNDECODABLE
from migd_core.errors import ConfigError, MigdError, Refused, UnknownName

MAX_BODY_BYTES: Final = 1024 * 1024
BODY_WITHIN_S: Final = 10.0
T = TypeVar("T")


class NotLetIn(MigdError):
    """Nobody knows who asks: there is no token, or not one that counts."""


class NotAllowed(MigdError):
    """It is known who asks, and that is not enough."""


class TooMuch(MigdError):
    """More was asked than is answered; `retry_after_s` says when to try again."""

    def __init__(self, text: str, retry_after_s: int) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


_STATUS_OF: Final[dict[type[MigdError], int]] = {
    UnknownName: 404,
    Refused: 409,
    ConfigError: 400,
    NotLetIn: 401,
    NotAllowed: 403,
    TooMuch: 429,
}
_ADVICE: Final = {
    404: "is `migctl` newer than the controller?",
    405: "is `migctl` newer than the controller?",
    413: f"a body has at most {MAX_BODY_BYTES} bytes",
}


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal leaves as a `Problem` with a text for a person."""
    try:
        return await handler(request)
    except (MigdError, web.HTTPException) as error:
        problem, status = refusal_of(request, error)
        refusal = answer(problem, status=status)
        if isinstance(error, NotLetIn):
            refusal.headers["WWW-Authenticate"] = 'Bearer realm="migd"'
        if isinstance(error, TooMuch):
            refusal.headers["Retry-After"] = str(error.retry_after_s)
        if isinstance(error, web.HTTPException) and "Allow" in error.headers:
            refusal.headers["Allow"] = error.headers["Allow"]
        return refusal


def refusal_of(request: web.Request, error: MigdError | web.HTTPException) -> tuple[api.Problem, int]:
    """Return the words for an error and the status of an answer with it."""
    if isinstance(error, web.HTTPException):
        text = f"{request.method} {request.path}: {error.reason}; {_ADVICE.get(error.status, 'see the log')}"
        return api.Problem(code=f"HTTP{error.status}", text=text), error.status
    status = next((status for kind, status in _STATUS_OF.items() if isinstance(error, kind)), 500)
    return api.Problem(code=type(error).__name__, text=str(error)), status


async def read(request: web.Request) -> bytes:
    """Return the request's body. Raises ConfigError, and HTTPException where it is too large or not there in time."""
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            return await request.read()
    except web.RequestPayloadError as error:
        raise ConfigError(
            f"{request.method} {request.path}: the body is not what its Content-Encoding says; send it as it is"
        ) from error
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(reason=f"the body did not arrive within {BODY_WITHIN_S:g} s") from error


async def body(request: web.Request, type_: type[T]) -> T:
    """Return the request's body as a `type_`. Raises what `read` raises, and ConfigError."""
    return decoded(await read(request), type_, f"{request.method} {request.path}")


def decoded(content: bytes, type_: type[T], what: str) -> T:
    """Return JSON as a `type_`; `what` stands for it in errors. Raises ConfigError."""
    try:
        return msgspec.json.decode(content, type=type_)
    except UNDECODABLE as error:
        raise ConfigError(f"{what}: {error}") from error


def answer(content: Any, status: int = 200) -> web.Response:
    """Return a response with `content` as JSON."""
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")

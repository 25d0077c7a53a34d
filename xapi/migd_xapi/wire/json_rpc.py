"""JSON-RPC 1.0 and 2.0 as XAPI speaks them: an integer is a number, a moment is a string."""

from typing import Final

import msgspec

from migd_core.decoding import UNDECODABLE
from migd_xapi.database import Row
from migd_xapi.datamodel.types import Value
from migd_xapi.failure import Failure

CONTENT_TYPE: Final = "application/json"
_encode = msgspec.json.Encoder().encode


class NotJsonRpc(Exception):
    """The body is not a call in JSON-RPC."""


class Request(msgspec.Struct, frozen=True):
    """A call. A body without `jsonrpc` is version 1.0."""

    method: str
    params: list[object]
    id: object
    jsonrpc: str | None = None


_decode = msgspec.json.Decoder(Request).decode


def read_call(body: bytes) -> Request:
    """Return the call in a body. Raises NotJsonRpc."""
    try:
        request = _decode(body)
    except UNDECODABLE as error:
        raise NotJsonRpc(f"not a call in JSON-RPC: {error}") from error
    if request.jsonrpc not in (None, "2.0"):
        raise NotJsonRpc(f"not a call in JSON-RPC: version {request.jsonrpc!r} is neither left out nor 2.0")
    return request


def success(request: Request, value: Value) -> bytes:
    """Return the answer to a call that did what it should."""
    if request.jsonrpc is None:
        return _encode({"result": plain(value), "error": None, "id": request.id})
    return _encode({"jsonrpc": "2.0", "result": plain(value), "id": request.id})


def failure(request: Request, error: Failure) -> bytes:
    """Return the answer to a call that failed."""
    if request.jsonrpc is None:
        return _encode({"result": None, "error": error.description, "id": request.id})
    what = {"code": 1, "message": error.code, "data": error.params}
    return _encode({"jsonrpc": "2.0", "error": what, "id": request.id})


def plain(value: Value) -> object:
    """Return a value as JSON has it; a record is encoded once for each of its states."""
    if isinstance(value, Row):
        encoded = value.renderings.get("json")
        if encoded is None:
            encoded = value.renderings["json"] = msgspec.Raw(_encode(plain(value.values)))
        return encoded
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, str):
        return str(value)
    return int(value) if type(value) is not bool and isinstance(value, int) else value

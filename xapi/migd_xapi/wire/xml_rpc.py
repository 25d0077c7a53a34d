"""XML-RPC in XAPI's dialect: no white space between tags, strings and integers bare, `<nil/>` for nothing.

Clients depend on each of these: npm xen-api's parser stops at white space, and reads `<string></string>` as undefined.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Final
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error, ResponseError, getparser

from migd_xapi.database import Row
from migd_xapi.datamodel.classes import CLASSES
from migd_xapi.datamodel.types import Stamp, Value
from migd_xapi.failure import Failure
from migd_xapi.wire.exact import ExactInt

CONTENT_TYPE: Final = "text/xml"


class NotXmlRpc(Exception):
    """The body is not a call in XML-RPC."""


def read_call(body: bytes) -> tuple[str, tuple[object, ...]]:
    """Return the method and the arguments of a call. Raises NotXmlRpc."""
    parser, unmarshaller = getparser()
    try:
        parser.feed(body)
        parser.close()
        arguments = unmarshaller.close()
    except (Error, ResponseError, ExpatError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise NotXmlRpc(f"not a call in XML-RPC: {error}") from error
    method = unmarshaller.getmethodname()
    if method is None:
        raise NotXmlRpc("not a call in XML-RPC: no method name")
    return method, tuple(arguments)


def success(value: Value) -> bytes:
    """Return the answer to a call that did what it should."""
    return _response({"Status": "Success", "Value": value})


def failure(error: Failure) -> bytes:
    """Return the answer to a call that failed."""
    return _response({"Status": "Failure", "ErrorDescription": error.description})


def bare(value: Value) -> bytes:
    """Return an answer without the envelope, as system.listMethods has it."""
    return _response(value)


def text_of(value: Value) -> str:
    """Return a value as XML: also what a task holds as its result."""
    writer = _WRITERS.get(type(value))
    return writer(value) if writer is not None else _other(value)


def _response(value: Value) -> bytes:
    return (
        f'<?xml version="1.0"?><methodResponse><params><param>{text_of(value)}</param></params></methodResponse>'
    ).encode()


def _escaped(text: str) -> str:
    # The order matters: the ampersand first.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _string(value: str) -> str:
    return f"<value>{_escaped(value)}</value>"


def _set(value: tuple[Value, ...]) -> str:
    return f"<value><array><data>{''.join(map(text_of, value))}</data></array></value>"


def _map(value: dict[Value, Value]) -> str:
    members = [f"{_opening(str(key))}{text_of(each)}</member>" for key, each in value.items()]
    return f"<value><struct>{''.join(members)}</struct></value>"


def _record(row: Row) -> str:
    rendered = row.renderings.get("xml")
    if rendered is None:
        rendered = row.renderings["xml"] = _fields(row)
    return str(rendered)


def _fields(row: Row) -> str:
    """Write a record. Most fields of most records have the value that a new record has, which is written once."""
    members = _members(row.class_.name)
    return (
        "<value><struct>"
        + "".join(
            [
                whole if (value := row.values[name]) is default else f"{opening}{text_of(value)}</member>"
                for name, default, opening, whole in members
            ]
        )
        + "</struct></value>"
    )


@cache
def _members(class_name: str) -> tuple[tuple[str, Value, str, str], ...]:
    """Return of each field its name, its value in a new record, how it begins, and all of it with that value."""
    return tuple(
        (name, default, _opening(name), f"{_opening(name)}{text_of(default)}</member>")
        for name, default in CLASSES[class_name].defaults.items()
    )


@lru_cache(maxsize=4096)
def _opening(name: str) -> str:
    return f"<member><name>{_escaped(name)}</name>"


def _other(value: Value) -> str:
    raise TypeError(f"{type(value).__name__} has no form in XML-RPC: {value!r}")


_WRITERS: Final[dict[type, Callable[[Value], str]]] = {
    str: _string,
    int: lambda value: f"<value>{value}</value>",
    bool: lambda value: f"<value><boolean>{value:d}</boolean></value>",
    float: lambda value: f"<value><double>{value:.16g}</double></value>",
    Stamp: lambda value: f"<value><dateTime.iso8601>{value}</dateTime.iso8601></value>",
    ExactInt: lambda value: f"<value><i4>{value}</i4></value>",
    tuple: _set,
    list: _set,
    dict: _map,
    Row: _record,
    type(None): lambda value: "<value><nil/></value>",
}

"""The types of XenAPI as the tables write them: what is empty, and what a client may send.

A value is a str, int, bool, float, Stamp, tuple (a set), dict (a map) or a row of the database (a record).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, TypeAlias
from xmlrpc.client import DateTime

from migd_xapi.datamodel.enumerations import ENUMERATIONS
from migd_xapi.failure import Failure

Value: TypeAlias = Any
NULL: Final = "OpaqueRef:NULL"
# What no XML document can hold: it would make a record unreadable for every client.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STAMP: Final = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d)(?:\.\d+)?(?:Z|\+00:00)?")


class Stamp(str):
    """A moment as XenAPI writes it: `20260821T02:00:23Z`. Sorts by time."""

    __slots__ = ()

    @classmethod
    def of(cls, moment: datetime) -> "Stamp":
        """Return the moment, to the second."""
        return cls(moment.astimezone(UTC).strftime("%Y%m%dT%H:%M:%SZ"))


NEVER: Final = Stamp("19700101T00:00:00Z")


@dataclass(frozen=True, slots=True)
class Type:
    """A type by its text; `accept` returns what a client sent as a value, or raises ValueError."""

    text: str
    empty: Value
    accept: Callable[[object], Value]

    @property
    def refers_to(self) -> str | None:
        """Return the class that a plain reference points to, None for any other type."""
        word, _, rest = self.text.partition(" ")
        return word if rest == "ref" else None

    @property
    def is_map(self) -> bool:
        return self.text.endswith(" map")

    @property
    def is_set(self) -> bool:
        return self.text.endswith(" set")

    @property
    def member(self) -> "Type":
        """Return the type of a set's members."""
        return type_of(self.text.removesuffix(" set"))

    @property
    def key_and_value(self) -> "tuple[Type, Type]":
        """Return the types of a map's keys and values."""
        key, _, value = self.text[1 : -len(") map")].partition(" -> ")
        return type_of(key), type_of(value)

    def accepted(self, value: object, name: str) -> Value:
        """Return what a client sent for the parameter or field `name`. Raises Failure."""
        try:
            return self.accept(value)
        except ValueError:
            raise Failure("FIELD_TYPE_ERROR", name) from None


@cache
def type_of(text: str) -> Type:
    """Return the type that `text` names: `string`, `VM ref set`, `(string -> enum vm_operations) map`."""
    if text in _PLAIN:
        return Type(text, *_PLAIN[text])
    if text.endswith(" set"):
        return Type(text, (), _set_of(type_of(text.removesuffix(" set"))))
    if text.startswith("(") and text.endswith(") map"):
        key, _, value = text[1 : -len(") map")].partition(" -> ")
        return Type(text, {}, _map_of(type_of(key), type_of(value)))
    if text.endswith(" ref"):
        return Type(text, NULL, _string)
    if text.startswith("enum "):
        values = ENUMERATIONS[text.removeprefix("enum ")]
        return Type(text, values[0], _one_of(values))
    if text.endswith(" record"):
        return Type(text, {}, _map_of(type_of("string"), type_of("anything")))
    raise ValueError(f"{text!r} is no type of XenAPI")


def _string(value: object) -> str:
    if not isinstance(value, str) or _NOT_XML.search(value):
        raise ValueError
    return value


def _int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError
    return number


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    try:
        return float(value)
    except OverflowError as error:  # JSON has integers beyond every float
        raise ValueError from error


def _moment(value: object) -> Stamp:
    text = value.value if isinstance(value, DateTime) else value
    match = _STAMP.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError
    return Stamp.of(datetime(*map(int, match.groups()), tzinfo=UTC))  # type: ignore[misc,arg-type]


def _anything(value: object) -> Value:
    return value


def _one_of(values: tuple[str, ...]) -> Callable[[object], str]:
    def accept(value: object) -> str:
        if not isinstance(value, str) or value not in values:
            raise ValueError
        return value

    return accept


def _set_of(member: Type) -> Callable[[object], tuple[Value, ...]]:
    def accept(value: object) -> tuple[Value, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError
        return tuple(dict.fromkeys(member.accept(each) for each in value))

    return accept


def _map_of(key: Type, value: Type) -> Callable[[object], dict[Value, Value]]:
    def accept(sent: object) -> dict[Value, Value]:
        if not isinstance(sent, Mapping):
            raise ValueError
        return {key.accept(each): value.accept(found) for each, found in sent.items()}

    return accept


_PLAIN: Final[dict[str, tuple[Value, Callable[[object], Value]]]] = {
    "string": ("", _string),
    "int": (0, _int),
    "bool": (False, _bool),
    "float": (0.0, _float),
    "datetime": (NEVER, _moment),
    "void": ("", _string),
    "anything": ("", _anything),
}

"""The classes of XenAPI and their fields, read from `classes/*.txt`.

A table has one field a line, its columns two or more spaces apart:

    name    type    the least role that may write it (-: nobody)    default (none: empty)

`<- VM.resident_on` as the default makes the field a view: it shows which rows of the other class refer to this one. A
line `lacks ...` above the fields names the generic methods that the class does not have.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from migd_xapi.datamodel.types import Stamp, Type, Value, type_of

Link = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a class. `view_of` is the (class, field) whose other side it shows."""

    name: str
    type: Type
    writer: str | None
    default: Value
    view_of: Link | None = None


@dataclass(frozen=True)
class Class:
    """One class of XenAPI."""

    name: str
    fields: Mapping[str, Field]
    lacks: frozenset[str]

    @cached_property
    def defaults(self) -> Mapping[str, Value]:
        """The values of a row of which nothing is said."""
        return MappingProxyType({field.name: field.default for field in self.fields.values()})

    @cached_property
    def has_names(self) -> bool:
        return "name_label" in self.fields


def parse(text: str, name: str) -> Class:
    """Return the class that a table describes."""
    fields, lacks = {}, frozenset[str]()
    for line in text.splitlines():
        if line.startswith("lacks "):
            lacks = frozenset(line.split()[1:])
        elif line and not line.startswith("#"):
            field = _field(*re.split(r" {2,}", line.strip(), maxsplit=3))
            fields[field.name] = field
    return Class(name, MappingProxyType(fields), lacks)


def _field(name: str, type_text: str, writer: str = "-", default: str = "") -> Field:
    type_ = type_of(type_text)
    role = None if writer == "-" else writer
    if default.startswith("<- "):
        other_class, _, other_field = default.removeprefix("<- ").partition(".")
        return Field(name, type_, role, type_.empty, (other_class, other_field))
    return Field(name, type_, role, _default(default, type_))


def _default(text: str, type_: Type) -> Value:
    if not text:
        return type_.empty
    if type_.text.startswith("enum ") and not type_.is_set:
        return type_.accept(text)
    if type_.text == "datetime":
        return Stamp(text)
    return type_.accept(json.loads(text))


def _read() -> dict[str, Class]:
    folder = files("migd_xapi.datamodel") / "classes"
    tables = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".txt")), key=lambda entry: entry.name)
    names = [entry.name.removesuffix(".txt") for entry in tables]
    return {name: parse(entry.read_text(encoding="utf-8"), name) for name, entry in zip(names, tables, strict=True)}


CLASSES: Final[Mapping[str, Class]] = MappingProxyType(_read())
# The other side of each reference that has a view: (class, field) -> (class, field) of the view.
VIEWS: Final[Mapping[Link, Link]] = MappingProxyType(
    {
        field.view_of: (class_.name, field.name)
        for class_ in CLASSES.values()
        for field in class_.fields.values()
        if field.view_of is not None
    }
)

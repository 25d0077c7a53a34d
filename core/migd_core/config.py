"""Reads a TOML file into a Struct. The only module that imports tomli.

Every section is a msgspec Struct with `forbid_unknown_fields`; an error names the file, the path of the key, what was
expected, what was found, and, for a mistyped key, the nearest one that exists.
"""

import difflib
import re
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, get_origin

import msgspec
import tomli

from migd_core.errors import ConfigError

T = TypeVar("T")

_AT_PATH = re.compile(r"^(?P<what>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`)?$", re.DOTALL)
_INVALID_VALUE = re.compile(r"[Ii]nvalid enum value '(?P<value>[^']*)'")
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<field>[^`]*)`")


def load(path: Path, type_: type[T], absent: str = "write it, or name the one that is meant") -> T:
    """Return the configuration in the file at `path` as a `type_`. Raises ConfigError.

    `absent` says what to do where there is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file; {absent}") from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}; `ls -ld {path.parent} {path}` shows who may read it"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: byte {error.start} cannot be read") from error
    return parse(text, type_, name=str(path))


def parse(text: str, type_: type[T], *, name: str = "configuration") -> T:
    """Return the configuration in `text` as a `type_`; `name` stands for the file in errors. Raises ConfigError."""
    try:
        raw = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError, and so are too many digits
        raise ConfigError(f"{name}: is not TOML: {error}") from error
    return convert(raw, type_, name=name)


def convert(raw: object, type_: type[T], *, name: str, strict: bool = True) -> T:
    """Return plain data as a `type_`. With `strict=False`, text from a command line becomes numbers and booleans.

    Raises ConfigError.
    """
    try:
        return msgspec.convert(raw, type_, strict=strict, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {_explain(str(error), raw, type_)}") from error


def _decode(type_: type, value: object) -> object:
    """Read what msgspec does not know by itself: file names."""
    if type_ is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError("Expected a file name")


def _explain(message: str, raw: object, type_: Any) -> str:
    match = _AT_PATH.match(message)
    assert match is not None  # every part of the pattern is optional
    what, path = match["what"], (match["path"] or "").lstrip(".")
    section, found = _walk(raw, type_, path)
    if (unknown := _UNKNOWN_FIELD.search(what)) is not None:
        key = unknown["field"]
        full = f"{path}.{key}" if path else key
        return f"{full}: unknown key{_nearest(key, _field_names(section))}"
    place = path or "the whole file"
    if match["key"] is not None and (wrong := _INVALID_VALUE.search(what)) is not None:
        keys = _choices(next(iter(getattr(section, "__args__", ())), None))
        return f"{place}.{wrong['value']}: unknown key{_nearest(wrong['value'], keys)}"
    if what.startswith("Invalid") and (choices := _choices(section) or _tags(raw, type_, path)):
        return f"{place}: expected one of {', '.join(choices)}, found {found!r}"
    if "matching regex" in what and (examples := _examples(section)):
        return f"{place}: expected something like {' or '.join(examples)}, found {found!r}"
    shown = "" if isinstance(found, dict | list) or found is None else f", found {found!r}"
    return f"{place}: {what[:1].lower()}{what[1:]}{shown}{_unit_hint(place, found)}"


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known keys here: {', '.join(known)}" if known else ""


def _unit_hint(path: str, found: object) -> str:
    if not isinstance(found, str):
        return ""
    leaf = path.rsplit(".", 1)[-1]
    for suffix, unit in (("_per_s", "per second"), ("_s", "of seconds"), ("_bytes", "of bytes")):
        if leaf.endswith(suffix):
            return f"; write a plain number {unit}"
    return ""


def _walk(raw: object, type_: Any, path: str) -> tuple[Any, object]:
    """Return the type and the raw value at `path` (`guards.cooldown_s`, `hosts[2].name`), as far as they are known."""
    current_type: Any = type_
    value: object = raw
    for part in re.findall(r"[^.\[\]]+|\[[^\]]*\]", path):
        if part.startswith("["):
            index = part[1:-1]
            if isinstance(value, list) and index.isdigit() and int(index) < len(value):
                value = value[int(index)]
            elif isinstance(value, dict) and len(value) == 1:
                value = next(iter(value.values()))
            else:
                value = None
            current_type = _item_type(current_type)
        else:
            value = value.get(part) if isinstance(value, dict) else None
            current_type = _field_type(current_type, part)
    return current_type, value


def _choices(type_: Any) -> list[str]:
    """Return the values that a Literal or an Enum allows, looking through `X | None` and Annotated; none for others."""
    if get_origin(type_) is Literal:
        return [str(value) for value in type_.__args__]
    if isinstance(type_, type) and issubclass(type_, Enum):
        return [str(member.value) for member in type_]
    return [choice for argument in getattr(type_, "__args__", ()) for choice in _choices(argument)]


def _examples(type_: Any) -> list[str]:
    """Return the examples in the type's `Meta`, for a pattern that says nothing to who reads it."""
    metas = getattr(type_, "__metadata__", ())
    return [str(example) for meta in metas for example in getattr(meta, "examples", None) or ()]


def _tags(raw: object, type_: Any, path: str) -> list[str]:
    """Return the tags that the key at `path` may hold, where it is the one that chooses between Structs."""
    section, _, key = path.rpartition(".")
    union, _ = _walk(raw, type_, section)
    configs = [getattr(argument, "__struct_config__", None) for argument in getattr(union, "__args__", (union,))]
    return [str(config.tag) for config in configs if config is not None and config.tag_field == key]


def _struct(type_: Any) -> Any:
    """Return the Struct in `type_`, looking through `X | None` and Annotated; None where there is none."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return type_
    for argument in getattr(type_, "__args__", ()):
        if (inner := _struct(argument)) is not None:
            return inner
    return None


def _field_names(type_: Any) -> list[str]:
    struct = _struct(type_)
    return [field.encode_name for field in msgspec.structs.fields(struct)] if struct is not None else []


def _field_type(type_: Any, name: str) -> Any:
    struct = _struct(type_)
    if struct is None:
        return None
    return next((field.type for field in msgspec.structs.fields(struct) if field.encode_name == name), None)


def _item_type(type_: Any) -> Any:
    arguments = [argument for argument in getattr(type_, "__args__", ()) if argument is not Ellipsis]
    return arguments[-1] if arguments else None

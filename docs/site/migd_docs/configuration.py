"""The reference of configuration files, made of the Structs that the daemons read them into."""

import inspect
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from migd_agent.config import AgentConfig
from migd_controller.config import ControllerConfig
from migd_docs.tables import code, table
from migd_policies.registry import BUILT_IN

_PLAIN: Final = {
    str: "text",
    float: "number",
    int: "whole number",
    bool: "true or false",
    Path: "file name",
    Any: "any",
}
# The longest suffix first.
_UNITS: Final = {"_bytes_per_s": "bytes/s", "_per_hour_s": "s per hour", "_bytes": "bytes", "_s": "s", "_sds": "sd"}


def controller() -> str:
    """Return the reference of `controller.toml`."""
    return "\n".join(_sections(ControllerConfig, "", "controller.toml"))


def agent() -> str:
    """Return the reference of `agent.toml`."""
    return "\n".join(_sections(AgentConfig, "", "agent.toml"))


def policies() -> str:
    """Return the reference of what each built-in policy can be configured with."""
    parts = []
    for name, policy in BUILT_IN.items():
        assert issubclass(policy, Struct)
        keys = _keys(policy)
        parts.append(f"### {name}\n\n{_doc(policy)}\n\n{keys or 'It has no settings.'}\n")
    return "\n".join(parts)


def _sections(struct: type[Struct], path: str, title: str) -> Iterator[str]:
    yield f"### {title}\n\n{_doc(struct)}\n\n{_keys(struct)}"
    for field in msgspec.structs.fields(struct):
        inner = f"{path}.{field.encode_name}" if path else field.encode_name
        for child, place in _structs(field.type, inner):
            yield from _sections(child, inner, code(place))


def _structs(type_: Any, path: str) -> Iterator[tuple[type[Struct], str]]:
    """Yield the Structs that a key holds, each with how its section is begun in TOML."""
    alternatives = [each for each in _alternatives(type_) if each is not type(None)]
    for each in alternatives:
        origin = get_origin(each)
        if isinstance(each, type) and issubclass(each, Struct):
            tag = each.__struct_config__
            said = f' {tag.tag_field} = "{tag.tag}"' if tag.tag_field is not None else ""
            yield each, f"[{path}]{said}"
        elif origin is tuple:
            for child, _ in _structs(get_args(each)[0], path):
                yield child, f"[[{path}]]"
        elif origin is dict:
            for child, _ in _structs(get_args(each)[1], path):
                yield child, f"[{path}.NAME]"


def _keys(struct: type[Struct]) -> str:
    rows = [
        (code(field.encode_name), _type(field.type), _unit(field.encode_name), _default(field), _bounds(field.type))
        for field in msgspec.structs.fields(struct)
        if not list(_structs(field.type, ""))
    ]
    return table(("key", "type", "unit", "default", "bounds"), rows) if rows else ""


def _alternatives(type_: Any) -> tuple[Any, ...]:
    while get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    return get_args(type_) if get_origin(type_) in (Union, types.UnionType) else (type_,)


def _type(type_: Any) -> str:
    names = []
    for each in _alternatives(type_):
        if each is type(None):
            continue
        origin, arguments = get_origin(each), get_args(each)
        if origin is Annotated:
            names.append(_type(arguments[0]))
        elif origin is Literal:
            names.append(" or ".join(code(f'"{value}"') for value in arguments))
        elif isinstance(each, type) and issubclass(each, Enum):
            names.append(" or ".join(code(f'"{member.value}"') for member in each))
        elif origin in (tuple, list):
            names.append(f"list of {_type(arguments[0])}")
        elif origin is dict:
            names.append(f"table: {_type(arguments[0])} = {_type(arguments[1])}")
        else:
            names.append(_PLAIN[each])
    return " or ".join(names)


def _unit(key: str) -> str:
    if key.endswith("_ratio"):
        return "ratio"
    return next((unit for suffix, unit in _UNITS.items() if key.endswith(suffix)), "")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    elif field.default is not msgspec.NODEFAULT:
        value = field.default
    else:
        return "**must be given**"
    return "none" if value is None else code(_toml(value))


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | Path():
            return f'"{value}"'
        case tuple() | list():
            return f"[{', '.join(_toml(each) for each in value)}]"
        case dict():
            return f"{{{', '.join(f'{key} = {_toml(each)}' for key, each in value.items())}}}"
        case _:
            return str(value)


def _bounds(type_: Any) -> str:
    told = []
    for each in _alternatives(type_) if get_origin(type_) is not Annotated else (type_,):
        for meta in getattr(each, "__metadata__", ()):
            if isinstance(meta, Meta):
                told += [
                    f"{sign} {bound:g}".replace("e+0", "e").replace("e+", "e")
                    for sign, bound in (("≥", meta.ge), (">", meta.gt), ("≤", meta.le), ("<", meta.lt))
                    if bound is not None
                ]
                told += [f"matches {code(meta.pattern)}"] if meta.pattern is not None else []
                told += [f"{meta.min_length} or longer"] if meta.min_length is not None else []
                told += [f"{meta.max_length} at most"] if meta.max_length is not None else []
    return ", ".join(told)


def _doc(struct: type[Struct]) -> str:
    return inspect.cleandoc(struct.__doc__ or "")

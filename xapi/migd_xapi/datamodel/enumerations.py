"""The enumerations of XenAPI and their values, read from `enumerations.txt`."""

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """Return name to values; a line that begins with a space goes on with the line before it."""
    joined = text.replace("\n    ", " ")
    lines = (line for line in joined.splitlines() if line and not line.startswith("#"))
    pairs = (line.partition(": ") for line in lines)
    return {name: tuple(values.split()) for name, _, values in pairs}


ENUMERATIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    parse((files("migd_xapi.datamodel") / "enumerations.txt").read_text(encoding="utf-8"))
)

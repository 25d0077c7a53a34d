"""A configuration error names the file, the path of the key, what was expected and what was found."""

from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from migd_core import config
from migd_core.errors import ConfigError


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cooldown_s: float = 1800.0
    max_concurrent: int = 2


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    memory_bytes: int = 0


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Near(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="near"):
    size: Literal["small", "large"] = "small"
    colour: Colour | None = None


class Far(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="far"):
    """The other choice."""


class Whole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limits: Limits = Limits()
    items: list[Item] = []
    by_name: dict[str, Item] = {}
    by_colour: dict[Colour, Item] = {}
    place: Near | Far = Far()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[limits]\ncooldwon_s = 1", "x.toml: limits.cooldwon_s: unknown key; did you mean cooldown_s?"),
        ("[limits]\ncooldown_ms = 500", "x.toml: limits.cooldown_ms: unknown key; did you mean cooldown_s?"),
        (
            '[limits]\ncooldown_s = "5m"',
            "x.toml: limits.cooldown_s: expected `float`, got `str`, found '5m'; write a plain number of seconds",
        ),
        ("[limits]\nmax_concurrent = 1.5", "x.toml: limits.max_concurrent: expected `int`, got `float`, found 1.5"),
        (
            '[[items]]\nname = "a"\n[[items]]\nname = "b"\nmemory_bytes = "2G"',
            "x.toml: items[1].memory_bytes: expected `int`, got `str`, found '2G'; write a plain number of bytes",
        ),
        (
            "[[items]]\nname = 'a'\nmemry_bytes = 1",
            "x.toml: items[0].memry_bytes: unknown key; did you mean memory_bytes?",
        ),
        ("[[items]]\nmemory_bytes = 1", "x.toml: items[0]: object missing required field `name`"),
        ("[by_name.a]\nname = 1", "x.toml: by_name[...].name: expected `str`, got `int`, found 1"),
        ("[by_colour.rod]\nname = 'a'", "x.toml: by_colour.rod: unknown key; did you mean red?"),
        ("wholly = 1", "x.toml: wholly: unknown key; known keys here: limits, items, by_name, by_colour, place"),
        ("[place]\nkind = 'there'", "x.toml: place.kind: expected one of near, far, found 'there'"),
        ("[place]\nkind = 'near'\nsize = 'l'", "x.toml: place.size: expected one of small, large, found 'l'"),
        ("[place]\nkind = 'near'\ncolour = 'r'", "x.toml: place.colour: expected one of red, green, found 'r'"),
    ],
)
def test_error_names_file_key_expectation_and_finding(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, Whole, name="x.toml")
    assert str(caught.value) == expected


def test_text_that_is_not_toml_names_the_line() -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: is not TOML: .*line 2"):
        config.parse("[limits]\ncooldown_s = = 1", Whole, name="x.toml")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: there is no such file"):
        config.load(tmp_path / "absent.toml", Whole)


def test_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        config.load(path, Whole)


def test_text_from_a_command_line_becomes_numbers_when_not_strict() -> None:
    assert config.convert({"cooldown_s": "60"}, Limits, name="x", strict=False) == Limits(cooldown_s=60.0)

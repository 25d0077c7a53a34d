"""Where the output goes, and the words and colours it is written in."""

import os
import shutil
import sys
import time
from dataclasses import dataclass
from typing import Final, TextIO

import click

from migd_cli.text import display_width, printable, wrap
from migd_core.units import format_duration

MIN_TEXT_WIDTH: Final = 16


@dataclass(frozen=True, slots=True)
class Screen:
    """The place that lines are made for. `width` is in columns; None where nothing has to fit (a pipe, a file)."""

    width: int | None
    has_colours: bool
    now_s: float

    @classmethod
    def of_stdout(cls) -> "Screen":
        """Return the screen that standard output is."""
        return cls._of(sys.stdout)

    @classmethod
    def of_stderr(cls) -> "Screen":
        """Return the screen that standard error is."""
        return cls._of(sys.stderr)

    @classmethod
    def _of(cls, stream: TextIO) -> "Screen":
        is_terminal = stream.isatty()
        width = None
        if is_terminal or os.environ.get("COLUMNS", "").isdigit():
            width = shutil.get_terminal_size().columns
        return cls(width=width, has_colours=is_terminal and "NO_COLOR" not in os.environ, now_s=time.time())

    def labelled(self, label: str, text: str, style: str = "", text_style: str = "") -> list[str]:
        """Return `label` and then `text`, wrapped beside it."""
        indent = display_width(label)
        width = None if self.width is None else max(MIN_TEXT_WIDTH, self.width - indent)
        first, *rest = wrap(printable(text), width)
        return [
            paint(label, style) + paint(first, text_style),
            *(" " * indent + paint(line, text_style) for line in rest),
        ]

    def prose(self, text: str, style: str = "") -> list[str]:
        """Return `text` in lines that fit."""
        return self.labelled("", text, text_style=style)

    def ago(self, at: float) -> str:
        """Return how long ago the Unix time `at` was."""
        return f"{format_duration(max(0.0, self.now_s - at))} ago"

    def clock(self, at: float) -> str:
        """Return the Unix time `at` as local time: short on a terminal, complete where a program may read it."""
        if self.width is None:
            return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(at))
        is_today = time.localtime(at)[:3] == time.localtime(self.now_s)[:3]
        return time.strftime("%H:%M:%S" if is_today else "%m-%d %H:%M", time.localtime(at))


def paint(text: str, style: str) -> str:
    """Return `text` in a style: a colour, `bold` or `dim`; `` leaves it as it is. Echoing to a pipe drops it again."""
    match style:
        case "":
            return text
        case "bold":
            return click.style(text, bold=True)
        case "dim":
            return click.style(text, dim=True)
        case _:
            return click.style(text, fg=style)

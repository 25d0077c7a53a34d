"""Text as a terminal shows it: its width in columns, shortened, wrapped, and free of control characters."""

import unicodedata
from typing import Final

ELLIPSIS: Final = "…"


def printable(text: str) -> str:
    """Return `text` with every control character as a blank: a guest's name must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)


def display_width(text: str) -> int:
    """Return how many columns `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def shorten(text: str, width: int) -> str:
    """Return `text` in at most `width` columns; the middle goes, for names that differ differ at either end."""
    if display_width(text) <= width:
        return text
    if width <= 1:
        return ELLIPSIS[:width]
    tail = (width - 1) // 2
    head = width - 1 - tail
    return _first_columns(text, head) + ELLIPSIS + _first_columns(text[::-1], tail)[::-1]


def pad(text: str, width: int, *, to_the_right: bool = False) -> str:
    """Return `text` filled with blanks to `width` columns."""
    blanks = " " * max(0, width - display_width(text))
    return blanks + text if to_the_right else text + blanks


def wrap(text: str, width: int | None) -> list[str]:
    """Return `text` in lines of at most `width` columns (None: one line), broken between words where possible."""
    if width is None or display_width(text) <= width:
        return [text]
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and display_width(line) + 1 + display_width(word) > width:
            lines.append(line)
            line = ""
        while display_width(word) > width:  # an address, a path: it starts on a line of its own
            part = _first_columns(word, width) or word[0]
            lines.append(part)
            word = word[len(part) :]
        line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines


def _first_columns(text: str, width: int) -> str:
    taken = 0
    for number, character in enumerate(text):
        taken += _character_width(character)
        if taken > width:
            return text[:number]
    return text


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1

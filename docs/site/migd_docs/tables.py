"""Markdown tables and the text in their cells."""

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; cells are Markdown of one line each, in which `|` may stand."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def code(text: str) -> str:
    """Return `text` as it would be typed."""
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    # Within backticks Python-Markdown takes `|` as it is, and a backslash before it, too.
    pieces = re.split("(`[^`]*`)", " ".join(text.split()))
    return "".join(piece if piece.startswith("`") else piece.replace("|", "\\|") for piece in pieces)

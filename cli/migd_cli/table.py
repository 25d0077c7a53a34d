"""Lays rows out in columns that fit a width: what cannot fit is shortened first, and left out last."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from migd_cli.screen import Screen, paint
from migd_cli.text import display_width, pad, printable, shorten, wrap

NOTHING: Final = "-"
_GAP: Final = "  "


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `at_least` is the width it may be shortened to (None: never shortened).

    `leaves` orders the columns that are left out on a narrow screen, the highest first; 0 stays. `wraps` is for the
    last column: its text continues on further lines instead of being shortened. In a pipe every column is one; on a
    screen the texts of a `note` stand below the table, each after its row's first cell, and what is `piped` is absent.
    """

    title: str
    is_number: bool = False
    at_least: int | None = None
    leaves: int = 0
    wraps: bool = False
    kind: Literal["column", "note", "piped"] = "column"


@dataclass(frozen=True, slots=True)
class Cell:
    """One value, and how it is painted."""

    text: str
    style: str = ""


Row = Sequence[Cell | str]


def table(columns: Sequence[Column], rows: Sequence[Row], screen: Screen) -> list[str]:
    """Return a line of titles and one line a row (more where the last column wraps), and then the notes."""
    titles = [Cell(column.title, "bold") for column in columns]
    grid = [titles, *([_cell(value) for value in row] for row in rows)]
    natural = [max(display_width(row[number].text) for row in grid) for number in range(len(columns))]
    shown = [number for number, column in enumerate(columns) if screen.width is None or column.kind == "column"]
    while True:
        kept = [columns[number] for number in shown]
        widths, excess = _fit(kept, [natural[number] for number in shown], screen.width)
        if excess == 0 or not any(column.leaves for column in kept):
            break
        shown.remove(max(shown, key=lambda number: columns[number].leaves))
    lines = [line for row in grid for line in _lines(kept, [row[number] for number in shown], widths)]
    return [*lines, *_notes(columns, grid[1:], screen)]


def _notes(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], screen: Screen) -> list[str]:
    if screen.width is None:
        return []
    noted = [number for number, column in enumerate(columns) if column.kind == "note"]
    lines: list[str] = []
    for row in rows:
        for cell in (row[number] for number in noted if row[number].text != NOTHING):
            subject = shorten(row[0].text, screen.width // 3)
            lines += screen.labelled(f"  {subject}: ", cell.text, text_style=cell.style)
    return lines


def _fit(columns: Sequence[Column], natural: Sequence[int], width: int | None) -> tuple[list[int], int]:
    """Return the columns' widths on a screen of `width`, and by how much they are still too wide together."""
    widths = list(natural)
    if width is None:
        return widths, 0
    excess = max(0, sum(widths) + len(_GAP) * (len(widths) - 1) - width)
    while excess > 0:
        # The widest gives first, so that no column suffers while another has room to spare.
        can_give = [n for n, c in enumerate(columns) if c.at_least is not None and widths[n] > c.at_least]
        if not can_give:
            break
        widths[max(can_give, key=lambda number: widths[number])] -= 1
        excess -= 1
    return widths, excess


def _lines(columns: Sequence[Column], row: Sequence[Cell], widths: Sequence[int]) -> list[str]:
    *others, last = (_parts(*each) for each in zip(columns, row, widths, strict=True))
    first = _GAP.join([part for (part,) in others] + [last[0]])
    indent = " " * (sum(widths[:-1]) + len(_GAP) * len(others))
    return [first, *(indent + part for part in last[1:])]


def _parts(column: Column, cell: Cell, width: int) -> list[str]:
    if column.wraps:
        return [paint(part, cell.style) for part in wrap(cell.text, width)]
    return [paint(pad(shorten(cell.text, width), width, to_the_right=column.is_number), cell.style)]


def _cell(value: Cell | str) -> Cell:
    cell = value if isinstance(value, Cell) else Cell(value)
    return Cell(printable(cell.text), cell.style)

"""A list of rows with a cursor: lays out only the lines that are on the screen, however many there are."""

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from migd_cli.top.rows import Row

CURSOR = "> "


class RowList(ScrollView, can_focus=True):
    """Rows under a cursor that stays on what it was put on, by its key, when rows come, go or change places.

    Where that has gone it stands on something else, and returns should it come back: a controller that was just started
    knows no guest yet.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Chosen(Message):
        """Enter was pressed on a row."""

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._empty = ""
        self.rows: Sequence[Row] = ()
        self._cursor = 0
        self._put_on: str | None = None
        self._stands_on: str | None = None

    @property
    def row(self) -> Row | None:
        """Return the row under the cursor."""
        return self.rows[self._cursor] if self.rows else None

    def show(self, rows: Sequence[Row], empty: str) -> None:
        """Take the place of the rows before; `empty` is said where there are none."""
        places = {row.key: number for number, row in enumerate(rows)}
        found = places.get(self._put_on or "", places.get(self._stands_on or ""))
        before, last = self._cursor, max(0, len(rows) - 1)
        self.rows, self._empty = rows, empty
        self._cursor = min(self._cursor, last) if found is None else found
        self._stands_on = self.row.key if self.row is not None else None
        size = Size(0, max(1, len(rows)))
        if size != self.virtual_size:
            self.virtual_size = size
            self.refresh(layout=True)
        if self._cursor != before:
            self._follow()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        number = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        room = width - len(CURSOR)
        if not self.rows:
            line = Text(f"{CURSOR if self.has_focus else '  '}{self._empty}" if number == 0 else "", style="dim")
        elif number >= len(self.rows):
            line = Text()
        else:
            is_under_cursor = number == self._cursor
            mark = CURSOR if is_under_cursor and self.has_focus else " " * len(CURSOR)
            line = Text().append(mark, style="bold").append_text(self.rows[number].draw(room))
            if is_under_cursor and self.has_focus:
                line.stylize("bold reverse", 0, len(CURSOR) + self.rows[number].head)
        segments: list[Segment] = list(line.render(self.app.console))
        return Strip(segments).adjust_cell_length(width, Style()).apply_style(self.rich_style)

    def action_move(self, by: int) -> None:
        """Move the cursor by so many rows, at most to the first or last."""
        self._put(max(0, min(len(self.rows) - 1, self._cursor + by)))

    def action_page(self, by: int) -> None:
        """Move the cursor by so many screens."""
        self.action_move(by * max(1, self.size.height - 1))

    def action_choose(self) -> None:
        """Tell that the row under the cursor was chosen."""
        if self.row is not None:
            self.post_message(self.Chosen(self.row))

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is."""
        number = event.y + self.scroll_offset.y
        if number < len(self.rows):
            self._put(number)

    def _put(self, number: int) -> None:
        self._cursor = number
        self._put_on = self._stands_on = self.row.key if self.row is not None else None
        self._follow()
        self.refresh()

    def _follow(self) -> None:
        self.scroll_to_region(Region(0, self._cursor, 1, 1), animate=False)

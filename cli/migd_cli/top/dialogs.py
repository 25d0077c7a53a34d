"""What stands over the screen for a moment: a question, a text to read, a name to look for."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class Question(ModalScreen[bool]):
    """A question that is answered with y or n; Enter answers nothing, so that a key too many does no harm."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape,q", "dismiss(False)", "No"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self._text))
            yield Static(Text("\ny yes   n no", style="bold"))


class Reader(ModalScreen[None]):
    """A text that is scrolled and put away again."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,e,question_mark", "dismiss", "Back")]

    def __init__(self, text: Text) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="reader"):
            with VerticalScroll():
                yield Static(self._text)
            yield Static(Text("↑ ↓ scroll   Esc back", style="bold"))

    def on_mount(self) -> None:
        """Let the arrow keys scroll at once."""
        self.query_one(VerticalScroll).focus()


class Filter(ModalScreen[str]):
    """Asks for part of a name. Enter takes it, Escape leaves the filter as it was."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave")]

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Part of the name of a host, guest or job; empty shows all:")
            yield Input(self._part, compact=True)
            yield Static(Text("Enter take it   Esc leave", style="bold"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take what was typed."""
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """Leave the filter as it was."""
        self.dismiss(self._part)

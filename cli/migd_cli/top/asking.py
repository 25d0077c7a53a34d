"""Questions to the controller in threads of their own, and the messages that their answers arrive as.

The threads are daemons: however long the controller takes, the process can end at once.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from textual.app import App
from textual.message import Message

from migd_cli.failures import Failure
from migd_cli.top.reading import Reading
from migd_core.api import ExplainView


class Answered(Message):
    """The controller has answered all questions."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading


class Unanswered(Message):
    """It has not, and why."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class Done(Message):
    """What the operator wanted was done; `text` says what the screen does not show by itself."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.text = text


class Failed(Message):
    """It was refused, or the controller could not be asked."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why


class Explained(Message):
    """What the controller knows of a guest."""

    def __init__(self, view: ExplainView) -> None:
        super().__init__()
        self.view = view


def ask_aside(app: App[Any], ask: Callable[[], Message], failed: Callable[[str], Message]) -> None:
    """Call `ask` in a thread; the message it returns, or the one `failed` makes of its failure, is posted to `app`."""

    def run() -> None:
        try:
            message = ask()
        except Failure as failure:
            message = failed(failure.message)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the operator has quit meanwhile
            app.post_message(message)

    threading.Thread(target=run, daemon=True).start()

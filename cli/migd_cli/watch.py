"""`--watch`: a command's view, drawn anew every so many seconds, in place."""

import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

import click

from migd_cli.session import Session

PERIOD_S: Final = 2.0
AT_LEAST_S: Final = 0.2
F = TypeVar("F", bound=Callable[..., None])


def watchable(command: F) -> F:
    """Give a command the option `--watch`. Its first argument is the session, through which it shows its view."""

    @click.option(
        "--watch",
        metavar="[SECONDS]",
        is_flag=False,
        flag_value=str(PERIOD_S),
        default=None,
        type=click.FloatRange(min=AT_LEAST_S),
        help="Show it anew every so many seconds (2 where none are given), until Ctrl-C.",
    )
    @wraps(command)
    def watched(session: Session, *arguments: Any, watch: float | None, **options: Any) -> None:
        if watch is None:
            command(session, *arguments, **options)
            return
        if session.wants_json or not sys.stdout.isatty():
            raise click.UsageError("--watch draws on a terminal; without one, or with --json, ask again in a loop")
        _watch(session, lambda: command(session, *arguments, **options), watch)

    return watched  # type: ignore[return-value]


def _watch(session: Session, show: Callable[[], None], period_s: float) -> None:
    """Draw what `show` shows until Ctrl-C, and leave its last view on the terminal."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from migd_cli.screen import Screen, paint

    session.drawn, stop = [], _Stop()
    before = signal.signal(signal.SIGINT, stop)
    # Another screen, so that what stood on this one comes back.
    with Live(console=Console(highlight=False), screen=True, auto_refresh=False) as live:
        try:
            while not stop.is_asked:
                lines = _lines(session, show)
                screen = Screen.of_stdout()
                heading = paint(f"every {period_s:g} s, {screen.clock(screen.now_s)}; Ctrl-C ends", "dim")
                text = "\n".join([heading, "", *lines])
                text = text if screen.has_colours else click.unstyle(text)
                live.update(Text.from_ansi(text, no_wrap=True), refresh=True)
                time.sleep(period_s)
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGINT, before)
    has_colours = Screen.of_stdout().has_colours
    for line in session.drawn:
        click.echo(line, color=has_colours)


class _Stop:
    """Ctrl-C, remembered: Python drops the exception where it comes up in a finaliser."""

    is_asked = False

    def __call__(self, number: int, frame: object) -> None:
        self.is_asked = True
        raise KeyboardInterrupt


def _lines(session: Session, show: Callable[[], None]) -> list[str]:
    """Return what there is to see now; where the controller does not answer, what was seen last, and why."""
    from migd_cli.failures import Failure
    from migd_cli.screen import Screen

    before = session.drawn or []
    session.drawn = []
    try:
        show()
    except Failure as failure:
        session.drawn = before
        return [*Screen.of_stdout().labelled("no answer: ", failure.message, "red"), "", *before]
    return session.drawn

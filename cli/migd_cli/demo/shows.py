"""Two ways to show the demo: drawn anew in place on a terminal, and line by line anywhere else."""

import time
from typing import Protocol, Self

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from migd_cli.demo.scene import Scene, happened
from migd_cli.demo.view import frame


class Show(Protocol):
    """Shows one scene after the other; a context, so that a terminal is put right again however the demo ends."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def say(self, text: str) -> None:
        """Show a sentence before there is a scene."""

    def show(self, scene: Scene) -> None: ...


class LiveShow:
    """One frame that is drawn anew in its place. Draws only when told to: no thread of its own."""

    def __init__(self) -> None:
        self._live = Live(console=Console(highlight=False), auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._live.update(Text(text), refresh=True)

    def show(self, scene: Scene) -> None:
        self._live.update(frame(scene), refresh=True)


class PlainShow:
    """A line for everything that happens, with the seconds since the demo began."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._before: Scene | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to put right."""

    def say(self, text: str) -> None:
        self._line(time.monotonic() - self._began_s, text)

    def show(self, scene: Scene) -> None:
        for line in happened(self._before, scene):
            self._line(scene.at_s, line)
        self._before = scene

    def _line(self, at_s: float, text: str) -> None:
        click.echo(f"{at_s:5.1f} s  {text}")

"""Plays the demo from its first process to its last line."""

import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import msgspec

from migd_cli.demo.children import Brood, ChildDied, brood
from migd_cli.demo.configuration import Files
from migd_cli.demo.interruption import Interrupted, pause, signals_held
from migd_cli.demo.report import DemoReport, report, report_lines, shortcoming
from migd_cli.demo.scene import Scene
from migd_cli.demo.shows import LiveShow, PlainShow, Show
from migd_cli.demo.staging import TIMES_FASTER, Stage, raise_stage
from migd_cli.demo.story import Act, Reading, Story
from migd_cli.failures import EXIT_FAILED, Failure, Unreachable
from migd_cli.screen import Screen
from migd_cli.unreachable import MAX_SOCKET_PATH_BYTES
from migd_core.api import GuestView, HostView, MigrationView, NewTokenView, Role, StatusView, TokenRequest
from migd_core.errors import MigdError

TICK_S: Final = 0.3
# The speed that is drawn is measured over this many ticks: over one, a step more or less would make it jump.
SPEED_TICKS: Final = 4
SPEEDS_KEPT: Final = 200
# What the demo's pool and controller need beyond what migctl itself does.
NEEDED_PACKAGES: Final = ("aiohttp", "XenAPI")


@dataclass
class Camera:
    """Takes one scene after the other of what happens on the stage."""

    stage: Stage
    began_s: float
    story: Story | None = None
    _readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=SPEED_TICKS))
    _speeds: deque[float] = field(default_factory=lambda: deque(maxlen=SPEEDS_KEPT))

    def take(self) -> Scene:
        """Return what is to be seen now, the story advanced by it. Raises MigdError or Failure."""
        client, cast = self.stage.client, self.stage.cast
        status = client.get("/v1/status", StatusView)
        migrations = client.get("/v1/migrations", list[MigrationView])
        truth = self.stage.pool.truth()
        reading = Reading(
            at_s=truth.now_s - self.began_s,
            steps=truth.steps_of(cast.job),
            under_way=len(status.migrations),
            over=sum(migration.ok is not None for migration in migrations),
        )
        self.story = Story.begun(reading) if self.story is None else self.story.advance(reading)
        self._readings.append(reading)
        oldest = self._readings[0]
        if reading.at_s > oldest.at_s:
            self._speeds.append((reading.steps - oldest.steps) / (reading.at_s - oldest.at_s))
        return Scene(
            cast=cast,
            story=self.story,
            status=status,
            hosts=tuple(client.get("/v1/hosts", list[HostView])),
            guests=tuple(client.get("/v1/guests", list[GuestView])),
            migrations=tuple(migrations),
            speeds=tuple(self._speeds),
        )


def play(*, wants_json: bool, keep: bool) -> int:
    """Play the demo and return the exit code. Raises Failure, with every process ended and every file gone."""
    if missing := [name for name in NEEDED_PACKAGES if importlib.util.find_spec(name) is None]:
        raise Failure(
            f"the demo runs a pool and a controller of its own, which need {' and '.join(missing)}; "
            "pip install 'migd[controller,xapi,cli]' brings what is missing"
        )
    with signals_held(), _folder() as folder, brood(folder) as children:
        try:
            return _play(folder, children, wants_json=wants_json, keep=keep)
        except Interrupted as interrupted:
            click.echo("migctl: interrupted; every process of the demo has been ended", err=True)
            return interrupted.exit_code
        except (Failure, MigdError) as error:
            raise Failure(_explanation(children, error)) from error


def _play(folder: Path, children: Brood, *, wants_json: bool, keep: bool) -> int:
    is_drawn = sys.stdout.isatty() and not wants_json
    show: Show = LiveShow() if is_drawn else PlainShow()
    began_s = time.monotonic()
    with show:
        show.say(f"starting an emulated pool ({TIMES_FASTER} times faster than real hosts), its agents and migd …")
        stage = raise_stage(folder, children, pause)
        camera = Camera(stage, began_s)
        last = _play_story(camera, show, children)
    migrations = list(last.migrations)
    found = report(last.cast.job, last.story, migrations, stage.pool.truth().pauses_s(migrations))
    _print_report(found, wants_json=wants_json)
    why = last.story.why or shortcoming(found)
    if why:
        click.echo(f"migctl: the demo did not show what it is to show: {why}", err=True)
    if keep:
        migctl = f"migctl --socket {stage.socket}"
        request = TokenRequest(name="demo", role=Role.OPERATOR)
        token = msgspec.json.decode(stage.client.ask("POST", "/v1/tokens", request), type=NewTokenView).token
        click.echo(
            f"\nEverything goes on until Ctrl-C. The page is at\n\n    {stage.page}    with the token {token}\n\n"
            f"and from another terminal, for instance:\n\n    {migctl} status\n    {migctl} policy set colocate\n",
            err=True,
        )
        # A view that is drawn begins anew, below what was printed.
        _linger(camera, None if wants_json else LiveShow() if is_drawn else show, children)
    return EXIT_FAILED if why else 0


def _play_story(camera: Camera, show: Show, children: Brood) -> Scene:
    """Show scenes until the story has ended; return the last. The hog begins with its act."""
    hog_works = False
    while True:
        children.check()
        scene = camera.take()
        show.show(scene)
        if scene.story.act.is_last:
            return scene
        if scene.story.act is Act.OVERLOAD and not hog_works:
            camera.stage.pool.start_hog(scene.cast.hog, scene.cast.hog_vcpus)
            hog_works = True
        pause(TICK_S)


def _linger(camera: Camera, show: Show | None, children: Brood) -> None:
    """Leave everything running until a signal comes, and go on showing what happens if there is a `show`.

    On a busy machine an answer may be late, and is said to be; a process that has ended is not waited for.
    """
    is_late = False
    try:
        with show or contextlib.nullcontext():
            while True:
                children.check()
                if show is not None:
                    is_late = _look(camera, show, was_late=is_late)
                pause(TICK_S)
    except Interrupted:
        click.echo("migctl: every process of the demo has been ended", err=True)


def _look(camera: Camera, show: Show, *, was_late: bool) -> bool:
    """Show what is to be seen now; return whether there was no answer in time, which is said once."""
    try:
        show.show(camera.take())
    except (Unreachable, MigdError):
        if not was_late:
            show.say("no answer yet, as on a busy machine; everything goes on, and this view once there is one")
        return True
    return False


def _print_report(found: DemoReport, *, wants_json: bool) -> None:
    if wants_json:
        click.echo(msgspec.json.encode(found))
        return
    screen = Screen.of_stdout()
    for line in report_lines(found, screen):
        click.echo(line, color=screen.has_colours)


def _explanation(children: Brood, error: Exception) -> str:
    """A process that has died explains more than what came of it."""
    try:
        children.check()
    except ChildDied as died:
        return str(died)
    return str(error)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A new folder for everything the demo writes; it goes with the block."""
    folder = Path(tempfile.mkdtemp(prefix="migd-demo-"))
    try:
        longest = Files(folder).socket
        if len(os.fsencode(longest)) > MAX_SOCKET_PATH_BYTES:
            raise Failure(
                f"{longest}: the path of a socket may have {MAX_SOCKET_PATH_BYTES} bytes; "
                "name a shorter folder for temporary files: TMPDIR=/tmp migctl demo"
            )
        yield folder
    finally:
        shutil.rmtree(folder)

"""`migctl replay`: needs no controller; a record has all that a decision takes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from migd_cli.app import Command
from migd_cli.failures import EXIT_FAILED, Failure
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.errors import MigdError

if TYPE_CHECKING:
    from migd_sim.run.replay.replaying import Replayed


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.pass_context
def replay(context: click.Context, run: Path) -> None:
    """Make every decision of a record again, and say whether all are the same.

    RUN is a record's folder or one of its files, as the controller writes them (`[record]`, `migctl record on`) or
    `migctl simulate --record`. Every event goes through the controller's own core again, and what the core commands is
    held against what is on record, byte for byte. At the first difference the event and the field are named, and the
    exit code is 1.
    """
    from migd_sim.run.replay.replaying import replay as play

    session = context.find_object(Session)
    assert session is not None
    try:
        found = play(run)
    except MigdError as error:
        raise Failure(str(error)) from error
    if session.wants_json:
        click.echo(msgspec.json.encode(found, enc_hook=str))
    else:
        screen = Screen.of_stdout()
        for line in replay_lines(found, screen):
            click.echo(line, color=screen.has_colours)
    context.exit(0 if found.difference is None else EXIT_FAILED)


def replay_lines(found: "Replayed", screen: Screen) -> list[str]:
    """Return what the replay came to, and at which event and field it went another way, if it did."""
    lines = [line for note in found.notes for line in screen.labelled("note: ", note, style="yellow")]
    counted = f"{found.events:,} events, {found.decisions:,} decisions"
    if (other := found.difference) is None:
        return [*lines, *screen.prose(f"{counted}, identical")]
    at = datetime.fromtimestamp(other.at, UTC).isoformat(timespec="milliseconds")
    where = f"event {other.number} of {other.path}, {other.event} at {at}"
    lines += screen.prose(f"{counted} were identical; then {where}, led to something else:")
    return [*lines, *(line for each in other.lines for line in screen.labelled("  ", each))]

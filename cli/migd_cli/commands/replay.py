"""`migctl replay`: needs no controller; a record has all that a decision takes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from migd_cli.app import Command
from migd_cli.comparison import comparison_lines, signed
from migd_cli.failures import EXIT_FAILED, Failure
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.errors import MigdError
from migd_core.units import format_duration

if TYPE_CHECKING:
    from migd_sim.run.replay.redeciding import Other, Redecided, Regret
    from migd_sim.run.replay.replaying import Replayed


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME[,KEY=VALUE…]",
    help="Ask this policy besides, and say what it would have gained. Repeatable.",
)
@click.pass_context
def replay(context: click.Context, run: Path, policies: tuple[str, ...]) -> None:
    """Make every decision of a record again, and say whether all are the same.

    RUN is a record's folder or one of its files, as the controller writes them (`[record]`, `migctl record on`) or
    `migctl simulate --record`. Every event goes through the controller's own core again, and what the core commands is
    held against what is on record, byte for byte. At the first difference the event and the field are named, and the
    exit code is 1.

    With --policy, the policy decides on the same data as a shadow of the recorded one, and its regret is told: by how
    much job time it would have done better, and how far the model may be off by that.
    """
    from migd_sim.run.replay.redeciding import Redecided, redecide
    from migd_sim.run.replay.replaying import replay as play

    session = context.find_object(Session)
    assert session is not None
    try:
        found = redecide(run, others(policies)) if policies else Redecided(play(run))
    except MigdError as error:
        raise Failure(str(error)) from error
    if session.wants_json:
        click.echo(msgspec.json.encode(found if policies else found.replayed, enc_hook=str))
    else:
        screen = Screen.of_stdout()
        for line in replay_lines(found.replayed, screen) + (regret_lines(found, screen) if policies else []):
            click.echo(line, color=screen.has_colours)
    context.exit(0 if found.replayed.difference is None else EXIT_FAILED)


def others(written: tuple[str, ...]) -> "list[Other]":
    """Return the policies that were named on the command line. Raises UsageError."""
    from migd_sim.run.replay.redeciding import Other

    found: list[Other] = []
    for each in written:
        name, *settings = each.split(",")
        if wrong := [setting for setting in settings if "=" not in setting]:
            raise click.UsageError(f"--policy {each}: expected KEY=VALUE after the comma, found {wrong[0]!r}")
        config = dict(setting.split("=", 1) for setting in settings)
        label = each if each not in [other.label for other in found] else f"{each} ({len(found) + 1})"
        found.append(Other(label, name, config))
    return found


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


def regret_lines(found: "Redecided", screen: Screen) -> list[str]:
    """Return what the policies would have gained, and the regret of each with the model's own error."""
    if found.replayed.difference is not None:
        return screen.prose("Nothing is said of other policies: what they are held against did not come again.")
    if found.comparison is None:
        return screen.prose("There are too few control periods in this record to compare policies in.")
    lines = ["", *comparison_lines(found.comparison, screen)]
    for each in found.regrets:
        lines += screen.labelled(f"Regret of not using {each.label}: ", _regret_text(each), style="bold")
    return lines


def _regret_text(regret: "Regret") -> str:
    if regret.model_error_s is None:
        return f"{signed(regret.regret_s)}; how far the model may be off by it is not known: {regret.unknown}"
    return f"{signed(regret.regret_s)}, give or take {format_duration(regret.model_error_s)} that the model is off"

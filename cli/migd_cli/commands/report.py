"""`migctl report`: what the controller answers, or what a record holds, as one HTML file."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from migd_cli.app import Command
from migd_cli.commands.replay import others
from migd_cli.failures import Failure
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.errors import MigdError
from migd_core.units import format_duration, parse_duration

if TYPE_CHECKING:
    from migd_core.api import ReportView

# What the controller keeps in its timeline.
LEAST_S, MOST_S = 36.0, 31 * 86400.0
DEFAULT: Final = "7d"


def _duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(cls=Command)
@click.option(
    "--since", callback=_duration, metavar="DURATION", help=f"How far back (default: {DEFAULT}; of a record: all)."
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("migd-report.html"),
    show_default=True,
    metavar="FILE",
    help="The file to write.",
)
@click.option("--record", type=click.Path(path_type=Path), metavar="RUN", help="Of this record, without a controller.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME[,KEY=VALUE…]",
    help="With --record: ask this policy besides. Repeatable.",
)
@click.pass_obj
def report(session: Session, since: float | None, output: Path, record: Path | None, policies: tuple[str, ...]) -> None:
    """Write what was moved, gained and lost as an HTML file with plots.

    It says what migrations took against what was predicted, too, and what other policies would have done: those that
    ran beside the one in use (`migctl policy shadow`), or of a record any that --policy names. The file needs no
    network and no script. With --json the figures are printed instead.
    """
    import msgspec

    from migd_core.api import ReportView

    if policies and record is None:
        raise click.UsageError(
            "--policy asks a policy about a record: name one with --record. A live controller compares those that "
            "`migctl policy shadow add` lets run beside the one in use."
        )
    if record is not None:
        view, notes = _of_record(record, policies, since)
        answer = msgspec.json.encode(view)
    else:
        answer, notes = _of_controller(session, since), []
        view = msgspec.json.decode(answer, type=ReportView)
    if session.wants_json:
        click.echo(answer)
        return
    _write(view, output)
    screen = Screen.of_stdout()
    lines = [line for note in notes for line in screen.labelled("note: ", note, style="yellow")]
    for line in [*lines, *screen.prose(_said(view, output))]:
        click.echo(line, color=screen.has_colours)


def _of_controller(session: Session, since: float | None) -> bytes:
    last_s = parse_duration(DEFAULT) if since is None else since
    if not LEAST_S <= last_s <= MOST_S:
        raise click.UsageError(
            f"--since: expected {format_duration(LEAST_S)} to {format_duration(MOST_S)}, which is what the controller "
            f"keeps, found {format_duration(last_s)}"
        )
    return session.ask("GET", f"/v1/report?hours={last_s / 3600.0:g}")


def _of_record(record: Path, policies: tuple[str, ...], since: float | None) -> "tuple[ReportView, list[str]]":
    from migd_sim.run.replay.reporting import report as report_of

    try:
        return report_of(record, others(policies), since)
    except MigdError as error:
        raise Failure(str(error)) from error


def _write(view: "ReportView", output: Path) -> None:
    """Write the file. Raises Failure."""
    history = view.history
    if not history.at and not view.moves and not history.happenings:
        period = format_duration(history.until - history.since)
        raise Failure(f"nothing is known of the last {period}: no control period and no migration; --since takes more")
    try:
        from migd_cli.report.page import page
    except ImportError as error:
        raise Failure(f"{error.name} is missing, which draws the plots: pip install 'migd[report]'") from error
    try:
        output.write_text(page(view), encoding="utf-8")
    except OSError as error:
        raise Failure(f"{output}: cannot be written: {error.strerror}; -o names another file") from error


def _said(view: "ReportView", output: Path) -> str:
    moved = sum(each.migration.ok is True for each in view.moves)
    failed = sum(each.migration.ok is False for each in view.moves)
    migrations = f"{moved} {'migration' if moved == 1 else 'migrations'}" + (f", {failed} failed" if failed else "")
    return (
        f"{output}: {migrations} in {format_duration(view.history.until - view.history.since)}. {view.comparison.text}"
    )

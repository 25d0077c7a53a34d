"""`migctl record` with `on`, `off` and `status`."""

import click

from migd_cli.app import Group
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.api import RecordRequest, RecordView
from migd_core.units import format_bytes


@click.group(cls=Group)
def record() -> None:
    """Record everything that the controller is told and does, for `migctl replay`."""


@record.command()
@click.pass_obj
def on(session: Session) -> None:
    """Record from now on, until the controller restarts; `[record] on` in its configuration is for good."""
    session.show(session.ask("PUT", "/v1/record", RecordRequest(on=True)), RecordView, record_lines)


@record.command()
@click.pass_obj
def off(session: Session) -> None:
    """Record nothing from now on; what was recorded stays."""
    session.show(session.ask("PUT", "/v1/record", RecordRequest(on=False)), RecordView, record_lines)


@record.command()
@click.pass_obj
def status(session: Session) -> None:
    """Show whether it is recorded, and what has been."""
    session.show(session.ask("GET", "/v1/record"), RecordView, record_lines)


def record_lines(view: RecordView, screen: Screen) -> list[str]:
    """Say whether it is recorded, since when and where to, and what lies there."""
    if view.is_on and view.since is not None:
        lines = screen.labelled("Recording: ", f"since {screen.clock(view.since)}, to {view.folder}", style="green")
    else:
        lines = screen.labelled("Not recorded: ", f"`migctl record on` begins, to {view.folder}", style="yellow")
    if view.problem:
        lines += screen.labelled("Problem: ", view.problem, style="red")
    if view.parts:
        held = f"{view.parts} {'part' if view.parts == 1 else 'parts'}, {format_bytes(view.size_bytes)}"
        text = f"{held} of {format_bytes(view.keep_bytes)} at most; `migctl replay {view.folder}` makes them again"
        lines += screen.labelled("Kept: ", text)
    return lines

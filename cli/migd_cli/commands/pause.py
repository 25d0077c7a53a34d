"""`migctl pause` and `migctl resume`."""

import click

from migd_cli.app import Command
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.api import StatusView


@click.command(cls=Command)
@click.pass_obj
def pause(session: Session) -> None:
    """Stop starting migrations.

    Those under way go on to their end. Measuring goes on too, and `migctl plan` shows what would be done.
    """
    session.show(session.ask("POST", "/v1/pause"), StatusView, pause_lines)


@click.command(cls=Command)
@click.pass_obj
def resume(session: Session) -> None:
    """Allow migrations again."""
    session.show(session.ask("POST", "/v1/resume"), StatusView, pause_lines)


def pause_lines(status: StatusView, screen: Screen) -> list[str]:
    """Say whether migd migrates, and what is still under way."""
    if not status.is_paused:
        return screen.labelled("Running: ", f"policy {status.policy} may migrate guests again.", style="green")
    count = len(status.migrations)
    under_way = f" {count} under way {'goes' if count == 1 else 'go'} on to the end." if count else ""
    return screen.labelled("Paused: ", f"no migration is started until `migctl resume`.{under_way}", style="yellow")

"""`migctl cancel MIGRATION|GUEST`."""

from urllib.parse import quote

import click

from migd_cli import names
from migd_cli.app import Command
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.api import MigrationView


@click.command(cls=Command)
@click.argument("migration", shell_complete=names.migrations)
@click.pass_obj
def cancel(session: Session, migration: str) -> None:
    """End a migration that is under way.

    It is named by its id (D812.1, as `migctl status` shows it), or by its guest. The guest stays where it is; it moves
    all the same where it is being handed over already.
    """
    answer = session.ask("POST", f"/v1/migrations/{quote(migration, safe='')}/cancel")
    session.show(answer, MigrationView, cancel_lines)


def cancel_lines(view: MigrationView, screen: Screen) -> list[str]:
    """Say what was asked of the pool, and where its answer is seen."""
    return screen.labelled(
        f"{view.cause}: ",
        f"the pool is asked to leave {view.guest_name} on {view.source_name}. `migctl history` tells how it ended.",
        style="bold",
    )

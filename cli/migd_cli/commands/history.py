"""`migctl history`."""

import click

from migd_cli.app import Command
from migd_cli.migrations import migration_table
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.watch import watchable
from migd_core.api import MigrationView


@click.command(cls=Command)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many at most.")
@click.pass_obj
@watchable
def history(session: Session, limit: int) -> None:
    """List the migrations, newest first.

    PLANNED and TOOK are the duration as it was expected and as it was. What led to one: `migctl explain` with its ID.
    """
    answer = session.ask("GET", f"/v1/migrations?limit={limit}")
    session.show(answer, list[MigrationView], history_lines)


def history_lines(views: list[MigrationView], screen: Screen) -> list[str]:
    """Return the table of migrations, in the order given."""
    if not views:
        return screen.prose("Nothing was migrated yet; `migctl plan` says what would be, and why not.")
    return migration_table(views, screen)

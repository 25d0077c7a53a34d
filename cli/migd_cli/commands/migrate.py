"""`migctl migrate GUEST HOST`."""

import click

from migd_cli import names
from migd_cli.app import Command
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.api import MigrateRequest, MigrationView
from migd_core.units import format_duration


@click.command(cls=Command)
@click.argument("guest", shell_complete=names.guests)
@click.argument("host", shell_complete=names.hosts)
@click.pass_obj
def migrate(session: Session, guest: str, host: str) -> None:
    """Move one guest to a host now.

    Both by name or uuid. What keeps guests safe (memory, a host that is live, one migration at a time) holds here too;
    whether the move is worth it, and how long ago the last one was, does not count.
    """
    answer = session.ask("POST", "/v1/migrations", MigrateRequest(guest=guest, host=host))
    session.show(answer, MigrationView, migrate_lines)


def migrate_lines(view: MigrationView, screen: Screen) -> list[str]:
    """Say what was started, what it should take, and where to follow it."""
    expected = ""
    if view.predicted_s is not None:
        expected = f", in about {format_duration(view.predicted_s)}"
        if view.predicted_pause_s is not None:
            expected += f" with a pause of {format_duration(view.predicted_pause_s)}"
    return screen.labelled(
        f"{view.cause}: ",
        f"{view.guest_name} moves from {view.source_name} to {view.target_name}{expected}. "
        "Follow it with `migctl status`; `migctl history` tells how it ended.",
        style="bold",
    )

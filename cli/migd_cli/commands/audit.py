"""`migctl audit`."""

import click

from migd_cli.app import Command
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import Cell, Column, table
from migd_core.api import AuditView

COLUMNS = (
    Column("WHEN"),
    Column("WHO", at_least=8),
    Column("ROLE", leaves=2),
    Column("FROM", at_least=12, leaves=3),
    Column("OUTCOME"),
    Column("WHAT", at_least=24, wraps=True),
)


@click.command(cls=Command)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@click.pass_obj
def audit(session: Session, limit: int) -> None:
    """List who asked for what, newest first.

    WHO is a user of the controller's machine, or the name of a token. Every command stands here, also those that were
    refused; a job's progress does not.
    """
    session.show(session.ask("GET", f"/v1/audit?limit={limit}"), list[AuditView], audit_lines)


def audit_lines(views: list[AuditView], screen: Screen) -> list[str]:
    """Return the table of commands, in the order given."""
    if not views:
        return screen.prose("Nobody has asked for anything yet.")
    rows: list[tuple[Cell | str, ...]] = [
        (screen.clock(view.at), view.name, view.role.value, view.address, _outcome(view), _what(view)) for view in views
    ]
    return table(COLUMNS, rows, screen)


def _outcome(view: AuditView) -> Cell:
    if view.status is None:
        return Cell("unknown", "yellow")
    return Cell("done", "green") if view.status < 400 else Cell(f"refused ({view.status})", "red")


def _what(view: AuditView) -> str:
    return " ".join(filter(None, (view.method, view.path, view.body, f"- {view.text}" if view.text else "")))

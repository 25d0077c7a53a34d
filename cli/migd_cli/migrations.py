"""Migrations as a table: those that run, and those that are over."""

from migd_cli.screen import Screen
from migd_cli.table import NOTHING, Cell, Column, table
from migd_core.api import MigrationView
from migd_core.units import format_duration, format_ratio

COLUMNS = (
    Column("ID"),
    Column("STARTED", leaves=3),
    Column("GUEST", at_least=10),
    Column("FROM", at_least=6),
    Column("TO", at_least=6),
    Column("PLANNED", is_number=True, leaves=2),
    Column("TOOK", is_number=True),
    Column("BY", at_least=8, leaves=1),
    Column("RESULT"),
    Column("WHY", kind="note"),
)

_STYLES = {None: "cyan", True: "green", False: "red"}


def migration_table(views: list[MigrationView], screen: Screen) -> list[str]:
    """Return one line a migration, in the order given."""
    return table(COLUMNS, [_row(view, screen) for view in views], screen)


def _row(view: MigrationView, screen: Screen) -> tuple[Cell | str, ...]:
    return (
        view.cause,
        screen.clock(view.started_at),
        view.guest_name,
        view.source_name,
        view.target_name,
        _duration(view.predicted_s),
        _duration(view.actual_s),
        view.requested_by,
        _result(view),
        Cell(view.text or NOTHING, _STYLES[view.ok]),
    )


def _duration(seconds: float | None) -> str:
    return NOTHING if seconds is None else format_duration(seconds)


def _result(view: MigrationView) -> Cell:
    text = "cancelling" if view.is_cancelling and view.ok is None else view.state
    if view.ok is None and view.progress_ratio is not None:
        text = f"{text} {format_ratio(view.progress_ratio)}"
    return Cell(text, _STYLES[view.ok])

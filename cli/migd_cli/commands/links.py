"""`migctl links`."""

from typing import Final

import click

from migd_cli.app import Command
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import NOTHING, Cell, Column, table
from migd_core.api import LinkView

COLUMNS: Final = (
    Column("LEVEL"),
    Column("BANDWIDTH", is_number=True),
    Column("LATENCY", is_number=True),
    Column("SOURCE"),
    Column("WHEN", leaves=1),
    Column("BETWEEN", at_least=12, leaves=2),
)
_STYLES: Final = {"measured": "green", "configured": "", "unknown": "yellow"}


@click.command(cls=Command)
@click.pass_obj
def links(session: Session) -> None:
    """Show what the network carries at each level.

    Nothing is concluded about a level that is unknown. `migctl measure links --store` measures; what was measured
    counts instead of what `[topology.links]` says.
    """
    session.show(session.ask("GET", "/v1/links"), list[LinkView], link_lines)


def link_lines(views: list[LinkView], screen: Screen) -> list[str]:
    """Return the table of levels, nearest first."""
    return table(COLUMNS, [_row(view, screen) for view in views], screen)


def bandwidth(bytes_per_s: float | None) -> str:
    """Return a bandwidth as NetPIPE and NICs give it."""
    return NOTHING if bytes_per_s is None else f"{bytes_per_s * 8 / 1e6:.4g} Mbit/s"


def latency(seconds: float | None) -> str:
    """Return a latency in the unit that fits."""
    if seconds is None:
        return NOTHING
    return f"{seconds * 1e6:.3g} µs" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def _row(view: LinkView, screen: Screen) -> tuple[Cell | str, ...]:
    return (
        view.level.value,
        bandwidth(view.bandwidth_bytes_per_s),
        latency(view.latency_s),
        Cell(view.source, _STYLES.get(view.source, "")),
        NOTHING if view.measured_at is None else screen.clock(view.measured_at),
        view.between or NOTHING,
    )

"""`migctl guests`."""

import click

from migd_cli.app import Command
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import NOTHING, Cell, Column, table
from migd_cli.watch import watchable
from migd_core.api import GuestView
from migd_core.units import PAGE_BYTES, format_bytes

COLUMNS = (
    Column("GUEST", at_least=12),
    Column("HOST", at_least=8),
    Column("JOB", at_least=6, leaves=1),
    Column("VCPUS", is_number=True, leaves=4),
    Column("WANTS", is_number=True),
    Column("USES", is_number=True),
    Column("MEMORY", is_number=True, leaves=2),
    Column("NET/s", is_number=True, leaves=5),
    Column("DIRTY/s", is_number=True, leaves=3),
    Column("UUID", kind="piped"),
    Column("FIXED", kind="note"),
)


@click.command(cls=Command)
@click.pass_obj
@watchable
def guests(session: Session) -> None:
    """List the running guests and what they use.

    WANTS is the CPU a guest would use if it had its host to itself, USES what it gets, both in whole CPUs. NET/s is
    what it sends and receives, DIRTY/s the memory it writes, which a migration has to send again. Guests that may not
    be moved, or rest after a failed migration, are listed below with the reason. Piped, uuids are listed too.
    """
    session.show(session.ask("GET", "/v1/guests"), list[GuestView], guest_lines)


def guest_lines(views: list[GuestView], screen: Screen) -> list[str]:
    """Return the table of guests, by host and name."""
    if not views:
        return screen.prose("No running guest is known; `migctl status` says whether the pool can be reached.")
    return table(COLUMNS, [_row(g) for g in sorted(views, key=lambda g: (g.host_name, g.name))], screen)


def _row(guest: GuestView) -> tuple[Cell | str, ...]:
    stays = guest.immovable_because or guest.resting_because
    waits = guest.cpu_demand_vcpus > 1.1 * guest.cpu_used_vcpus + 0.05
    return (
        guest.name,
        guest.host_name,
        guest.job or NOTHING,
        str(guest.vcpus),
        f"{guest.cpu_demand_vcpus:.2f}",
        Cell(f"{guest.cpu_used_vcpus:.2f}", "red" if waits else ""),
        format_bytes(guest.memory_bytes),
        format_bytes(guest.rx_bytes_per_s + guest.tx_bytes_per_s),
        NOTHING if guest.dirty_pages_per_s is None else format_bytes(guest.dirty_pages_per_s * PAGE_BYTES),
        guest.uuid,
        Cell(stays or NOTHING, "yellow" if stays else ""),
    )

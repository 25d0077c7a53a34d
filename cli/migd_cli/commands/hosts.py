"""`migctl hosts`."""

from typing import Final

import click

from migd_cli.app import Command
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import NOTHING, Cell, Column, table
from migd_cli.watch import watchable
from migd_core.api import HostView
from migd_core.health import HealthState, HostHealth
from migd_core.units import format_bytes, format_duration, format_ratio

# Samples that were lost longer ago than this are no longer worth a warning.
DROPS_SHOWN_S: Final = 300.0
_HEALTH_STYLES: Final = {
    HealthState.UNKNOWN: "",
    HealthState.OK: "green",
    HealthState.DEGRADED: "yellow",
    HealthState.FAILING: "red",
}
COLUMNS = (
    Column("HOST", at_least=8),
    Column("CPUS", is_number=True, leaves=3),
    Column("LOAD", is_number=True),
    Column("MEMORY", is_number=True, leaves=2),
    Column("FREE", is_number=True, leaves=1),
    Column("GUESTS", is_number=True),
    Column("SOURCE", leaves=4),
    Column("STATE"),
    Column("HEALTH"),
    Column("UUID", kind="piped"),
    Column("WHY", kind="note"),
    Column("FOUND", kind="note"),
)


@click.command(cls=Command)
@click.pass_obj
@watchable
def hosts(session: Session) -> None:
    """List the hosts with their load and memory.

    LOAD is the CPU that the guests and Dom0 want over the CPUs there are; above 100 % guests wait for each other.
    FREE is what arriving guests may take. SOURCE is what measures the host: its agent, or, where none can run, XAPI's
    own measurements (rrd), which come slower and know nothing of dirty pages. A frozen host takes no part in decisions
    until what is wrong with it is mended; one in maintenance receives no guests, by your word (`migctl host
    maintenance`) or the pool's. HEALTH is what the host's agent finds of its temperatures, fans, memory,
    disks and NICs; a failing host receives no guests. Piped, each host's uuid is listed too.
    """
    session.show(session.ask("GET", "/v1/hosts"), list[HostView], host_lines)


def host_lines(views: list[HostView], screen: Screen) -> list[str]:
    """Return the table of hosts, by name."""
    if not views:
        return screen.prose("No host is known yet; `migctl status` says whether the pool can be reached.")
    return table(COLUMNS, [_row(host) for host in sorted(views, key=lambda host: host.name)], screen)


def _row(host: HostView) -> tuple[Cell | str, ...]:
    state, why = _state(host)
    return (
        host.name,
        str(host.cpus),
        load_cell(host.load_ratio),
        format_bytes(host.memory_bytes),
        format_bytes(host.memory_free_bytes),
        str(host.guests),
        host.source,
        state,
        health_cell(host.health),
        host.uuid,
        why,
        _found(host.health),
    )


def load_cell(load_ratio: float | None) -> Cell:
    """Return a load as a percentage: red where guests wait for each other, yellow where they soon will."""
    if load_ratio is None:
        return Cell(NOTHING)
    return Cell(format_ratio(load_ratio), "red" if load_ratio > 1 else "yellow" if load_ratio > 0.85 else "")


def health_cell(health: HostHealth) -> Cell:
    """Return a host's health in a word; nothing where nobody watches it."""
    if health.state is HealthState.UNKNOWN:
        return Cell(NOTHING)
    return Cell(health.state.value, _HEALTH_STYLES[health.state])


def _found(health: HostHealth) -> Cell:
    """Return why a host is not well."""
    if health.state not in (HealthState.DEGRADED, HealthState.FAILING):
        return Cell(NOTHING)
    return Cell(f"{health.state}: {health.text}", _HEALTH_STYLES[health.state])


def _state(host: HostView) -> tuple[Cell, Cell]:
    """Return the state in a word, and why it is so."""
    if host.frozen_because is not None:
        return Cell("frozen", "red"), Cell(host.frozen_because, "red")
    if host.maintenance:
        return Cell("maintenance", "yellow"), Cell(f"receives no guests: {host.maintenance}", "yellow")
    age_s = host.dropped_age_s
    if age_s is None or age_s > DROPS_SHOWN_S:
        return Cell("ok", "green"), Cell(NOTHING)
    ago = format_duration(age_s)
    dropped = f"its agent has dropped {host.samples_dropped} samples since it started, the last {ago} ago"
    return Cell("ok", "green"), Cell(dropped, "yellow")

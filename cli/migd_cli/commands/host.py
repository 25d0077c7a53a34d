"""`migctl host maintenance on|off HOST`."""

import time
from datetime import datetime
from urllib.parse import quote

import click

from migd_cli.app import Group
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.api import HostView, MaintenanceRequest
from migd_core.units import parse_duration


def _until(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Read a time to come (local where it names no zone), or how long from now; return it as Unix time."""
    if value is None:
        return None
    try:
        return time.time() + parse_duration(value)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError as error:
        raise click.BadParameter(
            f"expected how long (90min, 6h) or until when (2026-11-27T06:00), found {value!r}"
        ) from error


@click.group(cls=Group)
def host() -> None:
    """Take a host out of service, or let it receive guests again."""


@host.group()
def maintenance() -> None:
    """Take a host out of service, or let it receive guests again."""


@maintenance.command()
@click.argument("name", metavar="HOST")
@click.option("--until", callback=_until, metavar="TIME", help="How long (6h), or until when (2026-11-27T06:00).")
@click.pass_obj
def on(session: Session, name: str, until: float | None) -> None:
    """Let a host receive no guests.

    Those that are on it stay, unless the policy is `evacuate`; `migctl evacuate HOST` moves them away. It outlasts a
    restart of the controller. A host that is disabled in the pool is out of service by itself.
    """
    answer = session.ask("PUT", _path(name), MaintenanceRequest(until=until))
    session.show(answer, HostView, maintenance_lines)


@maintenance.command()
@click.argument("name", metavar="HOST")
@click.pass_obj
def off(session: Session, name: str) -> None:
    """Let a host receive guests again; it is not emptied any more."""
    session.show(session.ask("DELETE", _path(name)), HostView, maintenance_lines)


def _path(name: str) -> str:
    return f"/v1/hosts/{quote(name, safe='')}/maintenance"


def maintenance_lines(view: HostView, screen: Screen) -> list[str]:
    """Say whether a host receives guests, and if not, why."""
    if not view.maintenance:
        return screen.prose(f"{view.name} is in service; it may receive guests.", "green")
    left = f" Guests still on it: {view.guests}; `migctl evacuate {view.name}` moves them." if view.guests else ""
    return screen.prose(f"{view.name} receives no guests: {view.maintenance}.{left}", "yellow")

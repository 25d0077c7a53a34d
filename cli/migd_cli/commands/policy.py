"""`migctl policy list`, `migctl policy show` and `migctl policy set`."""

from typing import Any

import click
import msgspec

from migd_cli.app import Group
from migd_cli.client import decode
from migd_cli.failures import Failure
from migd_cli.screen import Screen, paint
from migd_cli.session import Session
from migd_cli.table import Cell, Column, table
from migd_core.api import PolicyRequest, PolicyView

COLUMNS = (Column("POLICY", at_least=12), Column("IN USE"), Column("WHAT IT DOES", at_least=24, wraps=True))


@click.group(cls=Group)
def policy() -> None:
    """List, show or set the policy.

    A policy proposes what to move. The gates that keep guests safe hold for every one of them.
    """


@policy.command("list")
@click.pass_obj
def list_(session: Session) -> None:
    """List the policies that can be set."""
    session.show(session.ask("GET", "/v1/policies"), list[PolicyView], list_lines)


@policy.command()
@click.argument("name", required=False)
@click.pass_obj
def show(session: Session, name: str | None) -> None:
    """Show one policy with its configuration: the one in use, unless named."""
    # Each policy stays as it came, so that --json can print one unread.
    bodies = decode(session.ask("GET", "/v1/policies"), list[msgspec.Raw])
    views = [decode(bytes(body), PolicyView) for body in bodies]
    for body, view in zip(bodies, views, strict=True):
        if view.name == name or (name is None and view.is_active):
            session.show(bytes(body), PolicyView, policy_lines)
            return
    known = ", ".join(view.name for view in views)
    raise Failure(
        f"there is no policy {name!r}; there are {known}" if name else f"no policy is in use; there are {known}"
    )


@policy.command("set")
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE …]")
@click.pass_obj
def set_(session: Session, name: str, settings: tuple[str, ...]) -> None:
    """Use a policy from the next control period on.

    What is not named keeps the policy's default; `migctl policy show NAME` lists the keys.
    """
    answer = session.ask("PUT", "/v1/policy", PolicyRequest(name=name, config=_config(settings)))
    session.show(answer, PolicyView, policy_lines)


def list_lines(views: list[PolicyView], screen: Screen) -> list[str]:
    """Return the table of policies, by name."""
    rows: list[tuple[Cell | str, ...]] = [
        (view.name, Cell("yes", "green") if view.is_active else "-", view.summary)
        for view in sorted(views, key=lambda view: view.name)
    ]
    return table(COLUMNS, rows, screen)


def policy_lines(view: PolicyView, screen: Screen) -> list[str]:
    """Return what a policy does and its configuration, as it would stand in the controller's file."""
    use = "in use" if view.is_active else "not in use; these are its defaults"
    lines = [paint(view.name, "bold") + f" ({use})", *screen.labelled("  ", view.summary)]
    for key, value in view.config.items():
        lines += screen.labelled(f"  {key} = ", _toml(value))
    return lines


def _config(settings: tuple[str, ...]) -> dict[str, Any]:
    config = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"{setting!r} is not KEY=VALUE", param_hint="KEY=VALUE")
        if key in config:
            raise click.BadParameter(f"{key} is given twice", param_hint="KEY=VALUE")
        config[key] = value
    return config


def _toml(value: object) -> str:
    return msgspec.json.encode(value).decode()

"""`migctl policy list`, `show`, `set` and `compare`, and `migctl policy shadow`."""

from typing import Any
from urllib.parse import quote

import click
import msgspec

from migd_cli import names
from migd_cli.app import Group
from migd_cli.client import decode
from migd_cli.comparison import change_lines, comparison_lines, shadow_lines, shadows_lines
from migd_cli.failures import Failure
from migd_cli.screen import Screen, paint
from migd_cli.session import Session
from migd_cli.table import Cell, Column, table
from migd_core.api import (
    ComparisonView,
    ContenderView,
    PolicyChangeView,
    PolicyRequest,
    PolicyView,
    ShadowRequest,
)

COLUMNS = (Column("POLICY", at_least=12), Column("IN USE"), Column("WHAT IT DOES", at_least=24, wraps=True))


@click.group(cls=Group)
def policy() -> None:
    """List, show, set or compare policies.

    A policy proposes what to move. The gates that keep guests safe hold for every one of them.
    """


@policy.command("list")
@click.pass_obj
def list_(session: Session) -> None:
    """List the policies that can be set."""
    session.show(session.ask("GET", "/v1/policies"), list[PolicyView], list_lines)


@policy.command()
@click.argument("name", required=False, shell_complete=names.policies)
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
@click.argument("name", shell_complete=names.policies)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE …]")
@click.option("--dry-run", is_flag=True, help="Show what that would change, and change nothing.")
@click.pass_obj
def set_(session: Session, name: str, settings: tuple[str, ...], dry_run: bool) -> None:
    """Use a policy from the next control period on.

    What is not named keeps the policy's default; `migctl policy show NAME` lists the keys.
    """
    request = PolicyRequest(name=name, config=_config(settings))
    if dry_run:
        session.show(session.ask("POST", "/v1/policy/dry-run", request), PolicyChangeView, change_lines)
        return
    session.show(session.ask("PUT", "/v1/policy", request), PolicyView, policy_lines)


@policy.command()
@click.pass_obj
def compare(session: Session) -> None:
    """Show which policy would have done best, of the one in use and its shadows.

    All times are job time: what jobs gain, and lose while guests are copied, each job counted for itself.
    """
    session.show(session.ask("GET", "/v1/policies/comparison"), ComparisonView, comparison_lines)


@policy.group(cls=Group)
def shadow() -> None:
    """Let policies run beside the one in use, and only propose.

    Nothing moves for them. `migctl policy compare` shows what would have come of their proposals.
    """


@shadow.command()
@click.argument("name", shell_complete=names.policies)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE …]")
@click.option("--label", default="", help="What to call it; without, it is called like the policy.")
@click.pass_obj
def add(session: Session, name: str, settings: tuple[str, ...], label: str) -> None:
    """Let a policy propose from now on; one of that label begins anew.

    It is asked until it is removed, also after the controller was started again.
    """
    request = ShadowRequest(name=name, config=_config(settings), label=label)
    session.show(session.ask("POST", "/v1/shadows", request), ContenderView, shadow_lines)


@shadow.command()
@click.argument("label", shell_complete=names.shadows)
@click.pass_obj
def rm(session: Session, label: str) -> None:
    """Ask a shadow policy no more, and forget what would have come of it."""
    answer = session.ask("DELETE", f"/v1/shadows/{quote(label, safe='')}")
    session.show(answer, ContenderView, lambda view, screen: screen.prose(f"{view.label} is not asked any more"))


@shadow.command("list")
@click.pass_obj
def list_shadows(session: Session) -> None:
    """List the shadow policies with their settings and what each would move now."""
    session.show(session.ask("GET", "/v1/shadows"), list[ContenderView], shadows_lines)


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

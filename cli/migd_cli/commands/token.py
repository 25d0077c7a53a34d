"""`migctl token new`, `migctl token list` and `migctl token revoke`."""

import time
from datetime import datetime
from urllib.parse import quote

import click

from migd_cli.app import Group
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import NOTHING, Cell, Column, table
from migd_core.api import NewTokenView, Role, TokenRequest, TokenView
from migd_core.units import parse_duration

COLUMNS = (Column("TOKEN", at_least=10), Column("ROLE"), Column("MADE", leaves=1), Column("EXPIRES"))


@click.group(cls=Group)
def token() -> None:
    """Make, list or revoke tokens for the API over TCP.

    A token lets whoever has it do what its role may: a viewer sees, an operator steers, an admin makes tokens and reads
    the audit log. The controller keeps a hash of it only.
    """


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What it may do.")
@click.option(
    "--expires", metavar="WHEN", default=None, help="30d, 12h, or a date like 2030-12-31 (default: when revoked)."
)
@click.pass_obj
def new(session: Session, name: str, role: str, expires: str | None) -> None:
    """Make a token and print it, this once.

    NAME says who has it; it stands in the audit log. On a pipe nothing but the token is printed: `migctl token new me
    --role operator | install -m 600 /dev/stdin token`.
    """
    expires_at = None if expires is None else _time_of(expires)
    answer = session.ask("POST", "/v1/tokens", TokenRequest(name=name, role=Role(role), expires_at=expires_at))
    session.show(answer, NewTokenView, new_lines)


@token.command("list")
@click.pass_obj
def list_(session: Session) -> None:
    """List the tokens, by name."""
    session.show(session.ask("GET", "/v1/tokens"), list[TokenView], list_lines)


@token.command()
@click.argument("name")
@click.pass_obj
def revoke(session: Session, name: str) -> None:
    """Take a token away: from now on nobody is let in by it."""
    answer = session.ask("DELETE", f"/v1/tokens/{quote(name, safe='')}")
    session.show(answer, TokenView, lambda view, screen: screen.prose(f"Token {view.name} counts no more."))


def new_lines(view: NewTokenView, screen: Screen) -> list[str]:
    """Return the token, and on a terminal what to do with it."""
    if screen.width is None:
        return [view.token]
    until = "" if view.expires_at is None else f", until {_date(view.expires_at)}"
    text = f"It lets whoever has it in as {view.role.value}{until}; nobody can print it again."
    return [view.token, *screen.prose(text, style="dim")]


def list_lines(views: list[TokenView], screen: Screen) -> list[str]:
    """Return the table of tokens."""
    if not views:
        return screen.prose("There are no tokens; `migctl token new NAME --role viewer` makes one.")
    rows: list[tuple[Cell | str, ...]] = [
        (view.name, view.role.value, _date(view.created_at), _expiry(view)) for view in views
    ]
    return table(COLUMNS, rows, screen)


def _expiry(view: TokenView) -> Cell | str:
    if view.expires_at is None:
        return NOTHING
    return Cell(_date(view.expires_at), "red") if view.has_expired else _date(view.expires_at)


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _time_of(text: str) -> float:
    """Return the Unix time that a duration from now, or a date, names."""
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        pass
    try:
        return time.time() + parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}, or a date like 2030-12-31", param_hint="--expires") from error

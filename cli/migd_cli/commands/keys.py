"""`migctl keys`: who may report to the controller. Works on files, so that it does whether or not a controller runs."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import click
import msgspec

from migd_cli.app import Group
from migd_cli.failures import Failure
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import Cell, Column, table
from migd_core import keys as files
from migd_core.errors import MigdError

COLUMNS = (Column("HOST", at_least=8), Column("KEY"), Column("NEXT KEY"))
_CONTROLLER = "controller"


class Authorised(msgspec.Struct, frozen=True):
    """A host whose agent is let in, and its public keys: the one it has, and the next one while it is rotated."""

    host: str
    keys: tuple[str, ...]


class Known(msgspec.Struct, frozen=True):
    """What `keys list` shows. `controller` is its public key, None where it has none in the folder."""

    controller: str | None
    agents: list[Authorised]


class _Host(click.ParamType[str]):
    """A uuid as XAPI writes it."""

    name = "uuid"

    def convert(self, value: str, parameter: click.Parameter | None, context: click.Context | None) -> str:
        try:
            return str(UUID(value))
        except ValueError:
            self.fail(f"expected the host's uuid, found {value!r}; `migd-agent key` there shows it", parameter, context)


_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=files.FOLDER,
    show_default=True,
    help="Where controller.key and agents.toml are.",
)
_host = click.argument("host", type=_Host(), metavar="HOST_UUID")


@click.group(cls=Group)
def keys() -> None:
    """Make, authorise, rotate and revoke the keys of agents.

    A running controller acts on each change at once, by itself. KEY is a public key, or the file that holds it;
    `migd-agent key` on a host shows its uuid and its key.
    """


@keys.command()
@click.argument("name")
@_folder
def new(name: str, folder: Path) -> None:
    """Make a pair of keys: FOLDER/NAME.key and FOLDER/secrets/NAME.key_secret."""
    with _failures():
        public, secret = files.create(folder, name, folder / "secrets")
    click.echo(f"public key: {public}\nsecret key: {secret} (mode 0600: who has it speaks for its owner)")


@keys.command()
@_host
@click.argument("key")
@_folder
def authorise(host: str, key: str, folder: Path) -> None:
    """Let the agent with this key speak for a host, instead of any key the host had."""
    with _failures():
        files.authorise(folder / "agents.toml", host, files.public_key(key))
    click.echo(f"the agent of host {host} is let in")


@keys.command("list")
@_folder
@click.pass_obj
def list_(session: Session, folder: Path) -> None:
    """List the controller's own public key, and the keys that are let in."""
    with _failures():
        own = folder / f"{_CONTROLLER}.key"
        known = Known(
            controller=files.read_public(own) if own.exists() else None,
            agents=[Authorised(host, each) for host, each in sorted(files.authorised(folder / "agents.toml").items())],
        )
    session.show(msgspec.json.encode(known), Known, list_lines)


@keys.command()
@_host
@click.argument("key", required=False)
@click.option("--finish", is_flag=True, help="Let in no more with the key that was before.")
@_folder
def rotate(host: str, key: str | None, finish: bool, folder: Path) -> None:
    """Let a host's agent in with its next KEY, too; with --finish, with that one only."""
    if (key is None) != finish:
        raise click.UsageError("give the next KEY, or --finish once the agent uses it")
    agents_file = folder / "agents.toml"
    with _failures():
        if key is None:
            ended = files.finish(agents_file, host)
            click.echo(f"host {host}: {f'{ended[0]} no longer counts' if ended else 'it has one key only, as before'}")
        else:
            files.rotate(agents_file, host, files.public_key(key))
            click.echo(
                f"the agent of host {host} is let in with both keys\n"
                "there: migd-agent key --use-next && systemctl restart migd-agent\n"
                f"then:  migctl keys rotate {host} --finish"
            )


@keys.command()
@_host
@_folder
def revoke(host: str, folder: Path) -> None:
    """Let no agent speak for a host any more."""
    with _failures():
        files.revoke(folder / "agents.toml", host)
    click.echo(f"no agent speaks for host {host} any more; XAPI's own measurements stand in where there are any")


def list_lines(known: Known, screen: Screen) -> list[str]:
    """Return what `migctl keys list` prints."""
    own = f"controller: {known.controller or 'has no key here; `migctl keys new controller` makes one'}"
    if not known.agents:
        return [own, "no agent is let in; `migctl keys authorise` lets one in"]
    rows = [[Cell(text) for text in (each.host, each.keys[0], *(each.keys[1:] or ("-",)))] for each in known.agents]
    return [own, "", *table(COLUMNS, rows, screen)]


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn an error of the files into a failure of the command."""
    try:
        yield
    except MigdError as error:
        raise Failure(str(error)) from error

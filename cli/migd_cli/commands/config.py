"""`migctl config check FILE`."""

from pathlib import Path
from typing import Final

import click

from migd_cli.app import Group
from migd_cli.failures import Failure
from migd_cli.screen import Screen
from migd_cli.session import Session

CONTROLLER: Final = "controller"
AGENT: Final = "agent"
# What only a controller's file has, and what only an agent's.
_SECTIONS: Final = {CONTROLLER: {"telemetry", "xapi"}, AGENT: {"controller", "measure"}}


@click.group(cls=Group)
def config() -> None:
    """Check a configuration file before it is used."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice([CONTROLLER, AGENT]), help="Whose file it is (default: by its sections).")
@click.pass_obj
def check(session: Session, file: Path, kind: str | None) -> None:
    """Say whether a controller or an agent could start with a file.

    An error names the key, what was expected and what was found; the exit code is then 1. No controller is asked and
    nothing is changed. Files that the configuration names are not looked at.
    """
    from migd_core.errors import MigdError

    try:
        found = kind or _kind(file)
        _load(file, found)
    except MigdError as error:
        raise Failure(str(error)) from error
    if session.wants_json:
        import json

        click.echo(json.dumps({"file": str(file), "kind": found, "ok": True}))
        return
    screen = Screen.of_stdout()
    for line in screen.labelled("ok: ", f"{file} is a configuration of the {found}.", style="green"):
        click.echo(line, color=screen.has_colours)


def _kind(file: Path) -> str:
    """Return whose file it is. Raises ConfigError if it cannot be told, or read."""
    from typing import Any

    from migd_core.config import load
    from migd_core.errors import ConfigError

    sections = load(file, dict[str, Any]).keys()
    found = [kind for kind, own in _SECTIONS.items() if sections & own]
    if len(found) != 1:
        raise ConfigError(
            f"{file}: expected the sections of a controller ([telemetry], [xapi]) or of an agent ([controller]), found "
            f"{', '.join(f'[{each}]' for each in sections) or 'none'}; --kind says which it is to be"
        )
    return found[0]


def _load(file: Path, kind: str) -> None:
    """Read the file as its daemon would. Raises ConfigError."""
    from migd_core.config import load
    from migd_core.errors import ConfigError, MigdError

    try:
        if kind == AGENT:
            from migd_agent.config import AgentConfig

            load(file, AgentConfig)
            return
        from migd_controller.config import ControllerConfig
        from migd_policies.registry import configure
    except ImportError as error:
        raise ConfigError(
            f"migd's {kind} is not installed here ({error}), and its configuration can be checked only where it is"
        ) from error
    read = load(file, ControllerConfig)
    for place, policy in [("policy", read.policy), *(("shadow", each) for each in read.shadow)]:
        try:
            configure(policy.name, policy.config)
        except MigdError as error:
            raise ConfigError(f"{file}: {place}: {error}") from error

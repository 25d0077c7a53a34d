"""`migd-controller`: run the controller, or see to keys.

Exit codes: 0 ended by a signal, 1 could not start or had to give up (the text says why), 2 wrong usage.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from uuid import UUID

import structlog

from migd_controller import keys
from migd_controller.config import ControllerConfig
from migd_controller.daemon import run
from migd_core import __version__, config, logs
from migd_core.errors import MigdError

DEFAULT_CONFIG = Path("/etc/migd/controller.toml")


def main() -> None:
    """Parse the command line and do what it says."""
    arguments = _parser().parse_args()
    logs.configure(component="controller", level=getattr(arguments, "log_level", "info"))
    try:
        match arguments.command:
            case "keys":
                _keys(arguments)
            case _:
                asyncio.run(run(config.load(arguments.config, ControllerConfig)))
    except MigdError as error:
        sys.exit(f"migd-controller: {error}")
    except BaseExceptionGroup as group:
        known, unknown = group.split(MigdError)
        if unknown is not None:
            raise
        assert known is not None
        structlog.get_logger().error("controller gives up", why="; ".join(str(error) for error in _leaves(known)))
        sys.exit(1)


def _leaves(group: BaseExceptionGroup[MigdError]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


def _keys(arguments: argparse.Namespace) -> None:
    if arguments.action == "new":
        public, secret = keys.create(arguments.folder, arguments.name)
        sys.stdout.write(f"public key: {public}\nsecret key: {secret} (mode 0600: who has it speaks for its owner)\n")
    else:
        keys.authorize(arguments.agents_file, arguments.host_uuid, arguments.public_key)
        sys.stdout.write(f"{arguments.agents_file}: the agent of host {arguments.host_uuid} is let in\n")


def _uuid(text: str) -> str:
    """Return a uuid as XAPI writes it."""
    try:
        return str(UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected the host's uuid, found {text!r}; `xe host-list` shows the uuids"
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="migd-controller", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--version", action="version", version=f"migd {__version__}")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help=f"default: {DEFAULT_CONFIG}")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    commands = parser.add_subparsers(dest="command")
    key_actions = commands.add_parser("keys", help="make CURVE keys and let agents in").add_subparsers(
        dest="action", required=True
    )
    new = key_actions.add_parser("new", help="write FOLDER/NAME.key and FOLDER/NAME.key_secret")
    new.add_argument("folder", type=Path)
    new.add_argument("name")
    authorize = key_actions.add_parser("authorize", help="let the agent with this public key speak for a host")
    authorize.add_argument("agents_file", type=Path)
    authorize.add_argument("host_uuid", type=_uuid, help="as `xe host-list` shows it")
    authorize.add_argument("public_key", type=Path, help="the agent's NAME.key")
    return parser


if __name__ == "__main__":
    main()

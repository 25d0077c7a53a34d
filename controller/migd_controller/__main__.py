"""`migd-controller`: run the controller. `migctl keys` sees to its keys.

Exit codes: 0 ended by a signal, 1 could not start or had to give up (the text says why), 2 wrong usage.
"""

import argparse
import asyncio
import faulthandler
import sys
from pathlib import Path

import structlog

from migd_controller.config import ControllerConfig
from migd_controller.daemon import run
from migd_controller.leader import Deposed
from migd_core import __version__, config, logs
from migd_core.errors import MigdError

DEFAULT_CONFIG = Path("/etc/migd/controller.toml")


def main() -> None:
    """Parse the command line and do what it says."""
    arguments = _parser().parse_args()
    faulthandler.enable()  # so that the journal has the stack on which the watchdog found it
    logs.configure(component="controller", level=arguments.log_level)
    try:
        settings = config.load(arguments.config, ControllerConfig)
        while _is_deposed(settings):
            structlog.get_logger().warning("controller begins anew, and stands by")
    except MigdError as error:
        sys.exit(f"migd-controller: {error}")
    except BaseExceptionGroup as group:
        known, unknown = group.split(MigdError)
        if unknown is not None:
            raise
        assert known is not None
        structlog.get_logger().error("controller gives up", why="; ".join(str(error) for error in _leaves(known)))
        sys.exit(1)


def _is_deposed(settings: ControllerConfig) -> bool:
    """Run one controller to its end; return whether that was because another one leads now."""
    try:
        asyncio.run(run(settings))
    except BaseExceptionGroup as group:
        deposed, others = group.split(Deposed)
        if deposed is None or others is not None:
            raise
        structlog.get_logger().warning("controller is deposed", why=str(_leaves(deposed)[0]))
        return True
    return False


def _leaves(group: BaseExceptionGroup[MigdError]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="migd-controller", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--version", action="version", version=f"migd {__version__}")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help=f"default: {DEFAULT_CONFIG}")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return parser


if __name__ == "__main__":
    main()

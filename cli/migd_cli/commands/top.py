"""`migctl top`."""

import importlib.util
import sys

import click

from migd_cli.app import Command
from migd_cli.failures import Failure
from migd_cli.session import Session


@click.command(cls=Command)
@click.pass_obj
def top(session: Session) -> None:
    """Watch the cluster on one screen, and steer it.

    Hosts with their guests, jobs with the rank that the others wait for, and migrations under way with their progress
    and predicted end, anew every second. Keys sort, filter, explain a guest, pause, resume and cancel a migration;
    ? lists them. Should the controller be away, the screen stays, says so, and goes on when it is back.
    """
    if session.wants_json:
        raise click.UsageError(
            "top draws on a terminal; `migctl status --json` prints JSON, as do hosts, guests and jobs"
        )
    if importlib.util.find_spec("textual") is None:
        raise Failure("migctl top draws with textual, which is not installed; pip install 'migd[top]' brings it")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure("migctl top needs a terminal; `migctl status` and `migctl hosts` can be piped")
    from migd_cli.top.app import TIMEOUT_S, run

    run(session.client(TIMEOUT_S))

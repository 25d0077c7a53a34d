"""`migctl demo`."""

import click

from migd_cli.app import Command
from migd_cli.session import Session


@click.command(cls=Command)
@click.option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C.")
@click.pass_context
def demo(context: click.Context, keep: bool) -> None:
    """Watch migd speed up a job on an emulated pool, in a minute.

    Starts an emulated pool of four hosts, an agent for each, and a controller, all on this machine and in a temporary
    folder. A noisy neighbour takes half of a host; migd moves ranks of the job away from it. Ends with the job's steps
    a second before, during and after, and what each migration was expected to take and took. With --json the last line
    is one JSON object.
    """
    from migd_cli.demo.run import play

    session = context.find_object(Session)
    assert session is not None
    context.exit(play(wants_json=session.wants_json, keep=keep))

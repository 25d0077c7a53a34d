"""`migctl simulate`: needs no controller; the run is in virtual time."""

from pathlib import Path

import click

from migd_cli.app import Command
from migd_cli.failures import Failure
from migd_cli.session import Session
from migd_core.errors import MigdError


@click.command(cls=Command)
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option("--record", type=click.Path(path_type=Path), metavar="RUN", help="Record it to this folder, to be made.")
@click.pass_obj
def simulate(session: Session, scenario: Path, record: Path | None) -> None:
    """Run a scenario in virtual time, and record it.

    SCENARIO is a folder with a scenario.toml: hosts, guests, jobs, the policy, what happens when. The controller's own
    core decides on a simulated cluster. What happened is printed, a line each with the virtual second; `migctl replay`
    and `migctl report --record` take the record.
    """
    from migd_sim.run.recorded import run

    try:
        loop = run(scenario, record)
    except MigdError as error:
        raise Failure(str(error)) from error
    if session.wants_json:
        import json

        click.echo(json.dumps(loop.log))
        return
    for line in loop.log:
        click.echo(line)

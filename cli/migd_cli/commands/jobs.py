"""`migctl jobs`, `migctl job add` and `migctl job rm`."""

from urllib.parse import quote

import click

from migd_cli.app import Command, Group
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import Column, table
from migd_core.api import JobRequest, JobView
from migd_core.units import format_duration, parse_duration

COLUMNS = (
    Column("JOB", at_least=10),
    Column("REMAINING", is_number=True),
    Column("GUESTS", is_number=True),
    Column("NAMES", at_least=20, wraps=True),
)


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(cls=Command)
@click.pass_obj
def jobs(session: Session) -> None:
    """List the jobs that migd knows.

    A job is a set of guests whose ranks wait for each other: what slows one down slows down all.
    """
    session.show(session.ask("GET", "/v1/jobs"), list[JobView], job_lines)


@click.group(cls=Group)
def job() -> None:
    """Add or remove a job."""


@job.command()
@click.argument("name")
@click.option("--guests", "guest_list", required=True, metavar="A,B,…", help="The job's guests, by name or uuid.")
@click.option(
    "--remaining",
    callback=_seconds,
    metavar="TIME",
    help="How long it still runs: 90s, 15min, 6h, 1d12h (default: unknown).",
)
@click.pass_obj
def add(session: Session, name: str, guest_list: str, remaining: float | None) -> None:
    """Tell migd that some guests run one job; a job of that name is replaced.

    The remaining time bounds what a migration can gain: a job about to end is left alone.
    """
    guests = [guest.strip() for guest in guest_list.split(",") if guest.strip()]
    if not guests:
        raise click.BadParameter("name at least one guest", param_hint="--guests")
    answer = session.ask("POST", "/v1/jobs", JobRequest(name=name, guests=guests, remaining_s=remaining))
    session.show(answer, JobView, lambda view, screen: screen.prose(f"Job {view.name}: {_described(view)}"))


@job.command()
@click.argument("name")
@click.pass_obj
def rm(session: Session, name: str) -> None:
    """Forget a job; its guests go on running."""
    answer = session.ask("DELETE", f"/v1/jobs/{quote(name, safe='')}")
    session.show(
        answer, JobView, lambda view, screen: screen.prose(f"Job {view.name} is forgotten; its guests run on.")
    )


def job_lines(views: list[JobView], screen: Screen) -> list[str]:
    """Return the table of jobs, by name."""
    if not views:
        return screen.prose("No job is known; `migctl job add NAME --guests a,b,…` tells migd of one.")
    rows = [(view.name, _remaining(view), str(len(view.guests)), " ".join(view.guest_names)) for view in views]
    return table(COLUMNS, sorted(rows), screen)


def _remaining(view: JobView) -> str:
    return "unknown" if view.remaining_s is None else format_duration(view.remaining_s)


def _described(view: JobView) -> str:
    until = "until it is removed" if view.remaining_s is None else f"{format_duration(view.remaining_s)} remaining"
    return f"{len(view.guests)} guests ({', '.join(view.guest_names)}), {until}"

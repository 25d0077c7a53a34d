"""`migctl jobs`, and `migctl job` with `add`, `set`, `progress` and `rm`."""

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import click
from msgspec import UNSET, UnsetType

from migd_cli import names
from migd_cli.app import Command, Group
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import NOTHING, Column, table
from migd_cli.watch import watchable
from migd_core.api import JobRequest, JobView
from migd_core.job_limits import JobLimitsChange
from migd_core.progress import Progress
from migd_core.units import format_duration, format_ratio, parse_duration

# What takes a job's own limit away.
NONE: Final = "none"
_PER_HOUR: Final = re.compile(r"\s*(/|per|an|a)\s*(h|hour)\s*$", re.IGNORECASE)
COLUMNS = (
    Column("JOB", at_least=10),
    Column("REMAINING", is_number=True),
    Column("8 OF 10 TIMES", is_number=True, leaves=2),
    Column("PROGRESS", is_number=True, leaves=1),
    Column("GUESTS", is_number=True),
    Column("WHILE MIGRATING", kind="piped"),
    Column("BASIS", kind="note"),
    Column("STALLS", kind="note"),
    Column("HOURS", kind="note"),
    Column("NAMES", at_least=20, wraps=True),
)


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _limit(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | UnsetType | None:
    """Read a time, or `none`; a budget may say that it is one per hour, which every budget is."""
    if value is None:
        return UNSET
    if value.strip().lower() == NONE:
        return None
    try:
        return parse_duration(_PER_HOUR.sub("", value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _with_limits(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how its job may be disturbed."""
    for option in (
        click.option(
            "--allowed-hours",
            multiple=True,
            metavar="HOURS",
            help="When policies may move its guests, like 'Mon-Fri 20:00-06:00'; may be given several times.",
        ),
        click.option(
            "--no-stall-last",
            callback=_limit,
            metavar="TIME",
            help="How long before its end it is not made to stand still any more.",
        ),
        click.option(
            "--stall-budget",
            callback=_limit,
            metavar="TIME",
            help="How long migrations may make it stand still within an hour: 20s, '20 s per hour'.",
        ),
    ):
        command = option(command)
    return command


def _change(
    stall_budget: float | UnsetType | None, no_stall_last: float | UnsetType | None, allowed_hours: tuple[str, ...]
) -> JobLimitsChange:
    hours: tuple[str, ...] | UnsetType | None = allowed_hours or UNSET
    if [each.strip().lower() for each in allowed_hours] == [NONE]:
        hours = None
    return JobLimitsChange(stall_per_hour_s=stall_budget, no_stall_last_s=no_stall_last, allowed_hours=hours)


@click.command(cls=Command)
@click.pass_obj
@watchable
def jobs(session: Session) -> None:
    """List the jobs that migd knows.

    A job is a set of guests whose ranks wait for each other: what slows one down slows down all. REMAINING is how long
    it still runs, by the best that is known: its progress, what was said, earlier runs, its wall-time limit, the time
    it has run. Below the table stands which of these it was, and why not a better one.
    """
    session.show(session.ask("GET", "/v1/jobs"), list[JobView], job_lines)


@click.group(cls=Group)
def job() -> None:
    """Add a job, change its limits, tell its progress, or remove it."""


@job.command()
@click.argument("name")
@click.option(
    "--guests",
    "guest_list",
    required=True,
    metavar="A,B,…",
    shell_complete=names.guest_list,
    help="The job's guests, by name or uuid.",
)
@click.option(
    "--remaining",
    callback=_seconds,
    metavar="TIME",
    help="How long it still runs: 90s, 15min, 6h, 1d12h (default: unknown).",
)
@click.option(
    "--wall-time",
    callback=_seconds,
    metavar="TIME",
    help="What the batch system was asked for, counted from when the job was first added.",
)
@click.option("--slurm-job", type=click.IntRange(min=1), metavar="NUMBER", help="It is Slurm's, and ends with it.")
@click.option("--run-of", default="", metavar="NAME", help="What all runs of it are called, if not like this one.")
@_with_limits
@click.pass_obj
def add(
    session: Session,
    /,
    name: str,
    guest_list: str,
    remaining: float | None,
    wall_time: float | None,
    slurm_job: int | None,
    run_of: str,
    **limits: Any,
) -> None:
    """Tell migd that some guests run one job; a job of that name is replaced.

    The remaining time bounds what a migration can gain: a job about to end is left alone. Where nobody says it, it is
    taken from the job's progress, from how long earlier runs of that name took, or from its wall-time limit. The same
    name with the same guests is the same run.
    """
    guests = [guest.strip() for guest in guest_list.split(",") if guest.strip()]
    if not guests:
        raise click.BadParameter("name at least one guest", param_hint="--guests")
    request = JobRequest(
        name=name,
        guests=guests,
        remaining_s=remaining,
        wall_time_limit_s=wall_time,
        limits=_change(**limits),
        slurm_job=slurm_job,
        run_of=run_of,
    )
    answer = session.ask("POST", "/v1/jobs", request)
    session.show(answer, JobView, lambda view, screen: screen.prose(f"Job {view.name}: {_described(view)}"))


@job.command("set")
@click.argument("name", shell_complete=names.jobs)
@_with_limits
@click.pass_obj
def set_(session: Session, /, name: str, **limits: Any) -> None:
    """Change how a job may be disturbed; what is not named stays as it is.

    `none` takes the job's own limit away: then what holds for every job counts ([guards] and [rules] of the
    controller's configuration).
    """
    change = _change(**limits)
    if change.is_empty:
        raise click.UsageError("nothing to change; name --stall-budget, --no-stall-last or --allowed-hours")
    answer = session.ask("PATCH", f"/v1/jobs/{quote(name, safe='')}", change)
    session.show(answer, JobView, lambda view, screen: screen.prose(f"Job {view.name}: {_described(view)}"))


@job.command()
@click.argument("name", shell_complete=names.jobs)
@click.argument("done", type=float)
@click.argument("total", type=float, required=False)
@click.pass_obj
def progress(session: Session, name: str, done: float, total: float | None) -> None:
    """Tell how far a job is: DONE iterations of TOTAL.

    Any unit does of which each takes the same work. A job tells it every minute or so; a guest can tell it by itself
    with `xenstore-write data/migd/progress DONE/TOTAL`.
    """
    try:
        told = Progress(done, total)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="DONE [TOTAL]") from error
    answer = session.ask("POST", f"/v1/jobs/{quote(name, safe='')}/progress", told)
    session.show(answer, JobView, lambda view, screen: screen.prose(f"Job {view.name}: {_described(view)}"))


@job.command()
@click.argument("name", shell_complete=names.jobs)
@click.pass_obj
def rm(session: Session, name: str) -> None:
    """Forget a job, which is over; its guests go on running.

    How long it ran tells how long the next one of that name will run.
    """
    answer = session.ask("DELETE", f"/v1/jobs/{quote(name, safe='')}")
    session.show(
        answer, JobView, lambda view, screen: screen.prose(f"Job {view.name} is forgotten; its guests run on.")
    )


def job_lines(views: list[JobView], screen: Screen) -> list[str]:
    """Return the table of jobs, by name."""
    if not views:
        return screen.prose("No job is known; `migctl job add NAME --guests a,b,…` tells migd of one.")
    rows = [
        (
            view.name,
            _remaining(view),
            _interval(view),
            NOTHING if view.progress is None else str(view.progress),
            str(len(view.guests)),
            NOTHING if view.speed_while_migrating_ratio is None else format_ratio(view.speed_while_migrating_ratio),
            view.remaining_basis or NOTHING,
            _stalls(view) or NOTHING,
            _hours(view) or NOTHING,
            " ".join(view.guest_names),
        )
        for view in views
    ]
    return table(COLUMNS, sorted(rows), screen)


def _interval(view: JobView) -> str:
    if view.remaining_least_s is None or view.remaining_most_s is None:
        return NOTHING
    return f"{format_duration(view.remaining_least_s)} … {format_duration(view.remaining_most_s)}"


def _remaining(view: JobView) -> str:
    return "unknown" if view.remaining_s is None else format_duration(view.remaining_s)


def _stalls(view: JobView) -> str:
    """How long it has stood still of what it may; empty where that is of no account."""
    own = view.limits
    if view.stall_per_hour_s is None or (own.stall_per_hour_s is None and own.no_stall_last_s is None):
        return f"stood still for {format_duration(view.stalled_s)} within an hour" if view.stalled_s else ""
    text = (
        f"stood still for {format_duration(view.stalled_s)} of at most {format_duration(view.stall_per_hour_s)} an hour"
    )
    return f"{text}, not in its last {format_duration(view.no_stall_last_s)}" if view.no_stall_last_s else text


def _hours(view: JobView) -> str:
    hours = view.limits.allowed_hours
    return "" if hours is None else f"moved only at {', '.join(hours)}" if hours else "moved at any hour"


def _described(view: JobView) -> str:
    until = "until it is removed" if view.remaining_s is None else f"{format_duration(view.remaining_s)} remaining"
    basis = f" ({view.remaining_basis})" if view.remaining_basis else ""
    limits = "".join(f", {text}" for text in (_stalls(view), _hours(view)) if text)
    return f"{len(view.guests)} guests ({', '.join(view.guest_names)}), {until}{basis}{limits}"

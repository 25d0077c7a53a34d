"""`migctl measure migration` and `migctl measure show`."""

import math
import re
import shlex
import time
from pathlib import Path
from random import SystemRandom
from typing import Final

import click
import msgspec

from migd_cli import names
from migd_cli.app import Command
from migd_cli.demo.interruption import Interrupted, pause, signals_held
from migd_cli.experiment import plots, silence
from migd_cli.experiment.lines import measurement_lines
from migd_cli.experiment.live import Experiment, Hold
from migd_cli.experiment.runs import Plan, Record, Run
from migd_cli.experiment.simulated import planned, simulated_runs
from migd_cli.experiment.site import Site
from migd_cli.experiment.summary import Summary, summary
from migd_cli.failures import EXIT_FAILED, Failure
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_core.units import parse_duration

MOST_RUNS: Final = 1000
# So long a guest may be kept from moving while its dirty pages are counted.
MOVABLE_WITHIN_S: Final = 60.0
SUMMARY_FILE: Final = "summary.json"


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _limit(context: click.Context, parameter: click.Parameter, value: str | None) -> float:
    return math.inf if value is None else _seconds(context, parameter, value)


def _number(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    if math.isnan(value):  # which lies in every range
        raise click.BadParameter("expected a number, found nan")
    return value


@click.command(cls=Command)
@click.option(
    "--guest",
    required=True,
    metavar="GUEST",
    shell_complete=names.guests,
    help="The guest that is migrated, of the application's.",
)
@click.option(
    "--to",
    "target",
    default="",
    metavar="HOST",
    shell_complete=names.hosts,
    help="Where it goes; simulated without one: nowhere.",
)
@click.option(
    "--at",
    "at_s",
    callback=_seconds,
    default="60s",
    show_default=True,
    metavar="TIME",
    help="When it leaves, after the start.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, MOST_RUNS),
    default=30,
    show_default=True,
    metavar="N",
    help="Runs of each kind.",
)
@click.option(
    "--warm-up",
    type=click.IntRange(0, 100),
    default=1,
    show_default=True,
    metavar="N",
    help="Runs before these, which do not count.",
)
@click.option(
    "--settle",
    "settle_s",
    callback=_seconds,
    default="5s",
    show_default=True,
    metavar="TIME",
    help="How long to wait before each run.",
)
@click.option(
    "--limit",
    "limit_s",
    callback=_limit,
    metavar="TIME",
    help="End a run that is not over by then; it has failed (default: wait).",
)
@click.option("--ping", metavar="ADDRESS", default="", help="The guest's address: how long it is silent is its pause.")
@click.option("--out", "folder", type=click.Path(path_type=Path), metavar="FOLDER", help="Where results go.")
@click.option("--resume", is_flag=True, help="Make the runs that the folder still lacks.")
@click.option("--plot", is_flag=True, help="Draw the results, too (needs matplotlib).")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Draws the same order again (default: a new one).")
@click.option("--no-hold", is_flag=True, help="Leave automation as it is; runs that it disturbs do not count.")
@click.option("--simulate", default="", metavar="POOL.toml", help="In virtual time, on the pool of a file.")
@click.option("--baseline", default="", metavar="POOL.toml", help="Simulated: the same job elsewhere, to compare with.")
@click.option(
    "--noise",
    "noise_ratio",
    type=click.FloatRange(0, 0.5),
    callback=_number,
    default=0.01,
    show_default=True,
    metavar="RATIO",
    help="Simulated: the standard deviation of speeds and links from run to run.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def migration(
    session: Session,
    guest: str,
    target: str,
    at_s: float,
    repeat: int,
    warm_up: int,
    settle_s: float,
    limit_s: float,
    ping: str,
    folder: Path | None,
    resume: bool,
    plot: bool,
    seed: int | None,
    no_hold: bool,
    simulate: str,
    baseline: str,
    noise_ratio: float,
    command: tuple[str, ...],
) -> None:
    """Measure what a migration costs an application, which is named after `--`.

    The application is run with a migration at a fixed time after its start and without one, in random order, and the
    guest goes home in between. Migrations go by migd, with all its gates, and migd moves nothing by itself meanwhile.
    Each run is written to the folder's runs.jsonl when it is over. Ctrl-C ends the application, brings the guest home,
    and shows what was measured so far; --resume goes on. Runs that fail or are disturbed are named, and never averaged.
    """
    if plot:
        plots.require()
    seed = SystemRandom().randrange(2**31) if seed is None else seed
    plan = Plan(
        guest=guest,
        home="",
        target=target,
        at_s=at_s,
        repeat=repeat,
        warm_up=warm_up,
        seed=seed,
        command=list(command),
        pause_by=silence.told_by(ping) if ping else "",
        simulated=simulate,
        baseline=baseline,
        noise_ratio=noise_ratio if simulate else 0.0,
    )
    if simulate:
        if command or ping or resume:
            raise click.UsageError("--simulate runs the job of the pool file: it takes no command, --ping or --resume")
        _simulate(session, plan, folder, plot)
        return
    if limit_s <= at_s:
        raise click.UsageError("--limit is to be later than --at: no run could have a migration")
    if not command or not target:
        raise click.UsageError("name the application after `--`, and where the guest goes with --to")
    if baseline:
        raise click.UsageError("--baseline goes with --simulate only")
    _measure(session, plan, folder or _folder_of(guest), settle_s, limit_s, ping, resume, plot, no_hold)


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--plot", is_flag=True, help="Draw the results, too (needs matplotlib).")
@click.pass_obj
def show(session: Session, folder: Path, plot: bool) -> None:
    """Show what `migctl measure migration` has in a folder."""
    if plot:
        plots.require()
    record = Record.read(folder)
    _show(session, summary(record.plan, record.runs, was_held=record.was_held), record.runs, folder, plot)


def _measure(
    session: Session,
    wanted: Plan,
    folder: Path,
    settle_s: float,
    limit_s: float,
    ping: str,
    resume: bool,
    plot: bool,
    no_hold: bool,
) -> None:
    site = Site(session.client(), pause)
    with signals_held():
        if ping:
            silence.check(ping)
        if resume:
            record = Record.resume(folder)
            _refuse_other_plan(record.plan, wanted, folder)
        else:
            try:
                plan = _at_home(wanted, site)
            except Interrupted as error:
                raise Failure("interrupted before anything was measured") from error
            record = Record.begin(folder, plan)
        experiment = Experiment(site, record, settle_s, limit_s, ping, _tell)
        hold = Hold(site, record, _tell, is_wanted=not no_hold)
        failure: Failure | None = None
        was_interrupted = False
        try:
            hold.begin()
            experiment.make_runs()
        except Interrupted:
            was_interrupted = True
            _tell("interrupted; the guest goes home (Ctrl-C again leaves it where it is)")
        except Failure as error:
            failure = error
        try:
            experiment.let_go()
        except (Failure, Interrupted) as error:
            _tell(f"guest {wanted.guest} was not brought home: {error}")
        try:
            hold.end()
        except (Failure, Interrupted) as error:
            _tell(f"automation is still off: {error}; `migctl automation set` changes that, and so does --resume")
    _show(session, summary(record.plan, record.runs, was_held=record.was_held), record.runs, folder, plot)
    if failure is not None:
        raise failure
    if was_interrupted:
        raise click.exceptions.Exit(EXIT_FAILED)


def _at_home(plan: Plan, site: Site) -> Plan:
    """Return the plan with names as the controller has them, and the guest's home. Raises Failure.

    A guest that is on its way is at home where it arrives.
    """
    target = site.host(plan.target)
    if site.status().is_paused:
        raise Failure("migd is paused, and starts no migration; `migctl resume` allows them again")
    until_s = time.monotonic() + MOVABLE_WITHIN_S
    while True:
        moment = site.moment(plan.guest)
        guest, is_leaving = moment.guest, any(each.ok is None for each in moment.of_guest())
        if target.name == guest.host_name and not is_leaving:
            raise Failure(f"guest {guest.name} is on {target.name} already; name another host with --to")
        why = "it is being migrated" if is_leaving else guest.immovable_because
        if not why:
            return msgspec.structs.replace(plan, guest=guest.name, home=guest.host_name, target=target.name)
        if time.monotonic() > until_s:
            raise Failure(f"guest {guest.name} may not be migrated: {why}; `migctl explain {guest.name}` tells more")
        site.wait(1.0)


def _refuse_other_plan(found: Plan, wanted: Plan, folder: Path) -> None:
    """Raises Failure where a measurement would be gone on with as another one."""
    now = msgspec.structs.replace(wanted, home=found.home, seed=found.seed)
    for field in found.__struct_fields__:
        was, is_ = getattr(found, field), getattr(now, field)
        if was != is_:
            was_text = shlex.join(was) if isinstance(was, list) else was
            raise Failure(
                f"{folder} has another measurement, with {field} = {was_text}; name another folder with --out"
            )


def _simulate(session: Session, wanted: Plan, folder: Path | None, plot: bool) -> None:
    plan = planned(wanted)
    if plot and folder is None:
        folder = _folder_of(plan.guest)
    record = Record.begin(folder, plan) if folder is not None else None
    runs = simulated_runs(plan)
    for run in runs if record is not None else []:
        assert record is not None
        record.add(run)
    _show(session, summary(plan, runs), runs, folder, plot)


def _show(session: Session, found: Summary, runs: list[Run], folder: Path | None, plot: bool) -> None:
    if folder is not None:
        _write(folder / SUMMARY_FILE, found)
    drawn = plots.draw(folder, found, runs) if plot and folder is not None else []
    session.show(msgspec.json.encode(found), Summary, measurement_lines)
    for path in drawn:
        _tell(f"drawn: {path}")


def _write(path: Path, found: Summary) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    except OSError as error:
        raise Failure(f"{path}: cannot be written: {error.strerror}") from error


def _folder_of(guest: str) -> Path:
    return Path("measure-" + re.sub(r"[^A-Za-z0-9._-]", "_", guest))


def _tell(text: str) -> None:
    screen = Screen.of_stderr()
    for line in screen.prose(text):
        click.echo(line, err=True, color=screen.has_colours)

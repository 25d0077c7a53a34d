"""`migctl evaluate`: needs no controller; the runs are in virtual time, in processes of their own."""

import sys
from collections.abc import Callable
from random import SystemRandom
from typing import TYPE_CHECKING, Final

import click
import msgspec

from migd_cli.app import Command
from migd_cli.failures import Failure
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import NOTHING, Column, table
from migd_core.errors import MigdError
from migd_core.units import format_duration

if TYPE_CHECKING:
    from migd_sim.run.evaluation.score import Evaluation

# As the sets and kinds of reports are called in migd_sim.run.evaluation, which is imported when the command runs.
SETS: Final = ("mixed", "seed-like", "communication", "failing", "adversarial")
REPORTS: Final = ("progress", "wall-time", "nothing")
MOST_RUNS: Final = 100_000
COLUMNS: Final = (
    Column("POLICY", at_least=10),
    Column("CAPTURED", is_number=True),
    Column("GAIN", is_number=True),
    Column("SLOWER", is_number=True),
    Column("WORST", is_number=True),
    Column("MOVES", is_number=True),
    Column("PAUSE", is_number=True),
    Column("LOST", is_number=True, leaves=1),
    Column("WORST CASE", at_least=12, leaves=2),
)


@click.command(cls=Command)
@click.option("--set", "set_name", type=click.Choice(SETS), default="mixed", show_default=True, help="Which cases.")
@click.option(
    "--runs", type=click.IntRange(1, MOST_RUNS), default=50, show_default=True, metavar="N", help="How many cases."
)
@click.option("--seed", type=click.IntRange(0), metavar="S", help="Draws the same cases again (default: new ones).")
@click.option("--policy", "policies", multiple=True, metavar="NAME", help="Repeatable (default: all but observe).")
@click.option(
    "--jobs-report",
    type=click.Choice(REPORTS),
    default="progress",
    show_default=True,
    help="What migd knows of the jobs' remaining time.",
)
@click.option(
    "--processes", type=click.IntRange(1, 256), default=2, show_default=True, metavar="N", help="How many at a time."
)
@click.pass_obj
def evaluate(
    session: Session,
    set_name: str,
    runs: int,
    seed: int | None,
    policies: tuple[str, ...],
    jobs_report: str,
    processes: int,
) -> None:
    """Judge policies over random cases, against the best there is.

    The controller's own core runs each case on a simulated cluster; no controller and no pool is needed. CAPTURED is
    the share of what somebody who knows every load in advance could gain: at least, of a bound that nobody can beat,
    and at most, of the best that anybody reached. SLOWER is the share of runs more than 5 % slower than without migd,
    WORST the slowest of them, MOVES and PAUSE are per run, LOST is how many jobs a dying host took.
    """
    from migd_sim.run.evaluation.evaluate import evaluate as run_all

    seed = SystemRandom().randrange(2**31) if seed is None else seed
    try:
        found = run_all(set_name, runs, seed, policies, jobs_report, processes, _progress(runs))
    except MigdError as error:
        raise Failure(str(error)) from error
    if session.wants_json:
        click.echo(msgspec.json.encode(found))
        return
    screen = Screen.of_stdout()
    for line in evaluation_lines(found, screen):
        click.echo(line, color=screen.has_colours)


def evaluation_lines(found: "Evaluation", screen: Screen) -> list[str]:
    """Return what was run, what there was to gain, and a line for each policy."""
    runs = _count(found.runs, "run")
    lines = screen.prose(f"Set {found.set_name}, {runs}, seed {found.seed}, jobs report {found.jobs_report}.")
    if found.possible_gain_ratio is None:
        text = "These loads answer to moves, so there is no best to compare with"
        lines += screen.prose(f"{text}; the best that any policy reached saves {_percent(found.known_gain_ratio)}.")
    else:
        lines += screen.prose(
            f"At best the jobs' time falls by {_percent(found.known_gain_ratio)} (reached) to "
            f"{_percent(found.possible_gain_ratio)} (bound); the bound was reached in {found.exact_runs} of {runs}."
        )
    if found.jobs_lost_unmoved:
        lines += screen.prose(f"Without migd hosts that die take {_count(found.jobs_lost_unmoved, 'job')} with them.")
    rows = [
        (
            score.policy,
            _span(score.captured_at_least_ratio, score.captured_at_most_ratio),
            _percent(score.mean_gain_ratio),
            _percent(score.slower_runs_ratio),
            f"+{_percent(score.worst_slowdown_ratio)}",
            f"{score.moves_per_run:.1f}",
            format_duration(score.pause_s_per_run),
            str(score.jobs_lost),
            score.worst_case or NOTHING,
        )
        for score in found.policies
    ]
    return [*lines, "", *table(COLUMNS, rows, screen)]


def _progress(runs: int) -> Callable[[int], None]:
    """Return what shows on a terminal how many runs are done, and nothing elsewhere."""
    if not sys.stderr.isatty():
        return lambda done: None
    return lambda done: click.echo(f"\r{done} of {runs} runs" + ("" if done < runs else "\r\033[K"), err=True, nl=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _percent(ratio: float) -> str:
    return f"{ratio * 100 + 0.0:.1f} %".replace("-0.0 %", "0.0 %")


def _span(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return NOTHING
    low, high = sorted((round(least * 100), round(most * 100)))
    return f"{low} %" if low == high else f"{low} to {high} %"

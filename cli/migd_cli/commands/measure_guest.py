"""`migctl measure guest`: a guest's dirty curve, and what moving it would take."""

import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click
import msgspec

from migd_cli import names
from migd_cli.app import Command
from migd_cli.client import Client
from migd_cli.experiment import plots
from migd_cli.failures import EXIT_FAILED
from migd_cli.screen import Screen
from migd_cli.session import Session
from migd_cli.table import NOTHING, Cell, Column, table
from migd_core.api import CandidateView, DirtyView, IntervalView, ProbeView
from migd_core.units import PAGE_BYTES, format_bytes, format_duration, parse_duration

LOOK_EVERY_S: Final = 1.0
CURVE: Final = (
    Column("AGE", is_number=True),
    Column("COUNTED", is_number=True),
    Column("EXPECTED", is_number=True),
    Column("LEAST", is_number=True, leaves=1),
    Column("MOST", is_number=True, leaves=1),
    Column("OF ITS MEMORY"),
)
TARGETS: Final = (
    Column("HOST", at_least=8),
    Column("MIGRATION", is_number=True),
    Column("80 %", is_number=True, leaves=2),
    Column("PAUSE", is_number=True),
    Column("80 % OF IT", is_number=True, leaves=2),
    Column("COSTS", is_number=True),
    Column("MAY GO", at_least=12, wraps=True),
)
BAR_WIDTH: Final = 20


class GuestProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a guest: how it writes, and what moving it to each other host would take."""

    dirty: DirtyView
    targets: list[CandidateView]


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(cls=Command)
@click.argument("guest", shell_complete=names.guests)
@click.option("--known", is_flag=True, help="Show what is known, and have nothing counted.")
@click.option(
    "--wait",
    "wait_s",
    callback=_seconds,
    default="30m",
    show_default=True,
    metavar="TIME",
    help="How long at most.",
)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw it, too (needs matplotlib).")
@click.pass_obj
def guest(session: Session, guest: str, known: bool, wait_s: float, plot: Path | None) -> None:
    """Count a guest's dirty pages, and say what moving it to each host would take.

    An agent counts on a lease of the controller, during which nobody migrates the guest, and never while it migrates.
    How often a guest may be probed (`[probe]`, 1 % of its time by default) holds here too: where it was probed lately,
    this waits. Ctrl-C ends the waiting only.
    """
    if plot is not None:
        plots.require(plot)
    client, path = session.client(), f"/v1/guests/{quote(guest, safe='')}"
    why = "" if known else _counted(client, path, wait_s)
    profile = GuestProfile(
        dirty=client.get(f"{path}/dirty", DirtyView), targets=client.get(f"{path}/targets", list[CandidateView])
    )
    session.show(msgspec.json.encode(profile), GuestProfile, profile_lines)
    if plot is not None:
        _tell(f"drawn: {plots.draw_dirty(plot, profile.dirty)}")
    if why:
        _tell(f"nothing was counted: {why}", "red")
        raise click.exceptions.Exit(EXIT_FAILED)


def _counted(client: Client, path: str, wait_s: float) -> str:
    """Have the guest's dirty pages counted, and wait for it; return why nothing was."""
    before = client.get(f"{path}/probe", ProbeView).measured_at
    client.ask("POST", f"{path}/probe")
    until_s, last = time.monotonic() + wait_s, ""
    try:
        while True:
            view = client.get(f"{path}/probe", ProbeView)
            if view.measured_at is not None and view.measured_at != before:
                return ""
            if (text := waiting_text(view)) != last:
                _tell(text)
                last = text
            if time.monotonic() > until_s:
                return f"not within {format_duration(wait_s)}; {text}"
            time.sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        return "interrupted; the guest is probed all the same, once it may be"


def waiting_text(view: ProbeView) -> str:
    """Say what a probe that was asked for waits for."""
    if view.state == "under-way":
        return f"the dirty pages of {view.guest_name} are being counted"
    if view.waits_for:
        # In steps, so that a text that is told when it changes is not told each second.
        at_least = f"; at least {format_duration(10 * (view.waits_s // 10))} more" if view.waits_s >= 10 else ""
        at_least = f"; at least {format_duration(60 * (view.waits_s // 60))} more" if view.waits_s >= 60 else at_least
        return f"waiting: {view.waits_for}{at_least}"
    return "waiting for the next control period"


def profile_lines(profile: GuestProfile, screen: Screen) -> list[str]:
    """Return the dirty curve as a table, and what moving the guest to each host would take."""
    dirty = profile.dirty
    memory = format_bytes(dirty.memory_pages * PAGE_BYTES)
    lines = screen.prose(f"{dirty.guest_name}, {memory}: different pages written since a moment", "bold")
    if dirty.problem:
        lines += screen.prose(dirty.problem, "yellow")
    if dirty.curves:
        newest = dirty.curves[-1]
        count, ago = len(dirty.curves), screen.ago(newest.measured_at)
        lines += screen.prose(f"counted once, {ago}" if count == 1 else f"counted {count} times, last {ago}", "dim")
        lines += ["", *table(CURVE, _curve_rows(dirty), screen)]
    else:
        lines += screen.prose("No dirty page of it was ever counted: it is judged by the dearest that it may be.")
    lines += ["", *table(TARGETS, [_target_row(each) for each in profile.targets], screen)]
    return lines


def _curve_rows(dirty: DirtyView) -> list[tuple[str, ...]]:
    """Return a row for each age that was counted last, and for the last one that is extrapolated to."""
    newest, fit = dirty.curves[-1], dirty.fit
    counted: list[tuple[float, int | None]] = [*zip(newest.ages_s, newest.unique_pages, strict=True)]
    if fit is not None and fit.ages_s[-1] > newest.ages_s[-1]:
        counted.append((fit.ages_s[-1], None))
    rows: list[tuple[str, ...]] = []
    for age_s, pages in counted:
        expected = least = most = NOTHING
        shown = float(pages or 0)
        if fit is not None:
            values = [_at(age_s, fit.ages_s, each) for each in (fit.expected_pages, fit.least_pages, fit.most_pages)]
            expected, least, most = (f"{value:.0f}" for value in values)
            shown = float(pages) if pages is not None else values[0]
        ratio = shown / max(1, dirty.memory_pages)
        bar = "█" * round(BAR_WIDTH * min(1.0, ratio))
        count = NOTHING if pages is None else str(pages)
        rows.append((f"{age_s:.3g} s", count, expected, least, most, f"{ratio * 100:4.1f} % {bar}".rstrip()))
    return rows


def _at(age_s: float, ages_s: list[float], pages: list[float]) -> float:
    """Return the pages at an age, straight between those before and after it."""
    for n in range(1, len(ages_s)):
        if age_s <= ages_s[n]:
            share = (age_s - ages_s[n - 1]) / (ages_s[n] - ages_s[n - 1])
            return pages[n - 1] + share * (pages[n] - pages[n - 1])
    return pages[-1]


def _target_row(view: CandidateView) -> tuple[Cell | str, ...]:
    failed = "; ".join(gate.text for gate in view.gates if not gate.passed)
    return (
        view.target_name,
        NOTHING if view.predicted_s is None else format_duration(view.predicted_s),
        _span(view.total),
        NOTHING if view.predicted_pause_s is None else format_duration(view.predicted_pause_s),
        _span(view.pause),
        NOTHING if view.cost_s is None else format_duration(view.cost_s),
        Cell("yes", "green") if view.accepted else Cell(f"no: {failed}", "red"),
    )


def _span(interval: IntervalView | None) -> str:
    if interval is None:
        return NOTHING
    return f"{format_duration(interval.low)} to {format_duration(interval.high)}"


def _tell(text: str, style: str = "") -> None:
    screen = Screen.of_stderr()
    for line in screen.prose(text, style):
        click.echo(line, err=True, color=screen.has_colours)

"""One line a host, guest, job, recommendation or migration: pure functions of what the controller answered."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from rich.text import Text

from migd_cli.screen import Screen
from migd_cli.text import display_width, pad, printable, shorten
from migd_cli.top.bars import cpu_bar, progress_bar
from migd_cli.top.choice import Choice
from migd_cli.top.reading import Reading
from migd_core.api import GuestView, HostView, JobView, MigrationView, RecommendationView
from migd_core.health import HealthState
from migd_core.units import format_bytes, format_duration, format_ratio

NAME_AT_MOST: Final = 24
# Below this share of what it wants a rank keeps the others waiting; the rest is noise of measuring.
UNDISTURBED_RATIO: Final = 0.95
OPEN, FOLDED, MOVING = "▾", "▸", "→"


@dataclass(frozen=True, slots=True)
class Row:
    """One line. `key` names what it shows, in every reading alike; `draw` lays it out in so many columns.

    The first `head` characters of that are the name, which stands out under the cursor.
    """

    key: str
    subject: HostView | GuestView | JobView | RecommendationView | MigrationView
    head: int
    draw: Callable[[int], Text]


def host_rows(reading: Reading, choice: Choice) -> list[Row]:
    """Return the hosts, each followed by its guests."""
    shown = choice.hosts(reading)
    names = [host.name for host, _ in shown] + ["  " + guest.name for _, guests in shown for guest in guests]
    columns = _columns(names, NAME_AT_MOST)
    under_way = {each.guest: each for each in reading.migrations if each.ok is None}
    rows: list[Row] = []
    for host, guests in shown:
        is_folded = host.uuid in choice.folded
        arriving = [each for each in under_way.values() if each.target == host.uuid]
        rows.append(Row(host.uuid, host, columns + 2, partial(_host, host, is_folded, arriving, columns)))
        if not is_folded:
            rows += [
                Row(guest.uuid, guest, columns + 2, partial(_guest, guest, under_way.get(guest.uuid), columns))
                for guest in guests
            ]
    return rows


def job_rows(reading: Reading, choice: Choice) -> list[Row]:
    """Return the jobs, each with its speed and the rank that the others wait for."""
    guests = {guest.uuid: guest for guest in reading.guests}
    jobs = choice.jobs(reading)
    columns = _columns([job.name for job in jobs], NAME_AT_MOST)
    ranks = [[guests[uuid] for uuid in job.guests if uuid in guests] for job in jobs]
    return [
        Row(job.name, job, columns, partial(_job, job, mine, columns)) for job, mine in zip(jobs, ranks, strict=True)
    ]


def recommendation_rows(reading: Reading, choice: Choice) -> list[Row]:
    """Return what waits for the operator's word, with what it takes and gains, and when it lapses."""
    views = choice.recommendations(reading)
    columns = _columns([view.name for view in views], at_most=12)
    return [Row(view.name, view, columns, partial(_recommendation, view, columns, reading.at_s)) for view in views]


def migration_rows(reading: Reading, choice: Choice) -> list[Row]:
    """Return the migrations under way with their progress and predicted end, then how the latest ended."""
    migrations = choice.migrations(reading)
    routes = [f"{each.source_name} {MOVING} {each.target_name}" for each in migrations]
    widths = (
        _columns([each.cause for each in migrations], at_most=12),
        _columns([each.guest_name for each in migrations], at_most=18),
        _columns(routes, at_most=22),
    )
    screen = Screen(width=80, has_colours=False, now_s=reading.at_s)
    return [
        Row(each.cause, each, sum(widths) + 4, partial(_migration, each, route, widths, screen))
        for each, route in zip(migrations, routes, strict=True)
    ]


def slowest(guests: list[GuestView]) -> tuple[GuestView, float] | None:
    """Return the guest that gets least of the CPU it wants, and which share that is; None if none wants any."""
    shares = [(guest.cpu_used_vcpus / guest.cpu_demand_vcpus, guest) for guest in guests if guest.cpu_demand_vcpus > 0]
    if not shares:
        return None
    share, guest = min(shares, key=lambda each: (each[0], each[1].name))
    return guest, min(share, 1.0)


def _host(host: HostView, is_folded: bool, arriving: list[MigrationView], columns: int, width: int) -> Text:
    line = _start(f"{FOLDED if is_folded else OPEN} ", host.name, columns, "bold")
    if host.load_ratio is None:
        line.append(pad("load unknown", _full(width) * 3 // 2 + 1), style="yellow").append("      ?")
    else:
        line.append_text(cpu_bar(host.load_ratio, host.load_ratio, _full(width)))
        line.append(f" {format_ratio(host.load_ratio):>6}", style="bold" if host.load_ratio > 1.0 else "")
    line.append(f"  of {host.cpus} CPUs")
    for word in _troubles(host):
        line.append(f"  ! {printable(word)}", style="bold yellow")
    for each in arriving:
        line.append(f"  ← {printable(each.guest_name)}", style="cyan")
    line.append(f"  {format_bytes(host.memory_free_bytes)} free")
    return _fitted(line, width)


def _troubles(host: HostView) -> Iterator[str]:
    if host.frozen_because is not None:
        yield "frozen"
    if host.maintenance:
        yield "in maintenance"
    elif not host.is_enabled:
        yield "disabled"
    if host.health.state in (HealthState.DEGRADED, HealthState.FAILING):
        yield host.health.state.value


def _guest(guest: GuestView, migration: MigrationView | None, columns: int, width: int) -> Text:
    line = _start("    ", guest.name, columns - 2)
    vcpus = max(guest.vcpus, 1)
    line.append_text(cpu_bar(guest.cpu_used_vcpus / vcpus, guest.cpu_demand_vcpus / vcpus, _full(width)))
    line.append(f" {guest.cpu_used_vcpus:>6.2f}  of {guest.cpu_demand_vcpus:.2f} wanted")
    if guest.job is not None:
        line.append(f"  {printable(guest.job)}")
    if migration is not None:
        line.append(f"  {MOVING} {printable(migration.target_name)} ", style="bold cyan")
        line.append(_done(migration), style="bold cyan")
    elif guest.immovable_because is not None:
        line.append("  fixed", style="dim")
    elif guest.resting_because is not None:
        line.append("  ! rests", style="yellow")
    return _fitted(line, width)


def _job(job: JobView, guests: list[GuestView], columns: int, width: int) -> Text:
    line = _start("", job.name, columns, "bold")
    line.append(f" {_slowest_rank(guests)}")
    line.append(f"  {_speed(job)}", style="bold")
    if job.remaining_s is not None:
        line.append(f"  {format_duration(job.remaining_s)} left")
    if job.progress is not None and job.progress.total:
        line.append(f"  {format_ratio(job.progress.done / job.progress.total)} done")
    line.append(f"  {len(job.guests)} guests")
    if job.missing:
        line.append(f"  ! {len(job.missing)} gone", style="bold yellow")
    return _fitted(line, width)


def _speed(job: JobView) -> str:
    if not job.iteration_s:
        return "speed not reported"
    if job.iteration_s > 10.0:
        return f"{format_duration(job.iteration_s)} an iteration"
    return f"{1 / job.iteration_s:.3g} it/s"


def _slowest_rank(guests: list[GuestView]) -> str:
    found = slowest(guests)
    if found is None:
        return "no rank wants CPU"
    guest, share = found
    if share >= UNDISTURBED_RATIO:
        return "no rank waits for CPU"
    return f"slowest {printable(guest.name)} on {printable(guest.host_name)}: {format_ratio(share)} of its CPU"


def _recommendation(view: RecommendationView, columns: int, now_s: float, width: int) -> Text:
    line = _start("", view.name, columns)
    first, *others = view.moves
    line.append(f" {printable(first.guest_name)}", style="bold")
    line.append(f"  {printable(first.source_name)} {MOVING} {printable(first.target_name)}")
    if others:
        line.append(f" and {len(others)} more")
    if view.is_for_safety:
        line.append("  ! for safety", style="bold yellow")
    if all(move.gain_s is not None and move.cost_s is not None for move in view.moves):
        gain_s = sum(move.gain_s or 0.0 for move in view.moves)
        cost_s = sum(move.cost_s or 0.0 for move in view.moves)
        line.append(f"  gains {format_duration(gain_s)}, costs {format_duration(cost_s)}")
    line.append(f"  lapses in {format_duration(max(0.0, view.lapses_at - now_s))}", style="dim")
    return _fitted(line, width)


def _migration(view: MigrationView, route: str, widths: tuple[int, int, int], screen: Screen, width: int) -> Text:
    cause, guest, way = widths
    line = Text(pad(view.cause, cause) + "  ")
    line.append(pad(shorten(printable(view.guest_name), guest), guest) + "  ", style="bold")
    line.append(pad(shorten(printable(route), way), way) + "  ")
    if view.ok is None:
        line.append_text(progress_bar(view.progress_ratio or 0.0, 10))
        line.append(f" {_done(view):>5}")
        line.append(f"  {_end(view, screen)}")
        return _fitted(line, width)
    line.append(view.state, style="green" if view.ok else "bold red")
    if view.actual_s is not None:
        line.append(f" in {format_duration(view.actual_s)}" if view.ok else f" after {format_duration(view.actual_s)}")
    if view.ok and view.predicted_s is not None:
        line.append(f", {format_duration(view.predicted_s)} predicted")
    line.append(f", {screen.ago(view.started_at + (view.actual_s or 0.0))}", style="dim")
    if view.text:
        line.append(f": {printable(view.text)}")
    return _fitted(line, width)


def _done(view: MigrationView) -> str:
    return "?" if view.progress_ratio is None else format_ratio(view.progress_ratio)


def _end(view: MigrationView, screen: Screen) -> str:
    state = "cancelling, " if view.is_cancelling else "" if view.state == "running" else f"{view.state}, "
    if view.predicted_s is None:
        return f"{state}end unknown"
    ends_at = view.started_at + view.predicted_s
    left_s = ends_at - screen.now_s
    if left_s < 0:
        return f"{state}expected {format_duration(-left_s)} ago"
    return f"{state}ends {screen.clock(ends_at)}, in {format_duration(left_s)}"


def _start(mark: str, name: str, columns: int, style: str = "") -> Text:
    return Text(mark).append(pad(shorten(printable(name), columns), columns), style=style).append(" ")


def _columns(names: list[str], at_most: int) -> int:
    return min(at_most, max((display_width(name) for name in names), default=0))


def _full(width: int) -> int:
    """Return the columns of the bar that stand for all CPUs: with what is beyond, a quarter of the line."""
    return max(8, min(24, width // 6))


def _fitted(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line

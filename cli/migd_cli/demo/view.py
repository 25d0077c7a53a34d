"""The live view of the demo: one frame of at most 80×24, drawn anew for every scene."""

from collections.abc import Iterable
from typing import Final

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from migd_cli.demo.scene import Scene
from migd_core.api import GuestView, HostView, MigrationView
from migd_core.units import format_duration, format_ratio

LOAD_BAR: Final = 20
# A bar that is full up to its middle is a host whose CPUs are all wanted once; twice that fills it.
FULL_LOAD_RATIO: Final = 2.0
PROGRESS_BAR: Final = 16
SPEEDS_SHOWN: Final = 60
MIGRATIONS_SHOWN: Final = 5
_SPARKS: Final = "▁▂▃▄▅▆▇█"


def frame(scene: Scene) -> RenderableType:
    """Return the whole view of one scene."""
    return Group(
        _heading(scene),
        _rule("hosts: CPU wanted, and who is there"),
        _hosts(scene),
        _rule(f"job {scene.cast.job}: steps a second"),
        _job(scene),
        _rule("migrations"),
        *_migrations(scene),
        _rule("migd"),
        *_words(scene),
    )


def _heading(scene: Scene) -> Text:
    minutes, seconds = divmod(int(scene.at_s), 60)
    heading = Text(f"{minutes}:{seconds:02d}  ", style="bold", no_wrap=True, overflow="ellipsis")
    return heading.append(scene.caption, style="bold cyan")


def _rule(title: str) -> Rule:
    return Rule(Text(title, style="dim"), align="left", style="dim", characters="─")


def _hosts(scene: Scene) -> Table:
    table = _grid()
    moving = {migration.guest for migration in scene.status.migrations}
    for host in scene.hosts:
        there = [guest for guest in scene.guests if guest.host == host.uuid]
        table.add_row(Text(host.name), _load_bar(host), _load(host), _guests(there, moving, scene))
    return table


def _load_bar(host: HostView) -> Text:
    ratio = host.load_ratio or 0.0
    filled = min(LOAD_BAR, round(LOAD_BAR * ratio / FULL_LOAD_RATIO))
    half = round(LOAD_BAR / FULL_LOAD_RATIO)
    bar = Text("█" * min(filled, half), style="green" if ratio <= 1.1 else "red")
    bar.append("█" * (filled - half), style="red")
    return bar.append("·" * (LOAD_BAR - filled), style="dim")


def _load(host: HostView) -> Text:
    if host.load_ratio is None:
        return Text("  ?", style="yellow")
    return Text(f"{format_ratio(host.load_ratio):>6}")


def _guests(guests: Iterable[GuestView], moving: set[str], scene: Scene) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    hog_works = scene.story.before is not None
    for guest in guests:
        style = (
            "cyan" if guest.name in scene.cast.ranks else "red" if guest.name == scene.cast.hog and hog_works else "dim"
        )
        line.append(guest.name, style="bold reverse yellow" if guest.uuid in moving else style).append(" ")
    return line


def _job(scene: Scene) -> Table:
    story, speeds = scene.story, scene.speeds[-SPEEDS_SHOWN:]
    top = max(scene.speeds, default=0.0) or 1.0
    sparks = "".join(_SPARKS[round(max(0.0, min(1.0, speed / top)) * (len(_SPARKS) - 1))] for speed in speeds)
    now = Text(f"{speeds[-1]:8.1f} now" if speeds else "       - now", style="bold")
    table = _grid()
    table.add_row(now, Text(sparks, style="cyan", no_wrap=True))
    measured = (("before", story.before), ("with the hog", story.hog), ("after", story.after))
    known = [f"{name} {speed:.1f}" for name, speed in measured if speed is not None]
    table.add_row(Text("measured", style="dim"), Text(", ".join(known) or "-", style="dim"))
    return table


def _migrations(scene: Scene) -> list[RenderableType]:
    if not scene.migrations:
        return [Text("none yet", style="dim")]
    table = _grid()
    for migration in sorted(scene.migrations, key=lambda each: each.started_at)[-MIGRATIONS_SHOWN:]:
        route = Text(f"{migration.source_name} → {migration.target_name}")
        table.add_row(Text(migration.guest_name, style="bold"), route, *_progress(migration, scene))
    return [table]


def _progress(migration: MigrationView, scene: Scene) -> tuple[Text, Text]:
    expected = "" if migration.predicted_s is None else f"{format_duration(migration.predicted_s)} expected"
    if migration.ok is None:
        ratio = migration.progress_ratio or 0.0
        filled = round(PROGRESS_BAR * ratio)
        bar = Text("█" * filled, style="yellow").append("·" * (PROGRESS_BAR - filled), style="dim")
        return bar, Text(f"{format_ratio(ratio):>5}, {expected}")
    if not migration.ok:
        return Text(migration.state, style="red"), Text(migration.text, overflow="ellipsis", no_wrap=True)
    took = "" if migration.actual_s is None else f"took {format_duration(migration.actual_s)}, "
    return Text("moved", style="green"), Text(f"{took}{expected}")


def _words(scene: Scene) -> list[RenderableType]:
    decision = scene.status.last_decision
    text = f"{decision.cause}: {decision.text}" if decision is not None else "nothing has been decided yet"
    return [Text(text, overflow="fold")]


def _grid() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column()  # what is too long for the screen is cut here
    return table

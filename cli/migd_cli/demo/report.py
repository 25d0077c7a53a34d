"""What the demo found, for people and as JSON."""

from typing import Final

import msgspec

from migd_cli.demo.story import Story
from migd_cli.screen import Screen
from migd_cli.table import Cell, Column, table
from migd_core.api import MigrationView
from migd_core.units import format_duration, format_ratio

RECOVERED_RATIO: Final = 0.9
COLUMNS: Final = (
    Column("GUEST", at_least=8),
    Column("FROM", at_least=6),
    Column("TO", at_least=6),
    Column("EXPECTED", is_number=True),
    Column("TOOK", is_number=True),
    Column("STOOD STILL", is_number=True),
    Column("RESULT"),
)


class DemoMigration(msgspec.Struct, frozen=True, kw_only=True):
    """One migration: the controller's prediction and duration, and the pause that the emulated guest really had."""

    guest: str
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    predicted_s: float | None
    actual_s: float | None
    pause_s: float | None
    ok: bool


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of `migctl demo --json`."""

    job: str
    steps_per_s_before: float | None
    steps_per_s_hog: float | None
    steps_per_s_after: float | None
    migrations: list[DemoMigration]


def report(job: str, story: Story, migrations: list[MigrationView], pauses_s: dict[str, float]) -> DemoReport:
    """Return the report; `pauses_s` has the pause of each migration that the pool knows, by its cause."""
    return DemoReport(
        job=job,
        steps_per_s_before=story.before,
        steps_per_s_hog=story.hog,
        steps_per_s_after=story.after,
        migrations=[
            DemoMigration(
                guest=migration.guest_name,
                source=migration.source_name,
                target=migration.target_name,
                predicted_s=migration.predicted_s,
                actual_s=migration.actual_s,
                pause_s=pauses_s.get(migration.cause),
                ok=bool(migration.ok),
            )
            for migration in sorted(migrations, key=lambda each: each.started_at)
        ],
    )


def shortcoming(found: DemoReport) -> str | None:
    """Say what keeps the demo from having shown what it is to show; None if nothing does."""
    if found.steps_per_s_before is None or found.steps_per_s_after is None:
        return "it ended before the job's speed could be compared"
    if not any(migration.ok for migration in found.migrations):
        return "no guest was moved"
    recovered = found.steps_per_s_after / found.steps_per_s_before
    if recovered < RECOVERED_RATIO:
        return f"the job got back to {format_ratio(recovered)} of its speed, not to {format_ratio(RECOVERED_RATIO)}"
    return None


def report_lines(found: DemoReport, screen: Screen) -> list[str]:
    """Return the report as text."""
    lines = ["", f"Job {found.job}, steps a second:"]
    for name, speed in (
        ("before", found.steps_per_s_before),
        ("with the hog", found.steps_per_s_hog),
        ("after the moves", found.steps_per_s_after),
    ):
        lines.append(f"  {name:<17}{_speed(speed, found.steps_per_s_before)}")
    lines.append("")
    if not found.migrations:
        return [*lines, "No guest was moved."]
    return [*lines, *table(COLUMNS, [_row(migration) for migration in found.migrations], screen)]


def _speed(speed: float | None, before: float | None) -> str:
    if speed is None:
        return "not measured"
    share = f"  ({format_ratio(speed / before)})" if before else ""
    return f"{speed:8.1f}{share}"


def _row(migration: DemoMigration) -> tuple[Cell | str, ...]:
    return (
        migration.guest,
        migration.source,
        migration.target,
        _duration(migration.predicted_s),
        _duration(migration.actual_s),
        "-" if migration.pause_s is None else f"{migration.pause_s:.2f} s",
        Cell("moved", "green") if migration.ok else Cell("not moved", "red"),
    )


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)

"""The report of a record: what the controller's journal and timeline would have told of it."""

from collections.abc import Sequence
from pathlib import Path

from migd_controller.commands import AnyCommand, RecordDecision, RecordMigration
from migd_controller.comparison import NO_SHADOWS, comparison_view
from migd_controller.core import Core
from migd_controller.decision import Decision
from migd_controller.events import PolicySet, Tick
from migd_controller.migration import Migration
from migd_controller.record.format import Frame, RecordError
from migd_controller.report_view import Happened, report_view
from migd_controller.timeline import Timeline, moment
from migd_controller.told import Told
from migd_core import api
from migd_core.units import format_duration
from migd_sim.run.replay.redeciding import Other, Redecided, redecide
from migd_sim.run.replay.replaying import replay


def report(run: Path, others: Sequence[Other] = (), last_s: float | None = None) -> tuple[api.ReportView, list[str]]:
    """Return the report of a record's `last_s` seconds (None: of all of it), and what is to be said of the record.

    `others` are asked besides; without any, the shadows that ran in their time are compared. Raises RecordError, also
    where the record does not replay, and what `redecide` does.
    """
    seen = _Seen()
    found = redecide(run, others, seen.watch) if others else Redecided(replay(run, seen.watch))
    replayed, core = found.replayed, seen.core
    if (other := replayed.difference) is not None:
        raise RecordError(
            f"{other.path}: event {other.number} is not decided as it was recorded ({other.lines[0]}), so this release "
            "cannot tell what became of it; `migctl replay` says more"
        )
    if core is None or replayed.until_s is None or replayed.from_s is None:
        raise RecordError(f"{run}: holds no event, so there is nothing to report")
    since_s = replayed.from_s if last_s is None else max(replayed.from_s, replayed.until_s - last_s)
    comparison = found.comparison if others else comparison_view(core)
    view = report_view(
        seen.happened(since_s, replayed.until_s),
        core.inventory,
        core.memory.jobs,
        seen.policies,
        comparison if comparison is not None else api.ComparisonView(text=NO_SHADOWS),
        f"a record of {format_duration(replayed.until_s - replayed.from_s)}",
    )
    return view, replayed.notes


class _Seen:
    """What is kept of a record while it is gone through."""

    def __init__(self) -> None:
        self.core: Core | None = None
        self.policies: list[str] = []
        self._timeline = Timeline()
        self._migrations: dict[str, Migration] = {}
        self._decisions: dict[str, Decision] = {}
        self._told: list[tuple[float, Told]] = []

    def watch(self, core: Core, frame: Frame, commands: Sequence[AnyCommand]) -> None:
        """Take in one event."""
        if self.core is not core:
            self.core = core
            self.policies.append(core.memory.policy)
        if isinstance(frame.event, Tick) and core.last_world is not None:
            tracks = {name: job.track for name, job in core.memory.jobs.items()}
            self._timeline.add(moment(core.last_world, tracks, core.memory.contest))
        elif isinstance(frame.event, PolicySet):
            self.policies.append(frame.event.name)
        for each in (frame.event, *commands):
            if isinstance(each, Told):
                self._told.append((frame.at, each))
            elif isinstance(each, RecordMigration):
                self._migrations[each.migration.cause] = each.migration
            elif isinstance(each, RecordDecision) and any(found.is_accepted for found in each.decision.candidates):
                self._decisions[each.decision.cause] = each.decision

    def happened(self, since_s: float, until_s: float) -> Happened:
        """Return what is known of a period."""
        migrations = [each for each in self._migrations.values() if each.asked_at >= since_s]
        migrations.sort(key=lambda each: each.asked_at, reverse=True)
        told = [(at, each) for at, each in reversed(self._told) if at >= since_s]
        return Happened(since_s, until_s, self._timeline.since(since_s), migrations, self._decisions, told)

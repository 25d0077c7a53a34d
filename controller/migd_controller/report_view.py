"""A period in figures, as the API shows it and `migctl report` draws it. Pure: moments and journal entries in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from migd_controller.decision import Decision
from migd_controller.dirty_view import candidate_of, interval_view
from migd_controller.history_view import history_view, job_timeline_view
from migd_controller.inventory import Inventory
from migd_controller.memory import RememberedJob
from migd_controller.migration import Migration
from migd_controller.timeline import ContestMoment, Moment
from migd_controller.told import Told
from migd_controller.views import migration_view
from migd_core import __version__, api

# Jobs that are drawn: those that were moved most, then those that ran longest.
MOST_JOBS: Final = 12


@dataclass(frozen=True, slots=True)
class Happened:
    """What a period (Unix times) is told by: its migrations, newest first, with the decisions that they came of."""

    since_s: float
    until_s: float
    moments: Sequence[Moment]
    migrations: Sequence[Migration]
    decisions: Mapping[str, Decision]
    told: Sequence[tuple[float, Told]]
    are_left_out: bool = False


def report_view(
    found: Happened,
    inventory: Inventory,
    jobs: Mapping[str, RememberedJob],
    policies: Sequence[str],
    comparison: api.ComparisonView,
    source: str,
) -> api.ReportView:
    """Return the report; `jobs` are those that are known at its end, `policies` those in use, oldest first."""
    names = {name for each in found.moments for name in each.jobs}
    guests = {name: jobs[name].guests if name in jobs else () for name in names}
    views = [job_timeline_view(name, found.moments, found.migrations, guests[name]) for name in sorted(names)]
    views.sort(key=lambda view: (-len(view.migrations), -_told(view)))
    return api.ReportView(
        version=__version__,
        source=source,
        policies=list(dict.fromkeys(policies)),
        history=history_view(
            found.since_s, found.until_s, found.moments, found.migrations, found.decisions, found.told, inventory
        ),
        moves=[_move(each, found.decisions) for each in reversed(found.migrations)],
        are_moves_left_out=found.are_left_out,
        comparison=comparison,
        courses=courses(found.moments),
        jobs=views[:MOST_JOBS],
    )


def courses(moments: Sequence[Moment]) -> list[api.CourseView]:
    """Return what the policy in use and each shadow have come to since the first moment.

    Where another policy was set, its course goes on from there.
    """
    told = [(each.at, each.contest) for each in moments if each.contest is not None]
    if not told:
        return []
    policies = list(dict.fromkeys(contest.policy for _, contest in told))
    found = {"": [0.0], **{label: [0.0] for _, contest in told for label in contest.nets_s}}
    for (_, before), (_, now) in pairwise(told):
        for label, course in found.items():
            course.append(course[-1] + _step_s(before, now, label))
    at = [round(moment, 1) for moment, _ in told]
    in_use = ", then ".join(policies)
    return [
        api.CourseView(label=label or in_use, at=at, net_s=[round(each, 2) for each in course])
        for label, course in found.items()
    ]


def _step_s(before: ContestMoment, now: ContestMoment, label: str) -> float:
    """Return what a policy (empty: the one in use) has gained between two moments."""
    if before.since != now.since:  # all records were begun anew meanwhile
        return _net_s(now, label)
    return _net_s(now, label) - _net_s(before, label)


def _net_s(contest: ContestMoment, label: str) -> float:
    return contest.net_s if not label else contest.nets_s.get(label, contest.net_s)


def _told(view: api.JobTimelineView) -> int:
    return sum(each is not None for each in view.served_ratio)


def _move(migration: Migration, decisions: Mapping[str, Decision]) -> api.ReportedMoveView:
    candidate = candidate_of(migration, decisions)
    price = candidate.price if candidate is not None else None
    return api.ReportedMoveView(
        migration=migration_view(migration),
        job=migration.job if migration.job != migration.guest else "",
        memory_bytes=migration.memory_bytes,
        cost_s=migration.cost_s,
        gain_s=migration.gain_s,
        predicted=interval_view(price.total if price is not None else None),
    )

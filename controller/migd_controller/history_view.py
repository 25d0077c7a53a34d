"""What has been over hours and days, as the API shows it. Pure: moments and journal entries in."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from migd_controller.commands import RecordHealth, RecordJobOver
from migd_controller.decision import Decision
from migd_controller.dirty_view import candidate_of
from migd_controller.events import (
    CancelRequested,
    GuestReleased,
    JobAdded,
    JobRemoved,
    LinksMeasured,
    Paused,
    PolicySet,
    Resumed,
)
from migd_controller.inventory import Inventory
from migd_controller.migration import Migration, State
from migd_controller.timeline import Moment, speeds_per_s
from migd_controller.told import Told
from migd_controller.views import migration_view
from migd_core import api
from migd_core.units import format_duration
from migd_policies.job_progress import SPACING_S

# A picture of so many strokes is as fine as a screen shows.
BUCKETS: Final = 120
BUCKETS_S: Final = (60.0, 300.0, 900.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 86400.0)
WINDOWS: Final = 240


def job_timeline_view(
    name: str, moments: Sequence[Moment], migrations: Sequence[Migration], guests: Sequence[str]
) -> api.JobTimelineView:
    """Return a job over time, with those of `migrations` that moved one of its guests (uuids)."""
    span_s = moments[-1].at - moments[0].at if moments else 0.0
    jobs = [each.jobs.get(name) for each in moments]
    return api.JobTimelineView(
        name=name,
        at=[round(each.at, 2) for each in moments],
        speed_per_s=_rounded(speeds_per_s(moments, name, max(SPACING_S, span_s / WINDOWS))),
        served_ratio=_rounded([None if job is None else job.served_ratio for job in jobs]),
        migrations=[migration_view(each) for each in migrations if each.job == name or each.guest in guests],
    )


def history_view(
    since_s: float,
    until_s: float,
    moments: Sequence[Moment],
    migrations: Sequence[Migration],
    decisions: Mapping[str, Decision],
    told: Sequence[tuple[float, Told]],
    inventory: Inventory,
) -> api.HistoryView:
    """Return what has been between two times (Unix time); `decisions` has those that the migrations came of."""
    bucket_s = next((each for each in BUCKETS_S if (until_s - since_s) / each <= BUCKETS), BUCKETS_S[-1])
    first = int(since_s // bucket_s)
    size = int(until_s // bucket_s) - first + 1
    moved, failed = [0] * size, [0] * size
    within, errors = 0, []
    for each in migrations:
        began_s = each.started_at if each.started_at is not None else each.asked_at
        place = int(began_s // bucket_s) - first
        if each.ended_at is None or not 0 <= place < size:
            continue
        if each.state is not State.MOVED:
            failed[place] += 1
            continue
        moved[place] += 1
        candidate = candidate_of(each, decisions)
        price = candidate.price if candidate is not None else None
        if price is not None and price.total is not None and price.total.median > 0:
            took_s = each.ended_at - began_s
            errors.append(abs(took_s / price.total.median - 1.0))
            within += price.total.low <= took_s <= price.total.high
    return api.HistoryView(
        since=since_s,
        until=until_s,
        at=[round(each.at, 1) for each in moments],
        load_mean_ratio=_rounded([each.load_mean_ratio for each in moments]),
        load_most_ratio=_rounded([each.load_most_ratio for each in moments]),
        load_least_ratio=_rounded([each.load_least_ratio for each in moments]),
        bucket_s=bucket_s,
        bucket_at=[(first + place) * bucket_s for place in range(size)],
        moved=moved,
        failed=failed,
        within=within,
        predicted=len(errors),
        error_ratio=median(errors) if errors else None,
        happenings=[happening(at, event, inventory) for at, event in told],
    )


def happening(at: float, event: Told, inventory: Inventory) -> api.HappeningView:
    """Return what happened in words."""
    match event:
        case PolicySet(name=name, config=config):
            given = ", ".join(f"{key} = {value}" for key, value in config.items())
            kind, text = "policy", f"policy {name}" + (f" ({given})" if given else "")
        case Paused():
            kind, text = "paused", "paused by an operator"
        case Resumed():
            kind, text = "resumed", "resumed by an operator"
        case JobAdded(name=name, guests=guests):
            kind, text = "job", f"job {name} of {len(guests)} guests named"
        case JobRemoved(name=name):
            kind, text = "job", f"job {name} removed"
        case RecordJobOver(name=name, ran_s=ran_s, text=why):
            kind, text = "job", f"job {name} over after {format_duration(ran_s)}: {why}"
        case LinksMeasured(links=links):
            kind, text = "links", f"links measured: {', '.join(links)}"
        case GuestReleased(guest=guest):
            kind, text = "released", f"guest {inventory.guest_name(guest)} released by an operator"
        case CancelRequested(cause=cause):
            kind, text = "cancelled", f"migration {cause} cancelled by an operator"
        case RecordHealth(host_name=name, before=before, health=health):
            kind, text = "health", f"host {name} {health.state.value} (before: {before.value})"
            text += f": {health.text}" if health.reasons else ""
    return api.HappeningView(at=at, kind=kind, text=text)


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 4) for value in values]

"""How a guest writes its memory, and how right the predictions made of it were. Pure: core and journal entries in."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from migd_controller.core import Core
from migd_controller.decision import Candidate, Decision
from migd_controller.migration import Migration, State
from migd_core import api
from migd_core.pricing import Interval
from migd_core.units import PAGE_BYTES
from migd_policies.dirty_fit import DirtyFit, fit, usable
from migd_policies.precopy_rounds import AGES_S

# How far beyond the longest count a picture goes: to where the rest is extrapolated.
BEYOND_WINDOWS: Final = 4.0


def dirty_view(
    core: Core, uuid: str, name: str, migrations: Iterable[Migration], decisions: Mapping[str, Decision]
) -> api.DirtyView:
    """Return what is known of a guest's writing; `decisions` has those that its migrations came of, by cause."""
    guest = core.inventory.guests.get(uuid)
    memory_pages = guest.memory_bytes // PAGE_BYTES if guest is not None else 0
    curves, problems = usable(core.telemetry.curves(uuid), core.telemetry.booted_at.get(uuid, 0.0))
    found = None
    if curves and memory_pages:
        found = _fit_view(fit(curves, memory_pages))
    return api.DirtyView(
        guest=uuid,
        guest_name=name,
        memory_pages=memory_pages,
        curves=[
            api.DirtyCurveView(
                measured_at=curve.measured_s, ages_s=list(curve.ages_s), unique_pages=list(curve.unique_pages)
            )
            for curve in curves
        ],
        fit=found,
        problem="; ".join(problems),
        outcomes=[_outcome(each, candidate_of(each, decisions)) for each in migrations if each.ended_at is not None],
    )


def candidate_of(migration: Migration, decisions: Mapping[str, Decision]) -> Candidate | None:
    """Return the candidate that became this migration: D12.2 is the second of decision D12."""
    cause, _, number = migration.cause.partition(".")
    decision = decisions.get(cause)
    if decision is None or not number.isdigit() or not 1 <= int(number) <= len(decision.candidates):
        return None
    return decision.candidates[int(number) - 1]


def _fit_view(found: DirtyFit) -> api.DirtyFitView:
    shown = (BEYOND_WINDOWS * found.window_s >= AGES_S) & ((AGES_S >= 0.01) | (AGES_S == 0.0))
    # `rows`: expected; less and more by what sessions differ; flatter and steeper beyond the window.
    return api.DirtyFitView(
        ages_s=AGES_S[shown].round(4).tolist(),
        expected_pages=found.rows[0][shown].round().tolist(),
        least_pages=found.rows[[1, 3]].min(axis=0)[shown].round().tolist(),
        most_pages=found.rows[[2, 4]].max(axis=0)[shown].round().tolist(),
        window_s=found.window_s,
    )


def _outcome(migration: Migration, candidate: Candidate | None) -> api.OutcomeView:
    assert migration.ended_at is not None
    began_s = migration.started_at if migration.started_at is not None else migration.asked_at
    price = candidate.price if candidate is not None else None
    return api.OutcomeView(
        cause=migration.cause,
        at=began_s,
        source_name=migration.source_name,
        target_name=migration.target_name,
        ok=migration.state is State.MOVED,
        actual_s=migration.ended_at - began_s,
        text=migration.text,
        predicted=interval_view(price.total if price is not None else None),
        predicted_pause=interval_view(price.pause if price is not None else None),
    )


def interval_view(interval: Interval | None) -> api.IntervalView | None:
    """Return an interval as the API shows it."""
    return api.IntervalView(**msgspec.structs.asdict(interval)) if interval is not None else None

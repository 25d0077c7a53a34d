"""Which finished migrations the controller learns from, and that what it learned is in the next price."""

import dataclasses

import pytest
from msgspec.structs import replace

from builders import guest, host, move, world
from migd_controller.config import LedgerSection
from migd_controller.learning import after_migration
from migd_controller.ledger import price
from migd_controller.migration import Migration, State
from migd_core.learned import NOTHING_LEARNED, Learned
from migd_core.messages import DirtyCurve

IDLE = DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(0, 0))
WORLD = world(
    *(host(name, link_bytes_per_s=125e6) for name in "ab"),
    guest("rank0", on="a", memory_bytes=10_000_000_000, dirty_curve=IDLE),
    pricing=LedgerSection(bandwidth_ratio=0.8).pricing,
)
AWAY = move("rank0", "a", "b")
PRICE = price(WORLD, AWAY)


def moved(took_s: float) -> Migration:
    """The move of rank0, as it was priced, and done in so many seconds."""
    return Migration(
        cause="d1.1",
        guest="rank0",
        source="a",
        target="b",
        requested_by="least-loaded",
        asked_at=999.0,
        started_at=1000.0,
        ended_at=1000.0 + took_s,
        state=State.MOVED,
        expected=PRICE.expected,
    )


def learned(migration: Migration, *others: Migration) -> Learned:
    return after_migration(NOTHING_LEARNED, migration, {m.cause: m for m in (migration, *others)})


def test_a_move_that_took_longer_than_predicted_makes_the_next_price_of_it_dearer() -> None:
    assert PRICE.total_s == pytest.approx(101.25)
    again = price(dataclasses.replace(WORLD, learned=learned(moved(120.0))), AWAY)
    assert 103 < again.total_s < 121
    assert again.cost_s > PRICE.cost_s


@pytest.mark.parametrize(
    "migration",
    [
        replace(moved(120.0), state=State.STAYED, code="SESSION_NOT_REGISTERED"),
        replace(moved(120.0), state=State.ELSEWHERE),
        replace(moved(120.0), code="TASK_VANISHED"),
        replace(moved(120.0), is_cancelling=True),
        replace(moved(120.0), is_task_lost=True),
        replace(moved(120.0), started_at=None),
        replace(moved(120.0), expected=None),
    ],
    ids=["stayed", "elsewhere", "task-vanished", "cancelled", "task-lost", "never-started", "not-priced"],
)
def test_a_migration_that_was_disturbed_teaches_nothing(migration: Migration) -> None:
    assert learned(migration) == NOTHING_LEARNED


def test_one_that_shared_a_host_with_another_teaches_nothing_and_one_elsewhere_does_not_matter() -> None:
    beside = replace(moved(0.0), cause="d2.1", source="c", target="b")
    far = replace(moved(0.0), cause="d3.1", source="c", target="d")
    assert learned(moved(120.0), beside) == NOTHING_LEARNED
    assert learned(moved(120.0), far) == learned(moved(120.0)) != NOTHING_LEARNED

"""A move waits for the part of its guest's period in which it costs less, if that is worth what waiting loses."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from builders import guest, host, move, world
from migd_core.messages import DirtyCurve
from migd_core.units import GIB
from migd_core.world import World
from migd_policies.ledger import price, speed_while_migrating
from migd_policies.quiet_start import Counted, Outlook, Unknown, Watched, outlook, start
from migd_policies.rhythm import Series

AWAY = move("rank0", "a", "b")
NAME = "network traffic"
# Of 524,288 pages: nearly all are written within 10 s, or next to none.
BUSY = DirtyCurve((0.1, 1.0, 5.0, 10.0), (5_000, 50_000, 250_000, 500_000), 1.0)
CALM = DirtyCurve((0.1, 1.0, 5.0, 10.0), (250, 2_500, 12_500, 25_000), 2.0)
BUSY_RATE, CALM_RATE = 14e6, 0.3e6
# A period of 160 s: 100 s at work, 60 s of writing to a disk.
PERIOD = (*[BUSY_RATE] * 50, *[CALM_RATE] * 30)


def seen(ago_s: float, *, both: bool = True, rates: Sequence[float] = PERIOD, calm: float = CALM_RATE) -> Watched:
    """A guest watched for seven periods and for `ago_s` more, and counted in both parts."""
    more = int(ago_s / 2.0)
    series = Series(NAME, 2.0, 1000.0, (*rates * 7, *(rates * 2)[:more]))
    counted = (Counted(BUSY, {NAME: BUSY_RATE}), Counted(CALM, {NAME: calm if both else BUSY_RATE}))
    return Watched((series,), counted)


def crowded(*curves: DirtyCurve) -> World:
    """Host a is asked for 5 of its 4 CPUs, so rank0 would step in 0.8 of the time on b."""
    rank = guest("rank0", on="a", memory_bytes=2 * GIB)
    return world(host("a", load=1.0), host("b"), replace(rank, dirty_curves=curves or (BUSY, CALM)))


def promised(watched: Watched, then: World | None = None) -> Outlook:
    found = outlook(then or crowded(), AWAY, watched)
    assert isinstance(found, Outlook), found
    return found


def test_a_guest_at_work_is_priced_by_what_it_writes_then_and_the_quiet_part_by_what_it_writes_there() -> None:
    found = promised(seen(0.0))
    assert (found.is_now, found.begins_in_s, found.curves) == (False, 100.0, (BUSY,))
    assert found.cost_now_s == price(crowded(BUSY), [AWAY]).cost_s.median
    assert found.cost_quiet_s == price(crowded(CALM), [AWAY]).cost_s.median
    assert found.rhythm.lasts_s(found.quiet) == 60.0


def test_a_migration_that_comes_into_the_quiet_part_before_it_is_done_costs_only_the_time_until_then_more() -> None:
    """While it is copied the rank goes on at v·g of its speed, with g = 0.8."""
    found, v = promised(seen(40.0)), speed_while_migrating(crowded(), AWAY, "rank0").median
    assert found.begins_in_s == 60.0
    assert found.cost_now_s == pytest.approx(found.cost_quiet_s + 60.0 * (1.0 - v * 0.8))
    assert found.cost_now_s < promised(seen(0.0)).cost_now_s


def test_which_part_is_quiet_the_counted_pages_say_and_not_the_rate() -> None:
    """This guest writes its memory while it talks little."""
    counted = (Counted(CALM, {NAME: BUSY_RATE}), Counted(BUSY, {NAME: CALM_RATE}))
    found = promised(replace(seen(130.0), counted=counted))
    assert (found.quiet.rate, found.begins_in_s, found.curves) == (pytest.approx(BUSY_RATE), 30.0, (BUSY,))


def test_a_move_waits_while_that_saves_more_than_it_loses() -> None:
    found = promised(seen(40.0))
    saves_s = found.saves_s
    assert saves_s == found.cost_now_s - found.cost_quiet_s > 10.0
    worth, not_worth = ((saves_s + off) / 60.0 for off in (-0.1, 0.1))
    assert start(found, worth, 0.0, 900.0).waits
    assert not start(found, not_worth, 0.0, 900.0).waits
    told = start(found, not_worth, 0.0, 900.0)
    assert (told.loses_s, told.saves_s) == (pytest.approx(saves_s + 0.1), saves_s)
    assert told.text.startswith("no waiting for a quiet phase of 60 s (network traffic repeats every 2 min 40 s, ")


@pytest.mark.parametrize(
    ("ago_s", "is_now"), [(96.0, False), (106.0, True), (120.0, True), (144.0, False), (159.0, False)]
)
def test_the_quiet_part_is_seen_in_the_rate_and_must_last_for_the_migration(ago_s: float, is_now: bool) -> None:
    """It begins at 100 s and lasts 60 s, the migration a good 20; the rate is watched for some seconds."""
    found = promised(seen(ago_s))
    assert found.is_now is is_now
    assert (found.curves == (CALM,)) is is_now
    assert start(found, 0.0, 0.0, 900.0).waits is not is_now


def test_late_in_a_quiet_part_a_move_waits_for_the_next_one() -> None:
    found = promised(seen(150.0))
    assert found.begins_in_s == pytest.approx(110.0, abs=6.0)
    assert found.curves == (BUSY,), "it would go on into the part at work"


def test_a_quiet_part_that_is_due_and_does_not_come_is_waited_for_until_the_deadline_only() -> None:
    late = replace(seen(100.0), series=(Series(NAME, 2.0, 1000.0, (*PERIOD * 7, *[BUSY_RATE] * 60)),))
    found = promised(late)
    assert (found.is_now, found.begins_in_s) == (False, 0.0)
    assert start(found, 0.2, 59.0, 60.0).waits
    told = start(found, 0.2, 60.0, 60.0)
    assert not told.waits
    assert told.text.startswith("it has waited 60 s for a quiet phase of ")
    assert told.text.endswith(" that did not come, and is judged as it is")


def test_nobody_waits_for_longer_than_the_deadline_leaves() -> None:
    found = promised(seen(40.0))
    assert start(found, 0.0, 30.0, 90.0).waits
    told = start(found, 0.0, 30.0, 89.0)
    assert not told.waits
    assert told.text.endswith(" begins in 60 s, and no move waits longer than 59 s")


def test_a_migration_that_does_not_fit_into_the_quiet_part_does_not_wait_for_it() -> None:
    short = (*[BUSY_RATE] * 70, *[CALM_RATE] * 8)
    told = start(promised(seen(40.0, rates=short)), 0.0, 0.0, 900.0)
    assert not told.waits
    assert told.text.startswith("a migration takes up to 2")
    assert " and fits in no quiet phase of 16 s (" in told.text


@pytest.mark.parametrize(
    ("watched", "why"),
    [
        (
            replace(seen(40.0), counted=(Counted(BUSY, {NAME: BUSY_RATE}), Counted(BUSY, {NAME: CALM_RATE}))),
            "no two counts of its dirty pages differ so much that it could have phases",
        ),
        (replace(seen(40.0), counted=()), "no two counts of its dirty pages differ so much that it could have phases"),
        (replace(seen(40.0), series=()), "it was not watched for 5 periods of anything"),
        (
            seen(40.0, both=False),
            "network traffic repeats every 2 min 40 s, autocorrelation 0.86 (needs 0.61), but its dirty pages were not "
            "counted in both parts of that period",
        ),
        (
            seen(40.0, calm=(BUSY_RATE + CALM_RATE) / 2),
            "network traffic repeats every 2 min 40 s, autocorrelation 0.86 (needs 0.61), but its dirty pages were not "
            "counted in both parts of that period",
        ),
    ],
)
def test_what_is_not_known_is_told_and_waited_for_by_nobody(watched: Watched, why: str) -> None:
    found = outlook(crowded(), AWAY, watched)
    assert isinstance(found, Unknown)
    assert found.text == why


def test_a_curve_that_cannot_be_is_no_evidence_of_phases() -> None:
    falling = DirtyCurve((1.0, 10.0), (5_000, 400), 2.0)
    found = outlook(
        crowded(), AWAY, replace(seen(40.0), counted=(Counted(BUSY, {NAME: BUSY_RATE}), Counted(falling, {})))
    )
    assert found == Unknown("no two counts of its dirty pages differ so much that it could have phases")


def test_of_two_rhythms_the_one_whose_quiet_part_holds_the_migration_counts() -> None:
    """Steps of 24 s, seen by narrow bins, within the long period that only wider ones see as a whole."""
    steps = [rate for _ in range(42) for rate in (*[BUSY_RATE] * 6, *[BUSY_RATE / 3] * 6)]
    wide = (*[BUSY_RATE] * 25, *[CALM_RATE] * 15) * 6
    watched = replace(seen(0.0), series=(Series(NAME, 2.0, 1000.0, steps), Series(NAME, 12.0, 1000.0, wide)))
    assert promised(watched).rhythm.period_s == 480.0

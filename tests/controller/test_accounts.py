"""What past moves have cost a job, and that it is let catch up before it is moved again."""

import pytest
from msgspec.structs import replace

from migd_controller.accounts import Entry, after, behind_s, current, since_s, stalled_s
from migd_controller.migration import Migration, State

NOW_S = 10_000.0
MOVED = Migration(
    cause="D1.1",
    guest="rank0",
    source="a",
    target="b",
    requested_by="job-time",
    asked_at=8_990.0,
    started_at=9_000.0,
    ended_at=9_040.0,
    predicted_s=20.0,
    predicted_pause_s=3.0,
    state=State.MOVED,
    job="brams",
    cost_s=15.0,
    gain_rate=0.2,
    lasts_s=600.0,
)


def test_a_migration_that_took_twice_as_long_cost_twice_as_much() -> None:
    (entry,) = after({}, MOVED)["brams"]
    assert entry == Entry(cause="D1.1", ended_at=9_040.0, cost_s=30.0, pause_s=6.0, gain_rate=0.2, lasts_s=600.0)


@pytest.mark.parametrize("state", [State.STAYED, State.GONE, State.ELSEWHERE])
def test_one_that_did_not_arrive_gains_nothing(state: State) -> None:
    (entry,) = after({}, replace(MOVED, state=state))["brams"]
    assert (entry.cost_s, entry.gain_rate, entry.pause_s) == (30.0, 0.0, 0.0)


def test_a_job_is_behind_until_the_gain_has_paid() -> None:
    accounts = after({}, MOVED)
    assert behind_s(accounts, "brams", 9_040.0) == pytest.approx(30.0)
    assert behind_s(accounts, "brams", 9_090.0) == pytest.approx(20.0)
    assert behind_s(accounts, "brams", 9_200.0) == 0.0
    assert behind_s(accounts, "other", 9_040.0) == 0.0


def test_a_gain_lasts_no_longer_than_it_was_reckoned_for() -> None:
    accounts = after({}, replace(MOVED, lasts_s=50.0))
    assert behind_s(accounts, "brams", 9_900.0) == pytest.approx(20.0)


def test_what_one_move_gained_pays_for_another() -> None:
    accounts = after({}, MOVED)
    accounts = after(accounts, replace(MOVED, cause="D2.1", started_at=9_300.0, ended_at=9_340.0))
    # 30 s for each; the first has gained 0.2 * 300 s by then.
    assert behind_s(accounts, "brams", 9_340.0) == pytest.approx(0.0)


def test_pauses_count_for_an_hour_and_entries_until_they_are_of_no_account() -> None:
    accounts = after({}, MOVED)
    assert stalled_s(accounts, "brams", 9_040.0 + 3_599.0) == 6.0
    assert stalled_s(accounts, "brams", 9_040.0 + 3_600.0) == 0.0
    assert since_s(accounts, "brams", 9_140.0) == 100.0
    assert current(accounts, NOW_S) is accounts
    assert current(accounts, 9_040.0 + 3_600.0) == {}


def test_a_guest_without_a_prediction_is_of_no_account() -> None:
    assert after({}, replace(MOVED, predicted_s=None)) == {}

"""Ticks neither drift nor burst."""

from hypothesis import given
from hypothesis import strategies as st

from migd_agent.pace import next_due_s


def test_a_tick_that_took_a_while_does_not_shift_the_next() -> None:
    assert next_due_s(100.0, 1.0, now_s=103.4) == 104.0


def test_ticks_that_were_missed_are_skipped() -> None:
    assert next_due_s(100.0, 1.0, now_s=109.99) == 110.0


def test_a_tick_right_on_time_is_not_due_again() -> None:
    assert next_due_s(100.0, 1.0, now_s=103.0) == 104.0


@given(start_s=st.floats(0, 1e7), period_s=st.floats(0.05, 60), passed_s=st.floats(0, 1e6))
def test_the_next_tick_lies_ahead_by_no_more_than_a_period(start_s: float, period_s: float, passed_s: float) -> None:
    now_s = start_s + passed_s
    assert now_s < next_due_s(start_s, period_s, now_s) <= now_s + period_s * 1.001 + 1e-6

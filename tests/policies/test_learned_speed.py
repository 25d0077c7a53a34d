"""How fast a job goes while one of its guests migrates, learned from its own migrations."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migd_policies.job_progress import Report
from migd_policies.learned_speed import KEPT, LEAST_RATIO, LearnedSpeed, after, estimate, observed

ratios = st.floats(0.0, 1.5)


def learned(*seen: float) -> LearnedSpeed:
    return reduce(after, seen, LearnedSpeed())


def test_a_job_never_watched_gets_a_half_give_or_take_a_quarter() -> None:
    found = estimate(LearnedSpeed())
    assert (found.median_ratio, found.basis) == (0.5, "no migration of this job was watched yet")
    assert (found.least_ratio, found.most_ratio) == pytest.approx((0.2437, 0.7563), abs=1e-3)


def test_one_migration_moves_the_guess_a_third_of_the_way() -> None:
    found = estimate(learned(0.8))
    assert found.median_ratio == pytest.approx(0.6)
    assert found.basis == "one migration of this job watched, 0.80 in the middle"


def test_many_migrations_that_agree_leave_little_of_the_first_guess() -> None:
    found = estimate(learned(*[0.3] * KEPT))
    assert found.median_ratio == pytest.approx(0.32, abs=0.01)
    assert found.most_ratio - found.least_ratio < 0.25


def test_one_odd_migration_among_many_changes_nothing_much() -> None:
    usual = [0.3, 0.31, 0.29, 0.3, 0.32]
    assert estimate(learned(*usual, 1.0)).median_ratio == pytest.approx(
        estimate(learned(*usual, 0.3)).median_ratio, abs=0.01
    )


@given(st.lists(ratios, max_size=40))
def test_whatever_is_seen_the_estimate_is_an_interval_within_reason_and_memory_is_bounded(seen: list[float]) -> None:
    known = learned(*seen)
    found = estimate(known)
    assert len(known.ratios) <= KEPT
    assert LEAST_RATIO <= found.least_ratio <= found.median_ratio <= found.most_ratio <= 1.0


@given(st.lists(ratios, max_size=KEPT - 1), ratios, ratios)
def test_a_faster_migration_never_makes_the_guess_slower(seen: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert estimate(learned(*seen, low)).median_ratio <= estimate(learned(*seen, high)).median_ratio + 1e-12


@given(
    v=st.floats(0.1, 1.0),
    per_s=st.floats(0.01, 50.0),
    gap_s=st.floats(1.0, 12.0),
    precopy_s=st.floats(40.0, 300.0),
    phase=st.floats(0.0, 1.0),
)
def test_the_speed_of_a_migration_is_found_whenever_the_reports_fall(
    v: float, per_s: float, gap_s: float, precopy_s: float, phase: float
) -> None:
    """A job of `per_s` iterations a second that goes at v of it from 1,000 s on, told every `gap_s`."""

    def done(at_s: float) -> float:
        return per_s * (min(at_s, 1000.0) + v * max(0.0, at_s - 1000.0))

    at = [900.0 + gap_s * (n + phase) for n in range(500)]
    reports = [Report(at_s, done(at_s)) for at_s in at if at_s < 1000.0 + precopy_s + 30.0]
    assert observed(reports, 1000.0, 1000.0 + precopy_s) == pytest.approx(v, rel=1e-3)


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ([995.0, 1010.0, 1030.0, 1050.0], "one report before"),
        ([900.0, 950.0, 1000.0], "none within, though a few were due"),
        ([970.0, 980.0, 990.0, 1003.0], "the last one within is too early"),
        ([], "none at all"),
    ],
)
def test_too_few_reports_tell_nothing(times: list[float], why: str) -> None:
    assert observed([Report(at_s, at_s) for at_s in times], 1000.0, 1090.0) is None, why


def test_a_short_migration_tells_nothing() -> None:
    assert observed([Report(float(n), float(n)) for n in range(1000)], 500.0, 505.0) is None


def test_a_job_often_heard_that_falls_silent_has_stood_still() -> None:
    assert observed([Report(float(n), float(n)) for n in range(900, 1001, 5)], 1000.0, 1060.0) == LEAST_RATIO

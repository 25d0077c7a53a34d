"""Whether jobs step as fast after real moves as the ledger said, from what they tell of their progress."""

import pytest

from migd_controller.step_checks import AFTER_S, GIVE_UP_S, StepCheck, begun, followed, without
from migd_core.pricing import Interval
from migd_policies.job_progress import Report, Track
from migd_policies.ledger import JobPrice

NOW_S = 1000.0
CHECK = StepCheck(causes=("D1.1", "D1.2"), before_s=2.0, expected_ratio=0.8)


def track(*, step_s: float, from_s: float, to_s: float) -> Track:
    """Return the track of a job that reports every 5 s."""
    times = [from_s + 5.0 * number for number in range(int((to_s - from_s) / 5.0) + 1)]
    return Track(reports=tuple(Report(at_s, at_s / step_s) for at_s in times))


def told(job: str, ratio: float) -> JobPrice:
    gain = Interval(0.0, 0.0, 0.0)
    rate = 1.0 - ratio
    return JobPrice(
        job=job, step_ratio=ratio, waits_s=0.0, lasts_s=600.0, gain_rate=rate, gain_s=0.0, gain=gain, ratio_sd_s=0.0
    )


def test_only_jobs_that_tell_enough_and_are_to_change_are_checked() -> None:
    tracks = {
        "brams": track(step_s=2.0, from_s=NOW_S - 100.0, to_s=NOW_S),
        "quiet": track(step_s=2.0, from_s=NOW_S - 100.0, to_s=NOW_S - 60.0),
        "same": track(step_s=2.0, from_s=NOW_S - 100.0, to_s=NOW_S),
    }
    jobs = [told("brams", 0.8), told("quiet", 0.8), told("same", 0.99), told("silent", 0.5)]
    found = begun({}, jobs, ["D1.1", "D1.2"], tracks, NOW_S)
    assert found == {"brams": StepCheck(causes=("D1.1", "D1.2"), before_s=pytest.approx(2.0), expected_ratio=0.8)}


def test_a_job_that_more_moves_touch_is_not_checked_and_others_still_are() -> None:
    tracks = {"brams": track(step_s=2.0, from_s=NOW_S - 100.0, to_s=NOW_S)}
    assert begun({"brams": CHECK, "other": CHECK}, [told("brams", 0.7)], ["D2.1"], tracks, NOW_S) == {"other": CHECK}


def test_a_check_waits_for_the_last_migration_and_then_a_minute() -> None:
    checks, done = followed({"brams": CHECK}, {"D1.2"}, {}, NOW_S)
    assert (checks, done) == ({"brams": CHECK}, [])
    checks, done = followed(checks, (), {}, NOW_S)
    ended = StepCheck(causes=CHECK.causes, before_s=2.0, expected_ratio=0.8, ended_at=NOW_S)
    assert (checks, done) == ({"brams": ended}, [])
    tracks = {"brams": track(step_s=1.7, from_s=NOW_S - 50.0, to_s=NOW_S + AFTER_S)}
    assert followed(checks, (), tracks, NOW_S + AFTER_S - 1.0) == ({"brams": ended}, [])
    checks, ((expected, was),) = followed(checks, (), tracks, NOW_S + AFTER_S)
    assert (checks, expected, was) == ({}, 0.8, pytest.approx(0.85))


def test_a_job_that_is_gone_or_silent_is_not_waited_for() -> None:
    ended = {"brams": StepCheck(causes=("D1.1",), before_s=2.0, expected_ratio=0.8, ended_at=NOW_S)}
    assert followed(ended, (), {}, NOW_S + 1.0) == ({}, [])
    silent = {"brams": track(step_s=2.0, from_s=0.0, to_s=NOW_S)}
    assert followed(ended, (), silent, NOW_S + GIVE_UP_S - 1.0) == (ended, [])
    assert followed(ended, (), silent, NOW_S + GIVE_UP_S) == ({}, [])


def test_a_failed_migration_ends_the_checks_of_its_set() -> None:
    assert without({"brams": CHECK}, "D1.2") == {}
    assert without({"brams": CHECK}, "D7.1") == {"brams": CHECK}

"""The demo's plot, act by act, on readings made up for it."""

from dataclasses import replace

import pytest

from migd_cli.demo.story import Act, Limits, Reading, Story

LIMITS = Limits()
STEP_S = 0.25


class Job:
    """A job seen every quarter of a second, at the speed it has at the moment."""

    def __init__(self) -> None:
        self.speed, self.at_s, self.steps, self.under_way, self.over = 400.0, 3.0, 0.0, 0, 0
        self.story = Story.begun(self.reading(), LIMITS)

    def reading(self) -> Reading:
        return Reading(self.at_s, self.steps, self.under_way, self.over)

    def runs(self, seconds: float) -> Act:
        for _ in range(round(seconds / STEP_S)):
            self.at_s += STEP_S
            self.steps += self.speed * STEP_S
            self.story = self.story.advance(self.reading())
        return self.story.act

    def until(self, act: Act, at_most_s: float = 200.0) -> None:
        while self.story.act is not act and at_most_s > 0:
            at_most_s -= STEP_S
            self.runs(STEP_S)
        assert self.story.act is act, self.story.why


def in_overload() -> Job:
    job = Job()
    job.until(Act.OVERLOAD)
    job.speed = 200.0
    return job


def test_the_story_ends_with_the_speed_before_during_and_after():
    job = in_overload()
    assert job.runs(6) is Act.OVERLOAD
    job.under_way = 1
    assert job.runs(4) is Act.RELIEF
    job.under_way, job.over, job.speed = 0, 1, 380.0
    job.until(Act.DONE)
    assert (job.story.before, job.story.hog, job.story.after) == (400.0, 200.0, 380.0)
    assert 35 < job.at_s < 40


def test_the_baseline_lasts_as_long_as_it_has_to():
    job = Job()
    assert job.runs(LIMITS.baseline_s - STEP_S) is Act.BASELINE
    assert job.runs(STEP_S) is Act.OVERLOAD


def test_a_slow_job_is_measured_until_it_has_done_enough_steps():
    job = Job()
    job.speed = 1.0
    assert job.runs(19) is Act.BASELINE
    assert job.runs(1) is Act.OVERLOAD


def test_a_migration_begins_the_baseline_anew():
    job = Job()
    job.runs(8)
    job.under_way, job.speed = 1, 100.0
    job.runs(1)
    job.under_way, job.over, job.speed = 0, 1, 400.0
    assert job.runs(8) is Act.BASELINE
    job.until(Act.OVERLOAD)
    assert job.story.before == 400.0


def test_the_second_in_which_the_hog_comes_is_left_out():
    job = in_overload()
    job.speed = 400.0
    job.runs(LIMITS.hog_shows_s)
    job.speed = 200.0
    job.runs(5)
    job.under_way = 1
    job.runs(STEP_S)
    assert job.story.hog == 200.0


def test_a_migration_that_comes_at_once_still_leaves_a_speed():
    job = in_overload()
    job.under_way = 1
    assert job.runs(STEP_S) is Act.RELIEF
    assert job.story.hog == 200.0


def test_a_migration_too_short_to_be_seen_under_way_counts():
    job = in_overload()
    job.runs(5)
    job.over = 1
    assert job.runs(STEP_S) is Act.RELIEF


def test_the_end_is_measured_after_the_last_migration():
    job = in_overload()
    job.runs(5)
    job.under_way = 1
    job.runs(3)
    job.under_way, job.over, job.speed = 0, 1, 300.0
    assert job.runs(LIMITS.relief_s - 1) is Act.RELIEF
    job.under_way = 1
    job.runs(3)
    job.under_way, job.over, job.speed = 0, 2, 400.0
    assert job.runs(LIMITS.relief_s) is Act.RELIEF
    assert job.runs(STEP_S) is Act.DONE
    assert job.story.after == 400.0


def test_a_policy_that_never_acts_is_not_waited_for():
    job = in_overload()
    job.until(Act.FAILED)
    assert job.story.why == "no guest was moved within 30 s of the overload"


@pytest.mark.parametrize("over", [0, 1])
def test_migrations_without_end_are_not_waited_for(over: int):
    job = in_overload()
    job.runs(5)
    while job.story.act is not Act.FAILED:
        job.under_way, job.over = 1 - over, job.over + over
        job.runs(STEP_S)
        assert job.at_s <= LIMITS.all_at_most_s
    assert job.story.why == "the demo was to end within 90 s and was in relief"


def test_an_uneven_baseline_fails():
    job = Job()
    job.under_way = 1
    job.until(Act.FAILED)
    assert job.story.why == "the job was not left alone for 10 s before the overload"


def test_nothing_follows_the_end():
    job = in_overload()
    job.until(Act.FAILED)
    assert job.story.advance(replace(job.reading(), over=9)) is job.story

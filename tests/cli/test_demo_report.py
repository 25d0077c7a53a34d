"""When the demo has shown what it is to show, and what it says when it has not."""

import pytest

from migd_cli.demo.report import DemoMigration, DemoReport, shortcoming


def found(after: float | None, *moved: bool) -> DemoReport:
    """Return the report of a job that did 400 steps a second before the hog came."""
    migrations = [
        DemoMigration(guest="rank0", source="xen01", target="xen02", predicted_s=9.0, actual_s=8.0, pause_s=0.3, ok=ok)
        for ok in moved
    ]
    return DemoReport(
        job="brams", steps_per_s_before=400.0, steps_per_s_hog=200.0, steps_per_s_after=after, migrations=migrations
    )


@pytest.mark.parametrize("after", [360.0, 400.0, 420.0])
def test_a_job_that_was_moved_and_has_nine_tenths_of_its_speed_again_shows_it(after: float):
    assert shortcoming(found(after, False, True)) is None


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (found(356.0, True), "the job got back to 89 % of its speed, not to 90 %"),
        (found(200.0, True), "the job got back to 50 % of its speed, not to 90 %"),
        (found(400.0), "no guest was moved"),
        (found(400.0, False), "no guest was moved"),
        (found(None, True), "it ended before the job's speed could be compared"),
    ],
)
def test_a_demo_that_shows_less_says_what_is_missing(report: DemoReport, why: str):
    assert shortcoming(report) == why

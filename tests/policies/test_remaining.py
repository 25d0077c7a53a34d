"""How long a job still runs, from the best that is known of it."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migd_core.progress import Progress
from migd_core.world import Remaining
from migd_policies.job_progress import Track, following
from migd_policies.remaining import Known, remaining

HOUR = 3600.0
NOW_S = 1_000_000.0


def track(iteration_s: float = 10.0, count: int = 20, total: float | None = 120) -> Track:
    """`count` iterations, the last one done now."""
    found = Track()
    for n in range(1, count + 1):
        found = following(found, Progress(n, total), NOW_S - iteration_s * (count - n), "rank0")
    return found


ALL_KNOWN = Known(
    now_s=NOW_S,
    track=track(),
    started_at=NOW_S - HOUR,
    ends_at=NOW_S + 2 * HOUR,
    wall_time_limit_s=36 * HOUR,
    finished_s=(3 * HOUR, 4 * HOUR, 5 * HOUR),
)
UNTOLD = replace(ALL_KNOWN, track=Track())
UNSAID = replace(UNTOLD, ends_at=None)
NO_HISTORY = replace(UNSAID, finished_s=())
ONLY_STARTED = replace(NO_HISTORY, wall_time_limit_s=None)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (ALL_KNOWN, Remaining(1000.0, 900.0, 1100.0, "progress: 20 of 120 iterations at 10 s each")),
        (UNTOLD, Remaining(2 * HOUR, HOUR, 4 * HOUR, "said when the job was added")),
        (
            UNSAID,
            Remaining(3 * HOUR, 1.2 * HOUR, 4.8 * HOUR, "history: 3 earlier runs of this name, 4 h each"),
        ),
        (
            NO_HISTORY,
            # from log-uniform over 1 h .. 36 h, less the hour that has passed
            Remaining(
                5 * HOUR,
                (36**0.1 - 1) * HOUR,
                (36**0.9 - 1) * HOUR,
                "wall-time limit of 36 h, of which 1 h have passed; users ask for about 6 times of what they need",
            ),
        ),
        (
            ONLY_STARTED,
            Remaining(HOUR, HOUR / 9, 9 * HOUR, "nothing but that it has run for 1 h; as long again"),
        ),
    ],
    ids=["progress", "said", "history", "wall time", "elapsed"],
)
def test_the_best_that_is_known_counts(known: Known, expected: Remaining) -> None:
    found = remaining(known)
    assert found is not None
    assert found.basis == expected.basis
    assert (found.median_s, found.least_s, found.most_s) == pytest.approx(
        (expected.median_s, expected.least_s, expected.most_s)
    )


def test_of_a_job_of_which_nothing_is_known_nothing_is_said() -> None:
    assert remaining(Known(now_s=NOW_S)) is None


def test_time_since_the_last_report_counts_as_worked() -> None:
    found = remaining(replace(ALL_KNOWN, now_s=NOW_S + 40.0))
    assert found is not None
    assert (found.median_s, found.least_s, found.most_s) == (960.0, 860.0, 1060.0)


def test_a_wall_time_limit_bounds_what_progress_tells() -> None:
    found = remaining(replace(ALL_KNOWN, wall_time_limit_s=HOUR + 600.0))
    assert found == Remaining(
        600.0,
        600.0,
        600.0,
        "progress: 20 of 120 iterations at 10 s each; its wall-time limit cuts it short",
    )


def test_an_end_that_was_said_and_has_passed_leaves_nothing_to_gain() -> None:
    found = remaining(replace(UNTOLD, ends_at=NOW_S - 300.0))
    assert found == Remaining(0.0, 0.0, 300.0, "it was said to end 5 min ago, and nobody has said that it goes on")


def test_a_limit_that_has_passed_leaves_nothing_to_gain() -> None:
    found = remaining(replace(NO_HISTORY, wall_time_limit_s=HOUR / 2))
    assert found == Remaining(0.0, 0.0, HOUR / 2, "its wall-time limit of 30 min passed 30 min ago")


def test_a_remaining_time_that_grows_widens_what_it_may_become() -> None:
    """Said to end in two hours, then put off by three: it may be put off as much again."""
    found = remaining(replace(UNTOLD, postponed_s=3 * HOUR))
    assert found == Remaining(2 * HOUR, HOUR, 7 * HOUR, "said when the job was added, put off by 3 h so far")


def test_a_total_that_grows_widens_what_is_left_and_says_so() -> None:
    grown = following(track(), Progress(21, 240), NOW_S + 10.0, "rank0")
    found = remaining(replace(ALL_KNOWN, track=grown, now_s=NOW_S + 10.0))
    assert found is not None
    assert found.basis == "progress: 21 of 240 iterations at 10 s each; the total grew from 120 to 240"
    assert (found.median_s, found.least_s, found.most_s) == pytest.approx((2190.0, 1971.0, (480 - 21) * 11.0))


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (following(track(), Progress(3, 120), NOW_S, "rank0"), "progress went back from 20 to 3"),
        (track(total=None), "20 iterations done, but of how many is not known"),
        (track(count=1), "1 of 120 iterations done, told once only, so how fast is not known"),
    ],
    ids=["jumped back", "no total", "told once"],
)
def test_progress_that_tells_nothing_gives_way_to_the_next_best_and_says_why(broken: Track, why: str) -> None:
    found = remaining(replace(ALL_KNOWN, track=broken))
    assert found is not None
    assert found.median_s == 2 * HOUR
    assert found.basis.startswith("said when the job was added; ")
    assert why in found.basis


def test_a_job_that_has_stopped_telling_is_not_counted_on() -> None:
    found = remaining(replace(ALL_KNOWN, now_s=NOW_S + 101.0))
    assert found is not None
    assert found.basis == "said when the job was added; no progress for 101 s (limit 100 s)"


def test_a_job_with_all_its_iterations_done_has_no_time_left() -> None:
    found = remaining(replace(ALL_KNOWN, track=track(total=20)))
    assert found == Remaining(0.0, 0.0, 0.0, "all of its 20 iterations are done")


def test_a_job_whose_guests_partly_vanished_may_end_at_any_moment() -> None:
    found = remaining(replace(ALL_KNOWN, guests=8, missing=2))
    assert found == Remaining(
        1000.0,
        0.0,
        1100.0,
        "progress: 20 of 120 iterations at 10 s each; 2 of its 8 guests no longer run, so it may end at any moment",
    )


def test_a_job_longer_than_every_earlier_run_lasts_as_long_again_as_it_is_over() -> None:
    found = remaining(replace(UNSAID, started_at=NOW_S - 6 * HOUR))
    assert found == Remaining(
        HOUR, HOUR / 9, 9 * HOUR, "history: 1 h longer than the longest of 3 earlier runs; as long again"
    )


def test_of_earlier_runs_those_count_that_took_longer_than_this_one_has_by_now() -> None:
    found = remaining(replace(UNSAID, started_at=NOW_S - 3.5 * HOUR))
    assert found is not None
    assert found.median_s == pytest.approx(1.0 * HOUR)


def test_the_intervals_hold_what_they_say() -> None:
    """Of runs drawn from the very law, each looked at some time into it, 80 % end within the interval."""
    random_ = random.Random(5)
    held = below = count = 0
    limit_s = 24 * HOUR
    while count < 4000:
        length_s = limit_s * 36 ** -random_.random()
        elapsed_s = limit_s * 36 ** (-1.3 * random_.random())
        if elapsed_s >= length_s:
            continue
        found = remaining(Known(now_s=NOW_S, started_at=NOW_S - elapsed_s, wall_time_limit_s=limit_s))
        assert found is not None
        left_s = length_s - elapsed_s
        held, below, count = (
            held + (found.least_s <= left_s <= found.most_s),
            below + (left_s < found.median_s),
            count + 1,
        )
    assert 0.77 < held / count < 0.83
    assert 0.47 < below / count < 0.53


def times() -> st.SearchStrategy[float]:
    return st.floats(0, 1e8)


@given(
    reports=st.lists(st.tuples(st.floats(0.001, 1e5), st.floats(0, 1e6), st.one_of(st.none(), st.floats(1e6, 1e9)))),
    started_ago_s=st.one_of(st.none(), st.floats(-1e4, 1e8)),
    ends_in_s=st.one_of(st.none(), st.floats(-1e8, 1e8)),
    postponed_s=times(),
    limit_s=st.one_of(st.none(), st.floats(0.001, 1e8)),
    finished_s=st.lists(times(), max_size=20),
    missing=st.integers(0, 8),
)
def test_whatever_is_known_the_interval_is_one_and_the_basis_says_what_it_rests_on(
    reports: list[tuple[float, float, float | None]],
    started_ago_s: float | None,
    ends_in_s: float | None,
    postponed_s: float,
    limit_s: float | None,
    finished_s: list[float],
    missing: int,
) -> None:
    told, at_s = Track(), NOW_S
    for gap_s, done, total in reports:
        at_s += gap_s
        told = following(told, Progress(done, total), at_s, "rank0")
    known = Known(
        now_s=at_s,
        track=told,
        started_at=None if started_ago_s is None else at_s - started_ago_s,
        ends_at=None if ends_in_s is None else at_s + ends_in_s,
        postponed_s=postponed_s,
        wall_time_limit_s=limit_s,
        finished_s=finished_s,
        guests=8,
        missing=missing,
    )
    found = remaining(known)
    if found is None:
        assert started_ago_s is None
        return
    assert 0 <= found.least_s <= found.median_s <= found.most_s < math.inf
    assert found.basis
    if limit_s is not None and known.elapsed_s is not None and known.elapsed_s < limit_s:
        assert found.most_s <= limit_s - known.elapsed_s

"""How fast a job iterates, from whatever is told of its progress."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migd_core.progress import Progress
from migd_policies.job_progress import KEPT, SPACING_S, Pace, Track, following, pace, silence


def told(*reports: tuple[float, float], total: float | None = None, teller: str = "rank0") -> Track:
    """The track after reports of (time, done)."""
    track = Track()
    for at_s, done in reports:
        track = following(track, Progress(done, total), at_s, teller)
    return track


def steady(iteration_s: float, count: int, total: float | None = None) -> Track:
    return told(*((iteration_s * n, n) for n in range(1, count + 1)), total=total)


def test_the_iteration_time_is_the_median_of_the_window_at_least_a_tenth_wide() -> None:
    assert pace(steady(10.0, 20)) == Pace(10.0, 9.0, 11.0)


def test_one_long_iteration_does_not_move_the_median_but_the_far_end() -> None:
    """A history dump of 90 s among nine iterations of 10 s: the mean is 18.9 s."""
    track = told(*((10.0 * n, n) for n in range(1, 10)), (190.0, 10), total=100)
    found = pace(track)
    assert found is not None
    assert (found.median_s, found.least_s, found.most_s) == (10.0, 9.0, pytest.approx(28.0, rel=0.5))
    assert found.most_s >= 180.0 / 9


def test_one_report_tells_no_speed() -> None:
    assert pace(told((1.0, 5))) is None


def test_fast_iterations_are_gathered_so_that_the_window_covers_minutes() -> None:
    track = steady(0.5, 2000)
    assert len(track.reports) <= KEPT
    assert track.reports[-1].at_s - track.reports[0].at_s >= (KEPT - 2) * SPACING_S
    assert track.progress == Progress(2000)


def test_progress_that_goes_back_starts_anew_and_says_so() -> None:
    track = following(steady(10.0, 20, total=100), Progress(3, 100), 210.0, "rank0")
    assert track.turn == "progress went back from 20 to 3: a restart, or a new phase"
    assert (track.progress, pace(track)) == (Progress(3, 100), None)


@pytest.mark.parametrize(("total", "word"), [(150.0, "grew"), (80.0, "fell")])
def test_a_total_that_changes_keeps_the_speed_and_says_so(total: float, word: str) -> None:
    track = following(steady(10.0, 20, total=100), Progress(21, total), 210.0, "rank0")
    assert track.turn == f"the total {word} from 100 to {total:g}"
    assert (track.total, track.first_total, pace(track)) == (total, 100, Pace(10.0, 9.0, 11.0))


def test_a_total_that_is_told_once_holds_until_more_is_done() -> None:
    track = following(steady(10.0, 20, total=21), Progress(21), 210.0, "rank0")
    assert track.total == 21
    track = following(track, Progress(22), 220.0, "rank0")
    assert (track.total, track.turn) == (None, "it went beyond its total of 21")


def test_another_teller_may_count_in_other_units_so_it_starts_anew() -> None:
    track = following(steady(10.0, 20, total=100), Progress(90, 100), 210.0, "rank1")
    assert (track.teller, pace(track), track.turn) == (
        "rank1",
        None,
        "its progress is told by somebody else than before",
    )


def test_the_same_progress_again_is_no_report() -> None:
    track = steady(10.0, 5)
    assert following(track, Progress(5), 80.0, "rank0") is track


def test_a_teller_that_is_silent_for_ten_of_its_usual_gaps_is_not_counted_on() -> None:
    track = steady(30.0, 10)
    assert silence(track, 300.0 + 299.0) == ""
    assert silence(track, 300.0 + 301.0) == "no progress for 5 min 1 s (limit 5 min)"
    assert silence(Track(), 1e9) == ""


@given(
    st.lists(
        st.tuples(
            st.floats(-1e9, 1e9),
            st.floats(0, 1e14),
            st.one_of(st.none(), st.floats(1e14, 9e14)),
            st.sampled_from(["", "rank0", "rank1"]),
        ),
        max_size=120,
    )
)
def test_whatever_is_told_the_track_stays_bounded_and_rises(said: list[tuple[float, float, float | None, str]]) -> None:
    track = Track()
    for at_s, done, total, teller in said:
        track = following(track, Progress(done, total), at_s, teller)
        times, counts = [report.at_s for report in track.reports], [report.done for report in track.reports]
        assert 1 <= len(track.reports) <= KEPT
        assert times == sorted(set(times))
        assert counts == sorted(set(counts))
        assert track.progress is not None
        found = pace(track)
        assert found is None or 0 < found.least_s <= found.median_s <= found.most_s

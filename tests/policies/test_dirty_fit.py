"""What dirty curves tell: D(t) inside and beyond what was counted, and what cannot be believed."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migd_core.messages import DirtyCurve
from migd_core.units import GIB, MIB
from migd_policies.dirty_fit import fit, probe_ages_s, shrinking, usable
from migd_policies.precopy_rounds import AGES_S, at

AGES = probe_ages_s(GIB, 50e6)
PAGES = 200_000


def random_writes(pages: float, tau_s: float, *, ages: tuple[float, ...] = AGES, at_s: float = 0.0) -> DirtyCurve:
    counts = tuple(round(pages * -math.expm1(-age_s / tau_s)) for age_s in ages)
    return DirtyCurve(ages_s=ages, unique_pages=counts, measured_s=at_s)


def sweep(pages: float, period_s: float) -> DirtyCurve:
    return DirtyCurve(ages_s=AGES, unique_pages=tuple(round(pages * min(1.0, age_s / period_s)) for age_s in AGES))


def written(curve: DirtyCurve, age_s: float, memory_pages: int = PAGES) -> float:
    return float(at(fit((curve,), memory_pages).rows[:1], np.array([age_s]))[0])


@pytest.mark.parametrize("tau_s", [0.1, 0.7, 3.0, 9.0])
@pytest.mark.parametrize("age_s", [0.1, 0.4, 1.5, 5.0, 10.0])
def test_random_writes_are_known_at_every_age_that_was_counted(tau_s: float, age_s: float) -> None:
    assert written(random_writes(50_000, tau_s), age_s) == pytest.approx(
        50_000 * -math.expm1(-age_s / tau_s), rel=0.03, abs=300
    )


@pytest.mark.parametrize("period_s", [0.5, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("age_s", [0.2, 1.0, 3.0, 10.0])
def test_sweeps_are_known_at_every_age_that_was_counted(period_s: float, age_s: float) -> None:
    assert written(sweep(80_000, period_s), age_s) == pytest.approx(80_000 * min(1.0, age_s / period_s), rel=0.08)


def test_beyond_the_window_a_finished_sweep_writes_nothing_new_and_an_unfinished_one_goes_on() -> None:
    window_s = AGES[-1]
    assert written(sweep(80_000, 2.0), 4 * window_s) == pytest.approx(80_000, rel=0.01)
    assert 1.3 * 80_000 < written(sweep(80_000, window_s), 2 * window_s) < 2 * 80_000


def test_no_more_pages_are_written_than_the_guest_has() -> None:
    known = fit((sweep(80_000, 10.0),), 90_000)
    assert known.rows.max() == 90_000


def test_sessions_that_differ_by_their_phase_are_averaged() -> None:
    early, late = sweep(80_000, 4.0), sweep(88_000, 4.0)
    together = float(at(fit((early, late), PAGES).rows[:1], np.array([8.0]))[0])
    assert together == pytest.approx(84_000, rel=0.02)


def test_a_session_of_a_job_that_has_changed_since_hardly_counts() -> None:
    before, now = random_writes(40_000, 1.0), random_writes(10_000, 1.0)
    assert float(at(fit((before, now), PAGES).rows[:1], np.array([5.0]))[0]) == pytest.approx(10_000, rel=0.03)


def test_sessions_that_differ_leave_more_room_than_sessions_that_agree() -> None:
    calm, busy = random_writes(32_000, 1.0), random_writes(40_000, 1.0)
    agreeing, differing = fit((busy, busy), PAGES).rows[:, 80], fit((calm, busy), PAGES).rows[:, 80]
    assert differing[2] / differing[1] > 1.1 > agreeing[2] / agreeing[1]


def test_an_answer_is_remembered_as_long_as_no_newer_curve_comes() -> None:
    curves = (random_writes(50_000, 1.0),)
    assert fit(curves, PAGES) is fit(curves, PAGES)


@pytest.mark.parametrize(
    ("curve", "why"),
    [
        (DirtyCurve((1.0, 2.0), (500, 400)), "the measured one is impossible: unique pages fall with age"),
        (DirtyCurve((2.0, 1.0), (400, 500)), "the measured one is impossible: ages do not rise"),
        (DirtyCurve((1.0, 2.0), (400,)), "the measured one is impossible: 2 ages but 1 counts"),
        (DirtyCurve((1.0, 2.0), (-4, 5)), "the measured one is impossible: negative pages"),
        (DirtyCurve((1.0, 2.0), (4, 5), measured_s=90.0), "the measured one is from 10 s before the guest was booted"),
    ],
)
def test_a_curve_that_cannot_be_believed_is_left_out_and_why_is_said(curve: DirtyCurve, why: str) -> None:
    good = DirtyCurve((1.0, 2.0), (4, 5), measured_s=200.0)
    assert usable((curve, good), since_s=100.0) == ((good,), (why,))


def test_only_the_newest_sessions_count() -> None:
    curves = tuple(random_writes(100, 1.0, at_s=float(n)) for n in range(9))
    assert usable(curves) == (curves[-4:], ())


def test_a_fit_of_nothing_or_of_the_impossible_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one is needed"):
        fit((), PAGES)
    with pytest.raises(ValueError, match="unique pages fall with age"):
        fit((DirtyCurve((1.0, 2.0), (500, 400)),), PAGES)


@pytest.mark.parametrize(
    ("memory_bytes", "bytes_per_s", "last_s"),
    [(320 * MIB, 11.7e6, 14.3), (64 * MIB, 117e6, 4.0), (64 * GIB, 117e6, 40.0)],
)
def test_a_probe_is_asked_for_half_of_a_first_round_within_limits(
    memory_bytes: int, bytes_per_s: float, last_s: float
) -> None:
    ages = probe_ages_s(memory_bytes, bytes_per_s)
    assert (len(ages), ages[0], ages[-1]) == (11, 0.05, pytest.approx(last_s, abs=0.05))
    assert list(ages) == sorted(set(ages))


def curves() -> st.SearchStrategy[DirtyCurve]:
    steps = st.lists(st.tuples(st.floats(1e-3, 30), st.integers(0, 200_000)), min_size=1, max_size=12)

    def summed(found: list[tuple[float, int]]) -> DirtyCurve:
        ages, counts = zip(*found, strict=True)
        return DirtyCurve(
            ages_s=tuple(sum(ages[: n + 1]) for n in range(len(ages))),
            unique_pages=tuple(sum(counts[: n + 1]) for n in range(len(counts))),
        )

    return steps.map(summed)


@settings(deadline=None)
@given(found=st.lists(curves(), min_size=1, max_size=4), memory_pages=st.integers(1, 10**7))
def test_every_curve_rises_from_nothing_ever_more_slowly_up_to_all_of_memory(
    found: list[DirtyCurve], memory_pages: int
) -> None:
    known = fit(tuple(found), memory_pages)
    rows = known.rows
    assert (rows[:, 0] == 0).all()
    assert rows.max() <= memory_pages
    assert (np.diff(rows, axis=1) >= -1e-9 * memory_pages).all()
    for part in (known.window_s >= AGES_S, known.window_s <= AGES_S):
        slopes = np.diff(rows[0, part]) / np.diff(AGES_S[part])
        assert (np.diff(slopes) <= 1e-6 * (1 + slopes[:-1])).all()
    assert (rows[1] <= rows[0]).all()
    assert (rows[0] <= rows[2]).all()
    assert (rows[3] <= rows[0] + 1e-9 * memory_pages).all()
    assert (rows[0] <= rows[4] + 1e-9 * memory_pages).all()


def counted(*pages: int, apart_s: float = 900.0) -> tuple[DirtyCurve, ...]:
    """Sessions that ended so many seconds after each other, the last at `apart_s` times their number."""
    return tuple(random_writes(each, 1.0, at_s=apart_s * (number + 1)) for number, each in enumerate(pages))


@pytest.mark.parametrize(
    ("pages", "after_s", "ratio"),
    [
        ((65_000, 50_000, 40_000), 0.0, 1.0),
        ((65_000, 50_000, 40_000), 450.0, 0.875),  # 5,000 fewer of 40,000
        ((65_000, 50_000, 40_000), 900.0, 0.75),
        ((65_000, 50_000, 40_000), 9_000.0, 0.75),  # no longer than the last two are apart
        ((90_000, 30_000), 450.0, 0.5),  # no less than half
        ((65_000, 50_000, 40_000), -100.0, 1.0),
        ((44_000, 40_000), 450.0, 1.0),  # phases do as much
        ((30_000, 60_000, 40_000), 450.0, 1.0),  # it comes and goes
        ((40_000, 60_000), 450.0, 1.0),  # what grows may have stopped
        ((40_000,), 450.0, 1.0),
    ],
)
def test_a_working_set_that_shrinks_from_session_to_session_goes_on_shrinking_for_a_while(
    pages: tuple[int, ...], after_s: float, ratio: float
) -> None:
    curves = counted(*pages)
    assert shrinking(curves, curves[-1].measured_s + after_s) == pytest.approx(ratio, rel=0.01)


def test_sessions_of_one_moment_tell_of_no_shrinking() -> None:
    assert shrinking(counted(60_000, 30_000, apart_s=0.0), 100.0) == 1.0

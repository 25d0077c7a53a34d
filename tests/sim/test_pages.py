"""The page-by-page truth: when pages are written, how they are copied and counted; worked out by hand."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from migd_core.precopy import RULE_SETS, StopRules
from migd_sim.pages import DEVELOPMENT, HELD_OUT, Clock, PagedGuest, Passes, Scattered, copy_guest, counted_curve, draw
from migd_sim.pages.families import EXTENT_PAGES, Drifting, Memory

XEN_46, LEGACY = RULE_SETS["xen-4.6"], RULE_SETS["xen-legacy"]


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def passes(pages: int, period_s: float, *, rest_s: float = 0.0) -> Passes:
    """Passes over the first `pages` pages from time 0 on, each followed by a rest."""
    starts_s = np.arange(400) * (period_s + rest_s)
    return Passes(np.arange(pages), starts_s, starts_s + period_s, np.zeros(400, dtype=np.int64))


def hot(pages: int, tau_s: float) -> Scattered:
    return Scattered(np.arange(pages), np.full(pages, 1.0 / tau_s), Clock.steady())


def test_a_pass_writes_each_page_in_its_turn_and_again_a_period_later() -> None:
    """Four pages in 4 s, written at 0.5, 1.5, 2.5 and 3.5 s; after 2 s the first two come next in the second pass."""
    assert_allclose(passes(4, 4.0).next_writes_s(2.0, rng()), [4.5, 5.5, 2.5, 3.5])
    assert_allclose(passes(4, 4.0, rest_s=6.0).next_writes_s(5.0, rng()), [10.5, 11.5, 12.5, 13.5])


def test_pages_that_later_passes_leave_out_are_not_written_again() -> None:
    shrinking = Passes(np.arange(4), np.array([0.0, 4.0]), np.array([4.0, 6.0]), np.array([0, 2]))
    assert_allclose(shrinking.next_writes_s(3.0, rng()), [np.inf, np.inf, 4.5, 3.5])
    assert_allclose(shrinking.next_writes_s(9.0, rng()), np.inf)


def test_random_writes_reach_the_share_that_the_formula_says() -> None:
    written_s = hot(100_000, 2.0).next_writes_s(50.0, rng()) - 50.0
    assert (written_s > 0).all()
    for age_s in (0.1, 1.0, 5.0):
        assert (written_s <= age_s).mean() == pytest.approx(-math.expm1(-age_s / 2.0), abs=0.005)


def test_a_clock_that_rests_lets_nothing_be_written_meanwhile() -> None:
    clock = Clock.of_stretches(0.0, np.array([10.0, 10.0, 10.0]), np.array([1.0, 0.0, 1.0]))
    written_s = Scattered(np.arange(1000), np.full(1000, 10.0), clock).next_writes_s(12.0, rng())
    assert written_s.min() == pytest.approx(20.0, abs=0.01)


def test_a_drifting_window_writes_what_it_stands_on_and_reaches_the_rest_later() -> None:
    drifting = Drifting(np.arange(1000), period_s=100.0, width=0.1, hits=50.0)
    written_s = drifting.next_writes_s(250.0, rng())
    # At 250 s the window has entered page 500 and left page 400.
    assert np.median(written_s[405:495]) == pytest.approx(250.0, abs=1.0)
    assert (written_s[510:] > 250.0).all()
    assert written_s[300] == pytest.approx(330.0, abs=2.0)


def test_five_rounds_send_a_hot_set_five_times_after_all_memory() -> None:
    copied = copy_guest(PagedGuest(10_000, [hot(1000, 0.001)]), 1000.0, XEN_46, 0.0, rng())
    assert copied.round_s == (10.0, 1.0, 1.0, 1.0, 1.0)
    assert copied.left_pages == (1000,) * 5
    assert (copied.sent_pages, copied.final_s, copied.is_forced) == (15_000, 1.0, True)


def test_few_pages_end_the_copy() -> None:
    copied = copy_guest(PagedGuest(10_000, [hot(40, 0.001)]), 1000.0, XEN_46, 0.0, rng())
    assert (len(copied.round_s), copied.final_s, copied.is_forced) == (1, 0.04, False)


def test_legacy_xen_leaves_out_what_was_written_before_its_batch_and_sends_a_single_batch_whole() -> None:
    """All 8192 pages are written every 10 ms: the first batch is sent at once, all later ones are skipped."""
    guest = PagedGuest(8192, [hot(8192, 0.01)])
    copied = copy_guest(guest, 1024.0, StopRules(max_rounds=1, few_pages=0, skips_redirtied=True), 0.0, rng())
    assert copied.round_s == (1.0,)
    assert copied.left_pages == (8192,)


def test_legacy_xen_stops_once_three_times_the_memory_is_sent() -> None:
    copied = copy_guest(PagedGuest(60_000, [passes(50_000, 8.0)]), 5000.0, LEGACY, 1.0, rng())
    assert 3.0 <= (copied.sent_pages - copied.left_pages[-1]) / 60_000 < 4.0
    assert copied.is_forced


def test_a_count_is_what_was_written_give_or_take_the_milliseconds_of_a_peek() -> None:
    ages_s = (0.05, 0.5, 2.0, 6.0)
    curve = counted_curve(PagedGuest(50_000, [passes(40_000, 4.0)]), ages_s, 8.0, rng())
    assert curve.ages_s == ages_s
    assert curve.contradiction() is None
    for age_s, pages in zip(ages_s, curve.unique_pages, strict=True):
        assert pages == pytest.approx(40_000 * min(1.0, age_s / 4.0), abs=0.006 / 4.0 * 40_000)


@pytest.mark.parametrize("family", [*DEVELOPMENT, *HELD_OUT])
def test_a_drawn_guest_is_the_same_for_the_same_seed_and_shares_no_page_between_its_writers(family: str) -> None:
    drawn, again, other = (draw(family, np.random.default_rng(seed)) for seed in (3, 3, 4))
    ages_s = (0.05, 1.0, 4.0)
    curve = counted_curve(drawn.guest, ages_s, 0.0, rng())
    assert counted_curve(again.guest, ages_s, 0.0, rng()) == curve
    assert counted_curve(other.guest, ages_s, 0.0, rng()) != curve
    pages = np.concatenate([writer.pages for writer in drawn.guest.writers])
    assert len(np.unique(pages)) == len(pages)
    assert pages.max() < drawn.guest.memory_pages
    assert 2.0 <= drawn.memory_bytes / drawn.bytes_per_s <= 150.0


def test_memory_is_handed_out_in_huge_pages_and_never_twice() -> None:
    memory = Memory(16 * EXTENT_PAGES, rng())
    first, second = memory.take(700), memory.take(EXTENT_PAGES)
    assert (len(first), len(second)) == (700, EXTENT_PAGES)
    assert not set(first) & set(second)
    assert (np.diff(first[:EXTENT_PAGES]) == 1).all()
    memory.take(13 * EXTENT_PAGES)
    with pytest.raises(ValueError, match="all of the 8192 pages are taken"):
        memory.take(1)

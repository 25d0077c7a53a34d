"""What a live migration is predicted to take, against the paper and against a page-by-page copy."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migd_core.messages import DirtyCurve
from migd_core.precopy import RULE_SETS, StopRules
from migd_core.units import MIB, PAGE_BYTES
from migd_policies.precopy_prediction import Overheads, predict
from migd_policies.written_pages import WrittenPages

LEGACY, XEN_46 = RULE_SETS["xen-legacy"], RULE_SETS["xen-4.6"]

# The paper's guests: 320 MiB over Fast Ethernet. HPL with N = 8000 on 3 ranks rewrites 8000² doubles / 3 = 163 MiB.
PAPER_MEMORY_BYTES = 320 * MIB
PAPER_BYTES_PER_S = 11.7e6
HPL_PAGES = 8000**2 * 8 // 3 // PAGE_BYTES
IDLE = DirtyCurve(ages_s=(1.0, 8.0), unique_pages=(66, 259))


def sweep(pages: int, seconds: float) -> DirtyCurve:
    """Return the curve of a program that goes through the same `pages` every so many seconds."""
    return DirtyCurve(ages_s=(seconds / 2, seconds, 4 * seconds), unique_pages=(pages // 2, pages, pages))


def random_writes(pages: int, per_s: float) -> DirtyCurve:
    """Return the curve of `per_s` writes a second spread evenly over `pages`, as measured at 11 ages up to 20 s."""
    ages = tuple(0.05 * 400 ** (step / 10) for step in range(11))
    return DirtyCurve(ages_s=ages, unique_pages=tuple(round(pages * -math.expm1(-per_s * t / pages)) for t in ages))


def test_the_papers_idle_guest_takes_thirty_seconds():
    expected = predict(PAPER_MEMORY_BYTES, IDLE, PAPER_BYTES_PER_S, LEGACY)
    assert expected.total_s == pytest.approx(30, rel=0.01)
    assert expected.rounds == 2
    assert expected.pause_s < 0.3


@pytest.mark.parametrize("sweep_s", [2.5, 3, 4, 5, 7, 10])
def test_the_papers_hpl_guest_takes_104_seconds_of_which_it_stands_still_for_fifteen(sweep_s: float):
    expected = predict(PAPER_MEMORY_BYTES, sweep(HPL_PAGES, sweep_s), PAPER_BYTES_PER_S, LEGACY)
    assert expected.total_s == pytest.approx(104, rel=0.05)
    assert expected.pause_s == pytest.approx(15, rel=0.3)


def test_an_idle_guest_pauses_alike_under_every_rule_set():
    pauses = {name: predict(PAPER_MEMORY_BYTES, IDLE, 117e6, rules).pause_s for name, rules in RULE_SETS.items()}
    assert all(pause_s == pytest.approx(0.2, abs=0.01) for pause_s in pauses.values()), pauses


def test_five_rounds_of_a_hot_guest_send_its_memory_once_and_its_writable_pages_five_times():
    memory, hot = 1024 * MIB, 256 * MIB
    expected = predict(memory, sweep(hot // PAGE_BYTES, 0.1), 117e6, XEN_46, Overheads(0, 0, 0))
    assert expected.rounds == 5
    assert expected.sent_bytes == pytest.approx(memory + 5 * hot)
    assert expected.total_s == pytest.approx((memory + 5 * hot) / 117e6)
    assert expected.pause_s == pytest.approx(hot / 117e6)


def test_overheads_are_added_where_they_belong():
    bare = predict(512 * MIB, IDLE, 117e6, XEN_46, Overheads(0, 0, 0))
    whole = predict(512 * MIB, IDLE, 117e6, XEN_46, Overheads(setup_s=4, suspend_s=2, resume_s=1))
    assert whole.total_s == pytest.approx(bare.total_s + 7)
    assert whole.pause_s == pytest.approx(bare.pause_s + 2)
    assert whole.sent_bytes == bare.sent_bytes


def test_without_a_curve_the_assumption_is_stated_and_dear():
    guessed = predict(1024 * MIB, None, 117e6, XEN_46)
    assert guessed.basis == "no dirty curve: 50 % of memory taken as rewritten every 5.0 s"
    assert guessed.total_s > 2 * predict(1024 * MIB, IDLE, 117e6, XEN_46).total_s


def test_a_curve_that_cannot_be_is_not_used_and_the_basis_says_why():
    falling = DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(500, 400))
    refused = predict(1024 * MIB, falling, 117e6, XEN_46)
    assert refused.basis.startswith("no dirty curve (the measured one is impossible: unique pages fall with age): ")
    assert refused.total_s == predict(1024 * MIB, None, 117e6, XEN_46).total_s


def test_a_measured_curve_is_named_as_the_basis():
    assert predict(1024 * MIB, IDLE, 117e6, XEN_46).basis == "dirty curve of 2 points up to 8.0 s"


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, math.nan])
def test_a_link_that_carries_nothing_is_an_error(bandwidth: float):
    with pytest.raises(ValueError, match="a migration needs more than 0"):
        predict(1024 * MIB, IDLE, bandwidth, XEN_46)


def test_beyond_its_points_a_curve_goes_on_with_a_slope_that_falls_as_it_fell_before():
    """From 100 to 50 pages a second within 1 s: after another half, at 2 s, 35.4, and half of that each second later."""
    written = WrittenPages(DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(100, 150)), memory_pages=300)
    assert [written.after(age_s) for age_s in (0, 0.5, 1, 1.5, 2)] == [0, 50, 100, 125, 150]
    for age_s in (2.5, 3, 4, 5, 60):
        expected = 150 + 50 / math.sqrt(2) / math.log(2) * (1 - 2 ** (2 - age_s))
        assert written.after(age_s) == pytest.approx(expected, rel=0.005)


def test_a_curve_that_falls_too_little_to_end_before_it_ends_where_memory_is_full():
    written = WrittenPages(DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(100, 190)), memory_pages=300)
    assert [written.after(age_s) for age_s in (3.5, 60)] == [pytest.approx(300, rel=0.02), 300]
    assert written.ages_s[-1] < 4.0


def test_a_curve_that_is_straight_so_far_goes_on_straight_until_memory_is_full():
    written = WrittenPages(DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(100, 200)), memory_pages=300)
    assert [written.after(age_s) for age_s in (1, 2, 2.5, 3, 9)] == [100, 200, 250, 300, 300]


def test_noise_that_bends_a_curve_the_wrong_way_is_bridged():
    written = WrittenPages(DirtyCurve(ages_s=(1.0, 2.0, 3.0), unique_pages=(10, 90, 100)), memory_pages=1000)
    assert [written.after(age_s) for age_s in (1, 2, 3)] == [45, 90, 100]


def test_more_pages_than_the_guest_has_are_not_believed():
    written = WrittenPages(DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(400, 500)), memory_pages=300)
    assert [written.after(age_s) for age_s in (1, 2, 9)] == [300, 300, 300]


def copied_page_by_page(pages: int, hot: int, writes_per_s: float, pages_per_s: float, rules: StopRules, seed: int):
    """Return the live seconds, rounds and pages left of a pre-copy, each page with its own random writes."""
    rng = random.Random(seed)
    rate = writes_per_s / hot
    dirty, live_s, sent_pages, rounds = set(range(pages)), 0.0, 0, 0
    while True:
        elapsed_s, turns = 0.0, {}
        order = sorted(dirty)
        rng.shuffle(order)
        written = set()
        for page in order:
            if page < hot and rng.random() < -math.expm1(-rate * elapsed_s):
                written.add(page)
                if rules.skips_redirtied:
                    continue
            turns[page] = elapsed_s
            elapsed_s += 1 / pages_per_s
        for page in range(hot):
            since_s = elapsed_s - turns.get(page, 0.0)
            if page not in written and rng.random() < -math.expm1(-rate * since_s):
                written.add(page)
        rounds, live_s, sent_pages, dirty = rounds + 1, live_s + elapsed_s, sent_pages + len(turns), written
        cap = rules.volume_cap_memories
        if rounds >= rules.max_rounds or len(dirty) <= rules.few_pages or (cap and sent_pages >= cap * pages):
            return live_s, rounds, len(dirty)


@pytest.mark.parametrize("rules", [LEGACY, XEN_46], ids=["xen-legacy", "xen-4.6"])
@pytest.mark.parametrize(("hot", "writes_per_s"), [(4000, 800.0), (4000, 4000.0), (8000, 2000.0), (2000, 20_000.0)])
def test_prediction_agrees_with_a_copy_page_by_page(rules: StopRules, hot: int, writes_per_s: float):
    pages, pages_per_s = 16_000, 2_000.0
    live_s, rounds, left = copied_page_by_page(pages, hot, writes_per_s, pages_per_s, rules, seed=hot)
    curve = random_writes(hot, writes_per_s)
    expected = predict(pages * PAGE_BYTES, curve, pages_per_s * PAGE_BYTES, rules, Overheads(0, 0, 0))
    assert expected.total_s == pytest.approx(live_s + left / pages_per_s, rel=0.1)
    assert expected.pause_s == pytest.approx(left / pages_per_s, rel=0.1, abs=0.2)
    assert abs(expected.rounds - rounds) <= max(1, 0.1 * rounds)


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
@given(
    curve=st.none() | curves(),
    memory_bytes=st.integers(0, 64 * 1024 * MIB),
    bandwidth=st.floats(1e5, 1e10),
    rules=st.sampled_from(list(RULE_SETS.values())),
)
def test_every_prediction_is_finite_and_consistent(curve, memory_bytes, bandwidth, rules):
    expected = predict(memory_bytes, curve, bandwidth, rules, Overheads(0, 0, 0))
    assert math.isfinite(expected.total_s)
    assert 1 <= expected.rounds <= rules.max_rounds
    assert 0 <= expected.pause_s <= expected.total_s + 1e-9
    assert expected.sent_bytes == pytest.approx(expected.total_s * bandwidth)
    assert expected.pause_s * bandwidth <= memory_bytes * (1 + 1e-9) + 1e-3
    if not rules.skips_redirtied:
        assert expected.sent_bytes >= memory_bytes * (1 - 1e-9)


@settings(deadline=None)
@given(curve=curves(), memory_pages=st.floats(1, 1e7), a=st.floats(0, 500), b=st.floats(0, 500))
def test_written_pages_rise_ever_more_slowly(curve, memory_pages, a, b):
    written = WrittenPages(curve, memory_pages)
    low, high = sorted((a, b))
    assert 0 <= written.after(low) <= written.after(high) * (1 + 1e-9) <= memory_pages * (1 + 1e-8)
    middle = written.after((low + high) / 2)
    assert middle >= (written.after(low) + written.after(high)) / 2 - 1e-6 * (1 + middle)

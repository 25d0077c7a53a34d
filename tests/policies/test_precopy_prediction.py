"""What live migrations are predicted to take, against the paper, a page-by-page copy, and what must always hold."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from migd_core.learned import Correction, Widening
from migd_core.messages import DirtyCurve
from migd_core.precopy import RULE_SETS, StopRules
from migd_core.units import MIB, PAGE_BYTES
from migd_policies.dirty_fit import probe_ages_s
from migd_policies.precopy_prediction import (
    FirstRound,
    Interval,
    MigrationPrediction,
    Overheads,
    Request,
    predict,
    predict_bounds,
    predict_many,
)

LEGACY, XEN_46 = RULE_SETS["xen-legacy"], RULE_SETS["xen-4.6"]
BARE = Overheads(0, 0, 0)

# The paper's guests: 320 MiB over Fast Ethernet. HPL with N = 8000 on 3 ranks rewrites 8000² doubles / 3 = 163 MiB.
PAPER_MEMORY_BYTES = 320 * MIB
PAPER_BYTES_PER_S = 11.7e6
HPL_PAGES = 8000**2 * 8 // 3 // PAGE_BYTES
AGES = probe_ages_s(PAPER_MEMORY_BYTES, PAPER_BYTES_PER_S)
IDLE = DirtyCurve(ages_s=(1.0, 8.0), unique_pages=(66, 259))


def sweep(pages: int, seconds: float) -> DirtyCurve:
    """Return the curve of a program that goes through the same `pages` every so many seconds."""
    return DirtyCurve(ages_s=AGES, unique_pages=tuple(round(pages * min(1.0, age_s / seconds)) for age_s in AGES))


def random_writes(pages: int, per_s: float) -> DirtyCurve:
    """Return the curve of `per_s` writes a second spread evenly over `pages`, as measured at 11 ages up to 20 s."""
    ages = tuple(0.05 * 400 ** (step / 10) for step in range(11))
    return DirtyCurve(ages_s=ages, unique_pages=tuple(round(pages * -math.expm1(-per_s * t / pages)) for t in ages))


def paper(curve: DirtyCurve) -> MigrationPrediction:
    return predict(PAPER_MEMORY_BYTES, (curve,), PAPER_BYTES_PER_S, LEGACY)


def test_the_papers_idle_guest_takes_thirty_seconds() -> None:
    expected = paper(IDLE)
    assert expected.total_s.median == pytest.approx(30, rel=0.01)
    assert expected.rounds.median == 2
    assert expected.pause_s.median < 0.3
    assert expected.forced_probability < 0.3


@pytest.mark.parametrize("sweep_s", [2.5, 3, 4, 5, 7, 8])
def test_the_papers_hpl_guest_takes_104_seconds_of_which_it_stands_still_for_fifteen(sweep_s: float) -> None:
    expected = paper(sweep(HPL_PAGES, sweep_s))
    assert expected.total_s.median == pytest.approx(104, rel=0.05)
    assert expected.total_s.low < 104 < expected.total_s.high
    assert expected.pause_s.median == pytest.approx(15, rel=0.2)
    assert expected.forced_probability > 0.95


def test_an_idle_guest_pauses_alike_under_every_rule_set() -> None:
    found = {
        name: predict(PAPER_MEMORY_BYTES, (IDLE,), 117e6, rules).pause_s.median for name, rules in RULE_SETS.items()
    }
    assert all(pause_s == pytest.approx(0.2, abs=0.01) for pause_s in found.values()), found


def test_five_rounds_of_a_hot_guest_send_its_memory_once_and_its_writable_pages_five_times() -> None:
    memory, hot = 1024 * MIB, 256 * MIB
    expected = predict(memory, (sweep(hot // PAGE_BYTES, 0.1),), 117e6, XEN_46, BARE)
    assert expected.rounds == Interval(5, 5, 5)
    assert expected.sent_bytes.median == pytest.approx(memory + 5 * hot, rel=0.001)
    assert expected.total_s.median == pytest.approx((memory + 5 * hot) / 117e6, rel=0.001)
    assert expected.pause_s.median == pytest.approx(hot / 117e6, rel=0.001)


def test_legacy_xen_skips_nothing_within_a_batch_so_a_small_hot_set_is_sent_in_each_of_29_rounds() -> None:
    """1000 pages are one batch, looked at once at its start: all 29 rounds, 28 of them 1000 pages long."""
    hot, bytes_per_s = 1000, 11.7e6
    expected = predict(1024 * MIB, (sweep(hot, 0.01),), bytes_per_s, LEGACY, BARE)
    memory_pages = 1024 * MIB // PAGE_BYTES
    assert expected.rounds.median == 29
    assert expected.sent_bytes.median / PAGE_BYTES == pytest.approx(memory_pages + 28 * hot, rel=0.005)


def test_overheads_are_added_where_they_belong() -> None:
    bare = predict(512 * MIB, (IDLE,), 117e6, XEN_46, BARE)
    whole = predict(512 * MIB, (IDLE,), 117e6, XEN_46, Overheads(setup_s=4, suspend_s=2, resume_s=1))
    assert whole.total_s.median == pytest.approx(bare.total_s.median + 7)
    assert whole.pause_s.median == pytest.approx(bare.pause_s.median + 2)
    assert whole.sent_bytes.median == bare.sent_bytes.median


def test_without_a_curve_the_assumption_is_stated_and_dear_and_the_interval_is_wide() -> None:
    guessed = predict(1024 * MIB, (), 117e6, XEN_46)
    idle = predict(1024 * MIB, (IDLE,), 117e6, XEN_46)
    assert guessed.basis == "no dirty curve: 50 % of memory taken as rewritten every 5.0 s"
    assert guessed.total_s.median > 2 * idle.total_s.median
    assert guessed.total_s.high / guessed.total_s.low > 3 > 1.2 > idle.total_s.high / idle.total_s.low


def test_the_bounds_of_a_guest_nobody_counted_are_an_idle_one_and_one_that_writes_all() -> None:
    least, most = predict_bounds(1024 * MIB, 117e6, XEN_46, BARE)
    assert least.total_s.median == pytest.approx(1024 * MIB / 117e6)
    assert most.total_s.median == pytest.approx(6 * 1024 * MIB / 117e6)
    assert (least.basis, most.basis) == ("it writes nothing", "it writes all of its memory every 5.0 s")


def test_a_curve_that_cannot_be_is_not_used_and_the_basis_says_why() -> None:
    falling = DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(500, 400))
    refused = predict(1024 * MIB, (falling,), 117e6, XEN_46)
    assert refused.basis.startswith("no dirty curve (the measured one is impossible: unique pages fall with age): ")
    assert refused.total_s == predict(1024 * MIB, (), 117e6, XEN_46).total_s


def test_a_curve_from_before_the_guest_was_booted_is_not_used() -> None:
    curve = DirtyCurve(ages_s=(1.0, 8.0), unique_pages=(66, 259), measured_s=40.0)
    (found,) = predict_many([Request(1024 * MIB, (curve,), 117e6, since_s=100.0)], XEN_46)
    assert found.basis.startswith("no dirty curve (the measured one is from 60 s before the guest was booted): ")


def test_the_newest_measured_curve_is_named_as_the_basis() -> None:
    assert predict(1024 * MIB, (IDLE,), 117e6, XEN_46).basis == "dirty curve of 2 points up to 8.0 s"
    assert predict(1024 * MIB, (IDLE, IDLE), 117e6, XEN_46).basis == (
        "2 sessions, the newest a dirty curve of 2 points up to 8.0 s"
    )


def test_a_set_that_shrinks_is_taken_to_have_shrunk_further_when_the_migration_begins() -> None:
    curves = tuple(replace(sweep(pages, 2.0), measured_s=at_s) for pages, at_s in ((90_000, 100.0), (60_000, 1000.0)))
    soon, late = predict_many([Request(1024 * MIB, curves, 117e6, begins_s=at_s) for at_s in (1000.0, 1400.0)], XEN_46)
    assert late.total_s.median < soon.total_s.median
    assert late.basis.endswith(", of which 78 % as it shrinks")  # 30,000 of 60,000 in 900 s, 404.6 s later


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, math.nan])
def test_a_link_that_carries_nothing_is_an_error(bandwidth: float) -> None:
    with pytest.raises(ValueError, match="a migration needs more than 0"):
        predict(1024 * MIB, (IDLE,), bandwidth, XEN_46)


def test_many_at_once_are_predicted_as_each_alone() -> None:
    requests = [Request(1024 * MIB, (sweep(pages, 2.0),), 117e6) for pages in (0, 1000, 90_000)]
    assert predict_many(requests, LEGACY) == [predict_many([one], LEGACY)[0] for one in requests]
    assert predict_many([], LEGACY) == []


def test_a_guest_that_writes_as_fast_as_it_is_copied_may_or_may_not_be_stopped_by_force() -> None:
    """A sweep dirties 6.5 pages where 10 are sent, more, and 13: round after round less, hardly less, and no less."""
    probabilities = [
        predict(1024 * MIB, (random_writes(200_000, share * 117e6 / PAGE_BYTES),), 117e6, XEN_46).forced_probability
        for share in (0.05, 0.25, 0.9)
    ]
    assert probabilities == sorted(probabilities)
    assert probabilities[0] < 0.1
    assert probabilities[-1] > 0.9


def test_what_was_learned_of_bandwidth_and_guest_moves_the_median_and_widens_by_its_own_error() -> None:
    def corrected(correction: Correction) -> MigrationPrediction:
        return predict_many([Request(1024 * MIB, (IDLE,), 117e6, correction)], XEN_46, BARE)[0]

    plain = corrected(Correction())
    slower = corrected(Correction(bandwidth_ratio=0.5))
    longer = corrected(Correction(total_ratio=1.2, total_sd=0.1))
    unsure = corrected(Correction(bandwidth_sd=0.2))
    assert slower.total_s.median == pytest.approx(2 * plain.total_s.median, rel=0.01)
    assert longer.total_s.median == pytest.approx(1.2 * plain.total_s.median)
    for other in (longer, unsure):
        assert other.total_s.high / other.total_s.median > 1.05 * plain.total_s.high / plain.total_s.median
    assert longer.expected.total_ratio == 1.2


def test_an_interval_is_as_wide_as_outcomes_have_taught() -> None:
    request = Request(1024 * MIB, (sweep(50_000, 2.0),), 117e6)
    narrow, wide = (
        predict_many([request], XEN_46, widening=Widening(total=times, pause=times))[0] for times in (1.0, 2.0)
    )
    below, above = narrow.expected.total_spread
    assert narrow.total_s.high == pytest.approx(narrow.total_s.median * math.exp(above))
    assert wide.total_s.low == pytest.approx(wide.total_s.median * math.exp(-2 * below))
    assert wide.pause_s.high - wide.pause_s.low > narrow.pause_s.high - narrow.pause_s.low


def test_the_first_round_replaces_what_was_assumed_of_bandwidth_and_writing() -> None:
    """Half the bandwidth, and a third more written than the curve says: then all rounds are longer, and surer."""
    memory, curve = 1024 * MIB, sweep(60_000, 0.5)
    pages = memory // PAGE_BYTES
    before = predict_many([Request(memory, (curve,), 117e6)], XEN_46, BARE)[0]
    took_s = 2 * memory / 117e6
    first = FirstRound(took_s, sent_bytes=memory, written_pages=80_000)
    after = predict_many([Request(memory, (curve,), 117e6, first_round=first)], XEN_46, BARE)[0]
    assert after.total_s.median == pytest.approx(2 * (pages + 5 * 80_000) * PAGE_BYTES / 117e6, rel=0.1)
    assert after.total_s.median > 2 * before.total_s.median
    assert after.total_s.high / after.total_s.low < before.total_s.high / before.total_s.low
    assert after.basis.endswith(", and its first round")


def test_under_rules_that_skip_nothing_the_first_round_has_sent_all_memory() -> None:
    first = FirstRound(took_s=20.0, sent_bytes=0.0)
    (found,) = predict_many([Request(1000 * MIB, (IDLE,), 117e6, first_round=first)], XEN_46)
    assert found.expected.bandwidth_bytes_per_s == 50 * MIB


def copied_page_by_page(pages: int, hot: int, writes_per_s: float, pages_per_s: float, rules: StopRules, seed: int):
    """Return the live seconds, rounds and pages left of a pre-copy, each page with its own random writes."""
    rng = random.Random(seed)
    rate = writes_per_s / hot
    dirty, live_s, sent_pages, rounds = set(range(pages)), 0.0, 0, 0
    while True:
        elapsed_s, chosen_s, turns = 0.0, 0.0, {}
        order = sorted(dirty)
        rng.shuffle(order)
        written = set()
        for page in order:
            if len(turns) % 1024 == 0:
                chosen_s = elapsed_s  # legacy Xen looks for pages to skip once a batch
            if rules.skips_redirtied and page < hot and rng.random() < -math.expm1(-rate * chosen_s):
                written.add(page)
                continue
            turns[page] = chosen_s if rules.skips_redirtied else 0.0
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
def test_prediction_agrees_with_a_copy_page_by_page(rules: StopRules, hot: int, writes_per_s: float) -> None:
    pages, pages_per_s = 16_000, 2_000.0
    live_s, rounds, left = copied_page_by_page(pages, hot, writes_per_s, pages_per_s, rules, seed=hot)
    curve = random_writes(hot, writes_per_s)
    expected = predict(pages * PAGE_BYTES, (curve,), pages_per_s * PAGE_BYTES, rules, BARE)
    assert expected.total_s.median == pytest.approx(live_s + left / pages_per_s, rel=0.05)
    assert expected.pause_s.median == pytest.approx(left / pages_per_s, rel=0.05, abs=0.1)
    assert abs(expected.rounds.median - rounds) <= max(1, 0.1 * rounds)


def curves() -> st.SearchStrategy[DirtyCurve]:
    steps = st.lists(st.tuples(st.floats(1e-3, 30), st.integers(0, 200_000)), min_size=1, max_size=12)

    def summed(found: list[tuple[float, int]]) -> DirtyCurve:
        ages, counts = zip(*found, strict=True)
        return DirtyCurve(
            ages_s=tuple(sum(ages[: n + 1]) for n in range(len(ages))),
            unique_pages=tuple(sum(counts[: n + 1]) for n in range(len(counts))),
        )

    return steps.map(summed)


RULES = st.sampled_from(list(RULE_SETS.values()))
BANDWIDTHS = st.floats(1e5, 1e10)


@settings(deadline=None)
@given(
    found=st.lists(curves(), max_size=3).map(tuple),
    memory_bytes=st.integers(0, 64 * 1024 * MIB),
    bandwidth=BANDWIDTHS,
    rules=RULES,
)
def test_every_prediction_is_finite_and_consistent(
    found: tuple[DirtyCurve, ...], memory_bytes: int, bandwidth: float, rules: StopRules
) -> None:
    expected = predict(memory_bytes, found, bandwidth, rules)
    ends = Overheads()
    fixed_s = ends.setup_s + ends.suspend_s + ends.resume_s
    for interval in (expected.total_s, expected.pause_s, expected.sent_bytes, expected.rounds):
        assert 0 <= interval.low <= interval.median <= interval.high < math.inf
    assert 1 <= expected.rounds.low <= expected.rounds.high <= rules.max_rounds
    assert 0 <= expected.forced_probability <= 1
    total_s, pause_s, sent_bytes = expected.total_s.median, expected.pause_s.median, expected.sent_bytes.median
    assert sent_bytes == pytest.approx((total_s - fixed_s) * bandwidth, abs=1e-3 * bandwidth)
    assert pause_s <= total_s
    assert (pause_s - 0.2) * bandwidth <= memory_bytes * (1 + 1e-9) + 1e-3 * bandwidth
    if not rules.skips_redirtied:
        assert sent_bytes >= memory_bytes * (1 - 1e-9)


@settings(deadline=None)
@given(found=curves(), memory_bytes=st.integers(0, 64 * 1024 * MIB), bandwidth=BANDWIDTHS, faster=st.floats(1.0, 10.0))
def test_more_bandwidth_never_makes_a_migration_longer_nor_its_pause(
    found: DirtyCurve, memory_bytes: int, bandwidth: float, faster: float
) -> None:
    """Where every page of a round is sent. Legacy Xen may stop for its limit on volume a round earlier or later."""
    slow = predict(memory_bytes, (found,), bandwidth, XEN_46)
    fast = predict(memory_bytes, (found,), bandwidth * faster, XEN_46)
    assert fast.total_s.median <= slow.total_s.median * (1 + 1e-9)
    assert fast.pause_s.median <= slow.pause_s.median * (1 + 1e-9) + 50 * PAGE_BYTES / bandwidth


@settings(deadline=None)
@given(
    pages=st.integers(0, 200_000),
    more=st.integers(0, 200_000),
    seconds=st.floats(0.05, 60),
    memory_bytes=st.integers(1024 * MIB, 64 * 1024 * MIB),
    bandwidth=BANDWIDTHS,
)
def test_more_writing_never_makes_a_pause_shorter_nor_a_migration(
    pages: int, more: int, seconds: float, memory_bytes: int, bandwidth: float
) -> None:
    """Up to the few pages that end a migration at once: a guest that leaves 49 stops a round before one with 51."""
    calm = predict(memory_bytes, (sweep(pages, seconds),), bandwidth, XEN_46)
    busy = predict(memory_bytes, (sweep(pages + more, seconds),), bandwidth, XEN_46)
    few_s = 50 * PAGE_BYTES / bandwidth
    assert busy.pause_s.median >= calm.pause_s.median * 0.98 - few_s
    assert busy.total_s.median >= calm.total_s.median * 0.98 - few_s


@settings(deadline=None)
@given(found=curves(), memory_bytes=st.integers(MIB, 64 * 1024 * MIB), bandwidth=BANDWIDTHS, rules=RULES)
def test_a_wider_interval_holds_a_narrower_one(
    found: DirtyCurve, memory_bytes: int, bandwidth: float, rules: StopRules
) -> None:
    request = Request(memory_bytes, (found,), bandwidth)
    narrow, wide = (predict_many([request], rules, widening=Widening(times, times))[0] for times in (0.5, 2.0))
    assert wide.total_s.low <= narrow.total_s.low <= narrow.total_s.high <= wide.total_s.high
    assert wide.pause_s.low <= narrow.pause_s.low <= narrow.pause_s.high <= wide.pause_s.high

"""What finished migrations teach: links and guests by and by, outliers hardly, failures nothing."""

import math
from functools import reduce

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from migd_core import learned
from migd_core.learned import NOTHING_LEARNED, Correction, Expected, Learned, Outcome

EXPECTED = Expected(
    total_s=100.0,
    pause_s=1.0,
    bandwidth_bytes_per_s=100e6,
    total_spread=(0.02, 0.02),
    pause_spread=(0.1, 0.1),
    slope=1.5,
)


def outcome(total_s: float = 100.0, *, guest: str = "g", source: str = "a", target: str = "b") -> Outcome:
    return Outcome(guest=guest, source=source, target=target, expected=EXPECTED, total_s=total_s)


def after(*outcomes: Outcome) -> Learned:
    return reduce(Learned.after, outcomes, NOTHING_LEARNED)


def test_before_anything_was_learned_nothing_is_corrected_and_bandwidth_is_unsure() -> None:
    found = NOTHING_LEARNED.correction("g", "a", "b")
    assert (found.bandwidth_ratio, found.total_ratio, found.total_sd) == (1.0, 1.0, 0.0)
    assert found.bandwidth_sd == pytest.approx(math.hypot(0.10, 0.05))


def test_bytes_and_seconds_teach_the_bandwidth_of_the_pair_and_a_little_of_the_pool() -> None:
    """80 of 100 MB/s, ten times over, by guests of which nothing else is known."""
    copied = [replace(outcome(140.0, guest=f"g{n}"), copied=(8e9, 100.0)) for n in range(10)]
    found = after(*copied)
    assert found.correction("new", "a", "b").bandwidth_ratio == pytest.approx(0.8, rel=0.04)
    assert 0.75 < found.correction("new", "c", "d").bandwidth_ratio < 0.9
    assert found.correction("new", "a", "b").bandwidth_sd < 0.05


def test_times_alone_teach_the_link_where_many_guests_agree() -> None:
    """Each took 1.5 × 10 % longer: a link of nine tenths, rather than twenty slow guests."""
    found = after(*(outcome(100 * 1.1**1.5, guest=f"g{n}") for n in range(20)))
    assert found.correction("new", "a", "b").bandwidth_ratio == pytest.approx(1 / 1.1, rel=0.02)


def test_times_alone_teach_the_guest_where_others_are_as_expected() -> None:
    found = NOTHING_LEARNED
    for n in range(20):
        found = found.after(outcome(100.0, guest=f"g{n}")).after(outcome(125.0, guest="slow"))
    assert found.correction("slow", "a", "b").total_ratio > 1.12
    assert found.correction("g1", "a", "b").total_ratio < 1.02
    assert 0.0 < found.correction("slow", "a", "b").total_sd < 0.05


def test_what_went_into_a_prediction_is_not_learned_twice() -> None:
    """The prediction knew of the slow link already and was right: nothing changes."""
    known = after(*(outcome(100 * 1.1**1.5, guest=f"g{n}") for n in range(20)))
    correction = known.correction("x", "a", "b")
    right = replace(EXPECTED, bandwidth_ratio=correction.bandwidth_ratio, total_ratio=correction.total_ratio)
    again = known.after(Outcome(guest="x", source="a", target="b", expected=right, total_s=100.0))
    assert again.correction("y", "a", "b").bandwidth_ratio == pytest.approx(correction.bandwidth_ratio, rel=0.005)


def test_one_outlier_moves_little_however_far_off_it_is() -> None:
    known = after(*(outcome(100.0, guest=f"g{n}") for n in range(20)))
    moved = [known.after(outcome(total_s)).correction("x", "a", "b").bandwidth_ratio for total_s in (300.0, 1e6)]
    assert moved[0] == moved[1]
    assert 0.96 < moved[0] < 1.0


def test_a_link_that_has_changed_is_believed_in_the_end() -> None:
    known = after(*(outcome(100.0, guest=f"g{n}") for n in range(50)))
    for n in range(60):
        known = known.after(outcome(200.0, guest=f"later{n}"))
    assert known.correction("x", "a", "b").bandwidth_ratio < 0.75


@pytest.mark.parametrize(
    "said", [replace(outcome(300.0), is_undisturbed=False), outcome(0.0), outcome(-5.0)], ids=["disturbed", "0", "back"]
)
def test_a_migration_whose_time_says_nothing_teaches_nothing(said: Outcome) -> None:
    known = after(outcome(110.0))
    assert known.after(said) is known


def test_intervals_widen_where_outcomes_fall_outside_and_narrow_where_they_never_do() -> None:
    prior = NOTHING_LEARNED.widening
    outside = after(*(replace(outcome(107.0), pause_s=1.6) for _ in range(60))).widening
    inside = after(*(replace(outcome(100.1), pause_s=1.001) for _ in range(60))).widening
    assert inside.total < prior.total < outside.total
    assert inside.pause < prior.pause < outside.pause


def test_an_interval_held_four_of_five_simulated_migrations() -> None:
    """The prior is of scores whose four-fifths quantile it returns, rounded up as few scores demand."""
    scores = sorted(learned.PRIOR_TOTAL_SCORES)
    assert NOTHING_LEARNED.widening.total == scores[16]
    assert len(scores) == 20


def test_memory_is_bounded_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "MAX_GUESTS", 3)
    monkeypatch.setattr(learned, "MAX_PAIRS", 2)
    names = ["p", "q", "r", "p", "s"]
    found = after(*(outcome(guest=name, source=name) for name in names))
    assert list(found.guests) == ["r", "p", "s"]
    assert list(found.pairs) == ["p>b", "s>b"]
    assert len(after(*(outcome() for _ in range(learned.MAX_SCORES + 9))).total_scores) == learned.MAX_SCORES


def test_it_is_saved_and_read_again() -> None:
    known = after(outcome(110.0), replace(outcome(90.0), pause_s=2.0))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(known), type=Learned) == known


def test_an_assumed_bandwidth_is_known_within_three_percent() -> None:
    assert Correction() == Correction(bandwidth_ratio=1.0, bandwidth_sd=0.0175, total_ratio=1.0, total_sd=0.0)


@given(st.lists(st.tuples(st.floats(1e-3, 1e7), st.sampled_from("gh"), st.sampled_from("abc")), max_size=30))
def test_whatever_happens_beliefs_stay_finite_and_never_become_certain(told: list[tuple[float, str, str]]) -> None:
    known = after(*(outcome(total_s, guest=guest, target=target) for total_s, guest, target in told))
    for belief in (known.pool, *known.pairs.values(), *known.guests.values()):
        assert math.isfinite(belief.mean)
        assert 1e-7 < belief.variance < 0.1
    assert math.isfinite(known.widening.total)

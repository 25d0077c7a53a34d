"""Moves priced together: what the job gains by all of them, at its own speed while each is copied."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import guest, host, job, move, world
from migd_core.messages import DirtyCurve
from migd_core.pricing import QUANTILE_SDS, Pricing
from migd_core.world import Remaining, SpeedRatio, World
from migd_policies.copying_speed import expected_speed
from migd_policies.ledger import price

IDLE = DirtyCurve(ages_s=(1.0, 2.0), unique_pages=(0, 0))
GIGABYTE = 1_000_000_000


def two_slow_ranks(remaining_s: float | None = 600.0) -> World:
    """Both ranks share a host with 2 CPUs too few: either alone on another would leave the other as slow."""
    return world(
        host("a", load=1.0),
        host("b", load=1.0),
        host("c"),
        host("d"),
        guest("rank0", on="a", memory_bytes=GIGABYTE, dirty_curve=IDLE),
        guest("rank1", on="b", memory_bytes=GIGABYTE, dirty_curve=IDLE),
        job("brams", "rank0", "rank1", remaining_s=remaining_s),
    )


def test_moving_one_of_two_equally_slow_ranks_gains_nothing_and_both_do() -> None:
    then = two_slow_ranks()
    one = price(then, [move("rank0", "a", "c")])
    both = price(then, [move("rank0", "a", "c"), move("rank1", "b", "d")])
    assert one.gain_s == pytest.approx(0.0)
    assert one.break_even_s is None
    (brams,) = both.jobs
    assert brams.step_ratio == pytest.approx(0.8)
    assert both.gain_s == pytest.approx(0.2 * 600.0)
    assert both.cost_s.median == pytest.approx(sum(each.cost_s.median for each in both.moves))


def test_what_a_job_loses_while_it_is_copied_is_measured_by_how_fast_it_will_be() -> None:
    """During pre-copy it does v of its old steps; they would have taken v times g of the time afterwards."""
    before = two_slow_ranks()
    both = price(before, [move("rank0", "a", "c"), move("rank1", "b", "d")])
    for each in both.moves:
        total_s, pause_s = each.migration.total_s.median, each.migration.pause_s.median
        v = expected_speed(before, each.move, "brams").median
        assert each.cost_s.median == pytest.approx((total_s - pause_s) * (1 - v * 0.8) + pause_s + 1.0)


def test_a_job_whose_migrations_were_watched_goes_on_as_it_did_then() -> None:
    before = two_slow_ranks()
    speed = SpeedRatio(0.4, 0.3, 0.5, "one migration of this job watched", watched=1)
    before = replace(before, jobs={"brams": replace(before.jobs["brams"], speed_while_migrating=speed)})
    (priced, _) = price(before, [move("rank0", "a", "c"), move("rank1", "b", "d")]).moves
    total_s, pause_s = priced.migration.total_s.median, priced.migration.pause_s.median
    assert priced.cost_s.median == pytest.approx((total_s - pause_s) * (1 - 0.4 * 0.8) + pause_s + 1.0)


def test_after_break_even_a_move_pays() -> None:
    moves = [move("rank0", "a", "c"), move("rank1", "b", "d")]
    breaks_even_s = price(two_slow_ranks(), moves).break_even_s
    assert breaks_even_s is not None
    assert price(two_slow_ranks(breaks_even_s), moves).net_s == pytest.approx(0.0, abs=1e-6)


def test_no_move_costs_and_gains_nothing() -> None:
    nothing = price(two_slow_ranks(), [])
    assert (nothing.net_s, nothing.sure_s(1.0), nothing.break_even_s) == (0.0, 0.0, None)


def test_a_gain_has_an_interval_of_how_long_it_lasts_and_how_far_steps_are_off() -> None:
    """Nobody watched the loads, so they stand as long as the job runs: a tenth of the outcomes are below each end."""
    moves = [move("rank0", "a", "c"), move("rank1", "b", "d")]
    sure = price(two_slow_ranks(), moves)
    off_s = QUANTILE_SDS / 2 * math.hypot(0.002, 0.1 * 0.2) * 600.0
    assert (sure.gain.low, sure.gain.median, sure.gain.high) == pytest.approx((120 - off_s, 120.0, 120 + off_s))
    unsure = two_slow_ranks()
    brams = replace(unsure.jobs["brams"], remaining=Remaining(600.0, 300.0, 1200.0, "a limit"))
    priced = price(replace(unsure, jobs={"brams": brams}), moves)
    assert priced.gain.low == pytest.approx(120 - math.hypot(off_s, 0.2 * 300.0))
    assert priced.gain.high == pytest.approx(120 + math.hypot(off_s, 0.2 * 600.0))
    assert priced.gain_s == pytest.approx(0.2 * (0.3 * 300 + 0.4 * 600 + 0.3 * 1200))


def test_a_load_may_end_soon_or_stand_for_long() -> None:
    """One that has stood for 100 s stands for 11 s more at least, 100 s as likely as not, and 900 s at most."""
    neighbours = [guest(f"noise{host}", on=host, vcpus=4, demand=4.0) for host in ("a", "b")]
    ranks = [
        guest(name, on=on, memory_bytes=GIGABYTE, dirty_curve=IDLE) for name, on in (("rank0", "a"), ("rank1", "b"))
    ]
    before = world(
        *(host("a"), host("b"), host("c"), host("d")),
        *(*neighbours, *ranks, job("brams", "rank0", "rank1")),
        pricing=Pricing(life_at_least_s=1.0, horizon_s=10_000.0),
    )
    before = replace(before, hosts={uuid: replace(each, load_stood_s=100.0) for uuid, each in before.hosts.items()})
    moves = [move("rank0", "a", "c"), move("rank1", "b", "d")]
    both = price(before, moves, for_jobs_only=True)
    off_s = QUANTILE_SDS / 2 * math.hypot(0.002, 0.1 * 0.2)
    brams = next(each for each in both.jobs if each.job == "brams")
    assert both.gain.median == pytest.approx(0.2 * 100.0)
    assert both.gain.low == pytest.approx(20 - math.hypot(off_s * 100, 0.2 * (100 - 100 / 9)))
    assert both.gain.high == pytest.approx(20 + math.hypot(off_s * 100, 0.2 * 800))
    assert brams.lasts_s == pytest.approx(100.0 * math.log(101.0))


def test_what_would_be_gained_only_once_a_load_has_passed_can_be_had_then() -> None:
    """Somebody's load makes rank1 the slowest; without it rank0 would be, for which host "a" is too full."""
    ranks = [
        guest(name, on=on, memory_bytes=GIGABYTE, dirty_curve=IDLE) for name, on in (("rank0", "a"), ("rank1", "b"))
    ]
    parts = [host("a", load=1.0), host("b"), host("c"), *ranks, job("brams", "rank0", "rank1", remaining_s=600.0)]
    moves = [move("rank0", "a", "c")]
    loaded = world(*parts, guest("noise", on="b", vcpus=7))
    loaded = replace(loaded, hosts={uuid: replace(each, load_stood_s=10.0) for uuid, each in loaded.hosts.items()})
    assert price(loaded, moves).gain_s == 0.0
    assert price(world(*parts), moves).gain_s == pytest.approx(0.2 * 600.0)


@settings(deadline=None)
@given(
    loads=st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 2.0)),
    noise_vcpus=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    stood_s=st.floats(1.0, 1e4),
    remaining_s=st.floats(1.0, 1e5),
    is_both=st.booleans(),
)
def test_what_pays_breaks_even_while_its_job_runs(
    loads: tuple[float, float], noise_vcpus: tuple[int, int], stood_s: float, remaining_s: float, is_both: bool
) -> None:
    """Loads of guests of no job pass, and break-even is at the rate of now, before they do."""
    hosts = [host("a", load=loads[0]), host("b", load=loads[1]), host("c"), host("d")]
    noise = [guest(f"noise{on}", on=on, vcpus=vcpus) for on, vcpus in zip("ab", noise_vcpus, strict=True)]
    ranks = [
        guest(name, on=on, memory_bytes=GIGABYTE, dirty_curve=IDLE) for name, on in (("rank0", "a"), ("rank1", "b"))
    ]
    brams = job("brams", "rank0", "rank1", remaining_s=remaining_s)
    then = world(*(replace(each, load_stood_s=stood_s) for each in hosts), *noise, *ranks, brams)
    moves = [move("rank0", "a", "c"), *([move("rank1", "b", "d")] if is_both else [])]
    found = price(then, moves, for_jobs_only=True)
    breaks_even_s = found.break_even_s
    assert found.net_s <= 0.0 or (breaks_even_s is not None and breaks_even_s <= remaining_s)


def test_a_step_that_gets_hardly_shorter_is_no_gain_to_be_sure_of() -> None:
    def sure_s(load: float) -> float:
        then = world(
            host("a", load=load),
            host("b"),
            guest("rank0", on="a", memory_bytes=GIGABYTE, dirty_curve=IDLE),
            job("brams", "rank0", remaining_s=1e5),
        )
        found = price(then, [move("rank0", "a", "b")])
        assert found.net_s > 10.0
        return found.sure_s(1.0)

    assert sure_s(0.7518) < 0.0 < sure_s(0.77)


@settings(deadline=None)
@given(remaining_s=st.floats(0.0, 1e6), load=st.floats(0.0, 3.0))
def test_cost_intervals_hold_their_medians_and_more_time_never_gains_less(remaining_s: float, load: float) -> None:
    def priced(left_s: float) -> float:
        then = world(
            host("a", load=load),
            host("b"),
            guest("rank0", on="a", memory_bytes=GIGABYTE, dirty_curve=IDLE),
            job("brams", "rank0", remaining_s=left_s),
        )
        found = price(then, [move("rank0", "a", "b")])
        assert 0.0 <= found.cost_s.low <= found.cost_s.median <= found.cost_s.high
        return found.net_s

    assert priced(remaining_s) <= priced(remaining_s + 60.0) + 1e-9

"""How long an imbalance lasts."""

from dataclasses import replace
from functools import reduce
from math import prod
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import guest, host, job, move, world
from migd_core.pricing import Pricing
from migd_core.world import World
from migd_policies.imbalance import NEW_AFTER_PERIODS, SAME_LOAD_RATIO, Standing, following, shifted, stands_s

PERIOD_S = 5.0


def stands(*loads: float) -> Standing:
    """What a host's load stands at after one load a period, the first at 0 s."""
    found: Standing | None = None
    for number, load in enumerate(loads):
        found = following(found, load, number * PERIOD_S)
    assert found is not None
    return found


def aged(source_s: float | None, target_s: float | None) -> World:
    found = world(host("a"), host("b"), guest("rank0", on="a"))
    ages = {"a": source_s, "b": target_s}
    hosts = {uuid: replace(each, load_stood_s=ages[uuid]) for uuid, each in found.hosts.items()}
    return replace(found, hosts=MappingProxyType(hosts))


HOUR_S = 3600.0


def stood_s(before: World, within_s: float = HOUR_S) -> float:
    return stands_s(replace(before, pricing=Pricing(life_at_least_s=0.0)), move("rank0", "a", "b"), within_s)


def simulated_s(*ages_s: float) -> float:
    """The mean of how much of an hour loads stand together that outlive r more with the probability a / (a + r)."""
    steps = 200_000
    each_s = HOUR_S / steps
    return sum(prod(a / (a + (n + 0.5) * each_s) for a in ages_s) for n in range(steps)) * each_s


@pytest.mark.parametrize(
    ("source_s", "target_s"), [(600.0, 600.0), (100.0, 300.0), (5000.0, 20.0), (120.0, None), (None, 50.0)]
)
def test_a_difference_stands_for_as_long_as_both_of_its_loads_do_on_average(
    source_s: float | None, target_s: float | None
) -> None:
    ages_s = [age for age in (source_s, target_s) if age is not None]
    assert stood_s(aged(source_s, target_s)) == pytest.approx(simulated_s(*ages_s), rel=1e-4)


def test_a_load_that_nobody_watched_stands_and_one_that_has_just_come_does_not() -> None:
    assert [stood_s(aged(None, None)), stood_s(aged(0.0, 900.0)), stood_s(aged(900.0, 900.0), 0.0)] == [
        HOUR_S,
        0.0,
        0.0,
    ]


def test_no_load_is_taken_to_be_younger_than_is_set() -> None:
    young = replace(aged(1.0, None), pricing=Pricing(life_at_least_s=120.0))
    assert stands_s(young, move("rank0", "a", "b"), HOUR_S) == pytest.approx(stood_s(aged(120.0, None)))


def test_where_jobs_are_named_an_idle_target_is_no_younger_than_the_source() -> None:
    """A new load may hit the one as well as the other; of a target that is loaded now, the load may change."""
    idle = aged(600.0, 30.0)
    named = replace(idle, jobs=MappingProxyType({"brams": job("brams", "rank0")}))
    busy = world(host("a"), host("b"), guest("rank0", on="a", job="brams"), guest("noise", on="b", vcpus=2))
    busy = replace(busy, hosts=idle.hosts)
    assert [stood_s(named), stood_s(busy)] == [
        pytest.approx(simulated_s(600.0)),
        pytest.approx(simulated_s(600.0, 30.0)),
    ]


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(1, 10**6))
def test_a_difference_stands_no_longer_than_either_load_nor_than_there_is_time(a_s: int, b_s: int, left_s: int) -> None:
    found_s = stood_s(aged(a_s, b_s), left_s)
    alone_s = min(stood_s(aged(a_s, None), left_s), stood_s(aged(b_s, None), left_s))
    assert 0 <= found_s <= alone_s * (1 + 1e-6)
    assert alone_s <= left_s * (1 + 1e-9)
    assert found_s == pytest.approx(stood_s(aged(b_s, a_s), left_s))


def test_noise_and_a_burst_leave_a_load_as_old_as_it_is() -> None:
    found = stands(1.0, 1.1, 0.9, 1.05, 2.0, 2.0, 1.0, 0.95)
    assert (found.since_s, found.away) == (0.0, ())


def test_a_load_that_changes_for_good_is_young() -> None:
    found = stands(*[0.5] * 100, *[1.5] * NEW_AFTER_PERIODS)
    assert (found.since_s, found.ratio) == (100 * PERIOD_S, 1.5)


def test_a_load_that_creeps_is_found_out_in_the_end() -> None:
    found = stands(*(0.5 + 0.01 * n for n in range(100)))
    assert found.since_s > 0


def test_what_migd_moves_leaves_a_load_as_old_as_it_is() -> None:
    crowded = stands(*[1.5] * 100)
    moved = reduce(lambda each, n: following(each, 1.25, 500.0 + n * PERIOD_S), range(20), shifted(crowded, -0.25))
    assert (moved.since_s, moved.ratio) == (0.0, pytest.approx(1.25))


@given(st.lists(st.floats(0, 5), min_size=1, max_size=100))
def test_a_load_stands_since_some_period_that_was_and_its_newest_loads_are_near_it_or_away(loads: list[float]) -> None:
    found = stands(*loads)
    assert found.since_s in {number * PERIOD_S for number in range(len(loads))}
    assert len(found.away) < NEW_AFTER_PERIODS
    assert min(loads) - 1e-9 <= found.ratio <= max(loads) + 1e-9
    assert all(abs(load - found.ratio) > SAME_LOAD_RATIO for _, load in found.away)

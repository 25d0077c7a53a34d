"""How long an imbalance lasts."""

from dataclasses import replace
from functools import reduce
from math import inf
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import guest, host, move, world
from migd_core.world import World
from migd_policies.imbalance import NEW_AFTER_PERIODS, SAME_LOAD_RATIO, Standing, following, life_s, shifted

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


@pytest.mark.parametrize(
    ("source_s", "target_s", "expected_s"),
    [(600.0, 600.0, 300.0), (100.0, 300.0, 75.0), (0.0, 900.0, 0.0), (120.0, None, 120.0), (None, None, inf)],
)
def test_a_difference_ends_with_either_load(source_s: float | None, target_s: float | None, expected_s: float) -> None:
    assert life_s(aged(source_s, target_s), move("rank0", "a", "b")) == pytest.approx(expected_s)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_difference_is_never_older_than_half_of_its_elder_load_nor_than_its_younger(a_s: int, b_s: int) -> None:
    found_s = life_s(aged(a_s, b_s), move("rank0", "a", "b"))
    assert 0 <= found_s <= min(a_s, b_s) * (1 + 1e-9)
    assert found_s <= max(a_s, b_s) / 2 * (1 + 1e-9)
    assert found_s == pytest.approx(life_s(aged(b_s, a_s), move("rank0", "a", "b")))


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

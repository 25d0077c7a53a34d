"""The measured cluster with guests where they are not."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from builders import guest, host, job, move, world
from migd_core.world import World
from migd_policies.counterfactual import elsewhere, gain_rate
from migd_policies.ledger import price
from random_worlds import worlds

HOG = guest("hog", on="a", vcpus=4)


@st.composite
def worlds_with_places(draw: st.DrawFn) -> tuple[World, dict[str, str]]:
    found = draw(worlds(may_be_moving=False))
    assume(found.guests and len(found.hosts) > 1)
    named = draw(st.sets(st.sampled_from(sorted(found.guests)), min_size=1, max_size=4))
    return found, {uuid: draw(st.sampled_from(sorted(found.hosts))) for uuid in sorted(named)}


def loads(found: World) -> list[float]:
    return [load for each in found.hosts.values() for load in (each.load_ratio, *each.recent_load_ratios)]


@settings(deadline=None)
@given(worlds_with_places())
def test_a_guest_takes_its_load_and_its_memory_along_and_brings_them_back(case: tuple[World, dict[str, str]]) -> None:
    found, places = case
    there = elsewhere(found, places)
    assert {uuid: there.guests[uuid].host for uuid in places} == places
    assert sum(each.load_ratio * each.cpus for each in there.hosts.values()) == pytest.approx(
        sum(each.load_ratio * each.cpus for each in found.hosts.values())
    )
    back = elsewhere(there, {uuid: found.guests[uuid].host for uuid in places})
    assert back.guests == found.guests
    if min(each.load_ratio for each in there.hosts.values()) > 0 and min(loads(there)) > 0:  # nothing was cut off at 0
        assert loads(back) == pytest.approx(loads(found), abs=1e-9)
    if all(each.memory_free_bytes > 0 for each in there.hosts.values()):
        assert [each.memory_free_bytes for each in back.hosts.values()] == [
            each.memory_free_bytes for each in found.hosts.values()
        ]


@settings(deadline=None)
@given(worlds_with_places())
def test_the_rate_is_the_ledgers_own_for_the_same_moves(case: tuple[World, dict[str, str]]) -> None:
    """What a move was promised and what it is settled by are the same formula at different loads."""
    found, places = case
    moves = [move(uuid, found.guests[uuid].host, to) for uuid, to in places.items() if found.guests[uuid].host != to]
    touched = {end for each in moves for end in (each.source, each.target)}
    rate = gain_rate(found, places)
    if any(found.hosts[uuid].frozen_because is not None for uuid in touched):
        assert rate is None
    elif moves:
        assert rate == pytest.approx(price(found, moves, for_jobs_only=True).gain_rate)
    else:
        assert rate == 0.0


def test_a_rank_that_leaves_a_crowd_gains_a_fifth_and_one_that_joins_it_loses_as_the_crowd_does() -> None:
    found = world(host("a"), host("b"), HOG, guest("rank0", on="a", job="brams"))
    assert gain_rate(found, {"rank0": "b"}) == pytest.approx(1 - 4 / 5)
    joined = world(host("a"), host("b"), HOG, guest("rank0", on="b", job="brams"))
    # The job would step in 5/4 of its time, and so would the hog, which nobody waits for but which is not to be slowed.
    assert gain_rate(joined, {"rank0": "a"}) == pytest.approx(2 * (1 - 5 / 4))


def test_a_guest_of_no_job_gains_where_no_job_is_named() -> None:
    found = world(host("a"), host("b"), HOG, guest("other", on="a"))
    assert gain_rate(found, {"other": "b"}) == pytest.approx(2 * (1 - 4 / 5))
    named = world(host("a"), host("b"), HOG, guest("other", on="a"), guest("rank0", on="b", vcpus=1), job("j", "rank0"))
    assert gain_rate(named, {"other": "b"}) == pytest.approx(0.0)


def test_nothing_is_known_of_a_placement_on_a_frozen_host() -> None:
    found = world(host("a"), host("b", frozen_because="it is silent"), HOG, guest("rank0", on="a", job="brams"))
    assert gain_rate(found, {"rank0": "b"}) is None
    assert gain_rate(found, {"rank0": "a"}) == 0.0

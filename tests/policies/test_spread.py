"""The score of a placement, differences of it, and the search for few moves that lower it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migd_policies.spread import UNGROUPED, Cluster, Floats, Spread
from migd_policies.spread_search import Found, Limits, search

FEW = settings(max_examples=60, deadline=None)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    hosts, guests = draw(st.integers(2, 6)), draw(st.integers(1, 14))
    some = np.random.default_rng(draw(st.integers(0, 2**32)))
    home = some.integers(0, hosts, guests)
    memory = some.choice([1.0, 2.0, 4.0], guests)
    return Cluster(
        fixed=some.uniform(0.0, 1.0, (2, hosts)),
        capacity=some.choice([4.0, 8.0], (2, hosts)),
        demand=np.array([some.uniform(0.0, 2.0, guests), memory]),
        weights=np.array([1.0, 0.5]),
        home=home,
        may_go=some.random((guests, hosts)) < 0.9,
        memory=memory,
        free=some.choice([0.0, 2.0, 8.0], hosts),
        group=some.choice([UNGROUPED, UNGROUPED, 0, 1], guests),
    )


def score_of(cluster: Cluster, place: Floats) -> float:
    """Return the score as the definition says it, from nothing that was kept."""
    load = cluster.fixed.copy()
    for guest, host in enumerate(place):
        load[:, int(host)] += cluster.demand[:, guest]
    return float(cluster.weights @ (load / cluster.capacity).std(axis=1))


@FEW
@given(cluster=clusters(), data=st.data())
def test_differences_are_what_the_move_does_to_the_score(cluster: Cluster, data: st.DataObject):
    spread = Spread(cluster)
    guests, hosts = cluster.may_go.shape
    for _ in range(5):
        guest, target = data.draw(st.integers(0, guests - 1)), data.draw(st.integers(0, hosts - 1))
        if target == spread.place[guest]:
            continue
        before = spread.score
        told = spread.differences(np.array([guest]), np.array([target]))[0]
        spread.move(guest, target)
        assert spread.score == pytest.approx(score_of(cluster, spread.place), abs=1e-9)
        assert told == pytest.approx(spread.score - before, abs=1e-9)


@FEW
@given(cluster=clusters(), data=st.data())
def test_exchanges_are_what_both_moves_do_to_the_score(cluster: Cluster, data: st.DataObject):
    spread = Spread(cluster)
    one, other = (data.draw(st.integers(0, len(cluster.home) - 1)) for _ in range(2))
    a, b = int(spread.place[one]), int(spread.place[other])
    if a == b:
        return
    before = spread.score
    told = spread.exchanges(np.array([one]), np.array([other]))[0]
    spread.move(one, b)
    spread.move(other, a)
    assert told == pytest.approx(spread.score - before, abs=1e-9)


@FEW
@given(cluster=clusters())
def test_every_move_found_is_allowed_and_has_its_memory_when_its_turn_comes(cluster: Cluster):
    found = search(cluster, Limits())
    spread = Spread(cluster)
    for guest, target in found.moves:
        assert spread.fits(np.array([guest]), np.array([target]))[0]
        spread.move(guest, target)
    assert spread.score == pytest.approx(found.score_after, abs=1e-9)
    assert found.score_after <= found.score_before


@FEW
@given(cluster=clusters())
def test_the_search_is_never_worse_than_taking_the_best_single_move_until_there_is_none(cluster: Cluster):
    found, (moves, score) = search(cluster, Limits()), descent(cluster)
    assert found.score_after <= score + 1e-9
    assert len(found.moves) <= moves


def descent(cluster: Cluster) -> tuple[int, float]:
    """Return number of moves and score of hbal's own way, with every move scored."""
    spread, moves = Spread(cluster), 0
    while True:
        guests, targets = spread.every_move()
        if not len(guests):
            return moves, spread.score
        gains = spread.differences(guests, targets)
        best = int(np.lexsort((targets, guests, gains))[0])
        if -gains[best] <= (0.01 if spread.score <= 0.1 else 1e-9) or spread.score <= 1e-9:
            return moves, spread.score
        spread.move(int(guests[best]), int(targets[best]))
        moves += 1


def alike(hosts: int, demand: list[float], home: list[int]) -> Cluster:
    """Return hosts of capacity 1 in one resource, with room for everybody."""
    guests = len(demand)
    return Cluster(
        fixed=np.zeros((1, hosts)),
        capacity=np.ones((1, hosts)),
        demand=np.array([demand]),
        weights=np.ones(1),
        home=np.array(home),
        may_go=np.ones((guests, hosts), dtype=np.bool_),
        memory=np.ones(guests),
        free=np.full(hosts, 100.0),
        group=np.full(guests, UNGROUPED),
    )


def test_two_guests_go_where_they_even_things_out_best():
    cluster = alike(3, [0.4, 0.3, 0.3, 0.2], [0, 0, 0, 1])
    after = pytest.approx(score_of(cluster, np.array([2, 1, 0, 1])))
    assert search(cluster, Limits()) == Found(((0, 2), (1, 1)), pytest.approx(score_of(cluster, cluster.home)), after)


def test_moved_guests_that_would_be_better_on_each_others_host_exchange_them():
    """The best first move, of the largest guest, goes to the emptiest host; the second makes that the wrong one."""
    cluster = alike(3, [0.5, 0.4, 0.45, 0.1], [0, 0, 0, 1])
    moves, score = descent(cluster)
    found = search(cluster, Limits(kept_ratio=1.0))
    assert (len(found.moves), found.score_after) <= (moves, score)


def test_no_more_moves_than_asked_for_and_then_the_best_of_that_number():
    cluster = alike(4, [0.3] * 8, [0] * 8)
    assert len(search(cluster, Limits(max_moves=3)).moves) == 3


def test_guests_of_a_group_do_not_come_closer_together():
    cluster = replace(alike(2, [0.5, 0.5, 0.1], [0, 0, 1]), group=np.array([UNGROUPED, 0, 0]))
    assert search(cluster, Limits()).moves == ((0, 1),)


def test_an_even_cluster_is_left_alone():
    assert search(alike(3, [0.5, 0.5, 0.5], [0, 1, 2]), Limits()).moves == ()


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_large_cluster_is_evened_out_by_allowed_moves_too(seed: int):
    """Above MANY_PAIRS several moves are made at a time, from different hosts to different hosts."""
    some = np.random.default_rng(seed)
    hosts, guests = 300, 2000
    home = some.integers(0, hosts // 2, guests)
    cluster = replace(
        alike(hosts, list(some.uniform(0.0, 0.2, guests)), list(home)),
        free=some.choice([0.0, 5.0], hosts),
        may_go=some.random((guests, hosts)) < 0.5,
    )
    found = search(cluster, Limits(min_gain=1e-4, small=1.0))
    spread = Spread(cluster)
    for guest, target in found.moves:
        assert spread.fits(np.array([guest]), np.array([target]))[0]
        spread.move(guest, target)
    assert spread.score == pytest.approx(found.score_after, abs=1e-9)
    assert found.score_after < 0.75 * found.score_before

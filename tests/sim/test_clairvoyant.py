"""The dynamic programme against trying every way there is, and what it makes of costs and of hosts that die."""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from math import inf

import pytest

from migd_sim.run.evaluation.clairvoyant import Change, Epoch, Fastest, Fate, Turn, fastest

TAKES_A_MINUTE = Change(lasts_s=60.0, lost_s=10.0)


def between(old: int, new: int) -> Change:
    return Change(0.0, 0.0) if old == new else TAKES_A_MINUTE


def by_trying_all(epochs: Sequence[Epoch], change: Callable[[int, int], Change], steps: float) -> float:
    """Return the least time over every sequence of states, with each change made early or late, one way after another."""
    states = range(len(epochs[0].steps_per_s))
    ways = product(
        product(states, states), repeat=len(epochs)
    )  # after the early and after the late change of each epoch
    return min(walked(epochs, change, steps, way) for way in ways)


def walked(
    epochs: Sequence[Epoch], change: Callable[[int, int], Change], steps: float, way: Sequence[tuple[int, int]]
) -> float:
    """Walk one way in time; a change that lasts beyond its epoch leaves no other change until it is done."""
    state, done, under_way = 0, 0.0, None
    for number, (epoch, (early, late)) in enumerate(zip(epochs, way, strict=True)):
        if under_way is None and early != state:
            what = change(state, early)
            begins_s = epoch.starts_s - what.lasts_s
            if begins_s < 0:
                return inf
            overlaps = [(e, max(0.0, e.ends_s - max(begins_s, e.starts_s))) for e in epochs[:number]]
            done -= sum(e.steps_per_s[state] * overlap_s for e, overlap_s in overlaps) * what.lost_s / what.lasts_s
            state = early
        elif under_way is not None and early != state:
            return inf
        if state in epoch.fates:
            if under_way is not None:
                return inf
            fate = epoch.fates[state]
            state = fate.state
            done = done // fate.every_steps * fate.every_steps if fate.every_steps else 0.0
            done = max(0.0, done) - fate.lost_s * epoch.steps_per_s[state]
        now_s = epoch.starts_s
        if late != state:
            if under_way is not None:
                return inf
            what = change(state, late)
            under_way = (late, now_s + what.lasts_s, 1.0 - what.lost_s / what.lasts_s)
        if under_way is not None:
            new, ends_s, kept = under_way
            until_s = min(ends_s, epoch.ends_s)
            done += epoch.steps_per_s[state] * kept * (until_s - now_s)
            if done >= steps:
                return inf  # it would have been faster without
            if ends_s > epoch.ends_s:
                continue
            if new in epoch.fates:
                return inf
            state, under_way, now_s = new, None, until_s
        speed = epoch.steps_per_s[state]
        if speed > 0 and now_s + (steps - done) / speed <= epoch.ends_s:
            return now_s + max(0.0, steps - done) / speed
        done += speed * (epoch.ends_s - now_s) if speed > 0 else 0.0
    return inf


def drawn(seed: int) -> tuple[list[Epoch], list[list[Change]], float]:
    rng = random.Random(seed)
    states = rng.choice((2, 3))
    times = [0.0, *sorted(rng.uniform(10.0, 500.0) for _ in range(2)), inf]
    fated = rng.choice((None, 1, 2))
    epochs = [
        Epoch(
            starts_s,
            ends_s,
            tuple(rng.choice((0.3, 0.5, 0.8, 1.0)) for _ in range(states)),
            {0: Fate(state=1, every_steps=rng.choice((0, 50)), lost_s=30.0)} if number == fated else {},
        )
        for number, (starts_s, ends_s) in enumerate(pairwise(times))
    ]
    changes = [[Change(0.0, 0.0)] * states for _ in range(states)]
    for old, new in product(range(states), repeat=2):
        if old != new:
            lasts_s = rng.uniform(5.0, 90.0)
            changes[old][new] = Change(lasts_s, rng.uniform(0.1, 0.9) * lasts_s)
    return epochs, changes, rng.uniform(50.0, 600.0)


@pytest.mark.parametrize("seed", range(40))
def test_no_way_through_the_epochs_is_faster(seed: int) -> None:
    epochs, changes, steps = drawn(seed)
    best = fastest(epochs, lambda old, new: changes[old][new], steps)
    assert best.time_s == pytest.approx(by_trying_all(epochs, lambda old, new: changes[old][new], steps))


def test_nothing_changes_where_nothing_is_gained() -> None:
    assert fastest([Epoch(0.0, inf, (1.0, 1.0))], between, 300.0) == Fastest(300.0, ())


def test_a_load_of_a_minute_is_sat_out() -> None:
    epochs = [Epoch(0.0, 100.0, (1.0, 1.0)), Epoch(100.0, 119.0, (0.5, 1.0)), Epoch(119.0, inf, (1.0, 1.0))]
    assert fastest(epochs, between, 300.0) == Fastest(309.5, ())


def test_whoever_knows_of_a_load_leaves_before_it_comes() -> None:
    epochs = [Epoch(0.0, 100.0, (1.0, 0.9)), Epoch(100.0, inf, (0.5, 1.0))]
    assert fastest(epochs, between, 300.0) == Fastest(310.0, (Turn(1, 0, 1, is_early=True),))


def test_the_first_epoch_leaves_no_time_before_it() -> None:
    """A move begun at once runs a minute at the old speed, of which 10 s are lost: 25 steps in 60 s, and then 275."""
    best = fastest([Epoch(0.0, inf, (0.5, 1.0))], between, 300.0)
    assert best == Fastest(335.0, (Turn(0, 0, 1, is_early=False),))


def test_a_job_leaves_a_host_before_it_dies_rather_than_start_again() -> None:
    fate = Fate(state=1, every_steps=0, lost_s=600.0)
    epochs = [Epoch(0.0, 200.0, (1.0, 0.9)), Epoch(200.0, inf, (0.0, 1.0), {0: fate})]
    assert fastest(epochs, between, 300.0) == Fastest(310.0, (Turn(1, 0, 1, is_early=True),))


def test_a_job_that_cannot_leave_goes_on_from_its_checkpoint() -> None:
    fate = Fate(state=1, every_steps=150, lost_s=30.0)
    epochs = [Epoch(0.0, 200.0, (1.0, 1.0)), Epoch(200.0, inf, (0.0, 1.0), {0: fate})]
    dear = Change(lasts_s=1e4, lost_s=1e4)
    best = fastest(epochs, lambda old, new: dear if old != new else Change(0.0, 0.0), 300.0)
    assert best == Fastest(200.0 + 30.0 + 150.0, ())

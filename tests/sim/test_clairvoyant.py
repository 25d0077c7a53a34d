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
    state, done = 0, 0.0
    for number, (epoch, (early, late)) in enumerate(zip(epochs, way, strict=True)):
        if number == 0 and early != state:
            return inf
        if number and early != state:
            before = epochs[number - 1]
            done -= before.steps_per_s[state] * min(change(state, early).lost_s, before.ends_s - before.starts_s)
        state = early
        if state in epoch.fates:
            fate = epoch.fates[state]
            state = fate.state
            done = done // fate.every_steps * fate.every_steps if fate.every_steps else 0.0
            done = max(0.0, done) - fate.lost_s * epoch.steps_per_s[state]
        if late != state:
            if late in epoch.fates:
                return inf
            slow, fast, what = epoch.steps_per_s[state], epoch.steps_per_s[late], change(state, late)
            length_s = epoch.ends_s - epoch.starts_s
            done -= (fast - slow) * min(what.lasts_s, length_s) + slow * min(what.lost_s, length_s)
        state = late
        speed = epoch.steps_per_s[state]
        if speed > 0 and epoch.starts_s + max(0.0, steps - done) / speed <= epoch.ends_s:
            return epoch.starts_s + max(0.0, steps - done) / speed
        done += speed * (epoch.ends_s - epoch.starts_s) if speed > 0 else 0.0
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
    """A move begun at once runs a minute at the old speed, of which 10 s are lost: 25 steps of 60."""
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

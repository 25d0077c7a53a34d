"""The fastest that a job can be for somebody who knows every load in advance: dynamic programming, pure.

Loads change at known times only, so time falls into epochs, in each of which a placement (a state, numbered) has one
speed. Let W(e, s) be the most steps that can be done when epoch e begins in state s. More steps are never worse, so

    W'(e, s) = max over r of   W(e−1, r) + v(e−1, r) · length(e−1) − v(e−1, r) · lost(r, s)         moved early
    W"(e, s) = max over r whose fate at the start of e is s of   W'(e, r), set back to a checkpoint if it has one
    W(e, s)  = max over r of   W"(e, r) − (v(e, s) − v(e, r)) · lasts(r, s) − v(e, r) · lost(r, s)  moved late

and the job is over at the least start(e) + (steps − W(e, s)) / v(e, s) that lies within e. A change of state that lasts
T and takes `lost` of the job's time is made at the end of an epoch, at the speed of what was left, or at the start of
the next, where the new speed is had T later: in between it would only come later than it could, or sooner than it need.
One that lasts longer than the epoch it is made in is charged no more than that epoch, so that the time stays a lower
bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a job in a state as an epoch begins: another state, with `lost_s` in which it does not run.

    It is set back to a multiple of `every_steps` (0: to its start).
    """

    state: int
    every_steps: int
    lost_s: float

    def steps_left_of(self, steps: float, steps_per_s: float) -> float:
        """Return what `steps` are worth afterwards, less what would have been done while it did not run."""
        kept = steps // self.every_steps * self.every_steps if self.every_steps else 0.0
        return max(0.0, kept) - self.lost_s * steps_per_s


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of time without changes, and the steps a second of each state in it."""

    starts_s: float
    ends_s: float
    steps_per_s: tuple[float, ...]
    fates: Mapping[int, Fate] = field(default_factory=dict)

    @property
    def length_s(self) -> float:
        return self.ends_s - self.starts_s


@dataclass(frozen=True, slots=True)
class Change:
    """What going from one state to another takes: how long, and how much of the job's time."""

    lasts_s: float
    lost_s: float


@dataclass(frozen=True, slots=True)
class Turn:
    """One change of state on the way: begun at the end of the epoch before, or at its start."""

    epoch: int
    state_before: int
    state: int
    is_early: bool


@dataclass(frozen=True, slots=True)
class Fastest:
    """When the job is over at best, and the changes that lead there; infinite if it never is."""

    time_s: float
    turns: tuple[Turn, ...]


Way = tuple[float, tuple[Turn, ...]]
Changes = Sequence[Sequence[Change]]


def fastest(epochs: Sequence[Epoch], change: Callable[[int, int], Change], steps: float, start: int = 0) -> Fastest:
    """Return the least time to do `steps`, from state `start` at the start of the first epoch."""
    states = range(len(epochs[0].steps_per_s))
    changes = [[change(old, new) for new in states] for old in states]
    ways: dict[int, Way] = {start: (0.0, ())}
    best = Fastest(inf, ())
    for number, epoch in enumerate(epochs):
        if number:
            ways = _early(ways, epochs[number - 1], number, changes)
        ways = _late(_fated(ways, epoch), epoch, number, changes)
        after: dict[int, Way] = {}
        for state, (done, turns) in ways.items():
            speed = epoch.steps_per_s[state]
            ends_s = epoch.starts_s + max(0.0, steps - done) / speed if speed > 0 else inf
            if ends_s <= epoch.ends_s and ends_s < best.time_s:
                best = Fastest(ends_s, turns)
            after[state] = (done + speed * epoch.length_s if speed > 0 else done, turns)
        ways = after
        if best.time_s < epoch.ends_s:
            break  # whoever is not done by now comes later
    return best


def _early(ways: Mapping[int, Way], before: Epoch, number: int, changes: Changes) -> dict[int, Way]:
    found = dict(ways)
    for old, (done, turns) in ways.items():
        for new in range(len(before.steps_per_s)):
            if new != old:
                left = done - before.steps_per_s[old] * min(changes[old][new].lost_s, before.length_s)
                if new not in found or left > found[new][0]:
                    found[new] = left, (*turns, Turn(number, old, new, is_early=True))
    return found


def _fated(ways: Mapping[int, Way], epoch: Epoch) -> dict[int, Way]:
    found: dict[int, Way] = {}
    for state, (done, turns) in ways.items():
        fate = epoch.fates.get(state)
        if fate is not None:
            state, done = fate.state, fate.steps_left_of(done, epoch.steps_per_s[fate.state])
        if state not in found or done > found[state][0]:
            found[state] = done, turns
    return found


def _late(ways: Mapping[int, Way], epoch: Epoch, number: int, changes: Changes) -> dict[int, Way]:
    found = dict(ways)
    for old, (done, turns) in ways.items():
        slow = epoch.steps_per_s[old]
        for new, fast in enumerate(epoch.steps_per_s):
            if new != old and new not in epoch.fates:
                what = changes[old][new]
                waits_s, lost_s = min(what.lasts_s, epoch.length_s), min(what.lost_s, epoch.length_s)
                left = done - (fast - slow) * waits_s - slow * lost_s
                if new not in found or left > found[new][0]:
                    found[new] = left, (*turns, Turn(number, old, new, is_early=False))
    return found

"""The fastest that a job can be for somebody who knows every load in advance: dynamic programming, pure.

Loads change at known times only, so time falls into epochs, in each of which a placement (a state, numbered) has one
speed. Let W(e, s) be the most steps that can be done when epoch e begins in state s. More steps are never worse, so

    W'(e, s) = max over r of   W(e−1, r) + v(e−1, r) · length(e−1) − loss(r, s)              moved early
    W"(e, s) = max over r whose fate at the start of e is s of   W'(e, r), set back to a checkpoint if it has one
    W(e, s)  = max over r of   W"(e, r) + done(r, s) − v(e, s) · (time in e until it is done)   moved late

and the job is over at the least start(e) + (steps − W(e, s)) / v(e, s) that lies within e. A change of state that lasts
T and takes `lost` of the job's time is finished as an epoch begins, and the loss is lost/T of what r does in the T
before; or it begins with an epoch, and the speed of s is had T later, in whichever epoch that is, while r does
1 − lost/T of its steps. In between it would only come later than it could, or sooner than it need. None begins before
time 0, and none ends whose guest's host dies under it.
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
    arriving: dict[int, dict[int, Way]] = {}
    for number, epoch in enumerate(epochs):
        if number:
            ways = _early(ways, epochs, number, changes)
        ways = _fated(ways, epoch)
        for old, way in ways.items():
            for new in states:
                if new != old:
                    _begin(epochs, number, old, new, changes[old][new], way, steps, arriving)
        for new, way in arriving.pop(number, {}).items():
            _keep(ways, new, way)
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


def _keep(ways: dict[int, Way], state: int, way: Way) -> None:
    if state not in ways or way[0] > ways[state][0]:
        ways[state] = way


def _early(ways: Mapping[int, Way], epochs: Sequence[Epoch], number: int, changes: Changes) -> dict[int, Way]:
    found = dict(ways)
    starts_s = epochs[number].starts_s
    for old, (done, turns) in ways.items():
        for new, what in enumerate(changes[old]):
            if new != old and what.lasts_s <= starts_s:
                left = done - _loss(epochs, number, old, what)
                if new not in found or left > found[new][0]:
                    found[new] = left, (*turns, Turn(number, old, new, is_early=True))
    return found


def _loss(epochs: Sequence[Epoch], number: int, old: int, what: Change) -> float:
    """Return the steps that a change costs which is finished as epoch `number` begins."""
    begins_s, steps = epochs[number].starts_s - what.lasts_s, 0.0
    for epoch in reversed(epochs[:number]):
        steps += epoch.steps_per_s[old] * max(0.0, epoch.ends_s - max(begins_s, epoch.starts_s))
        if epoch.starts_s <= begins_s:
            break
    return steps * what.lost_s / what.lasts_s if what.lasts_s > 0 else 0.0


def _begin(
    epochs: Sequence[Epoch],
    number: int,
    old: int,
    new: int,
    what: Change,
    way: Way,
    steps: float,
    arriving: dict[int, dict[int, Way]],
) -> None:
    """Put where a change begun with epoch `number` arrives, as the steps that its epoch would have begun with."""
    done, turns = way
    kept = 1.0 - what.lost_s / what.lasts_s if what.lasts_s > 0 else 1.0
    ends_s = epochs[number].starts_s + what.lasts_s
    for later in range(number, len(epochs)):
        epoch = epochs[later]
        if later > number and old in epoch.fates:
            return
        within_s = min(ends_s, epoch.ends_s) - epoch.starts_s
        done += epoch.steps_per_s[old] * within_s * kept
        if ends_s <= epoch.ends_s:
            if done < steps and new not in epoch.fates:
                turn = Turn(number, old, new, is_early=False)
                _keep(arriving.setdefault(later, {}), new, (done - epoch.steps_per_s[new] * within_s, (*turns, turn)))
            return


def _fated(ways: Mapping[int, Way], epoch: Epoch) -> dict[int, Way]:
    found: dict[int, Way] = {}
    for state, (done, turns) in ways.items():
        fate = epoch.fates.get(state)
        if fate is not None:
            state, done = fate.state, fate.steps_left_of(done, epoch.steps_per_s[fate.state])
        if state not in found or done > found[state][0]:
            found[state] = done, turns
    return found

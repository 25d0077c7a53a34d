"""The fewest moves that spread load evenly: steepest descent, then the same moves to better ends, then fewer of them.

hbal takes the best single move while there is one, and is done. So does the descent here. But each of its moves was
best only when it was made; once all of them are known, sending a moved guest elsewhere, or two of them to each other's
hosts, costs no further move and lowers the score, and some moves prove to be worth little and are taken back. What is
returned is therefore never worse than the descent alone, in score or in number of moves.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from migd_policies.spread import Cluster, Indices, Spread

Moves = list[tuple[int, int]]

# Differences below this are rounding, not gain.
NOTHING: Final = 1e-9
# With more moved guests than this they are left where the descent put them: exchanges grow with their square.
MOST_MENDED: Final = 512
# With more pairs of guest and host than this, several moves are made before all of them are looked at again.
MANY_PAIRS: Final = 200_000
MOST_FROM_EACH_HOST: Final = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop: at `enough`, or once the score is at most `small` and the best move gains less than `min_gain`.

    `kept_ratio` is the part of what re-targeting gains that taking moves back may not give away again.
    """

    max_moves: int | None = None
    enough: float = 1e-9
    min_gain: float = 0.01
    small: float = 0.1
    kept_ratio: float = 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """Guests and where they go (indices), in an order in which each finds its memory free; scores before and after."""

    moves: tuple[tuple[int, int], ...]
    score_before: float
    score_after: float


def search(cluster: Cluster, limits: Limits) -> Found:
    """Return the moves that lower the score most, as few as will do."""
    spread = Spread(cluster)
    before = spread.score
    descent = _descend(spread, limits)
    place, descended = spread.place.copy(), spread.score
    if len(spread.moved()) <= MOST_MENDED:
        _retarget(spread)
        _take_back(spread, limits.kept_ratio * spread.score + (1.0 - limits.kept_ratio) * descended)
        if (order := _ordered(cluster, spread)) is not None:
            return Found(tuple(order), before, spread.score)
        _restore(spread, place)
    # Memory is so tight that only the order of the descent is known to work, in which a guest may move twice.
    return Found(tuple(_ordered(cluster, spread) or descent), before, descended)


def _descend(spread: Spread, limits: Limits) -> Moves:
    """Make the best move while there is one; in a large cluster, many at a time."""
    guests, hosts = spread.cluster.may_go.shape
    most = guests if limits.max_moves is None else limits.max_moves
    from_each_host = 1
    moves: Moves = []
    while len(moves) < most and (score := spread.score) > limits.enough:
        least_gain = max(NOTHING, limits.min_gain if score <= limits.small else 0.0)
        if guests * hosts <= MANY_PAIRS:
            made = _steepest_step(spread, least_gain)
            if not made:
                break
        else:
            made = _many_steps(spread, least_gain, from_each_host, most - len(moves))
            if from_each_host < MOST_FROM_EACH_HOST and len(made) < hosts // 16:
                from_each_host *= 2
            elif len(made) <= hosts // 64:
                break
        moves += made
    return moves


def _steepest_step(spread: Spread, least_gain: float) -> Moves:
    """Make the best move of all, if it gains enough."""
    best = _best(spread, *spread.best_moves())
    if best is None or best.difference > -least_gain:
        best = _best(spread, *spread.best_moves(of_all=True))
    if best is None or best.difference > -least_gain:
        return []
    spread.move(best.guest, best.target)
    return [(best.guest, best.target)]


def _many_steps(spread: Spread, least_gain: float, from_each_host: int, most: int) -> Moves:
    """Make the best moves of a few guests of each host, at most one off or to each."""
    guests, targets = spread.promising_moves_of_each_host(from_each_host)
    difference = spread.differences(guests, targets)
    useful = difference <= -least_gain
    guests, targets, difference = guests[useful], targets[useful], difference[useful]
    order = np.lexsort((targets, guests, difference))
    guests, targets = guests[order], targets[order]
    made: Moves = []
    for at in _disjoint(spread.place[guests], targets, spread.value.shape[1])[:most]:
        if spread.fits(guests[at : at + 1], targets[at : at + 1])[0]:  # one of its group may have gone there just now
            made.append((int(guests[at]), int(targets[at])))
            spread.move(*made[-1])
    return made


def _disjoint(sources: Indices, targets: Indices, hosts: int) -> list[int]:
    """Return which of some moves, best first, remain if each host takes part in the best one that it can."""
    chosen, is_taken = [], bytearray(hosts)
    for at, (source, target) in enumerate(zip(sources.tolist(), targets.tolist(), strict=True)):
        if not is_taken[source] and not is_taken[target]:
            is_taken[source] = is_taken[target] = True
            chosen.append(at)
    return chosen


@dataclass(frozen=True, slots=True)
class _Best:
    difference: float
    guest: int
    target: int


def _best(spread: Spread, guests: Indices, targets: Indices) -> _Best | None:
    """Return the best of some moves; of equally good ones the first by guest and target, however they are listed."""
    if not len(guests):
        return None
    difference = spread.differences(guests, targets)
    at = int(np.lexsort((targets, guests, difference))[0])
    return _Best(float(difference[at]), int(guests[at]), int(targets[at]))


def _retarget(spread: Spread) -> None:
    """Send moved guests elsewhere, or two of them to each other's hosts, while that lowers the score."""
    while change := _better_end(spread):
        for guest, target in change:
            spread.move(guest, target)


def _better_end(spread: Spread) -> Moves:
    moved = spread.moved()
    least, change = -NOTHING, list[tuple[int, int]]()
    if (best := _best(spread, *spread.best_moves(moved))) is not None and best.difference < least:
        least, change = best.difference, [(best.guest, best.target)]
    first, second = spread.promising_exchanges(moved)
    difference = spread.exchanges(first, second)
    if len(first) and difference.min() < least:
        at = int(np.lexsort((second, first, difference))[0])
        one, other = int(first[at]), int(second[at])
        change = [(one, int(spread.place[other])), (other, int(spread.place[one]))]
    return change


def _take_back(spread: Spread, allowance: float) -> None:
    """Take moves back, the least useful first, and mend what that does, while the score stays within `allowance`."""
    while True:
        kept = spread.place.copy()
        moved = spread.moved()
        homes = spread.cluster.home[moved]
        fits = spread.cluster.memory[moved] <= spread.free[homes]
        best = _best(spread, moved[fits], homes[fits])
        if best is None:
            return
        spread.move(best.guest, best.target)
        _retarget(spread)
        if spread.score > allowance:
            _restore(spread, kept)
            return


def _restore(spread: Spread, place: Indices) -> None:
    for guest in np.nonzero(spread.place != place)[0].tolist():
        spread.move(guest, int(place[guest]))


def _ordered(cluster: Cluster, spread: Spread) -> Moves | None:
    """Return the moves from home to where the guests are, each when its memory is free; None if that gets stuck.

    Of those that can be made the best go first.
    """
    now, left = Spread(cluster), spread.moved()
    moves: Moves = []
    while len(left):
        ready = left[now.fits(left, spread.place[left])]
        if not len(ready):
            return None
        for guest in ready[np.argsort(now.differences(ready, spread.place[ready]), kind="stable")].tolist():
            target = spread.place[guest : guest + 1]
            if now.fits(np.array([guest]), target)[0]:
                now.move(guest, int(target[0]))
                moves.append((guest, int(target[0])))
        left = left[now.place[left] != spread.place[left]]
    return moves

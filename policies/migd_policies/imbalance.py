"""How long an imbalance lasts: nobody gains from a move longer than what it answers stands.

A load that has stood for a stands for r more with the probability a / (a + r), as processes do (Harchol-Balter and
Downey, Exploiting Process Lifetime Distributions for Dynamic Load Balancing, 1997): half of them for as long again, and
a few for very much longer. A difference between two loads ends with either, so within the next L seconds it stands for

    ∫ a / (a + r) dr        = a ln(1 + L / a)                                      with a load at the source only
    ∫ ab / ((a+r)(b+r)) dr  = ab / (b − a) · ln((a + L) b / ((b + L) a))           with one at the target, too

on average, from 0 to L. A load at the target is one of guests that nobody named a job for: a host that is idle may be
hit by a new load, but so may the source.

The age of a load is since when it has been about what it is. What migd itself moves shifts a load without making it
young: that was not the imbalance's own doing.
"""

from dataclasses import dataclass, replace
from math import inf, log, log1p, sqrt
from typing import Final

from migd_core.world import Move, World
from migd_policies.scoring import passing_vcpus

# A load this near to its level, in shares of the host's CPUs, is the same load: samples and phases move it by as much.
SAME_LOAD_RATIO: Final = 0.15
# So many periods in a row away from the level are a new load; fewer are a burst.
NEW_AFTER_PERIODS: Final = 3
# Two ages closer than this are one: the formula for two divides by their difference.
ALIKE_RATIO: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Standing:
    """What a host's load has been about, and since when (Unix time); `away` are its loads in a row that were not."""

    ratio: float
    since_s: float
    periods: int = 1
    away: tuple[tuple[float, float], ...] = ()


def following(standing: Standing | None, load_ratio: float, now_s: float) -> Standing:
    """Return the level after one more control period, in which the load was `load_ratio`; None: nothing is known."""
    if standing is None:
        return Standing(load_ratio, now_s)
    if abs(load_ratio - standing.ratio) <= SAME_LOAD_RATIO:
        # The mean of all periods: it follows noise ever less, so a load that creeps away is a new one in the end.
        ratio = standing.ratio + (load_ratio - standing.ratio) / (standing.periods + 1)
        return Standing(ratio, standing.since_s, standing.periods + 1)
    away = (*standing.away, (now_s, load_ratio))
    if len(away) < NEW_AFTER_PERIODS:
        return replace(standing, away=away)
    return Standing(sum(ratio for _, ratio in away) / len(away), away[0][0], len(away))


def shifted(standing: Standing, by_ratio: float) -> Standing:
    """Return the level once migd has moved a guest that makes `by_ratio` of load to the host (negative: away)."""
    away = tuple((at_s, ratio + by_ratio) for at_s, ratio in standing.away)
    return replace(standing, ratio=max(0.0, standing.ratio + by_ratio), away=away)


def stands_s(world: World, move: Move, within_s: float) -> float:
    """Return for how many of the next `within_s` seconds the difference in load that `move` answers stands on average.

    No load is taken to be younger than `life_at_least_s`, and one that nobody watched to stand for all of them. Source
    and target must exist in `world`.
    """
    ages_s = _ages_s(world, move)
    if within_s <= 0 or (ages_s and min(ages_s) <= 0):
        return 0.0
    match ages_s:
        case [a_s]:
            return a_s * log1p(within_s / a_s)
        case [a_s, b_s] if abs(a_s - b_s) <= ALIKE_RATIO * a_s:
            return a_s * within_s / (a_s + within_s)
        case [a_s, b_s]:
            return a_s * b_s / (b_s - a_s) * log((a_s + within_s) * b_s / ((b_s + within_s) * a_s))
        case _:
            return within_s


def outlived_s(world: World, move: Move, chance: float) -> float:
    """Return for how long that difference stands with a `chance` (over 0, to 1); infinite if nobody watched it."""
    match _ages_s(world, move):
        case [a_s]:
            return a_s * (1.0 / chance - 1.0)
        case [a_s, b_s]:  # (a + r)(b + r) = ab / chance
            return (sqrt((a_s + b_s) ** 2 + 4.0 * a_s * b_s * (1.0 / chance - 1.0)) - a_s - b_s) / 2.0
        case _:
            return inf


def _ages_s(world: World, move: Move) -> list[float]:
    """Return the ages of the loads with which the difference ends, one or two; none where nobody watched."""
    least_s = world.pricing.life_at_least_s
    target = world.hosts[move.target]
    passing = sum(passing_vcpus(world, guest) for guest in world.guests_on[move.target])
    counts = [move.source, *([move.target] if not world.jobs or passing / target.cpus > SAME_LOAD_RATIO else [])]
    return [max(least_s, age) for uuid in counts if (age := world.hosts[uuid].load_stood_s) is not None]

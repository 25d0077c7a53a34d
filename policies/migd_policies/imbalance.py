"""How long an imbalance lasts: nobody gains from a move longer than what it answers stands.

A load that has stood for e is taken to stand for as long again (Lindy), so it ends at a rate of 1 / e; a difference
between two hosts ends with either:

    H = 1 / (1 / age at the source + 1 / age at the target)

The age of a load is since when it has been about what it is. What migd itself moves shifts a load without making it
young: that was not the imbalance's own doing.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import Final

from migd_core.world import Move, World

# A load this near to its level, in shares of the host's CPUs, is the same load: samples and phases move it by as much.
SAME_LOAD_RATIO: Final = 0.15
# So many periods in a row away from the level are a new load; fewer are a burst.
NEW_AFTER_PERIODS: Final = 3


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


def life_s(world: World, move: Move) -> float:
    """Return H, how long the difference in load that `move` answers is going to last, in s.

    Infinite where nobody has watched either host; a host that nobody watched does not bound it. Source and target must
    exist in `world`.
    """
    rates_per_s = 0.0
    for uuid in (move.source, move.target):
        age_s = world.hosts[uuid].load_stood_s
        if age_s is not None:
            rates_per_s += 1.0 / age_s if age_s > 0 else inf
    return 1.0 / rates_per_s if rates_per_s > 0 else inf

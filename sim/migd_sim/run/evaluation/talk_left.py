"""How long some rank talks at least while so many guests are away, whichever they are.

A guest that is away may talk at the best level with everybody. So it mends the messages that it takes part in, and no
others: of the messages between guests at home that take longer than at best, at least those are left that the guests
with most of them cannot mend. One that is left holds its ranks up, and with them the job.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from migd_core.world import Level
from migd_sim.run.evaluation.best_speeds import Ground


@dataclass(frozen=True, slots=True)
class Slow:
    """Messages of one kind, by the guests at their ends; `seconds` says what the slowest of so many left takes."""

    ends: Sequence[tuple[str, str]]
    seconds: Callable[[int], float]

    def left(self, home_of: Mapping[str, str], away: Mapping[str, int]) -> int:
        """Return how many are left at least with so many guests `away` of each home."""
        degrees: dict[str, Counter[str]] = {}
        for guest in (guest for pair in self.ends for guest in pair):
            degrees.setdefault(home_of[guest], Counter())[guest] += 1
        mended = sum(sum(n for _, n in here.most_common(away.get(home, 0))) for home, here in degrees.items())
        return max(0, len(self.ends) - mended)


def slow_messages(ground: Ground) -> tuple[Slow, ...]:
    """Return the kinds of messages between guests at home, by what they go over."""
    ranks, size_bytes = ground.job.ranks, ground.job.exchange_bytes
    pairs = [(ranks[a], ranks[b]) for a, b in ground.state.neighbours if ranks[a] != ranks[b]]
    homes = {ground.home(guest) for guest in ranks}
    switches = {ground.hosts[home].switch for home in homes}
    nic = max(ground.hosts[home].link_bytes_per_s for home in homes)
    levels = ground.case.pool.levels

    def seconds(level: Level, of_link: Callable[[int], float]) -> Callable[[int], float]:
        spec = levels[level]
        return lambda left: spec.latency_s + size_bytes / min(spec.bandwidth_bytes_per_s, of_link(left))

    # Of the messages between some hosts one host has its share at least, and the line between two switches has all.
    of_nic = seconds(Level.SAME_SWITCH, lambda left: nic / ceil(2 * left / len(homes)))
    line = levels[Level.WIDE_AREA].bandwidth_bytes_per_s
    of_line = seconds(Level.WIDE_AREA, lambda left: line / (left if len(switches) == 2 else 1))
    here = [pair for pair in pairs if len({ground.home(guest) for guest in pair}) == 1]
    across = [pair for pair in pairs if len({ground.hosts[ground.home(guest)].switch for guest in pair}) > 1]
    between = [pair for pair in pairs if pair not in here]
    at_host = seconds(Level.SAME_HOST, lambda left: levels[Level.SAME_HOST].bandwidth_bytes_per_s)
    return Slow(here, at_host), Slow(between, of_nic), Slow(across, of_line)


def talk_at_least_s(ground: Ground, slow: Sequence[Slow], home_of: Mapping[str, str], away: Mapping[str, int]) -> float:
    """Return the seconds that some rank talks in a step at least with so many guests `away` of each home."""
    left = [(each, count) for each in slow if (count := each.left(home_of, away)) > 0]
    return max((each.seconds(count) + ground.other_message_s for each, count in left), default=0.0)

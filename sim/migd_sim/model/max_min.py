"""Max-min fair sharing, of a host's cores and of NICs: nobody gets more while somebody who wants more gets less."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeVar

Key = TypeVar("Key")


def share_cores(cores: float, vcpus: Mapping[Key, tuple[int, float]]) -> dict[Key, float]:
    """Return the cores that each one gets of `cores`.

    `vcpus` maps whoever asks to how many of its vCPUs want to run and how much of a core each wants (0..1). A vCPU that
    wants less than the level gets what it wants; the level of the rest rises until the cores are used up.
    """
    got: dict[Key, float] = {}
    left, waiting = cores, sum(count for count, _ in vcpus.values())
    for uuid, (count, wanted) in sorted(vcpus.items(), key=lambda item: item[1][1]):
        each = min(wanted, left / waiting) if waiting else 0.0
        got[uuid] = count * each
        left = max(0.0, left - count * each)
        waiting -= count
    return got


@dataclass(frozen=True, slots=True)
class Stream:
    """A flow of bytes through some NIC directions (named), that takes at most `demand_bytes_per_s`.

    One through none stays within a host: its demand must be finite.
    """

    name: str
    through: tuple[str, ...]
    demand_bytes_per_s: float = inf


def share_links(capacities: Mapping[str, float], streams: Sequence[Stream]) -> dict[str, float]:
    """Return the bytes per second of each stream: progressive filling of every direction at once."""
    rate = dict.fromkeys((stream.name for stream in streams), 0.0)
    left = dict(capacities)
    growing = [stream for stream in streams if stream.demand_bytes_per_s > 0]
    while growing:
        users: dict[str, int] = {}
        for stream in growing:
            for direction in stream.through:
                users[direction] = users.get(direction, 0) + 1
        step = min((left[direction] / count for direction, count in users.items()), default=inf)
        step = min(step, min(stream.demand_bytes_per_s - rate[stream.name] for stream in growing))
        for stream in growing:
            rate[stream.name] += step
            for direction in stream.through:
                left[direction] -= step
        full = {direction for direction in users if left[direction] <= 1e-9 * capacities[direction]}
        growing = [
            stream
            for stream in growing
            if rate[stream.name] < stream.demand_bytes_per_s * (1 - 1e-12) and not full.intersection(stream.through)
        ]
    return rate

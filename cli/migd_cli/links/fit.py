"""Latency and bandwidth from the times of messages: t(s) = latency + s / bandwidth, one way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

# The bandwidth is read off the largest messages; TCP has dips at some sizes, so off more than one.
LARGEST: Final = 3


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a level gives two ranks. `largest_bytes` is the largest message that was sent."""

    latency_s: float
    bandwidth_bytes_per_s: float
    largest_bytes: int


def fit(times_s: Mapping[int, Sequence[float]]) -> Fitted:
    """Return the fit of one-way times (s) by message size (bytes). Raises ValueError where they cannot be times.

    The latency is the median of the smallest messages. The bandwidth is the median over the largest ones of what their
    median time leaves after the latency: that of bytes that a job sends in one go, as NetPIPE's is.
    """
    medians = {size: median(times) for size, times in sorted(times_s.items()) if times}
    if len(medians) < 2 or min(medians.values()) <= 0 or min(medians) < 1:
        raise ValueError(f"expected positive times of two message sizes or more, found those of {list(times_s)[:3]}")
    smallest, largest = min(medians), max(medians)
    latency_s = medians[smallest]
    rates = [
        (size - smallest) / (taken_s - latency_s)
        for size, taken_s in list(medians.items())[1:][-LARGEST:]
        if taken_s > latency_s
    ]
    if not rates:
        raise ValueError("expected large messages to take longer than small ones, found none that does; measure again")
    return Fitted(latency_s, median(rates), largest)

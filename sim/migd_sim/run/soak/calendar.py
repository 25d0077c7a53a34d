"""What falls due in virtual time, and processes that wait in it: generators that yield the seconds to wait."""

import heapq
from collections.abc import Callable, Generator
from math import inf
from typing import TypeVar

T = TypeVar("T")
# Waits for each value that it yields, in seconds, and then goes on.
Process = Generator[float, None, T]


class Calendar:
    """Things to be done at their time, those of one time in the order in which they were asked for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._entries = 0

    @property
    def now_s(self) -> float:
        return self._clock()

    @property
    def next_s(self) -> float:
        """When something falls due next; infinity if nothing does."""
        return self._due[0][0] if self._due else inf

    def at(self, t_s: float, what: Callable[[], object]) -> None:
        """Let something be done at `t_s`, or now where that is past."""
        self._entries += 1
        heapq.heappush(self._due, (max(self.now_s, t_s), self._entries, what))

    def after(self, wait_s: float, what: Callable[[], object]) -> None:
        """Let something be done in `wait_s` seconds."""
        self.at(self.now_s + wait_s, what)

    def run_due(self) -> None:
        """Do all that is due by now, and what falls due at once because of it."""
        while self._due and self._due[0][0] <= self.now_s:
            heapq.heappop(self._due)[2]()

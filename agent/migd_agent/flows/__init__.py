"""Who talks to whom: bytes by pair of MAC addresses, counted by the switch of this Dom0 itself."""

from collections.abc import Mapping
from typing import Protocol

from migd_core.errors import MigdError

Pair = tuple[str, str]


def went(before: int, now: int) -> int:
    """Return how far a counter went; one that fell has started anew from 0."""
    return now - before if now >= before else now


class FlowsUnreadable(MigdError):
    """The switch cannot be asked; the text says what was run, what it said, and what to do."""


class Switch(Protocol):
    """A switch of this host that counts by itself, asked from time to time."""

    @property
    def is_reading(self) -> bool:
        """Whether an answer is awaited."""

    def begin(self) -> None:
        """Ask for the counts, and do not wait for them. Raises FlowsUnreadable."""

    def take(self) -> Mapping[Pair, int] | None:
        """Return bytes by source and target MAC since this object was made; None while the answer is not there.

        Only pairs of single stations; a pair may vanish, and start anew from 0. Raises FlowsUnreadable.
        """

    def close(self) -> None:
        """Stop the counting, and leave nothing behind."""

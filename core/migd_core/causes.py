"""Cause ids: the thread from a sample to a decision to a migration to a log line.

An id is a letter and a number, short enough to type after `migctl explain`. The counter is part of the controller's
remembered state, so that an id is never given twice and the same events give the same ids.
"""

import msgspec


class CauseCounter(msgspec.Struct, frozen=True):
    """Counts the decisions made so far; `following` is the only way on."""

    last: int = 0

    def following(self) -> "tuple[str, CauseCounter]":
        """Return the next cause id (`D1`, `D2`, …) and the counter after it."""
        number = self.last + 1
        return f"D{number}", CauseCounter(number)

"""The pool's wall clock, and the times that records carry."""

import time
from datetime import UTC, datetime, timedelta

from migd_xapi.datamodel.types import Stamp


class Clock:
    """Wall time in UTC, `ahead_s` ahead of this machine's. Waiting is never measured by it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> datetime:
        """Return the pool's time."""
        return datetime.fromtimestamp(time.time(), UTC) + timedelta(seconds=self.ahead_s)

    def stamp(self) -> Stamp:
        """Return the pool's time as records have it."""
        return Stamp.of(self.now())

"""How fast a guest writes to its memory: unique pages against time, counted by Xen's log-dirty mode.

A session turns log-dirty on, looks at the count at geometric ages, and turns it off. Log-dirty is there for migrations,
and Xen lets anybody take it over, so a probe must not spoil one that a human starts in the middle of it:

- it never cleans the bitmap (libxenctrl.py says why), so no page can be lost;
- a count that has *fallen* tells that somebody else has taken over: the probe stands back at once, and leaves log-dirty
  to them. To turn it off would fail their migration, though the guest would live on;
- it looks once more just before it turns log-dirty off.

What is left is the moment between that look and the turning off; a migration that begins in it fails, and says so.
"""

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Protocol

from migd_agent.xen.libxenctrl import Gone
from migd_core.errors import MigdError
from migd_core.messages import DirtyCurve


class LogDirty(Protocol):
    """Xen's log-dirty mode; `libxenctrl.LibXenCtrl` is the real one."""

    def enable(self, domid: int) -> None: ...

    def peek(self, domid: int) -> int: ...

    def off(self, domid: int) -> None: ...


class Record(Protocol):
    """Where it is put down that log-dirty is on; `probe_record.ProbeRecord` is the real one."""

    def begin(self, domid: int) -> None: ...

    def write(self, domid: int, seen_pages: int) -> None: ...

    def clear(self) -> None: ...


class StoodBack(MigdError):
    """Somebody else has taken log-dirty over in mid-probe, so the guest is left to them."""


class OutOfTime(MigdError):
    """The time that the probe may take is over."""


class Probe:
    """The sampling of one guest's curve in some sessions, one after the other, each begun after a pause.

    Call `advance` whenever `due_s` has come, on the monotonic clock. After any error, and after the end, log-dirty is
    off or somebody else's.
    """

    def __init__(
        self,
        xen: LogDirty,
        record: Record,
        domid: int,
        ages_s: Sequence[float],
        begins_s: Sequence[float],
        until_s: float,
        clock: Callable[[], float],
    ) -> None:
        """Begin a session at each of `begins_s`, or as soon after as the one before has ended; be off at `until_s`."""
        self._xen, self._record, self._domid, self._clock = xen, record, domid, clock
        self._ages_s, self._begins_s, self._until_s = tuple(ages_s), list(begins_s), until_s
        self._sessions: list[list[tuple[float, int]]] = []
        self._is_on = False
        self._began_s, self._base_pages, self._seen_pages = 0.0, 0, 0

    @property
    def due_s(self) -> float:
        """When there is something to do."""
        if self._is_on:
            return min(self._began_s + self._ages_s[len(self._sessions[-1])], self._until_s)
        return min(self._begins_s[0], self._until_s) if self._begins_s else -math.inf

    def advance(self, now_s: float) -> bool:
        """Do what is due; True once all sessions are over. Raises MigdError: StoodBack, OutOfTime, or what Xen says."""
        try:
            if not self._is_on and not self._begins_s:
                return True
            if now_s >= self._until_s:
                raise OutOfTime(f"domain {self._domid}: its time was over before the curve was complete")
            if self._is_on:
                self._look()
            elif now_s >= self._begins_s[0]:
                self._begin()
        except MigdError:
            self.close()
            raise
        return not self._is_on and not self._begins_s

    def curve(self) -> DirtyCurve:
        """Return the curve: at each age the median of the sessions, which never falls."""
        pages: list[int] = []
        for age_s in self._ages_s:
            middle = round(median(_at(session, age_s) for session in self._sessions))
            pages.append(max(middle, pages[-1] if pages else 0))
        return DirtyCurve(ages_s=self._ages_s, unique_pages=tuple(pages))

    def close(self) -> None:
        """Turn log-dirty off, unless it is off or somebody else's. Raises MigdError."""
        self._begins_s = []
        if not self._is_on:
            return
        self._is_on = False
        try:
            if self._xen.peek(self._domid) >= self._seen_pages:
                self._xen.off(self._domid)
        except Gone:
            pass
        self._record.clear()

    def _begin(self) -> None:
        del self._begins_s[0]
        self._record.begin(self._domid)  # before it is on: a kill in between leaves a record of what is off
        try:
            self._xen.enable(self._domid)
        except MigdError:
            self._record.clear()
            raise
        self._is_on, self._began_s, self._seen_pages = True, self._clock(), 0
        self._base_pages = self._seen_pages = self._xen.peek(self._domid)
        self._record.write(self._domid, self._seen_pages)
        self._sessions.append([])

    def _look(self) -> None:
        """Count at the age that it is now; end the session after its last age."""
        session = self._sessions[-1]
        pages, at_s = self._xen.peek(self._domid), self._clock()
        age_s = at_s - self._began_s
        if pages < self._seen_pages:
            self._is_on = False
            self._record.clear()
            raise StoodBack(f"domain {self._domid}: somebody migrates it since {age_s:.2f} s after the probe began")
        self._seen_pages = pages
        while len(session) < len(self._ages_s) and self._began_s + self._ages_s[len(session)] <= at_s:
            session.append((age_s, pages - self._base_pages))  # a late look counts for every age that it was late for
        if len(session) == len(self._ages_s):
            self._end_session()
        else:
            self._record.write(self._domid, pages)

    def _end_session(self) -> None:
        self._is_on = False
        if self._xen.peek(self._domid) < self._seen_pages:
            self._record.clear()
            raise StoodBack(f"domain {self._domid}: somebody migrates it since just before the probe's end")
        self._xen.off(self._domid)
        self._record.clear()


def _at(session: Sequence[tuple[float, int]], age_s: float) -> float:
    """Return the pages of a session at an age, on straight lines between its looks, from none at 0."""
    before_s, before_pages = 0.0, 0
    for at_s, pages in session:
        if at_s >= age_s:
            if at_s == before_s:
                return float(pages)
            return before_pages + (pages - before_pages) * (age_s - before_s) / (at_s - before_s)
        before_s, before_pages = at_s, pages
    return float(before_pages)

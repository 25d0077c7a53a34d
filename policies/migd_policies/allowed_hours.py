"""When guests may be moved: `20:00-06:00`, `Mon-Fri 20:00-06:00`, `Sat,Sun 00:00-24:00`. Pure: time is handed in."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES_A_DAY: Final = 24 * 60

_WINDOW: Final = re.compile(r"(?:([A-Z][a-z]{2}(?:[-,][A-Z][a-z]{2})*) )?(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Window:
    """Part of the day, in minutes after midnight, on days that begin it (0 is Monday); it may end on the next day."""

    days: frozenset[int]
    start_min: int
    end_min: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError naming the text and what is accepted."""
        match = _WINDOW.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no part of a day; write it like 20:00-06:00 or Mon-Fri 20:00-06:00")
        names, *clock = match.groups()
        hours_start, minutes_start, hours_end, minutes_end = (int(part) for part in clock)
        start_min, end_min = hours_start * 60 + minutes_start, hours_end * 60 + minutes_end
        if max(minutes_start, minutes_end) > 59 or start_min >= MINUTES_A_DAY or end_min > MINUTES_A_DAY:
            raise ValueError(f"{text!r}: a day goes from 00:00 to 24:00")
        if start_min == end_min:
            raise ValueError(f"{text!r} is empty; the whole day is 00:00-24:00")
        return cls(_days(names, text), start_min, end_min)

    def holds(self, when: datetime) -> bool:
        """Whether the window is open at a local time."""
        minute, today = when.hour * 60 + when.minute, when.weekday()
        if self.start_min < self.end_min:
            return today in self.days and self.start_min <= minute < self.end_min
        yesterday = (today - 1) % len(DAYS)
        return (today in self.days and minute >= self.start_min) or (yesterday in self.days and minute < self.end_min)


def may_move(windows: tuple[Window, ...], when: datetime) -> bool:
    """Whether guests may be moved at a local time; without windows they always may."""
    return not windows or any(window.holds(when) for window in windows)


def _days(names: str | None, text: str) -> frozenset[int]:
    if names is None:
        return frozenset(range(len(DAYS)))
    found: set[int] = set()
    for part in names.split(","):
        ends = part.split("-")
        if len(ends) > 2 or not set(ends) <= set(DAYS):
            raise ValueError(f"{text!r}: {part!r} is no day or range of days; days are {', '.join(DAYS)}")
        first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
        found |= {(first + n) % len(DAYS) for n in range((last - first) % len(DAYS) + 1)}
    return frozenset(found)

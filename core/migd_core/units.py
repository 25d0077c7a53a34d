"""Quantities as people write and read them. Inside migd only seconds, bytes, pages and ratios (0..1) exist."""

import math
import re
from typing import Annotated, Final

from msgspec import Meta

PAGE_BYTES: Final = 4096
MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB

# What a file may set. TOML has inf, and an infinite limit would switch off in silence what it limits; so times end at
# some thirty years, which every clock and timer can take, and rates at a petabyte a second.
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Lasting = Annotated[float, Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, Meta(ge=0, le=1e15)]
Positive = Annotated[float, Meta(gt=0, le=1e15)]

_DURATION_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_CHARACTERS: Final = 64
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)")


def parse_duration(text: str) -> float:
    """Return the seconds that `text` names: `90s`, `15min`, `6h`, `1d12h`, or a bare number of seconds.

    Raises ValueError naming the text and the accepted forms.
    """
    stripped = text.strip().lower()
    if len(stripped) > _DURATION_CHARACTERS:  # what is written like one is short, and looking for its parts takes n²
        raise ValueError(f"{text[:40]!r}… is not a duration; write it like 90s, 15min, 6h or 1d12h")
    try:
        seconds = float(stripped)
    except ValueError:
        parts = _DURATION_PART.findall(stripped)
        rest = _DURATION_PART.sub("", stripped).strip()
        if not parts or rest:
            raise ValueError(f"{text!r} is not a duration; write it like 90s, 15min, 6h or 1d12h") from None
        seconds = sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{text!r} is not a duration; it must be finite and not negative")
    return seconds


def format_duration(seconds: float) -> str:
    """Return `seconds` as a person would say it, in at most two units: `0.4 s`, `104 s`, `2 min 14 s`, `6 h 5 min`."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 0:
        return "−" + format_duration(-seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest_s = divmod(round(seconds), 60)
        return f"{minutes} min {rest_s} s" if rest_s else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def format_bytes(count: float) -> str:
    """Return a byte count in binary units with three significant digits: `512 B`, `1.50 GiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1000 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def format_ratio(ratio: float) -> str:
    """Return a ratio (0..1) as a percentage for a screen."""
    return f"{ratio * 100:.0f} %"

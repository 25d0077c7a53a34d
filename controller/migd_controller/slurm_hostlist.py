"""Slurm's host lists, `n[01-04,7],login1`, written out.

By `hostlist_create` of Slurm's src/common/hostlist.c: commas outside of brackets part the names, a range keeps the
width of its first number, and several brackets in one name stand for every combination.
"""

import re
from itertools import product
from math import prod
from typing import Final

MOST_NODES: Final = 65536  # what Slurm itself takes in one range (MAX_RANGE)
LONGEST_NAME: Final = 4096  # with its brackets; what one name of 64 KiB stands for may take up gigabytes
_NAME: Final = re.compile(r"(?:[^\s,\[\]]|\[[0-9,-]+\])+")
_PART: Final = re.compile(r"\[(?P<numbers>[^\]]+)\]|(?P<plain>[^\[\]]+)")
_RANGE: Final = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


def expanded(text: str) -> tuple[str, ...]:
    """Return the names that a host list stands for, in its order, each once; none for an empty one.

    Raises ValueError where `text` is no host list, or stands for more than MOST_NODES names.
    """
    names: dict[str, None] = {}
    at = 0
    while at < len(text):
        match = _NAME.match(text, at)
        if match is None or (match.end() < len(text) and text[match.end()] != ","):
            raise ValueError(f"expected a host list like n[01-04,7], found {text[:80]!r}")
        parts = [
            _numbers(part["numbers"]) if part["numbers"] else (part["plain"],) for part in _PART.finditer(match[0])
        ]
        if len(match[0]) > LONGEST_NAME:
            raise ValueError(f"expected names of at most {LONGEST_NAME} characters, found {match[0][:80]!r}")
        if len(names) + prod(len(part) for part in parts) > MOST_NODES:
            raise ValueError(f"host list {text[:80]!r} stands for more than {MOST_NODES} names")
        names |= dict.fromkeys("".join(combination) for combination in product(*parts))
        at = match.end() + 1
    if text.endswith(","):
        raise ValueError(f"expected a name after the last comma of host list {text[:80]!r}")
    return tuple(names)


def _numbers(text: str) -> list[str]:
    """Return what stands between two brackets as numbers, each with the zeros of its range's first."""
    found: list[str] = []
    for item in text.split(","):
        match = _RANGE.fullmatch(item)
        if match is None:
            raise ValueError(f"expected numbers or ranges like 01-04 between brackets, found {item[:80]!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or len(found) + last - first >= MOST_NODES:
            raise ValueError(f"expected a range that rises by less than {MOST_NODES}, found {item[:80]!r}")
        found += [f"{number:0{len(match[1])}d}" for number in range(first, last + 1)]
    return found

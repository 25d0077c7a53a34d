"""Where two answers of a core differ, by the path to the first field that does."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, Final

import msgspec

MOST_SHOWN: Final = 200
_NOTHING: Final = object()


def differences(recorded: bytes, replayed: bytes) -> list[str]:
    """Return for each command (encoded lists of them) that is not the same the first field that differs.

    Raises what msgspec does where one is no such list.
    """
    was_now = [msgspec.msgpack.decode(each, type=list[Any]) for each in (recorded, replayed)]
    pairs = zip_longest(*was_now, fillvalue=_NOTHING)
    found = []
    for number, (was, now) in enumerate(pairs, start=1):
        if was is _NOTHING:
            found.append(f"command {number}: {_kind(now)} was not recorded")
        elif now is _NOTHING:
            found.append(f"command {number}: {_kind(was)} was recorded, and is not given now")
        elif (line := next(_unlike(was, now, _kind(was)), None)) is not None:
            found.append(f"command {number}: {line}")
    return found or ["the same values are written in other bytes"]


def state_difference(recorded: bytes, replayed: bytes) -> str:
    """Return the first field that differs between two encoded states."""
    pair = msgspec.msgpack.decode(recorded), msgspec.msgpack.decode(replayed)
    return next(_unlike(*pair, "state"), "the same values are written in other bytes")


def _unlike(was: object, now: object, path: str) -> Iterator[str]:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in [*was, *(key for key in now if key not in was)]:
            yield from _unlike(was.get(key, _NOTHING), now.get(key, _NOTHING), f"{path}.{key}")
    elif isinstance(was, list) and isinstance(now, list):
        for place, (one, other) in enumerate(zip_longest(was, now, fillvalue=_NOTHING)):
            yield from _unlike(one, other, f"{path}[{place}]")
    elif type(was) is not type(now) or (was != now and not (was != was and now != now)):
        yield f"{path} was {_shown(was)}, is {_shown(now)}"


def _kind(command: object) -> str:
    return str(command.get("kind", "?")) if isinstance(command, dict) else "?"


def _shown(value: object) -> str:
    if value is _NOTHING:
        return "not there"
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"

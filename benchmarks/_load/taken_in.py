"""What the controller took in, by its own journal: every sample that reached the loop is on record there."""

import sqlite3
import zlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec


class _Sample(msgspec.Struct):
    host_uuid: str
    sequence: int


class _Arrived(msgspec.Struct):
    sample: _Sample


_decode = msgspec.msgpack.Decoder(list[tuple[float, _Arrived]]).decode


@dataclass(frozen=True, slots=True)
class Taken:
    """Samples by host, and how many sequence numbers are missing of those up to the end of the calm part."""

    of_host: dict[str, int]
    gaps_while_calm: int


def taken_in(journal: Path, calm_until_s: float) -> Taken:
    """Return what a journal at rest has of samples; `calm_until_s` is Unix time."""
    of_host: Counter[str] = Counter()
    calm: Counter[str] = Counter()
    highest: dict[str, int] = {}
    with closing(sqlite3.connect(journal)) as db:
        for (body,) in db.execute("SELECT body FROM log WHERE kind = 'Samples' ORDER BY id"):
            for at_s, arrived in _decode(zlib.decompress(body)):
                host = arrived.sample.host_uuid
                of_host[host] += 1
                if at_s <= calm_until_s:
                    calm[host] += 1
                    highest[host] = max(highest.get(host, 0), arrived.sample.sequence)
    return Taken(dict(of_host), sum(highest[host] - calm[host] for host in highest))

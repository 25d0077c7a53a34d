"""What the controller took in, by its own journal: every sample that reached the loop is on record there."""

import sqlite3
import zlib
from collections import Counter
from collections.abc import Container
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
    """Samples by host, and how many sequence numbers are missing between them: before a time, and over a span."""

    of_host: dict[str, int]
    gaps_while_calm: int
    gaps_over: int


def taken_in(journal: Path, hosts: Container[str], calm_until_s: float, over: tuple[float, float]) -> Taken:
    """Return what a journal at rest has of samples, whose numbers begin with 1.

    Numbers are missed of `hosts` only. Times are Unix time; `over` is a span.
    """
    of_host: Counter[str] = Counter()
    newest: dict[str, tuple[float, int]] = {}
    while_calm = in_span = 0
    with closing(sqlite3.connect(journal)) as db:
        for (body,) in db.execute("SELECT body FROM log WHERE kind = 'Samples' ORDER BY id"):
            for at_s, arrived in _decode(zlib.decompress(body)):
                host, sequence = arrived.sample.host_uuid, arrived.sample.sequence
                of_host[host] += 1
                before_s, before = newest.get(host, (at_s, 0))
                missing = max(0, sequence - before - 1) if host in hosts else 0
                while_calm += missing if at_s <= calm_until_s else 0
                in_span += missing if before_s <= over[1] and at_s >= over[0] else 0
                newest[host] = at_s, max(before, sequence)
    return Taken(dict(of_host), while_calm, in_span)

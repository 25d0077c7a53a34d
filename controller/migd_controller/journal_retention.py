"""What a journal forgets, a little at a time: what is too old, and the oldest of what is too much, samples first.

What is remembered stays, and so does the log's last entry, which tells a start that the log is whole.
"""

from dataclasses import dataclass
from math import inf
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, delete, select

from migd_controller import journal_schema as schema

# Forgotten in one transaction, so that the loop is not held up for long.
AT_ONCE: Final = 2000
# Of the log's entries in one transaction, where only their number is to be less: decisions go with them.
ENTRIES_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """For how long (s) all is kept, and samples, and what a file may hold (bytes)."""

    keep_s: float
    keep_samples_s: float
    max_bytes: float = inf


def forget(database: Connection, last: int, now_s: float, limits: Limits) -> bool:
    """Forget some of what is beyond the limits, but the log's `last` entry; return whether there may be more of it."""
    log = schema.log.c
    is_sample = (log.kind == schema.SAMPLES) & (log.id != last)
    gone = _some(database, schema.log, log.id, log.at, is_sample & (log.at < now_s - limits.keep_samples_s))
    gone += _older(database, last, now_s - limits.keep_s)
    if not gone and _bytes_held(database) > limits.max_bytes:
        gone = _some(database, schema.log, log.id, log.at, is_sample)
        if not gone:
            oldest = select(log.at).order_by(log.at).offset(ENTRIES_AT_ONCE).limit(1)
            at = database.execute(oldest).scalar()
            gone = _older(database, last, at) if at is not None else 0
    return gone > 0


def _older(database: Connection, last: int, before: float) -> int:
    """Forget some of what is older than a time (Unix time), and return how much that was."""
    log, decided, guests = schema.log.c, schema.decisions.c, schema.decision_guests.c
    asked = schema.migrations.c
    gone = _some(database, schema.log, log.id, log.at, (log.at < before) & (log.id != last))
    gone += _some(database, schema.decisions, decided.cause, decided.at, decided.at < before)
    gone += _some(database, schema.decision_guests, guests.cause, guests.at, guests.at < before)
    gone += _some(database, schema.migrations, asked.cause, asked.asked_at, asked.asked_at < before)
    for table in (schema.sets, schema.recommendations):
        gone += _some(database, table, table.c.name, table.c.at, table.c.at < before)
    return gone


def _some(
    database: Connection, table: Table, key: ColumnElement[Any], at: ColumnElement[float], which: ColumnElement[bool]
) -> int:
    oldest = select(key).where(which).order_by(at).limit(AT_ONCE)
    return database.execute(delete(table).where(key.in_(oldest), which)).rowcount


def _bytes_held(database: Connection) -> int:
    """What a file holds, without the room in it that is free; 0 on a server, whose room is not migd's to judge."""
    if database.dialect.name != "sqlite":
        return 0
    pages, free, size = (
        int(database.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size

"""What a journal holds, entry by entry and in plain values, for other programs: while the controller runs, or offline.

It is read in short transactions, so that a controller that writes meanwhile is not held up. What cannot be read is told
and left out; what can be is not lost with it.
"""

import difflib
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final, get_args

import msgspec
from sqlalchemy import URL, ColumnElement, Connection, Row, Table, select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from migd_controller import journal_schema as schema
from migd_controller.commands import AnyCommand
from migd_controller.events import AnyEvent
from migd_controller.journal import IN_TABLES, whole
from migd_controller.journal_database import JournalError, begun, connect, named, reason
from migd_core.errors import UnknownName

ROWS_AT_ONCE: Final = 500
# Rows of a Parquet row group.
GROUP_ROWS: Final = 20_000
SAMPLE: Final = "SampleArrived"
INVENTORY: Final = "InventoryChanged"
# Kind -> the table that has its entries; every other kind stands in the log.
_TABLES: Final = MappingProxyType(
    {
        "Decision": (schema.decisions, (schema.decisions.c.at, schema.decisions.c.cause)),
        "Migration": (schema.migrations, (schema.migrations.c.asked_at, schema.migrations.c.cause)),
        "MoveSet": (schema.sets, (schema.sets.c.at, schema.sets.c.name)),
        "Recommendation": (schema.recommendations, (schema.recommendations.c.at, schema.recommendations.c.name)),
        "Audit": (schema.audit, (schema.audit.c.id,)),
    }
)
OWN_KINDS: Final = tuple(_TABLES)
_IN_LOG: Final = {*get_args(AnyEvent), *get_args(AnyCommand)} - {*IN_TABLES}
KINDS: Final = (*sorted(each.__name__ for each in _IN_LOG), *OWN_KINDS)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: its kind, when it was (Unix time), its number or name, and what it says in plain values."""

    kind: str
    at: float
    key: str
    body: Any

    def json(self) -> bytes:
        """Return the entry as one line of JSON, without its end."""
        return msgspec.json.encode({"kind": self.kind, "at": self.at, "key": self.key, "body": self.body})


def entries(
    place: Path | URL, tell: Callable[[str], None], since: float = 0.0, kinds: Collection[str] = ()
) -> Iterator[Entry]:
    """Return the entries since a time (Unix time) and of these kinds, or of all: the log in its order, then each table.

    `tell` hears of what cannot be read. Raises JournalError where nothing can, and UnknownName for no kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            (near,) = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.0)
            raise UnknownName(f"kind {kind}: there is none of that name; did you mean {near}?")
    with closing(connect(place, only_reads=True)) as database:
        found = _version(place, database)
        if found != schema.VERSION:
            raise JournalError(
                f"{named(place)}: is of schema {found}, and this release reads {schema.VERSION}: start the controller "
                "of this release on it once, or take the migctl of the release that wrote it"
            )
        if not kinds or not set(kinds) <= set(OWN_KINDS):
            stored = {schema.SAMPLES if kind == SAMPLE else kind for kind in kinds}
            wanted = schema.log.c.at >= since  # samples went in with what came after them
            if stored:
                wanted &= schema.log.c.kind.in_(stored)
            for row in _rows(database, schema.log, (schema.log.c.id,), wanted, tell):
                for entry in _in_log(row, tell):
                    if entry.at >= since and (not kinds or entry.kind in kinds):
                        yield entry
        for kind, (table, order) in _TABLES.items():
            if kinds and kind not in kinds:
                continue
            recent = order[0] >= since if len(order) > 1 else None
            for row in _rows(database, table, order, recent, tell):
                key = str(row[len(order) - 1])
                body = _plain(f"{kind} {key}", row, tell)
                at = float(row[0]) if len(order) > 1 else float(body["at"]) if body is not None else 0.0
                if body is not None and at >= since:
                    yield Entry(kind, at, key, body)


def write_json_lines(found: Iterator[Entry], file: IO[bytes]) -> int:
    """Write a line of JSON for each entry; return how many."""
    count = 0
    for count, entry in enumerate(found, 1):  # noqa: B007 - the last one is how many there were
        file.write(entry.json() + b"\n")
    return count


def write_parquet(found: Iterator[Entry], file: IO[bytes]) -> int:
    """Write entries as Parquet: kind, at (UTC), key, and the body as text in JSON; return how many.

    Raises JournalError where pyarrow is not installed.
    """
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise JournalError(
            f"Parquet needs pyarrow, which is not here ({error}): `pip install 'migd[parquet]'`, or take --format jsonl"
        ) from error
    columns = arrow.schema(
        [
            ("kind", arrow.dictionary(arrow.int32(), arrow.string())),
            ("at", arrow.timestamp("us", tz="UTC")),
            ("key", arrow.string()),
            ("body", arrow.string()),
        ]
    )
    count = 0
    with parquet.ParquetWriter(file, columns, compression="zstd") as writer:
        while group := [entry for _, entry in zip(range(GROUP_ROWS), found, strict=False)]:
            count += len(group)
            data = [
                [entry.kind for entry in group],
                [round(entry.at * 1e6) for entry in group],
                [entry.key for entry in group],
                [msgspec.json.encode(entry.body).decode() for entry in group],
            ]
            arrays = [arrow.array(values, type_) for values, type_ in zip(data, columns.types, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=columns))
    return count


def _version(place: Path | URL, database: Connection) -> int:
    try:
        with begun(database):
            return schema.version_of(database)
    except SQLAlchemyError as error:
        raise JournalError(f"{named(place)}: cannot be read: {reason(error)}") from error


def _rows(
    database: Connection,
    table: Table,
    order: Sequence[ColumnElement[Any]],
    which: ColumnElement[bool] | None,
    tell: Callable[[str], None],
) -> Iterator[Row[Any]]:
    """Return a table's rows in order, some at a time, each time from the last key on: others may forget meanwhile."""
    columns = [*order, table.c.body, table.c.crc32]
    if table is schema.log:
        columns += [table.c.at, table.c.kind]
    query = select(*columns).order_by(*order)
    if which is not None:
        query = query.where(which)
    last: tuple[Any, ...] | None = None
    at_once = ROWS_AT_ONCE
    while True:
        after = query if last is None else query.where(tuple_(*order) > last)
        try:
            with begun(database):
                rows = database.execute(after.limit(at_once)).all()
        except SQLAlchemyError as error:
            if at_once > 1:
                at_once = 1  # up to the very row
                continue
            where = "its beginning" if last is None else ", ".join(map(str, last))
            tell(f"{table.name} after {where}: cannot be read: {reason(error)}")
            return
        yield from rows
        if len(rows) < at_once:
            return
        last = tuple(rows[-1])[: len(order)]


def _in_log(row: Row[Any], tell: Callable[[str], None]) -> Iterator[Entry]:
    body = _plain(f"log entry {row.id} ({row.kind})", row, tell, is_packed=row.kind in (schema.SAMPLES, INVENTORY))
    if body is None:
        return
    if row.kind == schema.SAMPLES:
        yield from (Entry(SAMPLE, at, str(row.id), event) for at, event in body)
    else:
        yield Entry(row.kind, row.at, str(row.id), body)


def _plain(what: str, row: Row[Any], tell: Callable[[str], None], *, is_packed: bool = False) -> Any:
    """Return a row's body in plain values; None where it cannot be read, which is told."""
    try:
        body = whole(row.body, row.crc32)
        return msgspec.msgpack.decode(zlib.decompress(body) if is_packed else body)
    except (ValueError, zlib.error) as error:
        tell(f"{what}: {error}")
        return None

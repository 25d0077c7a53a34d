"""Everything that happened and everything that was asked for, on disk, in one SQLite file or on a PostgreSQL server.

An event, the commands it led to and the memory it changed go in as one transaction, synced before any command is
carried out: what was asked for is on record before it can have an effect. Samples are telemetry: they wait in memory
and go in, compressed, with the next transaction, in their place in the order. Inventories are compressed, too.

Nothing is acted on that may be half of what was written. Each body has a checksum, and each transaction says in `head`
where the log ends and which memory is the newest: a start that finds another end or another memory goes no further.
"""

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Executable,
    Row,
    Select,
    Table,
    func,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from migd_controller import journal_schema as schema
from migd_controller.commands import AnyCommand, RecordDecision, RecordMigration, RecordRecommendation, RecordSet
from migd_controller.decision import Decision
from migd_controller.events import AnyEvent, InventoryChanged, SampleArrived
from migd_controller.journal_database import JournalError, begun, connect, examine, log_ahead, mend, named, reason
from migd_controller.journal_retention import Limits, forget
from migd_controller.memory import Memory
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet
from migd_controller.recommendations import Recommendation
from migd_controller.told import Told

__all__ = ["Journal", "JournalError"]

T = TypeVar("T")
# What has tables of its own; the log holds all other events and commands.
IN_TABLES: Final = (RecordDecision, RecordMigration, RecordSet, RecordRecommendation)
# Sets looked through for those of a guest.
SETS_SEARCHED: Final = 200
# Samples in memory are bounded: with nothing else happening they are written at the latest after so many.
MAX_PENDING_SAMPLES: Final = 1024

_encode = msgspec.msgpack.Encoder().encode


class Journal:
    """One controller's journal. Two never write to the same: the daemon locks its folder, and a server's is locked."""

    def __init__(self, place: Path | URL) -> None:
        """Open or create the journal, and bring that of an earlier release up to date. Raises JournalError."""
        self._place = place
        self._pending: list[tuple[float, SampleArrived]] = []
        self._saved: Memory | None = None
        self._db = connect(place)
        dialect = sqlite if isinstance(place, Path) else postgresql
        self._puts = {table: _put(dialect.insert(table)) for table in schema.METADATA.tables.values()}
        try:
            with begun(self._db):
                damage = examine(self._db) if isinstance(place, Path) else ""
                if not damage:
                    schema.bring_up_to_date(self._db)
                    damage = self._find_end()
            if isinstance(place, Path) and not damage:
                log_ahead(self._db)
        except (SQLAlchemyError, sqlite3.Error) as error:
            self._db.close()
            raise JournalError(f"{self.name}: cannot be opened: {reason(error)}; {mend(place)}") from error
        except schema.OtherSchema as error:
            self._db.close()
            raise JournalError(f"{self.name}: {error}") from error
        if damage:
            self._db.close()
            raise JournalError(f"{self.name}: is damaged: {damage}; {mend(place)}")

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return named(self._place)

    def close(self) -> None:
        """Write what waits and close the connection, also where that cannot be written. Raises JournalError."""
        try:
            if self._pending:
                self._write(self._pending[-1][0], [])
        finally:
            self._db.close()

    def memory(self) -> Memory | None:
        """Return what the controller remembered last, None at the very first start. Raises JournalError."""
        found = self._read(_bodies(schema.memory), Memory)
        self._saved = found[0] if found else None
        return self._saved

    def write(self, at: float, event: AnyEvent | None, commands: Sequence[AnyCommand], memory: Memory) -> None:
        """Put an event (None: the start itself), its commands and what is remembered after it on disk.

        Raises JournalError if that fails; the commands must then not be carried out.
        """
        if isinstance(event, SampleArrived):
            self._pending.append((at, event))
            if not commands and len(self._pending) < MAX_PENDING_SAMPLES:
                return
            entries = []
        else:
            entries = [_entry(at, event)] if event is not None else []
        entries += [_entry(at, command) for command in commands if not isinstance(command, IN_TABLES)]
        self._write(at, entries, commands, memory)

    def decision(self, cause: str) -> Decision | None:
        """Return one decision by its id."""
        return self._one(schema.decisions, schema.decisions.c.cause == cause, Decision)

    def decisions_about(self, guest: str, limit: int) -> list[Decision]:
        """Return the newest decisions that considered a guest (uuid), newest first."""
        guests, found = schema.decision_guests.c, schema.decisions.c
        query = _bodies(schema.decisions).join(schema.decision_guests, guests.cause == found.cause)
        query = query.where(guests.guest == guest).order_by(guests.at.desc(), *_newest(found.cause))
        return self._read(query.limit(limit), Decision)

    def decisions(self, before: float, limit: int) -> list[Decision]:
        """Return the newest decisions from before a time (Unix time), newest first."""
        found = schema.decisions.c
        query = _bodies(schema.decisions).where(found.at < before).order_by(found.at.desc(), *_newest(found.cause))
        return self._read(query.limit(limit), Decision)

    def told_since(self, at: float, limit: int) -> list[tuple[float, Told]]:
        """Return the newest of what people did and what became of hosts and jobs since `at`, newest first."""
        found = schema.log.c
        query = select(found.body, found.crc32, found.at).where(found.kind.in_(schema.TOLD_KINDS), found.at >= at)
        rows = self._rows(query.order_by(found.at.desc(), found.id.desc()).limit(limit))
        told: list[Told] = [self._decoded(row, Told) for row in rows]
        return [(row.at, each) for row, each in zip(rows, told, strict=True)]

    def migrations_since(self, at: float, limit: int) -> list[Migration]:
        """Return the newest migrations that were asked for since `at` (Unix time), newest first."""
        return self._migrations(schema.migrations.c.asked_at >= at, limit)

    def migrations(self, limit: int, guest: str | None = None) -> list[Migration]:
        """Return the newest migrations, of one guest (uuid) or of all, newest first."""
        return self._migrations(schema.migrations.c.guest == guest if guest is not None else true(), limit)

    def _migrations(self, which: ColumnElement[bool], limit: int) -> list[Migration]:
        found = schema.migrations.c
        query = _bodies(schema.migrations).where(which).order_by(found.asked_at.desc(), *_newest(found.cause))
        return self._read(query.limit(limit), Migration)

    def migrations_of(self, decision: str) -> list[Migration]:
        """Return the migrations that one decision led to, in its order."""
        return self._read(_of_decision(schema.migrations, schema.migrations.c.cause, decision), Migration)

    def sets_of(self, decision: str) -> list[MoveSet]:
        """Return the sets of moves that one decision began, in its order, as they are now or ended."""
        return self._read(_of_decision(schema.sets, schema.sets.c.name, decision), MoveSet)

    def sets_about(self, guest: str, limit: int) -> list[MoveSet]:
        """Return the newest sets of moves with a step for a guest (uuid), newest first."""
        found = schema.sets.c
        query = _bodies(schema.sets).order_by(found.at.desc(), *_newest(found.name)).limit(SETS_SEARCHED)
        own = (each for each in self._read(query, MoveSet) if any(step.guest == guest for step in each.steps))
        return list(islice(own, limit))

    def recommendation(self, name: str) -> Recommendation | None:
        """Return one recommendation by its name, as it was when it was made or ended."""
        return self._one(schema.recommendations, schema.recommendations.c.name == name, Recommendation)

    def prune(self, now_s: float, limits: Limits) -> bool:
        """Forget some of what is beyond the limits; return whether there may be more of it. Raises JournalError."""
        with self._transaction():
            return forget(self._db, self._log_id, now_s, limits)

    def _find_end(self) -> str:
        """Find where the log ends, and return what does not fit that, empty where all does."""
        end = self._db.execute(select(schema.head.c.log_id, schema.head.c.memory_number)).one_or_none()
        last = self._db.execute(select(func.max(schema.log.c.id))).scalar() or 0
        number = self._db.execute(select(schema.memory.c.number)).scalar() or 0
        if end is None:
            return "it does not say where its log ends"
        self._log_id, self._memory_number = end
        if last != self._log_id:
            return f"its log should end with entry {self._log_id}, and ends with {last}"
        if number != self._memory_number:
            return f"what is remembered should be of write {self._memory_number}, and is of {number}"
        return ""

    def _write(
        self,
        at: float,
        entries: list[dict[str, Any]],
        commands: Sequence[AnyCommand] = (),
        memory: Memory | None = None,
    ) -> None:
        if self._pending:
            samples = zlib.compress(_encode(self._pending), level=1)
            entries = [{"at": at, "kind": schema.SAMPLES, **checked(samples)}, *entries]
        numbered = [{"id": number, **entry} for number, entry in enumerate(entries, self._log_id + 1)]
        log_id, memory_number = self._log_id + len(entries), self._memory_number
        with self._transaction():
            if numbered:
                self._db.execute(insert(schema.log), numbered)
            for command in commands:
                self._record(command)
            if memory is not None and memory is not self._saved:
                memory_number += 1
                self._put(schema.memory, id=1, number=memory_number, **checked(_encode(memory)))
            self._db.execute(update(schema.head).values(log_id=log_id, memory_number=memory_number))
        self._log_id, self._memory_number = log_id, memory_number
        self._pending.clear()
        self._saved = memory if memory is not None else self._saved

    def _record(self, command: AnyCommand) -> None:
        match command:
            case RecordDecision(decision=made):
                self._put(schema.decisions, cause=made.cause, at=made.at, **checked(_encode(made)))
                guests = dict.fromkeys(candidate.guest for candidate in made.candidates)
                if guests:
                    rows = [{"guest": guest, "cause": made.cause, "at": made.at} for guest in guests]
                    self._db.execute(self._puts[schema.decision_guests], rows)
            case RecordMigration(migration=migration):
                keys = {"cause": migration.cause, "guest": migration.guest, "asked_at": migration.asked_at}
                self._put(schema.migrations, **keys, **checked(_encode(migration)))
            case RecordSet(move_set=move_set):
                self._put(schema.sets, name=move_set.name, at=move_set.at, **checked(_encode(move_set)))
            case RecordRecommendation(recommendation=found):
                self._put(schema.recommendations, name=found.name, at=found.at, **checked(_encode(found)))

    def _put(self, table: Table, **values: object) -> None:
        """Insert a row, or put it in the place of the one with its key."""
        self._db.execute(self._puts[table], values)

    def _one(self, table: Table, which: ColumnElement[bool], type_: type[T]) -> T | None:
        found = self._read(_bodies(table).where(which), type_)
        return found[0] if found else None

    def _read(self, query: Select[Any], type_: type[T]) -> list[T]:
        return [self._decoded(row, type_) for row in self._rows(query)]

    def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        try:
            with begun(self._db):
                return self._db.execute(query).all()
        except SQLAlchemyError as error:
            raise JournalError(f"{self.name}: cannot be read: {reason(error)}; {mend(self._place)}") from error

    def _decoded(self, row: Row[Any], type_: Any) -> Any:
        try:
            return msgspec.msgpack.decode(whole(row.body, row.crc32), type=type_)
        except ValueError as error:  # msgspec's own are such, too
            raise JournalError(f"{self.name}: {_named(type_)} cannot be read: {error}; {mend(self._place)}") from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One synced transaction, for a table that somebody else sees to. Raises JournalError."""
        with self._transaction():
            yield self._db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction; what cannot be finished is undone and raised as a JournalError."""
        try:
            with begun(self._db):
                yield
        except SQLAlchemyError as error:
            is_file = isinstance(self._place, Path)
            to_check = "the disk's free space and health" if is_file else "the server and the way to it"
            raise JournalError(
                f"{self.name}: cannot be written: {reason(error)}; nothing is migrated without it. Check {to_check}"
            ) from error


def checked(body: bytes) -> dict[str, object]:
    """Return a body's columns: itself, and its checksum."""
    return {"body": body, "crc32": zlib.crc32(body)}


def whole(body: bytes, crc32: int | None) -> bytes:
    """Return a body that is as it was written. Raises ValueError; what earlier releases wrote has no checksum."""
    if crc32 is not None and (found := zlib.crc32(body)) != crc32:
        raise ValueError(f"it is damaged: expected checksum {crc32:08x}, found {found:08x}")
    return body


def _put(statement: sqlite.Insert | postgresql.Insert) -> Executable:
    """Return what inserts rows, or puts them in the place of those with their keys."""
    table = statement.table
    changed = {each.name: statement.excluded[each.name] for each in table.columns if not each.primary_key}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed)


def _bodies(table: Table) -> Select[Any]:
    return select(table.c.body, table.c.crc32)


def _of_decision(table: Table, name: ColumnElement[str], decision: str) -> Select[Any]:
    """Select what is called after a decision, `D12.1` or `D12.s1`, in its order."""
    return _bodies(table).where(name > f"{decision}.", name < f"{decision}/").order_by(func.length(name), name)


def _newest(name: ColumnElement[str]) -> Sequence[ColumnElement[Any]]:
    """Order what has the same time by its number: D10 is newer than D9."""
    return func.length(name).desc(), name.desc()


def _named(type_: object) -> str:
    return "the remembered state" if type_ is Memory else f"an entry ({getattr(type_, '__name__', 'told')})"


def _entry(at: float, what: AnyEvent | AnyCommand) -> dict[str, Any]:
    """Return the log's row of an event or a command.

    An inventory comes whole after every resync, half a megabyte for a thousand guests: it goes in compressed.
    """
    body = _encode(what)
    body = zlib.compress(body, level=1) if isinstance(what, InventoryChanged) else body
    return {"at": at, "kind": type(what).__name__, **checked(body)}

"""Everything that happened and everything that was asked for, on disk, in one SQLite file.

An event, the commands it led to and the memory it changed go in as one transaction, synced before any command is
carried out: what was asked for is on record before it can have an effect. Samples are telemetry: they wait in memory
and go in, compressed, with the next transaction, in their place in the order. Inventories are compressed, too.
"""

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from migd_controller.commands import (
    AnyCommand,
    RecordDecision,
    RecordHealth,
    RecordJobOver,
    RecordMigration,
    RecordRecommendation,
    RecordSet,
)
from migd_controller.decision import Decision
from migd_controller.events import (
    AnyEvent,
    CancelRequested,
    GuestReleased,
    InventoryChanged,
    JobAdded,
    JobRemoved,
    LinksMeasured,
    Paused,
    PolicySet,
    Resumed,
    SampleArrived,
)
from migd_controller.memory import Memory
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet
from migd_controller.recommendations import Recommendation
from migd_core.errors import MigdError

SCHEMA_VERSION: Final = 1
Told = (
    PolicySet
    | Paused
    | Resumed
    | JobAdded
    | JobRemoved
    | LinksMeasured
    | GuestReleased
    | CancelRequested
    | RecordHealth
    | RecordJobOver
)
_SCHEMA: Final = """
CREATE TABLE log (id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX log_at ON log (at);
CREATE TABLE decisions (cause TEXT PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL);
CREATE INDEX decisions_at ON decisions (at);
CREATE TABLE decision_guests (guest TEXT NOT NULL, cause TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (guest, cause));
CREATE TABLE migrations (cause TEXT PRIMARY KEY, guest TEXT NOT NULL, asked_at REAL NOT NULL, body BLOB NOT NULL);
CREATE INDEX migrations_guest ON migrations (guest, asked_at);
CREATE TABLE memory (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL);
"""
# Added to journals of earlier releases, too: these do not look at it.
_LATER: Final = """
CREATE TABLE IF NOT EXISTS sets (name TEXT PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS recommendations (name TEXT PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL);
"""
# Sets looked through for those of a guest.
SETS_SEARCHED: Final = 200
# What people did and what became of hosts and jobs: few among many, so found by an index of their own.
_TOLD: Final = (
    "kind IN ('PolicySet', 'Paused', 'Resumed', 'JobAdded', 'JobRemoved', 'LinksMeasured', 'GuestReleased',"
    " 'CancelRequested', 'RecordHealth', 'RecordJobOver')"
)
# Samples in memory are bounded: with nothing else happening they are written at the latest after so many.
MAX_PENDING_SAMPLES: Final = 1024

_encode = msgspec.msgpack.Encoder().encode


class JournalError(MigdError):
    """The journal cannot be read or written; the controller must not act without it."""


class Journal:
    """One controller's journal. Not safe for two processes: the daemon holds a lock on its folder."""

    def __init__(self, path: Path) -> None:
        """Open or create the journal at `path`. Raises JournalError."""
        self._path = path
        self._pending: list[tuple[float, SampleArrived]] = []
        self._saved: Memory | None = None
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
            if version in (0, SCHEMA_VERSION):
                self._db.executescript(_LATER)
                self._db.execute(f"CREATE INDEX IF NOT EXISTS log_told ON log (at) WHERE {_TOLD}")
        except sqlite3.Error as error:
            raise JournalError(
                f"journal {path}: cannot be opened: {error}; check the folder's permissions and free space. If the "
                "file is damaged, move it away to start afresh: policy, jobs and cooldowns are then forgotten"
            ) from error
        if version not in (0, SCHEMA_VERSION):
            raise JournalError(
                f"journal {path}: written by another release (schema {version}, this one writes {SCHEMA_VERSION}); "
                "install that release or move the file away"
            )

    def close(self) -> None:
        """Write what waits and close the file, also where that cannot be written. Raises JournalError."""
        try:
            if self._pending:
                self._transaction(self._pending[-1][0], [])
        finally:
            self._db.close()

    def memory(self) -> Memory | None:
        """Return what the controller remembered last, None at the very first start. Raises JournalError."""
        row = self._db.execute("SELECT body FROM memory").fetchone()
        if row is None:
            return None
        try:
            self._saved = msgspec.msgpack.decode(row[0], type=Memory)
        except msgspec.DecodeError as error:
            raise JournalError(f"journal {self._path}: the remembered state cannot be read: {error}") from error
        return self._saved

    def write(self, at: float, event: AnyEvent | None, commands: Sequence[AnyCommand], memory: Memory) -> None:
        """Put an event (None: the start itself), its commands and what is remembered after it on disk.

        Raises JournalError if that fails; the commands must then not be carried out.
        """
        if isinstance(event, SampleArrived):
            self._pending.append((at, event))
            if not commands and len(self._pending) < MAX_PENDING_SAMPLES:
                return
            event = None
        rows = [(at, type(event).__name__, _body(event))] if event is not None else []
        rows += [(at, type(command).__name__, _encode(command)) for command in commands if _is_request(command)]
        self._transaction(at, rows, commands, memory)

    def decision(self, cause: str) -> Decision | None:
        """Return one decision by its id."""
        row = self._db.execute("SELECT body FROM decisions WHERE cause = ?", (cause,)).fetchone()
        return msgspec.msgpack.decode(row[0], type=Decision) if row is not None else None

    def decisions_about(self, guest: str, limit: int) -> list[Decision]:
        """Return the newest decisions that considered a guest (uuid), newest first."""
        rows = self._db.execute(
            "SELECT d.body FROM decision_guests g JOIN decisions d USING (cause) WHERE g.guest = ?"
            " ORDER BY g.at DESC, d.rowid DESC LIMIT ?",
            (guest, limit),
        )
        return [msgspec.msgpack.decode(body, type=Decision) for (body,) in rows]

    def decisions(self, before: float, limit: int) -> list[Decision]:
        """Return the newest decisions from before a time (Unix time), newest first."""
        rows = self._db.execute(
            "SELECT body FROM decisions WHERE at < ? ORDER BY at DESC, rowid DESC LIMIT ?", (before, limit)
        )
        return [msgspec.msgpack.decode(body, type=Decision) for (body,) in rows]

    def told_since(self, at: float, limit: int) -> list[tuple[float, Told]]:
        """Return the newest of what people did and what became of hosts and jobs since `at`, newest first."""
        rows = self._db.execute(
            f"SELECT at, body FROM log WHERE {_TOLD} AND at >= ? ORDER BY at DESC, id DESC LIMIT ?", (at, limit)
        )
        return [(at, msgspec.msgpack.decode(body, type=Told)) for at, body in rows]

    def migrations_since(self, at: float, limit: int) -> list[Migration]:
        """Return the newest migrations that were asked for since `at` (Unix time), newest first."""
        rows = self._db.execute(
            "SELECT body FROM migrations WHERE asked_at >= ? ORDER BY asked_at DESC, rowid DESC LIMIT ?", (at, limit)
        )
        return [msgspec.msgpack.decode(body, type=Migration) for (body,) in rows]

    def migrations(self, limit: int, guest: str | None = None) -> list[Migration]:
        """Return the newest migrations, of one guest (uuid) or of all, newest first."""
        rows = self._db.execute(
            "SELECT body FROM migrations WHERE ?1 IS NULL OR guest = ?1 ORDER BY asked_at DESC, rowid DESC LIMIT ?2",
            (guest, limit),
        )
        return [msgspec.msgpack.decode(body, type=Migration) for (body,) in rows]

    def migrations_of(self, decision: str) -> list[Migration]:
        """Return the migrations that one decision led to, in its order."""
        rows = self._db.execute(
            "SELECT body FROM migrations WHERE cause > ?1 || '.' AND cause < ?1 || '/' ORDER BY rowid", (decision,)
        )
        return [msgspec.msgpack.decode(body, type=Migration) for (body,) in rows]

    def sets_of(self, decision: str) -> list[MoveSet]:
        """Return the sets of moves that one decision began, in its order, as they are now or ended."""
        rows = self._db.execute(
            "SELECT body FROM sets WHERE name > ?1 || '.' AND name < ?1 || '/' ORDER BY rowid", (decision,)
        )
        return [msgspec.msgpack.decode(body, type=MoveSet) for (body,) in rows]

    def sets_about(self, guest: str, limit: int) -> list[MoveSet]:
        """Return the newest sets of moves with a step for a guest (uuid), newest first."""
        rows = self._db.execute("SELECT body FROM sets ORDER BY at DESC, rowid DESC LIMIT ?", (SETS_SEARCHED,))
        found = (msgspec.msgpack.decode(body, type=MoveSet) for (body,) in rows)
        return list(islice((each for each in found if any(step.guest == guest for step in each.steps)), limit))

    def recommendation(self, name: str) -> Recommendation | None:
        """Return one recommendation by its name, as it was when it was made or ended."""
        row = self._db.execute("SELECT body FROM recommendations WHERE name = ?", (name,)).fetchone()
        return msgspec.msgpack.decode(row[0], type=Recommendation) if row is not None else None

    def prune(self, now_s: float, keep_s: float, keep_samples_s: float) -> None:
        """Forget what is older than `keep_s` seconds, samples older than `keep_samples_s`."""
        oldest = now_s - keep_s
        with self._transaction_or_error():
            self._db.execute("DELETE FROM log WHERE kind = 'Samples' AND at < ?", (now_s - keep_samples_s,))
            self._db.execute("DELETE FROM log WHERE at < ?", (oldest,))
            self._db.execute("DELETE FROM decisions WHERE at < ?", (oldest,))
            self._db.execute("DELETE FROM decision_guests WHERE at < ?", (oldest,))
            self._db.execute("DELETE FROM migrations WHERE asked_at < ?", (oldest,))
            self._db.execute("DELETE FROM sets WHERE at < ?", (oldest,))
            self._db.execute("DELETE FROM recommendations WHERE at < ?", (oldest,))

    def _transaction(
        self,
        at: float,
        rows: list[tuple[float, str, bytes]],
        commands: Sequence[AnyCommand] = (),
        memory: Memory | None = None,
    ) -> None:
        if self._pending:
            rows = [(at, "Samples", zlib.compress(_encode(self._pending), level=1)), *rows]
        with self._transaction_or_error():
            self._db.executemany("INSERT INTO log (at, kind, body) VALUES (?, ?, ?)", rows)
            for command in commands:
                self._record(command)
            if memory is not None and memory is not self._saved:
                self._db.execute("INSERT OR REPLACE INTO memory (id, body) VALUES (1, ?)", (_encode(memory),))
        self._pending.clear()
        self._saved = memory if memory is not None else self._saved

    def _record(self, command: AnyCommand) -> None:
        if isinstance(command, RecordDecision):
            decision = command.decision
            self._db.execute(
                "INSERT OR REPLACE INTO decisions (cause, at, body) VALUES (?, ?, ?)",
                (decision.cause, decision.at, _encode(decision)),
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO decision_guests (guest, cause, at) VALUES (?, ?, ?)",
                [(candidate.guest, decision.cause, decision.at) for candidate in decision.candidates],
            )
        elif isinstance(command, RecordMigration):
            migration = command.migration
            self._db.execute(
                "INSERT INTO migrations (cause, guest, asked_at, body) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (cause) DO UPDATE SET body = excluded.body",
                (migration.cause, migration.guest, migration.asked_at, _encode(migration)),
            )

        elif isinstance(command, RecordSet):
            move_set = command.move_set
            self._db.execute(
                "INSERT INTO sets (name, at, body) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                (move_set.name, move_set.at, _encode(move_set)),
            )
        elif isinstance(command, RecordRecommendation):
            recommendation = command.recommendation
            self._db.execute(
                "INSERT INTO recommendations (name, at, body) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                (recommendation.name, recommendation.at, _encode(recommendation)),
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One synced transaction, for a table that somebody else keeps in this file. Raises JournalError."""
        with self._transaction_or_error():
            yield self._db

    @contextlib.contextmanager
    def _transaction_or_error(self) -> Iterator[None]:
        """One transaction; what cannot be finished is undone and raised as a JournalError."""
        try:
            self._db.execute("BEGIN")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise JournalError(
                f"journal {self._path}: cannot be written: {error}; nothing is migrated without it. "
                "Check the disk's free space and health"
            ) from error


def _body(event: AnyEvent) -> bytes:
    """An inventory comes whole after every resync, half a megabyte for a thousand guests: it goes in compressed."""
    body = _encode(event)
    return zlib.compress(body, level=1) if isinstance(event, InventoryChanged) else body


def _is_request(command: AnyCommand) -> bool:
    """Decisions, migrations, sets and recommendations have tables of their own; the log holds all others."""
    return not isinstance(command, RecordDecision | RecordMigration | RecordSet | RecordRecommendation)

"""Who asked for what, when, and what came of it: a table in the journal.

A command is on record before it is carried out, and its outcome after; one without an outcome is one that the
controller ended in. The newest entries are kept, however old.
"""

from typing import Final

import msgspec

from migd_controller.journal import Journal
from migd_core.api import AuditView

KEPT: Final = 100_000
_TABLE: Final = "CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY, body BLOB NOT NULL)"
_encode = msgspec.msgpack.Encoder().encode


class AuditLog:
    """The entries in one journal."""

    def __init__(self, journal: Journal) -> None:
        """Make the table where there is none. Raises JournalError."""
        self._journal = journal
        with journal.transaction() as database:
            database.execute(_TABLE)

    def begin(self, entry: AuditView) -> int:
        """Put an entry on disk and return its number. Raises JournalError; the command must then not be carried out."""
        with self._journal.transaction() as database:
            number = database.execute("INSERT INTO audit (body) VALUES (?)", (_encode(entry),)).lastrowid
            assert number is not None
            database.execute("DELETE FROM audit WHERE id <= ?", (number - KEPT,))
        return number

    def end(self, number: int, entry: AuditView) -> None:
        """Put the entry with its outcome in the place of the one of that number. Raises JournalError."""
        with self._journal.transaction() as database:
            database.execute("UPDATE audit SET body = ? WHERE id = ?", (_encode(entry), number))

    def newest(self, limit: int) -> list[AuditView]:
        """Return the newest entries, newest first. Raises JournalError."""
        with self._journal.transaction() as database:
            rows = database.execute("SELECT body FROM audit ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
        return [msgspec.msgpack.decode(body, type=AuditView) for (body,) in rows]

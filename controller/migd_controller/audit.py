"""Who asked for what, when, and what came of it: a table in the journal.

A command is on record before it is carried out, and its outcome after; one without an outcome is one that the
controller ended in. The newest entries are kept, however old.
"""

from typing import Final

import msgspec
from sqlalchemy import delete, insert, select, update

from migd_controller.journal import Journal, JournalError, checked, whole
from migd_controller.journal_schema import audit
from migd_core.api import AuditView

KEPT: Final = 100_000
_encode = msgspec.msgpack.Encoder().encode


class AuditLog:
    """The entries in one journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def begin(self, entry: AuditView) -> int:
        """Put an entry on disk and return its number. Raises JournalError; the command must then not be carried out."""
        with self._journal.transaction() as database:
            key = database.execute(insert(audit).values(**checked(_encode(entry)))).inserted_primary_key
            assert key is not None
            number = int(key[0])
            database.execute(delete(audit).where(audit.c.id <= number - KEPT))
        return number

    def end(self, number: int, entry: AuditView) -> None:
        """Put the entry with its outcome in the place of the one of that number. Raises JournalError."""
        with self._journal.transaction() as database:
            database.execute(update(audit).where(audit.c.id == number).values(**checked(_encode(entry))))

    def newest(self, limit: int) -> list[AuditView]:
        """Return the newest entries, newest first. Raises JournalError."""
        query = select(audit.c.body, audit.c.crc32).order_by(audit.c.id.desc()).limit(limit)
        with self._journal.transaction() as database:
            rows = database.execute(query).all()
        try:
            return [msgspec.msgpack.decode(whole(row.body, row.crc32), type=AuditView) for row in rows]
        except ValueError as error:
            raise JournalError(f"{self._journal.name}: an entry of the audit log cannot be read: {error}") from error

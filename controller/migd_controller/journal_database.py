"""Where a journal is: a file, or a PostgreSQL server by URL. Opens either so that what is committed stays committed.

A file is in WAL mode and synced at every commit; so is what a server keeps, whatever its default. There is one
connection, and it is never made anew: on a server the lock that keeps a second controller out goes with it.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from migd_controller.config import ControllerConfig
from migd_core import systemd
from migd_core.errors import MigdError

FILE_NAME: Final = "journal.sqlite"
SCHEME: Final = "postgresql"
# A server that does not answer a connection for so long is down, and one whose network has gone is found out as soon.
CONNECT_S: Final = 10
SILENT_AT_MOST_S: Final = 30
ANSWER_AT_MOST_S: Final = 30
# The lock of the controller that writes to a database: this number, and one of the schema its tables are in.
_LOCK: Final = 0x6D696764
# How long a start may examine a file: what is found then is told at once, the rest when it is read.
EXAMINE_AT_MOST_S: Final = 2.0
_PAGES_BETWEEN_LOOKS: Final = 100_000


class JournalError(MigdError):
    """The journal cannot be read or written; the controller must not act without it."""


def place_of(config: ControllerConfig) -> Path | URL:
    """Return where a controller's journal is, with the password for it. Raises JournalError."""
    section = config.journal
    if not section.url:
        return config.state_dir / FILE_NAME
    return server(section.url, section.password_file)


def server(text: str, password_file: Path | None = None) -> URL:
    """Return the URL of a journal on a PostgreSQL server. Raises JournalError."""
    try:
        url = make_url(text)
        if url.drivername != SCHEME:
            raise ValueError("another scheme")
    except (ArgumentError, ValueError) as error:
        found = f"{text.partition(':')[0]}:…"  # the rest may have a password
        raise JournalError(f"journal: expected a URL like {SCHEME}://user@host/database, found {found}") from error
    if password_file is not None:
        try:
            url = url.set(password=systemd.secret(password_file).read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise JournalError(f"journal.password_file {password_file}: cannot be read: {error}") from error
    return url.set(drivername=f"{SCHEME}+psycopg")


def named(place: Path | URL) -> str:
    """Return what a journal is called in messages: never with its password."""
    if isinstance(place, Path):
        return f"journal {place}"
    return f"journal {place.set(drivername=SCHEME).render_as_string(hide_password=True)}"


def reason(error: Exception) -> str:
    """Say in one line what the database says is wrong."""
    found = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return "; ".join(line for line in str(found).splitlines() if line)


def connect(place: Path | URL, *, only_reads: bool = False) -> Connection:
    """Open a journal, or make its file. Raises JournalError."""
    if isinstance(place, Path):
        return _file(place, only_reads=only_reads)
    arguments = {
        "connect_timeout": CONNECT_S,
        "application_name": "migctl" if only_reads else "migd-controller",
        "keepalives_idle": SILENT_AT_MOST_S // 3,
        "keepalives_interval": SILENT_AT_MOST_S // 6,
        "keepalives_count": 4,
        "tcp_user_timeout": SILENT_AT_MOST_S * 1000,
        "options": f"-c synchronous_commit=on -c statement_timeout={ANSWER_AT_MOST_S}s"
        f" -c default_transaction_read_only={'on' if only_reads else 'off'}"
        " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=4",
    }
    try:
        database = create_engine(place, poolclass=NullPool, connect_args=arguments).connect()
        if not only_reads:
            _lock(database, place)
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise JournalError(
            f"{named(place)}: PostgreSQL's library is missing: {error}; `pip install 'migd[postgresql]'` brings it"
        ) from error
    except SQLAlchemyError as error:
        raise JournalError(
            f"{named(place)}: the server cannot be used: {reason(error)}; nothing is migrated without it. Check that "
            "it runs and lets this user in"
        ) from error
    return database


def _lock(database: Connection, place: Path | URL) -> None:
    """Keep every other controller off this journal for as long as the connection lives. Raises JournalError."""
    query = f"SELECT pg_try_advisory_lock({_LOCK}, hashtext(current_schema()))"
    with database.begin():
        is_ours = database.exec_driver_sql(query).scalar_one()
    if not is_ours:
        database.close()
        raise JournalError(
            f"{named(place)}: another controller writes to it (or died unseen less than {SILENT_AT_MOST_S} s ago); "
            "stop it, or give this one a database of its own"
        )


def _file(path: Path, *, only_reads: bool) -> Connection:
    _check_whole(path, only_reads=only_reads)
    if not path.exists():
        _make(path)
    url = URL.create("sqlite", database=str(path))
    if only_reads:
        url = URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
    engine = create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver would begin transactions where it sees fit
        if only_reads:  # of a file that was cut off SQLite gives what is left with this alone
            connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    try:
        return engine.connect()
    except SQLAlchemyError as error:
        if only_reads:
            raise JournalError(
                f"{named(path)}: cannot be read: {reason(error)}; is it a journal, and readable?"
            ) from error
        raise JournalError(f"{named(path)}: cannot be opened: {reason(error)}; {mend(path)}") from error


def mend(place: Path | URL) -> str:
    """Say what to do about a journal that cannot be opened or read."""
    if not isinstance(place, Path):
        return "check the server, and whether the database is whole; an empty one starts afresh"
    return (
        "check the folder's permissions and free space. If the file is damaged, `migctl journal export --file FILE` "
        "saves what can be read; then move it away, with its -wal, to start afresh: policy, jobs and cooldowns are "
        "then forgotten"
    )


def _check_whole(path: Path, *, only_reads: bool) -> None:
    """An empty file is a new journal for SQLite, which throws away its log: see that nobody has lost one so.

    So is one of a byte (`unixFileSize` in its os_unix.c). Raises JournalError.
    """
    size, wal = (each.stat().st_size if each.exists() else None for each in (path, Path(f"{path}-wal")))
    if size is None and only_reads:
        raise JournalError(f"{named(path)}: there is no such file; `migctl journal export --help` says how to name one")
    if size in (0, 1) or (size is None and wal):
        found = f"is missing, but {path.name}-wal is there"
        if size is not None:
            found = "is empty but for a byte" if size else "is empty"
        raise JournalError(
            f"{named(path)}: {found}: expected at least the first page of a journal. Restore it from a copy, or move "
            "both files away to start afresh: policy, jobs and cooldowns are then forgotten"
        )


def _make(path: Path) -> None:
    """Make an empty journal at once or not at all. Raises JournalError."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        for left in (fresh, *path.parent.glob(f"{fresh.name}-*")):
            left.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(fresh)) as database:
            database.execute("PRAGMA journal_mode = WAL")
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (sqlite3.Error, OSError) as error:
        raise JournalError(
            f"{named(path)}: cannot be made: {error}; check the folder's owner and free space"
        ) from error


def log_ahead(database: Connection) -> None:
    """See that a file is in WAL mode, which a copy that SQLite made is not: readers then hold no writer up.

    To be called outside of a transaction. Raises sqlite3.Error.
    """
    raw: Any = database.connection.driver_connection
    raw.execute("PRAGMA journal_mode = WAL")


def examine(database: Connection) -> str:
    """Return what a quick look finds damaged in a file, empty where it is whole or the time for it is over.

    Raises SQLAlchemyError where it is too damaged to be looked at.
    """
    until_s = time.monotonic() + EXAMINE_AT_MOST_S
    raw: Any = database.connection.driver_connection
    raw.set_progress_handler(lambda: time.monotonic() > until_s, _PAGES_BETWEEN_LOOKS)
    try:
        found = str(database.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())
    except DBAPIError as error:
        if reason(error) != "interrupted":
            raise
        return ""
    finally:
        raw.set_progress_handler(None, 0)
    return "" if found == "ok" else " ".join(found.split())


@contextlib.contextmanager
def begun(database: Connection) -> Iterator[Connection]:
    """One transaction on a connection that is not made anew once it was lost. Raises SQLAlchemyError."""
    if database.invalidated:
        raise SQLAlchemyError("the connection was lost earlier")
    with database.begin():
        yield database

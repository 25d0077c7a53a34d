"""The tables of the journal, and how a journal of an earlier release becomes one of this release.

    schema 1   events, commands, decisions, migrations, memory; later releases added sets, recommendations and audit
    schema 2   each body has its CRC-32, and `head` says where the log ends and which memory is the newest

Each step is one transaction with those before it: a journal is of its old schema or of the newest.
"""

from types import MappingProxyType
from typing import Final, get_args

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    inspect,
    select,
    text,
)

from migd_controller.told import Told
from migd_core.errors import MigdError

VERSION: Final = 2
# Few among many, so found by an index of their own. Another kind takes a step that makes this index anew.
TOLD_KINDS: Final = tuple(each.__name__ for each in get_args(Told))
SAMPLES: Final = "Samples"

METADATA: Final = MetaData()
_NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")


def _body() -> tuple[Column[bytes], Column[int | None]]:
    """A body in msgpack, and its CRC-32: None where an earlier release wrote it."""
    return Column("body", LargeBinary, nullable=False), Column("crc32", BigInteger)


log: Final = Table(
    "log",
    METADATA,
    Column("id", _NUMBER, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    *_body(),
)
_told: Final = log.c.kind.in_(TOLD_KINDS)
_samples: Final = log.c.kind == SAMPLES
Index("log_at", log.c.at)
Index("log_told", log.c.at, sqlite_where=_told, postgresql_where=_told)
Index("log_samples", log.c.at, sqlite_where=_samples, postgresql_where=_samples)

decisions: Final = Table(
    "decisions", METADATA, Column("cause", Text, primary_key=True), Column("at", Double, nullable=False), *_body()
)
Index("decisions_at", decisions.c.at)

decision_guests: Final = Table(
    "decision_guests",
    METADATA,
    Column("guest", Text, primary_key=True),
    Column("cause", Text, primary_key=True),
    Column("at", Double, nullable=False),
)
Index("decision_guests_at", decision_guests.c.at)

migrations: Final = Table(
    "migrations",
    METADATA,
    Column("cause", Text, primary_key=True),
    Column("guest", Text, nullable=False),
    Column("asked_at", Double, nullable=False),
    *_body(),
)
Index("migrations_guest", migrations.c.guest, migrations.c.asked_at)

sets: Final = Table(
    "sets", METADATA, Column("name", Text, primary_key=True), Column("at", Double, nullable=False), *_body()
)
recommendations: Final = Table(
    "recommendations", METADATA, Column("name", Text, primary_key=True), Column("at", Double, nullable=False), *_body()
)
audit: Final = Table("audit", METADATA, Column("id", _NUMBER, primary_key=True), *_body())

memory: Final = Table(
    "memory",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    *_body(),
    Column("number", BigInteger, nullable=False),
    CheckConstraint("id = 1"),
)
head: Final = Table(
    "head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("log_id", BigInteger, nullable=False),
    Column("memory_number", BigInteger, nullable=False),
    CheckConstraint("id = 1"),
)
# A file has PRAGMA user_version for this, which releases from before this table look at, too.
schema: Final = Table("schema", MetaData(), Column("version", Integer, nullable=False))

_WITH_BODIES: Final = ("log", "decisions", "migrations", "sets", "recommendations", "audit", "memory")
_STEPS: Final = MappingProxyType(
    {
        1: (
            "CREATE TABLE IF NOT EXISTS sets (name TEXT PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL)",
            "CREATE TABLE IF NOT EXISTS recommendations (name TEXT PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL)",
            "CREATE TABLE IF NOT EXISTS audit (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
            *(f"ALTER TABLE {table} ADD COLUMN crc32 BIGINT" for table in _WITH_BODIES),
            "ALTER TABLE memory ADD COLUMN number BIGINT NOT NULL DEFAULT 1",
            "CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), log_id BIGINT NOT NULL,"
            " memory_number BIGINT NOT NULL)",
            "INSERT INTO head VALUES (1, (SELECT coalesce(max(id), 0) FROM log), (SELECT count(*) FROM memory))",
            "DROP INDEX IF EXISTS log_told",
            f"CREATE INDEX log_told ON log (at) WHERE kind IN ({', '.join(map(repr, TOLD_KINDS))})",
            "CREATE INDEX log_samples ON log (at) WHERE kind = 'Samples'",
            "CREATE INDEX decision_guests_at ON decision_guests (at)",
        ),
    }
)


class OtherSchema(MigdError):
    """What is there is no journal that this release can use; the text says which it is, and what to do."""


def bring_up_to_date(database: Connection) -> None:
    """Make the tables where there are none, or those of an earlier release into this one's, in this transaction.

    Raises OtherSchema for a journal of a later release, and for a file that is something else.
    """
    found = version_of(database)
    if found > VERSION:
        raise OtherSchema(
            f"written by a newer release of migd (schema {found}; this one, which cannot go back, knows 1 to "
            f"{VERSION}); install that release again, or move the journal away to start afresh"
        )
    if found == VERSION:
        return
    if found == 0:
        if taken := sorted(set(inspect(database).get_table_names()) & METADATA.tables.keys()):
            raise OtherSchema(
                f"has no version, but tables called {', '.join(taken)}: something else keeps its data there; give "
                "the journal a place of its own"
            )
        METADATA.create_all(database)
        database.execute(head.insert().values(id=1, log_id=0, memory_number=0))
    else:
        for step in range(found, VERSION):
            for statement in _STEPS[step]:
                database.execute(text(statement))
    _set_version(database)


def version_of(database: Connection) -> int:
    """Return the schema of a journal, 0 where there is none yet."""
    if database.dialect.name == "sqlite":
        return int(database.exec_driver_sql("PRAGMA user_version").scalar_one())
    if not inspect(database).has_table(schema.name):
        return 0
    return int(database.execute(select(schema.c.version)).scalar_one())


def _set_version(database: Connection) -> None:
    if database.dialect.name == "sqlite":
        database.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
        return
    schema.create(database, checkfirst=True)
    database.execute(schema.delete())
    database.execute(schema.insert().values(version=VERSION))

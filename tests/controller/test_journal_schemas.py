"""Journals of earlier releases become journals of this one, and nothing else is taken for a journal.

The files in `journals` were written by earlier releases: the first; the first with sets of moves; the last of schema 1.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from migd_controller.audit import AuditLog
from migd_controller.commands import RecordMigration
from migd_controller.events import Paused, Resumed, Tick
from migd_controller.journal import Journal, JournalError
from migd_controller.journal_schema import VERSION
from migd_controller.memory import Memory
from migd_controller.migration import Migration

DUMPS = sorted((Path(__file__).parent / "journals").glob("*.sql"))
MIGRATION = Migration(
    cause="D1.1", guest="g1", source="a", target="b", requested_by="least-loaded", asked_at=105.0
).accepted("task", 106.0)


def file_of(folder: Path, dump: Path) -> Path:
    path = folder / "journal.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(dump.read_text(encoding="utf-8"))
    return path


def shape(path: Path) -> dict[str, object]:
    """What the tables are made of: their columns, and their indexes with what these are of."""
    with closing(sqlite3.connect(path)) as database:
        names = [
            name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        ]
        columns = {
            name: sorted(
                (column, bool(not_null or key), key)
                for _, column, _, not_null, _, key in database.execute(f"PRAGMA table_info({name})")
            )
            for name in names
        }
        indexes = {
            index: (unique, partial, [column for _, _, column in database.execute(f"PRAGMA index_info({index})")])
            for name in names
            for _, index, unique, _, partial in database.execute(f"PRAGMA index_list({name})")
        }
        told = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "journal_mode")]
    return {"columns": columns, "indexes": indexes, "version and mode": told}


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
def test_a_journal_of_an_earlier_release_is_brought_up_to_date_with_all_that_is_in_it(
    tmp_path: Path, dump: Path
) -> None:
    path = file_of(tmp_path, dump)
    with closing(Journal(path)) as journal:
        memory = journal.memory()
        assert memory is not None
        assert (memory.policy, memory.in_flight) == ("least-loaded", {"D1.1": MIGRATION})
        assert journal.migrations(10) == [MIGRATION]
        assert [each.cause for each in journal.decisions_about("g1", 10)] == ["D1"]
        assert journal.told_since(0.0, 10) == [(101.0, Resumed()), (100.0, Paused())]
        assert [each.name for each in journal.sets_of("D1")] == ([] if dump.stem.endswith("first") else ["D1.s1"])
        entries = AuditLog(journal).newest(10)
        assert [(each.name, each.path, each.status) for each in entries] == (
            [("anna", "/v1/pause", 200)] if dump.stem.endswith("last") else []
        )
        ended = MIGRATION.ended("b", "", "", 120.0)
        journal.write(120.0, Tick(), [RecordMigration(migration=ended)], Memory(policy="observe"))
    with closing(Journal(path)) as journal:
        assert (journal.memory(), journal.migrations(10)) == (Memory(policy="observe"), [ended])
    Journal(tmp_path / "fresh.sqlite").close()
    assert shape(path) == shape(tmp_path / "fresh.sqlite")


def test_a_start_that_dies_while_it_brings_a_journal_up_to_date_leaves_the_old_one(tmp_path: Path) -> None:
    """The last statement of the step fails here, for its index is there already."""
    path = file_of(tmp_path, DUMPS[0])
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE INDEX decision_guests_at ON decision_guests (at)")
    before = shape(path)
    with pytest.raises(JournalError, match="index decision_guests_at already exists"):
        Journal(path)
    assert shape(path) == before
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP INDEX decision_guests_at")
    with closing(Journal(path)) as journal:
        assert journal.migrations(10) == [MIGRATION]


def test_a_journal_of_a_newer_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
        database.execute("ALTER TABLE head ADD COLUMN later TEXT")
    before = shape(path)
    newer = rf"newer release of migd \(schema {VERSION + 1}; this one, which cannot go back, knows 1 to {VERSION}\)"
    with pytest.raises(JournalError, match=newer):
        Journal(path)
    assert shape(path) == before


def test_a_database_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE log (line TEXT)")
    before = shape(path)
    with pytest.raises(
        JournalError, match="has no version, but tables called log: something else keeps its data there"
    ):
        Journal(path)
    assert shape(path) == before

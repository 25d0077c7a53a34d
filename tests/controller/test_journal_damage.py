"""A journal that lost part of itself: what was committed up to some moment is there, or a start says what is broken."""

import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from test_journal import SAMPLE

from migd_controller import journal_database
from migd_controller.commands import RecordMigration, StartMigration
from migd_controller.events import Paused, PolicySet, SampleArrived, Tick
from migd_controller.journal import Journal, JournalError
from migd_controller.journal_export import entries
from migd_controller.memory import Memory
from migd_controller.migration import Migration

MEMORY = Memory(policy="observe")
COMMITS = 12
# Until then all there is is in SQLite's log, and lost with it.
FIRST_WRITTEN_BACK = 4


@dataclass(frozen=True, repr=False)
class Image:
    """The files of a journal at one moment, and what the journal said then."""

    database: bytes
    wal: bytes
    says: list[Any]


def said(path: Path) -> list[Any]:
    """All that a journal says: what is remembered, and each entry. Raises JournalError for what cannot be read."""
    with closing(Journal(path)) as journal:
        memory = journal.memory()
    problems: list[str] = []
    found = [memory, *entries(path, problems.append)]
    if problems:
        raise JournalError(f"journal {path}: {problems[0]}; move it away")
    return found


def copied(database: bytes, wal: bytes, folder: Path) -> Path:
    """Put the files of a journal into a folder, as a killed controller leaves them."""
    path = folder / "journal.sqlite"
    path.write_bytes(database)
    Path(f"{path}-wal").write_bytes(wal)
    return path


def in_memory() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)


@pytest.fixture(scope="module")
def images() -> Iterator[list[Image]]:
    """After each commit: small ones, and such as take many pages; the log of SQLite is written back now and then.

    Files are examined for as long as that takes: on a machine with much else to do two seconds may go by in no time.
    """
    with pytest.MonkeyPatch.context() as patch, in_memory() as name:
        patch.setattr(journal_database, "EXAMINE_AT_MOST_S", inf)
        path, found = Path(name) / "journal.sqlite", []
        with closing(Journal(path)) as journal:
            memory = MEMORY
            for number in range(1, COMMITS + 1):
                size = 3000 if number % 3 == 0 else 3
                memory = replace(memory, last_moved_at={f"guest-{n}": float(number) for n in range(size)})
                cause = f"D{number}.1"
                asked = Migration(
                    cause=cause, guest="g", source="a", target="b", requested_by="x", asked_at=float(number)
                )
                start = StartMigration(cause=cause, guest="g", source="a", target="b")
                event = PolicySet(name="x", config={"text": "y" * 20_000}) if number % 4 == 0 else Tick()
                journal.write(number - 0.5, SampleArrived(sample=SAMPLE), [], memory)
                journal.write(float(number), event, [RecordMigration(migration=asked), start], memory)
                if number in (FIRST_WRITTEN_BACK, 9):
                    with closing(sqlite3.connect(path)) as other:
                        other.execute(
                            f"PRAGMA wal_checkpoint({'TRUNCATE' if number == FIRST_WRITTEN_BACK else 'PASSIVE'})"
                        )
                database, wal = path.read_bytes(), Path(f"{path}-wal").read_bytes()
                with in_memory() as copy:
                    found.append(Image(database, wal, said(copied(database, wal, Path(copy)))))
        yield found


def said_or_told(path: Path) -> tuple[list[Any], str]:
    """All that a journal says, or why it cannot."""
    try:
        return said(path), ""
    except JournalError as error:
        return [], str(error)


def assert_that_helps(told: str, path: Path) -> None:
    """It names the file, what is wrong with it, and what to do."""
    assert told.startswith(f"journal {path}: "), told
    assert re.search("move (it|both files) away", told), told


@settings(max_examples=100, deadline=None)
@given(
    number=st.integers(0, COMMITS - 1),
    cut=st.sampled_from(["database", "wal", "both"]),
    at=st.tuples(st.integers(0, 2**32), st.integers(0, 2**32)),
)
def test_wherever_a_file_is_cut_what_was_committed_is_there_up_to_a_moment_or_it_is_told(
    images: list[Image], number: int, cut: str, at: tuple[int, int]
) -> None:
    """The files as they were after one of the commits, cut at any byte."""
    image = images[number]
    database, wal = image.database, image.wal
    if cut != "wal":
        database = database[: at[0] % (len(database) + 1)]
    if cut != "database":
        wal = wal[: at[1] % (len(wal) + 1)]
    with in_memory() as folder:
        path = copied(database, wal, Path(folder))
        found, told = said_or_told(path)
        if told:
            assert_that_helps(told, path)
            return
        is_some_moment = any(found == each.says for each in images[: number + 1])
        assert is_some_moment or (found == [None] and number < FIRST_WRITTEN_BACK)
        # It goes on from there.
        memory = replace(MEMORY, is_paused=True)
        with closing(Journal(path)) as journal:
            journal.memory()
            journal.write(99.0, Paused(), [], memory)
        assert said(path)[0] == memory


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of three commits, all of it in its one file."""
    path = tmp_path / "journal.sqlite"
    with closing(Journal(path)) as journal:
        for number in range(1, 4):
            memory = replace(MEMORY, last_moved_at={"g": float(number)})
            journal.write(float(number), Tick(), [], memory)
    return path


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            "UPDATE memory SET body = zeroblob(length(body))",
            "the remembered state cannot be read: it is damaged: expected",
        ),
        ("UPDATE memory SET number = 2", "what is remembered should be of write 3, and is of 2"),
        ("DELETE FROM memory", "what is remembered should be of write 3, and is of 0"),
        ("DELETE FROM log WHERE id = 3", "its log should end with entry 3, and ends with 2"),
        ("DELETE FROM head", "it does not say where its log ends"),
        ("DROP TABLE head", "cannot be opened: no such table: head"),
    ],
)
def test_half_of_what_was_committed_is_not_acted_on(path: Path, damage: str, told: str) -> None:
    """As pages of the file that are older than the others would have it."""
    change(path, damage)
    with pytest.raises(JournalError, match=f"journal {path}: .*{told}.* move it away"):
        said(path)


def test_a_file_whose_pages_contradict_each_other_is_told_at_once(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'log_at'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(JournalError, match=f"journal {path}: (is damaged|cannot be opened): .*move it away"):
        Journal(path)


@pytest.mark.parametrize(
    ("left", "found"),
    [(b"", "is empty"), (b"S", "is empty but for a byte"), (None, "is missing, but journal.sqlite-wal is there")],
)
def test_a_file_that_lost_everything_is_not_taken_for_a_new_one_and_its_log_is_left(
    path: Path, left: bytes | None, found: str
) -> None:
    """To SQLite a file of one byte is an empty one, too (`unixFileSize`)."""
    wal = Path(f"{path}-wal")
    path.write_bytes(left or b"")
    wal.write_bytes(b"what is left")
    if left is None:
        path.unlink()
    with pytest.raises(JournalError, match=f"journal {path}: {found}: expected .* move both files away"):
        Journal(path)
    assert wal.read_bytes() == b"what is left"


def test_a_first_start_that_died_while_it_made_the_file_is_followed_by_another(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for name in ("journal.sqlite.new", "journal.sqlite.new-wal"):
        (tmp_path / name).write_bytes(b"half")
    Journal(path).close()
    assert [each.name for each in tmp_path.iterdir()] == ["journal.sqlite"]


def test_one_entry_that_is_damaged_hinders_no_start_and_costs_an_export_that_entry(path: Path) -> None:
    change(path, "UPDATE log SET body = zeroblob(length(body)) WHERE id = 2")
    problems: list[str] = []
    with closing(Journal(path)) as journal:
        assert journal.memory() == replace(MEMORY, last_moved_at={"g": 3.0})
        found = list(entries(path, problems.append))
    assert [(entry.kind, entry.key) for entry in found] == [("Tick", "1"), ("Tick", "3")]
    assert len(problems) == 1
    assert problems[0].startswith("log entry 2 (Tick): it is damaged: expected checksum")

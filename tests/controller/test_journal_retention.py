"""What is too old or too much is forgotten, a little at a time; what a start needs never is."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from math import inf
from pathlib import Path

import pytest
from msgspec.structs import replace
from test_journal import SAMPLE, decision, migration

from migd_controller import journal_retention
from migd_controller.commands import RecordDecision, RecordMigration
from migd_controller.events import PolicySet, SampleArrived, Tick
from migd_controller.journal import Journal
from migd_controller.journal_export import entries
from migd_controller.journal_retention import Limits
from migd_controller.memory import Memory

MEMORY = Memory(policy="observe")


def at_most(max_bytes: float) -> Limits:
    return Limits(keep_s=inf, keep_samples_s=inf, max_bytes=max_bytes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    """A journal that forgets few at once."""
    monkeypatch.setattr(journal_retention, "AT_ONCE", 8)
    monkeypatch.setattr(journal_retention, "ENTRIES_AT_ONCE", 2)
    with closing(Journal(path)) as journal:
        yield journal


def write(journal: Journal, number: int, text: str = "") -> None:
    """Write what happens in a control period: samples, a tick with its decision, a request of some length."""
    at, cause = float(number), f"D{number}"
    records = [RecordDecision(decision=decision(cause, at)), RecordMigration(migration=migration(f"{cause}.1", at))]
    journal.write(at - 0.5, SampleArrived(sample=replace(SAMPLE, boot_id=text)), [], MEMORY)
    journal.write(at, Tick(), records, MEMORY)


def kept(path: Path) -> dict[str, list[float]]:
    """The times of what is there, by kind."""
    found: dict[str, list[float]] = {}
    for entry in entries(path, pytest.fail):
        found.setdefault(entry.kind, []).append(entry.at)
    return found


def held(path: Path) -> int:
    """What the file holds without the room in it that is free (bytes)."""
    with closing(sqlite3.connect(path)) as database:
        pages, free, size = (
            database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


def forget(journal: Journal, now_s: float, limits: Limits) -> int:
    """Forget until there is nothing more to be forgotten; return in how many steps."""
    steps = 1
    while journal.prune(now_s, limits):
        steps += 1
    return steps


def test_samples_are_kept_for_less_long_than_all_else_and_nothing_for_longer(path: Path, journal: Journal) -> None:
    for number in range(1, 41):
        write(journal, number)
    assert forget(journal, 41.0, Limits(keep_s=20.0, keep_samples_s=5.0)) > 2
    lasting = [float(number) for number in range(21, 41)]
    assert kept(path) == {
        # The samples' entry has the time of the event that they went in with; each sample has its own.
        "SampleArrived": [each - 0.5 for each in lasting if each >= 36.0],
        "Tick": lasting,
        "Decision": lasting,
        "Migration": lasting,
    }
    assert forget(journal, 41.0, Limits(keep_s=20.0, keep_samples_s=5.0)) == 1
    assert [each.cause for each in journal.decisions_about("g1", 100)] == [f"D{number}" for number in range(40, 20, -1)]


def test_a_file_that_holds_too_much_loses_its_oldest_samples_first(path: Path, journal: Journal) -> None:
    for number in range(1, 41):
        write(journal, number, os.urandom(4000).hex())
    before = kept(path)
    limit = held(path) - 20 * 4000
    forget(journal, 41.0, at_most(limit))
    after = kept(path)
    samples = after.pop("SampleArrived")
    assert held(path) <= limit
    assert samples == before.pop("SampleArrived")[-len(samples) :]
    assert 0 < len(samples) < 40
    assert after == before


def test_a_file_that_holds_too_much_without_samples_loses_its_oldest_history_and_never_what_is_remembered(
    path: Path, journal: Journal
) -> None:
    for number in range(1, 41):
        write(journal, number)
        journal.write(float(number), PolicySet(name="x", config={"text": "y" * 4000}), [], MEMORY)
    limit = 120_000
    assert held(path) > limit
    forget(journal, 41.0, at_most(limit))
    after = kept(path)
    assert held(path) <= limit
    assert "SampleArrived" not in after
    assert after["Tick"][-1] == 40.0
    assert 10.0 < after["Tick"][0] <= after["Decision"][0]
    forget(journal, 41.0, at_most(0))
    assert kept(path).keys() <= {"PolicySet", "Tick", "Decision", "Migration"}
    assert len(kept(path)["PolicySet"]) <= 2
    write(journal, 42)
    journal.close()
    with closing(Journal(path)) as again:
        assert again.memory() == MEMORY


def test_what_was_freed_is_used_again_so_that_the_file_stays_as_large_as_it_was(path: Path, journal: Journal) -> None:
    limit = 400_000
    sizes = []
    for number in range(1, 300):
        write(journal, number, os.urandom(1000).hex())
        journal.prune(float(number), at_most(limit))
        sizes.append(path.stat().st_size)
    assert limit / 2 < max(sizes) < 1.2 * limit


def test_the_entry_that_tells_where_the_log_ends_outlives_any_time(path: Path, journal: Journal) -> None:
    write(journal, 1)
    forget(journal, 1e9, Limits(keep_s=1.0, keep_samples_s=1.0))
    assert kept(path) == {"Tick": [1.0]}
    journal.close()
    with closing(Journal(path)) as again:
        assert again.memory() == MEMORY
        again.write(1e9, Tick(), [], MEMORY)
    assert kept(path) == {"Tick": [1.0, 1e9]}

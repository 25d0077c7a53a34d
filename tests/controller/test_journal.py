"""What is on record survives; what cannot be recorded is not done."""

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from migd_controller.commands import RecordDecision, RecordHealth, RecordMigration, RecordSet, StartMigration
from migd_controller.decision import Candidate, Decision, Gate
from migd_controller.events import InventoryChanged, Paused, PoolGuest, SampleArrived, Tick
from migd_controller.journal import Journal, JournalError
from migd_controller.memory import Memory
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet, SetStep
from migd_core.health import HealthState, HostHealth
from migd_core.messages import HostSample
from migd_core.units import GIB
from migd_core.world import Reason

MEMORY = Memory(policy="observe")
SAMPLE = HostSample(
    host_uuid="h1",
    boot_id="b",
    sequence=1,
    monotonic_s=1.0,
    interval_s=1.0,
    cpus=4,
    cpu_ratio=0.5,
    dom0_cpu_ratio=0.0,
    memory_bytes=100,
    memory_free_bytes=50,
    rx_bytes_per_s=0.0,
    tx_bytes_per_s=0.0,
)


def decision(cause: str, at: float, guest: str = "g1") -> Decision:
    gate = Gate(name="capacity", passed=True, text="fits", value=1.0, threshold=2.0, unit="bytes")
    candidate = Candidate(guest=guest, source="a", target="b", why="a is overloaded", gates=(gate,))
    return Decision(
        cause=cause, at=at, policy="least-loaded", reason=Reason("load", "a is overloaded"), candidates=(candidate,)
    )


def migration(cause: str, asked_at: float, guest: str = "g1") -> Migration:
    return Migration(cause=cause, guest=guest, source="a", target="b", requested_by="least-loaded", asked_at=asked_at)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as db:
        found = db.execute(query).fetchall()
    db.close()
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_a_new_journal_remembers_nothing(path: Path) -> None:
    journal = Journal(path)
    assert journal.memory() is None
    journal.close()


def test_memory_is_what_was_written_last(path: Path) -> None:
    journal = Journal(path)
    journal.write(1.0, Paused(), [], msgspec.structs.replace(MEMORY, is_paused=True))
    journal.close()
    reopened = Journal(path)
    assert reopened.memory() == Memory(policy="observe", is_paused=True)
    reopened.close()


def test_event_and_commands_are_on_disk_before_write_returns(path: Path) -> None:
    """Another connection sees them: the transaction is committed when `write` returns."""
    journal = Journal(path)
    journal.write(5.0, Tick(), [StartMigration(cause="D1.1", guest="g1", source="a", target="b")], MEMORY)
    assert rows(path, "SELECT at, kind FROM log ORDER BY id") == [(5.0, "Tick"), (5.0, "StartMigration")]
    journal.close()


def test_a_commit_is_synced_to_the_disk_so_that_it_outlives_a_loss_of_power(path: Path) -> None:
    # Only pulling the plug would show it, so the connection itself is asked. 2 is FULL: synced at every commit.
    journal = Journal(path)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    journal.close()


def test_samples_keep_their_place_before_the_event_that_follows_them(path: Path) -> None:
    journal = Journal(path)
    journal.write(1.0, SampleArrived(sample=SAMPLE), [], MEMORY)
    journal.write(2.0, Tick(), [], MEMORY)
    assert [kind for (kind,) in rows(path, "SELECT kind FROM log ORDER BY id")] == ["Samples", "Tick"]
    journal.close()


def test_a_sample_that_tells_of_another_health_is_on_disk_with_that(path: Path) -> None:
    journal = Journal(path)
    changed = RecordHealth(host="h1", host_name="xen1", before=HealthState.OK, health=HostHealth())
    journal.write(1.0, SampleArrived(sample=SAMPLE), [], MEMORY)
    journal.write(2.0, SampleArrived(sample=SAMPLE), [changed], MEMORY)
    assert rows(path, "SELECT at, kind FROM log ORDER BY id") == [(2.0, "Samples"), (2.0, "RecordHealth")]
    journal.close()


def test_samples_that_wait_are_written_on_close(path: Path) -> None:
    journal = Journal(path)
    journal.write(1.0, SampleArrived(sample=SAMPLE), [], MEMORY)
    journal.close()
    assert rows(path, "SELECT kind FROM log") == [("Samples",)]


def test_an_inventory_is_kept_compressed(path: Path) -> None:
    guests = tuple(
        PoolGuest(uuid=f"guest-{n}", name=f"rank{n}", host="a", vcpus=1, memory_bytes=GIB) for n in range(400)
    )
    event = InventoryChanged(guests=guests, is_complete=True)
    journal = Journal(path)
    journal.write(1.0, event, [], Memory(policy="observe"))
    journal.close()
    with closing(sqlite3.connect(path)) as db:
        ((body,),) = db.execute("SELECT body FROM log WHERE kind = 'InventoryChanged'").fetchall()
    assert msgspec.msgpack.decode(zlib.decompress(body), type=InventoryChanged) == event
    assert len(body) < 0.1 * len(msgspec.msgpack.encode(event))


def test_decisions_are_found_by_cause_and_by_guest_newest_first(path: Path) -> None:
    journal = Journal(path)
    for number in (1, 2, 3):
        journal.write(float(number), Tick(), [RecordDecision(decision=decision(f"D{number}", float(number)))], MEMORY)
    other = decision("D4", 4.0, guest="g2")
    journal.write(4.0, Tick(), [RecordDecision(decision=other)], MEMORY)
    assert journal.decision("D4") == other
    assert journal.decision("D9") is None
    assert [found.cause for found in journal.decisions_about("g1", limit=2)] == ["D3", "D2"]
    journal.close()


def test_a_migration_is_kept_once_in_its_newest_state(path: Path) -> None:
    journal = Journal(path)
    asked = migration("D1.1", 1.0)
    ended = asked.accepted("task", 2.0).ended("b", "", "", 9.0)
    journal.write(1.0, Tick(), [RecordMigration(migration=asked)], MEMORY)
    journal.write(9.0, Tick(), [RecordMigration(migration=ended)], MEMORY)
    journal.write(10.0, Tick(), [RecordMigration(migration=migration("D10.1", 10.0, guest="g2"))], MEMORY)
    assert [found.cause for found in journal.migrations(10)] == ["D10.1", "D1.1"]
    assert journal.migrations(10, guest="g1") == [ended]
    assert journal.migrations_of("D1") == [ended]
    journal.close()


def test_what_is_too_old_is_forgotten_and_memory_is_not(path: Path) -> None:
    journal = Journal(path)
    journal.write(1.0, SampleArrived(sample=SAMPLE), [], MEMORY)
    records = [RecordDecision(decision=decision("D1", 1.0)), RecordMigration(migration=migration("D1.1", 1.0))]
    journal.write(1.0, Tick(), records, MEMORY)
    journal.write(100.0, Tick(), [RecordDecision(decision=decision("D2", 100.0))], MEMORY)
    journal.prune(now_s=110.0, keep_s=50.0, keep_samples_s=20.0)
    assert rows(path, "SELECT at FROM log") == [(100.0,)]
    assert journal.decision("D1") is None
    assert [found.cause for found in journal.decisions_about("g1", 10)] == ["D2"]
    assert journal.migrations(10) == []
    assert journal.memory() == MEMORY
    journal.close()


def test_a_failed_write_leaves_nothing_behind_and_says_so(path: Path) -> None:
    journal = Journal(path)
    journal.write(1.0, Tick(), [], MEMORY)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    journal._db.execute("PRAGMA busy_timeout = 1")
    start = StartMigration(cause="D1.1", guest="g1", source="a", target="b")
    with pytest.raises(JournalError, match=r"cannot be written: database is locked; nothing is migrated without it"):
        journal.write(2.0, Tick(), [start], msgspec.structs.replace(MEMORY, is_paused=True))
    blocker.execute("ROLLBACK")
    blocker.close()
    assert rows(path, "SELECT kind FROM log") == [("Tick",)]
    assert journal.memory() == MEMORY
    journal.close()


def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"not a database, but somebody's notes" * 100)
    before = path.read_bytes()
    with pytest.raises(JournalError, match="cannot be opened"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_journal_of_another_release_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalError, match="schema 99"):
        Journal(path)


def move_set(name: str, at: float, guest: str = "g1") -> MoveSet:
    step = SetStep(
        number=0,
        guest=guest,
        source="a",
        target="b",
        reason=Reason("wanted", "a test wants it"),
        guest_name=guest,
        source_name="a",
        target_name="b",
    )
    return MoveSet(name=name, policy="job-time", at=at, steps=(step,))


def test_the_newest_state_of_a_set_is_found_by_its_decision_and_by_its_guest(path: Path) -> None:
    first, other = move_set("D1.s1", 1.0), move_set("D10.s1", 2.0, guest="g2")
    newest = first.rest_dropped("it does not pay any more")
    with closing(Journal(path)) as journal:
        journal.write(1.0, Tick(), [RecordSet(move_set=first)], MEMORY)
        journal.write(2.0, Tick(), [RecordSet(move_set=other), RecordSet(move_set=newest)], MEMORY)
    with closing(Journal(path)) as journal:
        assert journal.sets_of("D1") == [newest]
        assert journal.sets_about("g1", 10) == [newest]
        assert journal.sets_about("g2", 10) == [other]
        journal.prune(12.0, keep_s=10.5, keep_samples_s=1.0)
        assert journal.sets_of("D1") == []
        assert journal.sets_of("D10") == [other]


def test_a_journal_of_a_release_without_sets_takes_them(path: Path) -> None:
    with closing(Journal(path)) as journal:
        journal.write(1.0, Tick(), [], MEMORY)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE sets")
    db.close()
    with closing(Journal(path)) as journal:
        assert journal.memory() == MEMORY
        journal.write(2.0, Tick(), [RecordSet(move_set=move_set("D1.s1", 2.0))], MEMORY)
        assert journal.sets_of("D1") == [move_set("D1.s1", 2.0)]

"""What is on record survives, in a file or on a server; what cannot be recorded is not done."""

import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import URL

from migd_controller.commands import RecordDecision, RecordHealth, RecordMigration, RecordSet, StartMigration
from migd_controller.decision import Candidate, Decision, Gate
from migd_controller.events import InventoryChanged, Paused, PoolGuest, SampleArrived, Tick
from migd_controller.journal import Journal, JournalError
from migd_controller.journal_database import connect
from migd_controller.journal_database import server as server_of
from migd_controller.journal_retention import Limits
from migd_controller.memory import Memory
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet, SetStep
from migd_core.health import HealthState, HostHealth
from migd_core.messages import HostSample
from migd_core.units import GIB
from migd_core.world import Reason
from postgresql import Postgresql, postgresql_server

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


Place = Path | URL


def rows(place: Place, query: str) -> list[tuple[object, ...]]:
    """What somebody else finds there."""
    with closing(connect(place, only_reads=True)) as database:
        return [tuple(row) for row in database.exec_driver_sql(query)]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    with postgresql_server() as server:
        yield server


@pytest.fixture(params=["file", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "file":
        return tmp_path / "journal.sqlite"
    server: Postgresql = request.getfixturevalue("postgresql")
    return server_of(server.database())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_a_new_journal_remembers_nothing(place: Place) -> None:
    journal = Journal(place)
    assert journal.memory() is None
    journal.close()


def test_memory_is_what_was_written_last(place: Place) -> None:
    journal = Journal(place)
    journal.write(1.0, Paused(), [], msgspec.structs.replace(MEMORY, is_paused=True))
    journal.close()
    reopened = Journal(place)
    assert reopened.memory() == Memory(policy="observe", is_paused=True)
    reopened.close()


def test_event_and_commands_are_on_disk_before_write_returns(place: Place) -> None:
    """Another connection sees them: the transaction is committed when `write` returns."""
    journal = Journal(place)
    journal.write(5.0, Tick(), [StartMigration(cause="D1.1", guest="g1", source="a", target="b")], MEMORY)
    assert rows(place, "SELECT at, kind FROM log ORDER BY id") == [(5.0, "Tick"), (5.0, "StartMigration")]
    journal.close()


def test_a_commit_is_synced_to_the_disk_so_that_it_outlives_a_loss_of_power(path: Path) -> None:
    # Only pulling the plug would show it, so the connection itself is asked. 2 is FULL: synced at every commit.
    journal = Journal(path)
    with journal.transaction() as database:
        assert database.exec_driver_sql("PRAGMA synchronous").one() == (2,)
        assert database.exec_driver_sql("PRAGMA journal_mode").one() == ("wal",)
    journal.close()


def test_samples_keep_their_place_before_the_event_that_follows_them(place: Place) -> None:
    journal = Journal(place)
    journal.write(1.0, SampleArrived(sample=SAMPLE), [], MEMORY)
    journal.write(2.0, Tick(), [], MEMORY)
    assert [kind for (kind,) in rows(place, "SELECT kind FROM log ORDER BY id")] == ["Samples", "Tick"]
    journal.close()


def test_a_sample_that_tells_of_another_health_is_on_disk_with_that(place: Place) -> None:
    journal = Journal(place)
    changed = RecordHealth(host="h1", host_name="xen1", before=HealthState.OK, health=HostHealth())
    journal.write(1.0, SampleArrived(sample=SAMPLE), [], MEMORY)
    journal.write(2.0, SampleArrived(sample=SAMPLE), [changed], MEMORY)
    assert rows(place, "SELECT at, kind FROM log ORDER BY id") == [(2.0, "Samples"), (2.0, "RecordHealth")]
    journal.close()


def test_samples_that_wait_are_written_on_close(place: Place) -> None:
    journal = Journal(place)
    journal.write(1.0, SampleArrived(sample=SAMPLE), [], MEMORY)
    journal.close()
    assert rows(place, "SELECT kind FROM log") == [("Samples",)]


def test_an_inventory_is_kept_compressed(place: Place) -> None:
    guests = tuple(
        PoolGuest(uuid=f"guest-{n}", name=f"rank{n}", host="a", vcpus=1, memory_bytes=GIB) for n in range(400)
    )
    event = InventoryChanged(guests=guests, is_complete=True)
    journal = Journal(place)
    journal.write(1.0, event, [], Memory(policy="observe"))
    journal.close()
    ((body,),) = rows(place, "SELECT body FROM log WHERE kind = 'InventoryChanged'")
    assert isinstance(body, bytes)
    assert msgspec.msgpack.decode(zlib.decompress(body), type=InventoryChanged) == event
    assert len(body) < 0.1 * len(msgspec.msgpack.encode(event))


def test_decisions_are_found_by_cause_and_by_guest_newest_first(place: Place) -> None:
    journal = Journal(place)
    for number in (1, 2, 3):
        journal.write(float(number), Tick(), [RecordDecision(decision=decision(f"D{number}", float(number)))], MEMORY)
    other = decision("D4", 4.0, guest="g2")
    journal.write(4.0, Tick(), [RecordDecision(decision=other)], MEMORY)
    assert journal.decision("D4") == other
    assert journal.decision("D9") is None
    assert [found.cause for found in journal.decisions_about("g1", limit=2)] == ["D3", "D2"]
    journal.close()


def test_a_migration_is_kept_once_in_its_newest_state(place: Place) -> None:
    journal = Journal(place)
    asked = migration("D1.1", 1.0)
    ended = asked.accepted("task", 2.0).ended("b", "", "", 9.0)
    journal.write(1.0, Tick(), [RecordMigration(migration=asked)], MEMORY)
    journal.write(9.0, Tick(), [RecordMigration(migration=ended)], MEMORY)
    journal.write(10.0, Tick(), [RecordMigration(migration=migration("D10.1", 10.0, guest="g2"))], MEMORY)
    assert [found.cause for found in journal.migrations(10)] == ["D10.1", "D1.1"]
    assert journal.migrations(10, guest="g1") == [ended]
    assert journal.migrations_of("D1") == [ended]
    journal.close()


def test_what_is_too_old_is_forgotten_and_memory_is_not(place: Place) -> None:
    journal = Journal(place)
    journal.write(1.0, SampleArrived(sample=SAMPLE), [], MEMORY)
    records = [RecordDecision(decision=decision("D1", 1.0)), RecordMigration(migration=migration("D1.1", 1.0))]
    journal.write(1.0, Tick(), records, MEMORY)
    journal.write(100.0, Tick(), [RecordDecision(decision=decision("D2", 100.0))], MEMORY)
    journal.prune(110.0, Limits(keep_s=50.0, keep_samples_s=20.0))
    assert rows(place, "SELECT at FROM log") == [(100.0,)]
    assert journal.decision("D1") is None
    assert [found.cause for found in journal.decisions_about("g1", 10)] == ["D2"]
    assert journal.migrations(10) == []
    assert journal.memory() == MEMORY
    journal.close()


def test_a_failed_write_leaves_nothing_behind_and_says_so(path: Path) -> None:
    journal = Journal(path)
    journal.write(1.0, Tick(), [], MEMORY)
    with journal.transaction() as database:
        database.exec_driver_sql("PRAGMA busy_timeout = 1")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
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


def test_the_newest_state_of_a_set_is_found_by_its_decision_and_by_its_guest(place: Place) -> None:
    first, other = move_set("D1.s1", 1.0), move_set("D10.s1", 2.0, guest="g2")
    newest = first.rest_dropped("it does not pay any more")
    with closing(Journal(place)) as journal:
        journal.write(1.0, Tick(), [RecordSet(move_set=first)], MEMORY)
        journal.write(2.0, Tick(), [RecordSet(move_set=other), RecordSet(move_set=newest)], MEMORY)
    with closing(Journal(place)) as journal:
        assert journal.sets_of("D1") == [newest]
        assert journal.sets_about("g1", 10) == [newest]
        assert journal.sets_about("g2", 10) == [other]
        journal.prune(12.0, Limits(keep_s=10.5, keep_samples_s=1.0))
        assert journal.sets_of("D1") == []
        assert journal.sets_of("D10") == [other]

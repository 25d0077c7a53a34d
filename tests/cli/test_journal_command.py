"""`migctl journal export`: what the journal holds, for other programs, with and without a controller at it."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet

from migd_cli.app import migctl
from migd_controller import journal_export
from migd_controller.audit import AuditLog
from migd_controller.commands import RecordDecision, RecordMigration, StartMigration
from migd_controller.decision import Decision
from migd_controller.events import InventoryChanged, Paused, PoolHost, SampleArrived, Tick
from migd_controller.journal import Journal
from migd_controller.journal_export import entries
from migd_controller.journal_retention import Limits
from migd_controller.memory import Memory
from migd_controller.migration import Migration
from migd_core.api import AuditView, Role
from migd_core.messages import HostSample
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
INVENTORY = InventoryChanged(
    hosts=(PoolHost(uuid="h1", name="xen1", is_enabled=True, is_live=True, cpus=4, memory_for_guests_bytes=1),)
)
START = StartMigration(cause="D1.1", guest="g1", source="a", target="b")
DECISION = Decision(cause="D1", at=1003.0, policy="p", reason=Reason("load", "a is overloaded"))
MIGRATION = Migration(cause="D1.1", guest="g1", source="a", target="b", requested_by="p", asked_at=1003.0)
ASKED = AuditView(at=1005.0, name="anna", role=Role.OPERATOR, address="", method="POST", path="/v1/pause")
# All that is written below, as kind, time, key and what it was.
WRITTEN: list[tuple[str, float, str, Any]] = [
    ("InventoryChanged", 1001.0, "1", INVENTORY),
    ("SampleArrived", 1002.0, "2", SampleArrived(sample=SAMPLE)),
    ("Tick", 1003.0, "3", Tick()),
    ("StartMigration", 1003.0, "4", START),
    ("Paused", 1004.0, "5", Paused()),
    ("Decision", 1003.0, "D1", DECISION),
    ("Migration", 1003.0, "D1.1", MIGRATION),
    ("Audit", 1005.0, "1", ASKED),
]
LINES = [
    {"kind": kind, "at": at, "key": key, "body": msgspec.json.decode(msgspec.json.encode(body))}
    for kind, at, key, body in WRITTEN
]


def write(journal: Journal) -> None:
    records = [RecordDecision(decision=DECISION), RecordMigration(migration=MIGRATION)]
    journal.write(1001.0, INVENTORY, [], MEMORY)
    journal.write(1002.0, SampleArrived(sample=SAMPLE), [], MEMORY)
    journal.write(1003.0, Tick(), [*records, START], MEMORY)
    journal.write(1004.0, Paused(), [], MEMORY)
    AuditLog(journal).begin(ASKED)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The journal of a controller that is at it still."""
    path = tmp_path / "journal.sqlite"
    with closing(Journal(path)) as journal:
        write(journal)
        yield path


def export(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": None}).invoke(migctl, ["journal", "export", *map(str, arguments)])


def lines(done: Result) -> list[Any]:
    assert (done.exit_code, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_as_a_program_it_writes_what_it_is_asked_for_while_a_controller_writes(path: Path) -> None:
    command = [sys.executable, "-m", "migd_cli", "journal", "export", "--file", path]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [json.loads(line) for line in done.stdout.splitlines()] == LINES


def test_a_journal_that_nobody_has_open_is_read_where_the_configuration_says_it_is(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with closing(Journal(state / "journal.sqlite")) as journal:
        write(journal)
    config = tmp_path / "controller.toml"
    files = 'secret_key_file = "k"\nagents_file = "a"\n[xapi]\nurl = "u"\nusername = "n"\npassword_file = "p"\n'
    config.write_text(f'state_dir = "{state}"\n[telemetry]\n{files}')
    assert lines(export("--config", config)) == LINES


def test_parquet_has_the_same_entries_with_their_times(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    done = export("--file", path, "--format", "parquet", "--output", target)
    assert (done.exit_code, done.stdout) == (0, "")
    rows = parquet.read_table(target).to_pylist()
    assert [{**row, "body": json.loads(row["body"])} for row in rows] == [
        {**line, "at": datetime.fromtimestamp(line["at"], UTC)} for line in LINES
    ]
    assert sorted(each.name for each in tmp_path.glob("out*")) == ["out.parquet"]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["Tick", "SampleArrived"], ["SampleArrived", "Tick"]),
        (["Decision"], ["Decision"]),
        (["Audit", "Paused"], ["Paused", "Audit"]),
    ],
)
def test_only_the_kinds_that_are_asked_for_are_written(path: Path, kinds: list[str], expected: list[str]) -> None:
    problems: list[str] = []
    assert [entry.kind for entry in entries(path, problems.append, kinds=kinds)] == expected
    assert problems == []


@pytest.mark.parametrize(
    ("since", "expected"), [(1003.0, WRITTEN[2:]), (1003.5, [WRITTEN[4], WRITTEN[7]]), (2000.0, [])]
)
def test_what_is_older_is_not_written(path: Path, since: float, expected: list[tuple[str, float, str, Any]]) -> None:
    found = [(entry.kind, entry.at, entry.key) for entry in entries(path, pytest.fail, since=since)]
    assert found == [(kind, at, key) for kind, at, key, _ in expected]


def test_what_is_long_ago_is_not_since_a_week(path: Path) -> None:
    assert lines(export("--file", path, "--since", "7d")) == []


def test_a_long_export_neither_holds_up_the_controller_nor_loses_its_place_while_the_oldest_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_export, "ROWS_AT_ONCE", 3)
    path = tmp_path / "journal.sqlite"
    with closing(Journal(path)) as journal:
        for number in range(1, 9):
            journal.write(float(number), Tick(), [], MEMORY)
        found = entries(path, pytest.fail)
        first = [next(found) for _ in range(2)]
        journal.write(9.0, Tick(), [], MEMORY)
        while journal.prune(10.0, Limits(keep_s=5.0, keep_samples_s=5.0)):
            pass
        keys = [entry.key for entry in (*first, *found)]
    assert keys == ["1", "2", "3", "5", "6", "7", "8", "9"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--kind", "Tik"), 1, "kind Tik: there is none of that name; did you mean Tick?"),
        (("--since", "soon"), 2, "'soon' is not a duration; write it like 90s, 15min, 6h or 1d12h"),
        (("--server", "postgresql://x/y"), 2, "--file and --server are two places: give one of them"),
    ],
)
def test_what_cannot_be_done_is_told(path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = export("--file", path, *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in " ".join(done.stderr.split())


def test_a_damaged_entry_is_named_and_all_others_are_written(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE log SET body = x'00' WHERE id = 3")
        database.commit()
    done = export("--file", path)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [each for each in LINES if each["key"] != "3"]
    told = " ".join(done.stderr.split())
    assert told.startswith("migctl: left out: log entry 3 (Tick): it is damaged: expected checksum")
    assert (done.exit_code, told.endswith("1 entries or tables could not be read; all others were written")) == (
        1,
        True,
    )


def test_a_file_that_is_not_there_or_no_journal_is_told_and_not_made(tmp_path: Path) -> None:
    missing, notes = tmp_path / "missing", tmp_path / "notes"
    notes.write_bytes(b"somebody's notes" * 100)
    for path, said in ((missing, "there is no such file"), (notes, "cannot be read: file is not a database")):
        done = export("--file", path)
        assert (done.exit_code, done.stdout) == (1, "")
        assert said in " ".join(done.stderr.split())
    assert [each.name for each in tmp_path.iterdir()] == ["notes"]


def test_a_journal_that_was_cut_off_costs_an_export_what_was_cut_off_only(tmp_path: Path) -> None:
    """A file that is shorter than it says it is: SQLite would not open it at all."""
    path = tmp_path / "journal.sqlite"
    with closing(Journal(path)) as journal:
        for number in range(1, 1001):
            journal.write(float(number), Tick(), [], MEMORY)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    done = export("--file", path)
    keys = [json.loads(line)["key"] for line in done.stdout.splitlines()]
    assert keys == [str(number) for number in range(1, len(keys) + 1)]
    assert len(keys) > 100
    assert done.exit_code == 1
    assert f"left out: log after {len(keys)}: cannot be read" in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["journal.sqlite", "journal.sqlite-wal", "link"])
def test_the_journal_is_not_written_over_by_its_own_export(path: Path, name: str) -> None:
    target = path.with_name(name)
    if name == "link":
        target.symlink_to(path)
    before = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    done = export("--file", path, "--output", target)
    assert (path.read_bytes(), Path(f"{path}-wal").read_bytes()) == before
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{target}: is the journal itself; --output names another file" in " ".join(done.stderr.split())


def test_a_place_that_is_no_file_is_written_to_and_stays_what_it_is(path: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with open(reader, "rb") as read:
        done = export("--file", path, "--output", pipe)
        assert (done.exit_code, done.stdout) == (0, "")
        assert [json.loads(line) for line in read] == LINES
    assert pipe.is_fifo()


def test_a_place_that_cannot_be_written_is_named_with_what_to_do(path: Path, tmp_path: Path) -> None:
    for target in (tmp_path / "nowhere" / "out", tmp_path):
        done = export("--file", path, "--output", target)
        assert (done.exit_code, done.stdout) == (1, "")
        said = " ".join(done.stderr.split())
        assert said.startswith(f"migctl: {target}: cannot be written: ")
        assert said.endswith("; --output names another file")

"""What systemd's journal gets: read back from a socket like its own, by the rules of its protocol."""

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from migd_core import logs
from migd_core.journald import JournalLogger, encoded, entry, is_journal

Fields = list[tuple[str, str]]
SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Journal:
    """A socket in the journal's place."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(30.0)
        self._socket.bind(str(self.path))

    def close(self) -> None:
        self._socket.close()

    def read(self) -> Fields:
        """Return the next entry, whether it came as a datagram or as a sealed file."""
        data, files, _flags, _address = socket.recv_fds(self._socket, 1 << 20, 1)
        if not files:
            return decoded(data)
        assert data == b""
        with open(files[0], "rb") as file:
            assert fcntl.fcntl(file, fcntl.F_GET_SEALS) & SEALED == SEALED
            assert os.readlink(f"/proc/self/fd/{files[0]}").startswith("/memfd:")
            file.seek(0)
            return decoded(file.read())


def decoded(data: bytes) -> Fields:
    """Read an entry as https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ says."""
    fields = []
    while data:
        line, _, data = data.partition(b"\n")
        name, is_plain, value = line.partition(b"=")
        if not is_plain:
            (length,) = struct.unpack("<Q", data[:8])
            value, end, data = data[8 : 8 + length], data[8 + length : 9 + length], data[9 + length :]
            assert (len(value), end) == (length, b"\n")
        fields.append((name.decode("ascii"), value.decode()))
    return fields


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path)
    yield journal
    journal.close()


@pytest.fixture
def log(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The log of a component whose standard error is, as systemd says, the journal's."""
    with (tmp_path / "stderr").open("w") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        logs.configure(component="controller", stream=stream, journal=journal.path)
        yield structlog.get_logger()
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    assert (tmp_path / "stderr").read_text() == ""


def test_a_control_cycle_is_one_entry_in_plain_words_with_its_cause(log: Any, journal: Journal) -> None:
    log.info("control cycle", cause="D12", policy="job-time", reason="no set of moves pays", proposed=0, moves=0)
    assert journal.read() == [
        ("MESSAGE", "control cycle: no set of moves pays (cause=D12, policy=job-time, proposed=0, moves=0)"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "migd-controller"),
        ("MIGD_CAUSE", "D12"),
        ("MIGD_POLICY", "job-time"),
        ("MIGD_REASON", "no set of moves pays"),
        ("MIGD_PROPOSED", "0"),
        ("MIGD_MOVES", "0"),
    ]


def test_a_migration_is_found_by_its_decision_too_and_by_either_host(log: Any, journal: Journal) -> None:
    log.warning("migration", cause="D12.1", guest="rank3", source="xen01", target="xen02", job=None, predicted_s=30.5)
    fields = journal.read()
    assert [value for name, value in fields if name == "MIGD_CAUSE"] == ["D12.1", "D12"]
    assert [value for name, value in fields if name == "MIGD_HOST"] == ["xen01", "xen02"]
    assert dict(fields)["PRIORITY"] == "4"
    assert (
        dict(fields)["MESSAGE"] == "migration (cause=D12.1, guest=rank3, source=xen01, target=xen02, predicted_s=30.5)"
    )
    assert "MIGD_JOB" not in dict(fields)


@pytest.mark.parametrize(("level", "priority"), [("error", "3"), ("critical", "2")])
def test_a_level_is_a_priority(log: Any, journal: Journal, level: str, priority: str) -> None:
    getattr(log, level)("it ends")
    assert dict(journal.read())["PRIORITY"] == priority


def test_a_value_of_several_lines_forges_no_field(log: Any, journal: Journal) -> None:
    log.info("probe over", why="first\nPRIORITY=0\nMESSAGE=all is well\n")
    assert journal.read() == [
        ("MESSAGE", "probe over: first\nPRIORITY=0\nMESSAGE=all is well\n"),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "migd-controller"),
        ("MIGD_WHY", "first\nPRIORITY=0\nMESSAGE=all is well\n"),
    ]


def test_an_entry_too_large_for_a_datagram_arrives_whole(log: Any, journal: Journal) -> None:
    why = "é\n" * 500_000
    log.error("it was long", why=why)
    assert dict(journal.read())["MIGD_WHY"] == why
    log.error("it was short")
    assert dict(journal.read())["MESSAGE"] == "it was short"


def test_an_exception_stands_below_its_line(log: Any, journal: Journal) -> None:
    try:
        raise ValueError("a bug")
    except ValueError as error:
        log.warning("measurement missing", exc_info=error)
    message = dict(journal.read())["MESSAGE"]
    assert message.startswith("measurement missing\nTraceback (most recent call last):\n")
    assert message.endswith("ValueError: a bug")


def test_names_and_values_of_any_kind_become_fields() -> None:
    fields = entry(
        {"event": "x", "level": "info", "what-is°it": {"a": [1, None]}, "socket": Path("/run"), "odd": "\udce9"}
    )
    assert decoded(encoded(fields)) == [
        ("MESSAGE", 'x (what-is°it={"a": [1, null]}, socket="/run", odd=\\udce9)'),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "migd"),
        ("MIGD_WHAT_IS_IT", '{"a": [1, null]}'),
        ("MIGD_SOCKET", '"/run"'),
        ("MIGD_ODD", "\\udce9"),
    ]


def test_a_journal_that_is_away_or_full_stops_nobody_and_hears_how_much_it_missed(tmp_path: Path) -> None:
    logger = JournalLogger(tmp_path / "socket")
    line = encoded([("MESSAGE", "x" * 60_000)])
    logger.info(line)
    logger.info(line)
    journal = Journal(tmp_path)
    logger.info(line)
    assert journal.read()[1:] == [("MIGD_LINES_LOST", "2")]
    for _ in range(100):  # nobody reads: the queue fills up, and what does not fit is dropped
        logger.info(line)
        if logger.lost:
            break
    lost = logger.lost
    assert lost == 1
    journal.read()
    logger.info(line)
    found = []
    while ("MIGD_LINES_LOST", "1") not in found:
        found += journal.read()
    journal.close()


def test_only_the_journals_own_stream_counts_as_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "a").open("w") as own, (tmp_path / "b").open("w") as other:
        found = os.fstat(own.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert (is_journal(own), is_journal(other)) == (True, False)
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not is_journal(own)

"""The probe of dirty pages, on a model of Xen's log-dirty mode that migrations share with it."""

import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migd_agent.xen import libxenctrl
from migd_agent.xen.libxenctrl import Gone, Taken
from migd_agent.xen.log_dirty import OutOfTime, Probe, StoodBack
from migd_agent.xen.probe_record import ProbeRecord
from migd_core.errors import MigdError

DOMID = 7
AGES_S = (0.05, 0.1, 0.5, 1.0, 2.0)


class Xen:
    """Log-dirty as Xen 4.17 was seen to do it: the count stays when it is turned off, and goes on when it is on again."""

    def __init__(self, pages_per_s: float = 100.0, working_set_pages: float = math.inf) -> None:
        self.now_s = 0.0
        self.owner = ""
        self.is_gone = False
        self.offs = 0
        self._pages_per_s, self._working_set = pages_per_s, working_set_pages
        self._count, self._since_s, self._carried = 0, 0.0, 0

    def clock(self) -> float:
        return self.now_s

    def enable(self, domid: int) -> None:
        self._check(domid)
        if self.owner:
            raise Taken("log-dirty is on")
        self.owner, self._since_s, self._carried = "probe", self.now_s, self._count

    def peek(self, domid: int) -> int:
        self._check(domid)
        if self.owner:
            written = min(self._working_set, self._pages_per_s * (self.now_s - self._since_s))
            self._count = self._carried + int(written)
        return self._count

    def off(self, domid: int) -> None:
        self._check(domid)
        assert self.owner == "probe", "a probe turned off somebody else's log-dirty"
        self.peek(domid)
        self.owner, self.offs = "", self.offs + 1

    def is_migrated(self) -> None:
        """As `xl migrate` does: off, on again, and its first round cleans."""
        self.owner, self._since_s, self._carried, self._count = "migration", self.now_s, 0, 0

    def _check(self, domid: int) -> None:
        assert domid == DOMID
        if self.is_gone:
            raise Gone("no such domain")


class Disk:
    """Remembers what a record would hold."""

    def __init__(self) -> None:
        self.seen: int | None = None

    def begin(self, domid: int) -> None:
        self.seen = 0

    def write(self, domid: int, seen_pages: int) -> None:
        self.seen = seen_pages

    def clear(self) -> None:
        self.seen = None


def probe_of(xen: Xen, disk: Disk, *begins_s: float, until_s: float = 100.0) -> Probe:
    return Probe(xen, disk, DOMID, AGES_S, begins_s or (0.0,), until_s, xen.clock)


def run(probe: Probe, xen: Xen, late_s: float = 0.0) -> None:
    """Do what is due until it is over, each time a little late."""
    for _ in range(100):
        if probe.advance(xen.now_s):
            return
        xen.now_s = max(xen.now_s, probe.due_s) + late_s
    raise AssertionError("the probe does not end")


def test_a_steady_writer_has_a_straight_curve_whatever_was_counted_before() -> None:
    xen, disk = Xen(pages_per_s=1000), Disk()
    for _ in range(2):
        probe = probe_of(xen, disk, xen.now_s)
        run(probe, xen)
        assert probe.curve().unique_pages == pytest.approx([50, 100, 500, 1000, 2000], abs=1)
        assert probe.curve().ages_s == AGES_S
    assert (xen.owner, xen.offs, disk.seen) == ("", 2, None)


def test_a_working_set_is_the_most_that_is_written() -> None:
    xen = Xen(pages_per_s=1000, working_set_pages=300)
    probe = probe_of(xen, Disk())
    run(probe, xen)
    assert probe.curve().unique_pages == pytest.approx([50, 100, 300, 300, 300], abs=1)


def test_looks_that_come_late_give_the_pages_of_their_ages_all_the_same() -> None:
    xen = Xen(pages_per_s=1000)
    probe = probe_of(xen, Disk())
    run(probe, xen, late_s=0.03)
    assert probe.curve().unique_pages == pytest.approx([50, 100, 500, 1000, 2000], abs=2)


def test_of_three_sessions_the_middle_counts_and_log_dirty_is_off_between_them() -> None:
    xen, disk = Xen(), Disk()
    probe = probe_of(xen, disk, 0.0, 10.0, 20.0)
    rates = {0.0: 100.0, 10.0: 5000.0, 20.0: 200.0}
    for _ in range(100):
        if xen.now_s in rates:
            assert xen.owner == ""
            xen._pages_per_s = rates[xen.now_s]
        if probe.advance(xen.now_s):
            break
        xen.now_s = max(xen.now_s, probe.due_s)
    assert probe.curve().unique_pages[-1] == pytest.approx(400, abs=1)
    assert (xen.owner, xen.offs, disk.seen) == ("", 3, None)


def test_somebody_who_owns_log_dirty_keeps_it() -> None:
    xen, disk = Xen(), Disk()
    xen.is_migrated()
    with pytest.raises(Taken):
        run(probe_of(xen, disk), xen)
    assert (xen.owner, disk.seen) == ("migration", None)


def test_a_migration_in_mid_probe_is_left_alone() -> None:
    xen, disk = Xen(), Disk()
    probe = probe_of(xen, disk)
    probe.advance(0.0)
    xen.now_s = 0.6
    probe.advance(0.6)
    xen.is_migrated()
    xen.now_s = 0.61
    with pytest.raises(StoodBack, match=r"somebody migrates it since 0\.61 s"):
        run(probe, xen)
    assert (xen.owner, xen.offs, disk.seen) == ("migration", 0, None)


def test_a_migration_between_the_last_look_and_the_end_is_left_alone() -> None:
    xen, disk = Xen(), Disk()
    probe = probe_of(xen, disk)
    probe.advance(0.0)
    xen.now_s = AGES_S[-1]
    real = xen.peek
    looks = iter([real, lambda domid: (xen.is_migrated(), 0)[1]])
    xen.peek = lambda domid: next(looks)(domid)  # type: ignore[method-assign]
    with pytest.raises(StoodBack, match="just before the probe's end"):
        probe.advance(xen.now_s)
    assert (xen.owner, xen.offs, disk.seen) == ("migration", 0, None)


def test_a_guest_that_vanishes_ends_the_probe() -> None:
    xen, disk = Xen(), Disk()
    probe = probe_of(xen, disk)
    probe.advance(0.0)
    xen.is_gone = True
    with pytest.raises(Gone):
        run(probe, xen)
    assert disk.seen is None


def test_a_probe_whose_time_is_over_turns_log_dirty_off() -> None:
    xen, disk = Xen(), Disk()
    probe = probe_of(xen, disk, until_s=1.5)
    with pytest.raises(OutOfTime):
        run(probe, xen)
    assert (xen.now_s, xen.owner, xen.offs, disk.seen) == (1.5, "", 1, None)


def test_a_probe_that_is_given_up_turns_log_dirty_off_once() -> None:
    xen, disk = Xen(), Disk()
    probe = probe_of(xen, disk)
    probe.advance(0.0)
    probe.close()
    probe.close()
    assert (xen.owner, xen.offs, disk.seen) == ("", 1, None)
    assert probe.advance(5.0)


@given(
    steps=st.lists(st.floats(0.0, 1.0), max_size=40),
    migrated_at=st.integers(0, 40),
    gone_at=st.integers(0, 80),
    until_s=st.floats(0.0, 20.0),
    pauses_s=st.lists(st.floats(0.0, 2.0), min_size=1, max_size=3),
)
def test_whatever_happens_a_probe_neither_spoils_a_migration_nor_leaves_log_dirty_on(
    steps: list[float], migrated_at: int, gone_at: int, until_s: float, pauses_s: list[float]
) -> None:
    """`Xen.off` fails the test where the probe turns off a migration's log-dirty. Writing is too slow to hide a clean."""
    xen, disk = Xen(pages_per_s=1.0, working_set_pages=3), Disk()
    xen._count = 1000  # of sessions before, so that a migration's first clean is seen at once
    probe = probe_of(xen, disk, *(sum(pauses_s[: n + 1]) for n in range(len(pauses_s))), until_s=until_s)
    try:
        for number, went_s in enumerate(steps):
            if number == migrated_at:
                xen.is_migrated()
            xen.is_gone |= number == gone_at
            xen.now_s += went_s
            if probe.advance(xen.now_s):
                break
        probe.close()
    except MigdError:
        pass
    assert xen.owner != "probe" or xen.is_gone
    assert disk.seen is None


@pytest.mark.parametrize(
    ("seen", "migrated", "gone", "owner"),
    [(5, False, False, ""), (5, True, False, "migration"), (5, False, True, "probe"), (0, False, False, "")],
)
def test_what_a_killed_agent_left_on_is_turned_off_unless_somebody_else_has_taken_over(
    tmp_path: Path, seen: int, migrated: bool, gone: bool, owner: str
) -> None:
    xen, record = Xen(), ProbeRecord(tmp_path / "run" / "probe.json")
    record.begin(DOMID)
    record.write(DOMID, seen)
    xen.enable(DOMID)
    xen.now_s = 1.0
    if migrated:
        xen.is_migrated()
    xen.is_gone = gone
    record.recover(xen)
    assert xen.owner == owner
    assert not (tmp_path / "run" / "probe.json").exists()


def test_without_a_record_nothing_is_turned_off(tmp_path: Path) -> None:
    xen = Xen()
    xen.enable(DOMID)
    ProbeRecord(tmp_path / "probe.json").recover(xen)
    assert xen.owner == "probe"


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "probe.json").write_text("{")
    with pytest.raises(MigdError, match=r"probe\.json: expected the record of a probe: .*; remove the file"):
        ProbeRecord(tmp_path / "probe.json").recover(Xen())


def test_no_guest_is_probed_whose_probe_cannot_be_put_down(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    xen = Xen()
    with pytest.raises(MigdError, match="File exists; no guest is probed without a record"):
        run(Probe(xen, ProbeRecord(tmp_path / "run" / "probe.json"), DOMID, AGES_S, (0.0,), 9.0, xen.clock), xen)
    assert xen.owner == ""


def test_of_two_agents_one_probes_and_the_others_record_stays(tmp_path: Path) -> None:
    xen, record = Xen(), ProbeRecord(tmp_path / "probe.json")
    first = Probe(xen, record, DOMID, AGES_S, (0.0,), 9.0, xen.clock)
    first.advance(0.0)
    with pytest.raises(MigdError, match=r"probe\.json: another agent of this host probes a guest"):
        run(Probe(xen, record, DOMID, AGES_S, (0.0,), 9.0, xen.clock), xen)
    assert (tmp_path / "probe.json").exists()
    run(first, xen)
    assert (xen.owner, (tmp_path / "probe.json").exists()) == ("", False)


def test_a_probe_that_is_killed_leaves_its_record(tmp_path: Path) -> None:
    """As the next life of the agent finds it: a real process that ends by SIGKILL in mid-probe."""
    script = tmp_path / "probes.py"
    script.write_text(
        "import os, signal, sys\n"
        f"sys.path[:0] = {[str(Path(__file__).parent)]!r}\n"
        "from test_log_dirty import AGES_S, DOMID, Xen\n"
        "from migd_agent.xen.log_dirty import Probe\n"
        "from migd_agent.xen.probe_record import ProbeRecord\n"
        "from pathlib import Path\n"
        "xen = Xen()\n"
        "probe = Probe(xen, ProbeRecord(Path(sys.argv[1])), DOMID, AGES_S, (0.0,), 9.0, xen.clock)\n"
        "probe.advance(0.0)\n"
        "xen.now_s = 0.5\n"
        "probe.advance(0.5)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    file = tmp_path / "probe.json"
    ended = subprocess.run([sys.executable, str(script), str(file)], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert msgspec.json.decode(file.read_bytes()) == {"domid": DOMID, "seen_pages": 50}


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.EINVAL, Taken, "somebody migrates or probes the guest already, or it has a passed-through device"),
        (errno.ESRCH, Gone, "domain 7: Xen does not turn log-dirty on: No such process"),
        (errno.EOPNOTSUPP, MigdError, "this Xen can watch no PV guest"),
        (errno.EPERM, MigdError, "the agent must run as root in a Dom0"),
        (errno.EIO, MigdError, "see `xl dmesg`"),
    ],
)
def test_what_xen_refuses_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[MigdError], text: str
) -> None:
    monkeypatch.setattr(libxenctrl.ctypes, "get_errno", lambda: number)
    failure = libxenctrl._failure(DOMID, "turn log-dirty on")
    assert type(failure) is kind or kind is MigdError
    assert text in str(failure)


@pytest.mark.skipif(os.path.exists("/dev/xen/privcmd"), reason="this is a Dom0")
def test_without_xen_there_is_no_probing_and_the_reason_is_told() -> None:
    with pytest.raises(MigdError, match="there is no Xen here"):
        libxenctrl.LibXenCtrl()

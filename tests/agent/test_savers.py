"""An OFF beside a process that copies a domain's memory away: it is left out, or that process fails."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from migd_agent.xen.reading import XenUnreadable
from migd_agent.xen.savers import BeingSaved, Processes, check_sees_all, saves, switch_off

HELPER = ["/usr/lib/xen-4.17/bin/libxl-save-helper", "--save-domain", "15", "-1", "7", "1", "0", "0", ""]
EMU_MANAGER = ["/usr/lib64/xen/bin/emu-manager", "-controloutfd", "8", "-mode", "hvm_save", "-domid", "7", "-fd", "x"]


@pytest.mark.parametrize(
    ("words", "does"),
    [
        (HELPER, True),
        (["/usr/bin/strace", "-f", *HELPER], True),
        ([*HELPER[:4], "77", *HELPER[5:]], False),
        ([HELPER[0], "--restore-domain", *HELPER[2:]], False),
        (HELPER[:4], False),
        (EMU_MANAGER, True),
        (["xenguest", "-debug", "-domid", "7"], True),
        (["xenguest", "-debug", "-domid", "8"], False),
        (["qemu-dm-7", "-xen-domid", "7", "-domid", "7"], False),
        ([""], False),
        ([], False),
    ],
)
def test_who_copies_domain_7_away(words: list[str], does: bool) -> None:
    assert saves(words, 7) == does


@pytest.fixture
def saver() -> Iterator[subprocess.Popen[bytes]]:
    """A process with the command line of domain 7's."""
    words = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", *HELPER[1:]]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_process_is_found_by_its_command_line_until_it_was_made_to_fail(saver: subprocess.Popen[bytes]) -> None:
    here = Processes()
    assert here.of(7) == [saver.pid]
    assert here.of(8) == []
    here.fail(saver.pid)
    assert saver.wait(10) != 0
    assert here.of(7) == []
    here.fail(saver.pid)


def test_an_agent_that_does_not_see_all_processes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").symlink_to("pid:[4026532198]")
    with pytest.raises(XenUnreadable, match="in a container"):
        check_sees_all(tmp_path)
    with pytest.raises(XenUnreadable, match="No such file"):
        check_sees_all(tmp_path / "none")


class Migration:
    """Begins before step `begins` of: look, OFF, look. It has log-dirty on from then to its end."""

    def __init__(self, begins: int) -> None:
        self._begins = begins
        self.steps = 0
        self.failed = False
        self.was_hit = False

    def step(self) -> bool:
        """Return whether it runs."""
        self.steps += 1
        return self._begins < self.steps

    def of(self, domid: int) -> list[int]:
        return [1] if self.step() else []

    def off(self) -> None:
        self.was_hit = self.step()

    def fail(self, pid: int) -> None:
        self.failed = True


@pytest.mark.parametrize(
    ("begins", "is_off", "failed"),
    [(0, False, False), (1, True, True), (2, True, True), (3, True, False)],
    ids=["before", "between the look and OFF", "between OFF and the look", "after"],
)
def test_a_migration_that_was_hit_by_an_off_never_succeeds(begins: int, is_off: bool, failed: bool) -> None:
    migration = Migration(begins)
    try:
        switch_off(7, migration.off, migration)
    except BeingSaved:
        assert not is_off
    assert (migration.steps == 3) == is_off
    assert migration.failed == failed
    assert migration.failed or not migration.was_hit


def test_an_off_that_is_refused_makes_nothing_fail() -> None:
    migration = Migration(1)

    def off() -> None:
        migration.off()
        raise XenUnreadable("domain 7: Xen refuses OFF")

    with pytest.raises(XenUnreadable):
        switch_off(7, off, migration)
    assert not migration.failed

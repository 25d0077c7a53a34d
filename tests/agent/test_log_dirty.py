"""The probe of dirty pages: right, over in time, and never deadly to a migration that somebody starts meanwhile."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from log_dirty_model import PAGES, FileXen, Migration, ModelXen

from migd_agent.xen import library
from migd_agent.xen.libxenctrl import DomainGone, LibXenCtrl, LogDirtyTaken
from migd_agent.xen.log_dirty import (
    APART_S,
    LogDirty,
    LogDirtyProbe,
    LogDirtyProbes,
    OutOfTime,
    StoodBack,
    TooSoon,
    at_ages,
    rising,
)
from migd_agent.xen.probe_records import ProbeRecords
from migd_agent.xen.reading import XenUnreadable
from migd_core.errors import MigdError

AGES_S = (0.1, 0.5, 1.0, 2.0)
LIMIT_S = 10.0


class Records:
    """Records in memory: what hypothesis runs thousands of times needs no disk."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def note(self, domid: int, count: int) -> None:
        self.counts[domid] = count

    def forget(self, domid: int) -> None:
        self.counts.pop(domid, None)


class Lab:
    """A model guest that writes `pages_per_s` distinct pages, and a probe on the same virtual clock."""

    def __init__(self, folder: Path, pages_per_s: float = 20.0, xen: ModelXen | None = None) -> None:
        self.xen, self.now_s, self._written, self._pages_per_s = xen or ModelXen(), 0.0, 0, pages_per_s
        self.records = ProbeRecords(folder)
        self.probes = LogDirtyProbes(self.xen, self.records, random.Random(1), lambda: self.now_s)

    def begin(self, sessions: int = 1, until_s: float = 30.0) -> LogDirtyProbe:
        return self.probes.begin(7, AGES_S, sessions, until_s)

    def recorded(self) -> list[str]:
        return [path.name for path in self.records._folder.iterdir()]

    def until(self, now_s: float) -> None:
        self.now_s = now_s
        while self._written < now_s * self._pages_per_s:
            self.xen.write(self._written % PAGES)
            self._written += 1

    def run(self, probe: LogDirtyProbe, until_s: float = 100.0) -> bool:
        while probe.due_s <= until_s:
            self.until(max(self.now_s, probe.due_s))
            if probe.advance(self.now_s):
                return True
        self.until(until_s)
        return False


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "probes")
    yield lab
    lab.records.close()


def test_a_steady_writer_is_measured_within_a_page_at_each_age(lab: Lab) -> None:
    probe = lab.begin(sessions=3)
    assert lab.run(probe)
    curve = probe.take()
    assert curve is not None
    assert curve.contradiction() is None
    for age_s, pages in zip(curve.ages_s, curve.unique_pages, strict=True):
        assert abs(pages - 20 * age_s) <= 1.5
    assert not lab.xen.is_on
    assert list((lab.records._folder).iterdir()) == []


def test_the_curve_of_a_small_working_set_ends_at_its_size(tmp_path: Path) -> None:
    lab = Lab(tmp_path, pages_per_s=1000.0)
    probe = lab.begin()
    lab.run(probe)
    curve = probe.take()
    assert curve is not None
    assert curve.unique_pages == (PAGES,) * 4


def test_a_migration_that_takes_over_is_left_alone(lab: Lab) -> None:
    probe = lab.begin()
    lab.run(probe, until_s=2.0)
    migration = Migration(lab.xen)
    migration.round()
    assert lab.run(probe)
    with pytest.raises(StoodBack, match="somebody else"):
        probe.take()
    migration.finish()


@pytest.mark.parametrize("sessions", [1, 3])
@pytest.mark.parametrize("start_s", [n / 4 for n in range(32)])
def test_a_long_first_round_never_ends_with_stale_pages(tmp_path: Path, sessions: int, start_s: float) -> None:
    """A session may end in it, and nothing in the count tells."""
    lab = Lab(tmp_path)
    probe = lab.begin(sessions=sessions)
    lab.run(probe, until_s=start_s)
    migration = Migration(lab.xen)
    is_over = lab.run(probe, until_s=start_s + 5.0)
    migration.round()
    if not is_over:
        lab.run(probe, until_s=start_s + 5.5)
    migration.finish()
    lab.records.close()


def test_a_probe_that_ends_in_a_migration_leaves_it_alone_until_it_is_over(lab: Lab) -> None:
    """Its record stays: were the migration killed, log-dirty would be left on."""
    probe = lab.begin()
    lab.run(probe, until_s=1.5)
    migration = Migration(lab.xen)
    assert lab.run(probe)
    with pytest.raises(StoodBack, match="copies its memory away"):
        probe.take()
    assert lab.xen.is_on
    assert lab.recorded() == ["7"]
    with pytest.raises(TooSoon):
        lab.begin(until_s=200.0)
    assert lab.xen.is_on
    migration.fail()
    with pytest.raises(TooSoon):
        lab.begin(until_s=200.0)
    assert lab.recorded() == []


def test_an_off_that_failed_is_made_up_for_before_the_domain_is_probed_again(lab: Lab) -> None:
    probe = lab.begin()
    lab.run(probe, until_s=1.5)
    lab.xen.refuses_off = True
    assert lab.run(probe)
    with pytest.raises(XenUnreadable, match="busy"):
        probe.take()
    lab.until(30.0 + APART_S)
    with pytest.raises(TooSoon):
        lab.begin(until_s=2 * APART_S)
    assert lab.recorded() == ["7"], "nobody would know that log-dirty is on"
    lab.xen.refuses_off = False
    lab.until(31.0 + 2 * APART_S)
    with pytest.raises(TooSoon):
        lab.begin(until_s=3 * APART_S)
    assert not lab.xen.is_on
    assert lab.recorded() == []


def test_what_a_probe_under_way_has_on_is_not_cleared_up_for_another(lab: Lab) -> None:
    probe = lab.begin()
    lab.run(probe, until_s=1.5)
    with pytest.raises(DomainGone):
        lab.probes.begin(8, AGES_S, 1, 30.0)
    assert lab.xen.is_on
    assert lab.recorded() == ["7"]
    probe.close()


def test_a_domain_is_left_alone_after_a_probe(lab: Lab) -> None:
    probe = lab.begin()
    lab.run(probe)
    with pytest.raises(TooSoon, match="domain 7 may be probed again in"):
        lab.begin(until_s=200.0)
    lab.until(30.0 + APART_S)
    assert lab.begin(until_s=2 * APART_S)


def test_a_probe_is_off_by_its_time_and_says_so(lab: Lab) -> None:
    probe = lab.begin(until_s=3.0)
    lab.run(probe, until_s=1.0)
    assert lab.xen.is_on
    lab.until(3.0)  # nobody called it meanwhile
    lab.run(probe)
    assert not lab.xen.is_on


def test_too_short_a_lease_is_refused_before_anything_is_switched_on(lab: Lab) -> None:
    with pytest.raises(OutOfTime, match=r"2\.5 s are needed"):
        lab.begin(until_s=2.0)
    assert not lab.xen.is_on


def test_sessions_that_do_not_fit_are_left_out(lab: Lab) -> None:
    probe = lab.begin(sessions=3, until_s=6.0)
    lab.run(probe)
    assert probe.take() is not None
    assert lab.now_s <= 6.0


def test_a_domain_that_vanishes_gives_no_curve(lab: Lab) -> None:
    probe = lab.begin()
    lab.run(probe, until_s=1.5)
    lab.xen.is_gone = True
    assert lab.run(probe)
    assert probe.take() is None
    lab.until(30.0 + APART_S)
    with pytest.raises(DomainGone):
        lab.begin(until_s=2 * APART_S)


@pytest.mark.parametrize("why", ["is_on", "has_device"])
def test_what_somebody_else_uses_is_not_touched(lab: Lab, why: str) -> None:
    probe = lab.begin()
    setattr(lab.xen, why, True)
    lab.run(probe)
    with pytest.raises(LogDirtyTaken):
        probe.take()
    assert lab.xen.is_on == (why == "is_on")


def test_closing_in_mid_probe_switches_off(lab: Lab) -> None:
    probe = lab.begin()
    lab.run(probe, until_s=2.0)
    probe.close()
    assert not lab.xen.is_on
    assert list(lab.records._folder.iterdir()) == []


def test_a_second_agent_on_the_host_is_refused(lab: Lab) -> None:
    with pytest.raises(XenUnreadable, match="another agent"):
        ProbeRecords(lab.records._folder)


def test_a_restarted_agent_leaves_a_migration_alone_that_began_meanwhile(tmp_path: Path) -> None:
    """Its first round may be on, in which no count has fallen."""
    (tmp_path / "7").write_text("5", encoding="ascii")
    xen = ModelXen(is_on=True, count=9)
    migration = Migration(xen)
    records = ProbeRecords(tmp_path)
    assert records.clear_up(xen) == [7]
    migration.finish()
    assert records.clear_up(xen) == [7]
    assert list(tmp_path.iterdir()) == []
    records.close()


@pytest.mark.parametrize(("now_dirty", "is_on"), [(9, False), (3, True)])
def test_a_restarted_agent_clears_up_only_what_is_still_its_own(tmp_path: Path, now_dirty: int, is_on: bool) -> None:
    (tmp_path / "7").write_text("5", encoding="ascii")
    (tmp_path / "8").write_text("5", encoding="ascii")  # a domain that is gone
    (tmp_path / "7.new").write_text("", encoding="ascii")
    xen = ModelXen(is_on=True, count=now_dirty)
    records = ProbeRecords(tmp_path)
    probes = LogDirtyProbes(xen, records, random.Random(1), time.monotonic)
    with pytest.raises(TooSoon):
        probes.begin(7, AGES_S, 1, time.monotonic() + 60.0)
    assert xen.is_on == is_on
    assert list(tmp_path.iterdir()) == []
    records.close()


def test_counts_between_peeks_lie_on_a_straight_line() -> None:
    assert at_ages([(0.5, 10), (1.5, 30)], (0.25, 1.0, 1.5)) == (5.0, 20.0, 30.0)
    assert rising([1, 3, 2]) == (1, 3, 3)


PROGRAM = """
import random, sys, time
from pathlib import Path
from log_dirty_model import FileXen
from migd_agent.xen.log_dirty import LogDirtyProbes
from migd_agent.xen.probe_records import ProbeRecords
from migd_agent.daemon import StopRequest
xen, records = FileXen(Path(sys.argv[1])), ProbeRecords(Path(sys.argv[2]))
probe = LogDirtyProbes(xen, records, random.Random(1), time.monotonic).begin(7, (0.01, 60.0), 1, time.monotonic() + 90)
with StopRequest() as stop:
    while not stop.is_asked and not probe.advance(time.monotonic()):
        stop.wait(0.005)
    probe.close()
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_log_dirty_is_off_after_an_agent_was_ended(tmp_path: Path, how: signal.Signals) -> None:
    xen, folder = FileXen(tmp_path / "xen"), tmp_path / "probes"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "xen"), str(folder)]
    agent = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)})
    try:
        until_s = time.monotonic() + LIMIT_S
        while not (xen.load().is_on and (folder / "7").exists()):
            assert agent.poll() is None
            assert time.monotonic() < until_s
            time.sleep(0.005)
        agent.send_signal(how)
        agent.wait(LIMIT_S)
    finally:
        agent.kill()
        agent.wait()
    assert xen.load().is_on == (how is signal.SIGKILL)
    records = ProbeRecords(folder)  # the next life
    LogDirtyProbes(xen, records, random.Random(1), time.monotonic)
    records.close()
    assert not xen.load().is_on
    assert not list(folder.iterdir())


class ProbeBesideMigration(RuleBasedStateMachine):
    """A human's `xl migrate` may start at any moment; whatever the order, no page is stale at the target."""

    def __init__(self) -> None:
        super().__init__()
        self.xen, self.records, self.now_s = ModelXen(), Records(), 0.0
        self.probe: LogDirtyProbe | None = None
        self.migration: Migration | None = None

    @precondition(lambda self: self.probe is None and not self.xen.is_gone)
    @rule(sessions=st.integers(1, 3), seed=st.integers(0, 9))
    def begin(self, sessions: int, seed: int) -> None:
        xen: LogDirty = self.xen
        rng = random.Random(seed)
        args = (7, AGES_S, sessions, self.now_s + 10.0, rng, lambda: self.now_s)
        self.probe = LogDirtyProbe(xen, self.records, *args)  # type: ignore[arg-type]  # records in memory

    @rule(page=st.integers(0, PAGES - 1))
    def write(self, page: int) -> None:
        if not self.xen.is_gone:
            self.xen.write(page)

    @precondition(lambda self: self.probe is not None)
    @rule(late_s=st.sampled_from([0.0, 0.3, 20.0]))
    def advance(self, late_s: float) -> None:
        assert self.probe is not None
        self.now_s = max(self.now_s, self.probe.due_s) + late_s
        if self.probe.advance(self.now_s):
            self.take()

    def take(self) -> None:
        assert self.probe is not None
        with contextlib.suppress(MigdError):
            curve = self.probe.take()
            assert curve is None or curve.contradiction() is None
        self.probe = None

    @precondition(lambda self: self.probe is not None)
    @rule()
    def close(self) -> None:
        assert self.probe is not None
        self.probe.close()
        self.probe = None

    @precondition(lambda self: self.migration is None and not self.xen.is_gone)
    @rule()
    def migrate(self) -> None:
        self.migration = Migration(self.xen)

    @precondition(lambda self: self.migration is not None)
    @rule(step=st.sampled_from(["round", "finish", "fail"]))
    def copy(self, step: str) -> None:
        assert self.migration is not None
        getattr(self.migration, step)()
        if step != "round":
            self.migration = None

    @invariant()
    def log_dirty_is_off_or_somebodys(self) -> None:
        assert not self.xen.is_on or self.probe is not None or self.migration is not None

    @invariant()
    def what_the_agent_has_on_is_on_record(self) -> None:
        if self.xen.is_on and self.migration is None:
            assert 7 in self.records.counts


TestProbeBesideMigration = ProbeBesideMigration.TestCase
TestProbeBesideMigration.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.mark.skipif(library.PRIVCMD.exists(), reason="there is a Xen here")
def test_where_there_is_no_xen_the_probe_says_so() -> None:
    with pytest.raises(XenUnreadable, match="there is no Xen here"):
        LibXenCtrl()


@pytest.mark.parametrize(("version", "match"), [("", "does not tell"), ("9.99", "libxenctrl.so.9.99")])
def test_a_version_without_a_library_is_named(monkeypatch: pytest.MonkeyPatch, version: str, match: str) -> None:
    monkeypatch.setattr(library, "check_here", lambda: None)
    monkeypatch.setattr(library, "xen_version", lambda: version)
    with pytest.raises(XenUnreadable, match=match):
        LibXenCtrl()

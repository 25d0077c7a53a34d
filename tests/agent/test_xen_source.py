"""The whole host and its guests as Xen counts them, read with libxenstat or xentop."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from readings import HOST

from faulty_pool import until
from migd_agent.collectors import xen as xen_source
from migd_agent.collectors.xen import XenHost, used_s
from migd_agent.config import AutoGuests, MeasureSection, XenGuests
from migd_agent.failures import Failures
from migd_agent.sampler import Sampler
from migd_agent.xen import library, libxenstat
from migd_agent.xen.reading import Domain, XenReading, XenUnreadable
from migd_agent.xen.xentop import Xentop, blocks, parse_block, parse_info, parse_vm_list
from migd_core.messages import HostSample
from migd_core.units import GIB, MIB

CAPTURED = Path(__file__).parent / "captured"
NOBODY = 65534
DOM0 = Domain(domid=0, name="Domain-0", uuid="", vcpus=2, cpu_s=100.0, memory_bytes=GIB)
RANK = Domain(domid=3, name="rank0", uuid="uuid-rank0", vcpus=2, cpu_s=50.0, memory_bytes=4 * GIB)
OTHER = Domain(domid=4, name="rank1", uuid="uuid-rank1", vcpus=1, cpu_s=7.0, memory_bytes=2 * GIB)


class ScriptedXen:
    """Shows the domains that a test puts into it."""

    def __init__(self, *domains: Domain) -> None:
        self.domains = domains
        self.fails = False

    def read(self) -> XenReading:
        if self.fails:
            raise XenUnreadable("Xen is silent")
        return XenReading(cpus=8, memory_bytes=64 * GIB, memory_free_bytes=32 * GIB, domains=self.domains)

    def close(self) -> None:
        pass


class Host:
    """A sampler on a Xen whose domains do what a test says, second by second."""

    def __init__(self, *domains: Domain) -> None:
        self.xen = ScriptedXen(*domains)
        self._sampler = Sampler((XenHost(self.xen, HOST),), Failures())
        self._now_s = 0.0

    def tick(self, *domains: Domain) -> HostSample | None:
        self.xen.domains = domains or self.xen.domains
        self._now_s += 1.0
        return self._sampler.tick(self._now_s)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass between two readings of the kernel."""
    seconds = iter(range(1, 1000))
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr("migd_agent.collectors.dom0.time", clock)


def test_the_host_is_all_domains_and_dom0_is_a_part_of_it() -> None:
    host = Host(DOM0, RANK, OTHER)
    host.tick()
    sample = host.tick(replace(DOM0, cpu_s=100.4), replace(RANK, cpu_s=51.2, tx_bytes=1000), replace(OTHER, cpu_s=8.0))
    assert sample is not None
    assert (sample.cpus, sample.memory_bytes, sample.memory_free_bytes) == (8, 64 * GIB, 32 * GIB)
    assert sample.cpu_ratio == pytest.approx((0.4 + 1.2 + 1.0) / 8)
    assert sample.dom0_cpu_ratio == pytest.approx(0.4 / 8)
    assert [(guest.uuid, round(guest.cpu_ratio, 6)) for guest in sample.guests] == [
        ("uuid-rank0", 0.6),
        ("uuid-rank1", 1.0),
    ]
    assert sample.guests[0].tx_bytes_per_s == 1000


def test_a_guest_that_leaves_does_not_take_the_hosts_cpu_time_along() -> None:
    host = Host(DOM0, RANK, OTHER)
    host.tick()
    sample = host.tick(replace(DOM0, cpu_s=100.5), replace(OTHER, cpu_s=7.5))
    assert sample is not None
    assert sample.cpu_ratio == pytest.approx(1.0 / 8)
    assert [guest.uuid for guest in sample.guests] == ["uuid-rank1"]


def test_a_guest_that_arrives_counts_for_the_host_at_once_and_for_itself_from_the_second_reading_on() -> None:
    host = Host(DOM0)
    host.tick()
    arrived = replace(RANK, domid=9, cpu_s=0.5)
    sample = host.tick(DOM0, arrived)
    assert sample is not None
    assert (sample.cpu_ratio, sample.guests) == (pytest.approx(0.5 / 8), ())
    sample = host.tick(DOM0, replace(arrived, cpu_s=1.5))
    assert sample is not None
    assert [guest.cpu_ratio for guest in sample.guests] == [pytest.approx(0.5)]


@pytest.mark.parametrize(
    ("domains", "found"),
    [
        ((DOM0, replace(RANK, uuid="")), []),
        ((DOM0, replace(RANK, is_ending=True)), []),
        ((DOM0, RANK, replace(RANK, domid=8, is_paused=True)), [3]),
        ((DOM0, replace(RANK, is_paused=True), replace(RANK, domid=8)), [8]),
        ((DOM0, RANK, replace(RANK, domid=8)), [8]),
        ((DOM0, replace(RANK, is_paused=True)), [3]),
    ],
    ids=["being built", "ending", "arriving on its own host", "leaving for its own host", "both run", "paused"],
)
def test_a_guest_is_one_domain(domains: tuple[Domain, ...], found: list[int]) -> None:
    counters = XenHost(ScriptedXen(*domains), HOST).collect(None)
    assert [guest.domid for guest in counters.guests] == found


def test_a_xen_that_is_silent_leaves_the_hosts_last_figures_marked_as_missing_never_those_of_dom0_alone() -> None:
    host = Host(DOM0, RANK)
    host.tick()
    measured = host.tick(replace(DOM0, cpu_s=101.0), replace(RANK, cpu_s=52.0))
    host.xen.fails = True
    held = host.tick()
    assert measured is not None
    assert held is not None
    assert (held.cpus, held.cpu_ratio, held.guests) == (8, measured.cpu_ratio, ())
    assert held.failed_collectors == ("dom0", "guests")


def test_the_first_reading_has_used_nothing() -> None:
    assert used_s({}, (DOM0, RANK)) == 0.0


def test_a_xen_without_domain_0_is_refused() -> None:
    with pytest.raises(XenUnreadable, match="no domain 0"):
        XenHost(ScriptedXen(RANK), HOST).collect(None)


def test_without_xen_the_reason_is_told(tmp_path: Path) -> None:
    with pytest.raises(XenUnreadable, match=r"there is no Xen here: .*privcmd does not exist"):
        library.check_here(tmp_path / "privcmd", tmp_path / "type")


def test_in_a_guest_the_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "type").write_text("xen\n")
    with pytest.raises(XenUnreadable, match="is this a guest, not a Dom0"):
        library.check_here(tmp_path / "privcmd", tmp_path / "type")


def test_who_may_not_ask_xen_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "privcmd").touch(mode=0o000)
    user = os.getuid()
    if user == 0:
        os.setreuid(NOBODY, -1)  # for whom the kernel answers access(2)
    try:
        with pytest.raises(XenUnreadable, match="permission denied; the agent must run as root"):
            library.check_here(tmp_path / "privcmd", tmp_path / "type")
    finally:
        os.setreuid(user, -1)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler is here to make a library with")
@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({}, "libxenstat.so.0 cannot ask Xen: Permission denied; is this root in a Dom0?"),
        (
            {"xenstat_init"},
            "libxenstat.so.0 got no answer from Xen 4.99: Permission denied; is the library of that version installed?",
        ),
    ],
)
def test_a_library_that_xen_does_not_answer_is_told_with_xens_version(
    tmp_path: Path, answers: set[str], says: str
) -> None:
    """What libxenstat of another Xen does: all functions are there, and the hypercalls fail."""
    for name, functions in {
        "libxenstat.so.0": [*libxenstat.FUNCTIONS],
        "libxenstore.so.4": ["xs_open", "xs_close", "xs_read"],
    }.items():
        text = "#include <errno.h>\n" + "".join(
            f"long {function}() {{ errno = EACCES; return {int(function in {*answers, 'xs_open'})}; }}\n"
            for function in functions
        )
        command = ["cc", "-shared", "-fPIC", "-o", str(tmp_path / name), "-xc", "-"]
        subprocess.run(command, input=text, text=True, check=True)
    script = (
        "from migd_agent.xen import library\n"
        "from migd_agent.xen.libxenstat import LibXenStat\n"
        "from migd_agent.xen.reading import XenUnreadable\n"
        "library.xen_version = lambda: '4.99'\n"
        "try:\n    LibXenStat().read()\n"
        "except XenUnreadable as error:\n    print(error)\n"
    )
    asked = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert asked.stdout == f"{says}\n"


@pytest.mark.parametrize(("text", "is_dom0"), [("control_d\n", True), ("", False), (None, False)])
def test_a_dom0_is_known_by_its_capabilities(tmp_path: Path, text: str | None, is_dom0: bool) -> None:
    file = tmp_path / "capabilities"
    if text is not None:
        file.write_text(text)
    assert library.is_dom0(file) is is_dom0


def test_a_library_of_another_version_is_named_with_xens_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "xen_version", lambda: "4.99")
    with pytest.raises(library.NoLibrary, match=r"libxenstat for Xen 4\.99 cannot be loaded: libxenstat\.so\.4\.99"):
        library.load("libxenstat", "libxenstat.so.4.99")


def test_a_library_without_a_function_is_named_with_it() -> None:
    with pytest.raises(XenUnreadable, match=r"libc\.so\.6 has no xenstat_init: its version is not known"):
        library.declare(library.load("libc", "libc.so.6"), "xenstat_init", None)


def test_auto_takes_xen_in_a_dom0_and_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from migd_agent.collectors import table

    monkeypatch.setattr(xen_source, "connect", ScriptedXen)
    assert isinstance(
        table.guest_source(MeasureSection(guests=XenGuests()), HOST, Failures(), may_probe=False), XenHost
    )
    for is_dom0 in (True, False):
        monkeypatch.setattr(library, "is_dom0", lambda is_dom0=is_dom0: is_dom0)
        assert (
            isinstance(
                table.guest_source(MeasureSection(guests=AutoGuests()), HOST, Failures(), may_probe=False), XenHost
            )
            is is_dom0
        )


def test_captured_xentop_is_read() -> None:
    whole, rest = blocks((CAPTURED / "xentop-4.17.txt").read_text())
    assert (len(whole), rest.count("NAME")) == (2, 1)
    domains = {line.name: line for line in parse_block(whole[-1])}
    assert domains.keys() == {"Domain-0", "d1"}
    guest = domains["d1"]
    assert (guest.vcpus, guest.memory_bytes) == (1, 98368 * 1024)
    assert 0.1 < guest.cpu_ratio < 1.1
    assert guest.tx_bytes > 10 * guest.rx_bytes > 0  # it had sent two million bytes


def test_a_name_with_spaces_and_a_column_without_a_number_are_read() -> None:
    header = "NAME STATE CPU(sec) CPU(%) MEM(k) MEM(%) MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS VBD_OO VBD_RD VBD_WR VBD_RSECT VBD_WSECT SSID"
    line = "my guest --b--- 12 150.5 1024 1.0 no limit n/a 2 1 3 4 1 0 5 6 7 8 0"
    (found,) = parse_block(f"{header}\n{line}\n")
    assert (found.name, found.cpu_ratio, found.rx_bytes, found.tx_bytes) == ("my guest", 1.505, 3072, 4096)
    assert (found.read_bytes, found.written_bytes) == (7 * 512, 8 * 512)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NAME STATE\nd1 ------\n", r"expected a column CPU\(%\), found 'NAME STATE'"),
        ("Error opening terminal: unknown.\n", "expected a column NAME"),
    ],
)
def test_xentop_of_another_shape_is_refused(text: str, why: str) -> None:
    with pytest.raises(XenUnreadable, match=why):
        parse_block(text)


@pytest.mark.parametrize("broken", ["d1 ------ 12", "d1 ------ x x x x x x x x x x x x x x x x x"])
def test_a_line_of_xentop_that_is_broken_is_refused(broken: str) -> None:
    whole, _ = blocks((CAPTURED / "xentop-4.17.txt").read_text())
    with pytest.raises(XenUnreadable, match=r"xentop: expected .*, found 'd1 ------"):
        parse_block(whole[0] + broken)


def test_captured_xl_vm_list_is_read() -> None:
    found = parse_vm_list((CAPTURED / "xl-vm-list-4.17.txt").read_text())
    assert found["Domain-0"] == (0, "")
    domid, uuid = found["d1"]
    assert (domid, len(uuid)) == (1, 36)
    with pytest.raises(XenUnreadable, match="expected a uuid, a number and a name"):
        parse_vm_list("UUID ID name\nlibxl: error\n")


def test_captured_xl_info_is_read() -> None:
    cpus, memory, free = parse_info((CAPTURED / "xl-info-4.17.txt").read_text())
    assert (cpus, memory) == (1, 767 * MIB)
    assert 0 < free < memory
    with pytest.raises(XenUnreadable, match="xl info: expected numbers"):
        parse_info("nr_cpus: many\n")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs in PATH that show what the real ones showed: xentop block by block, as its file says."""
    shown = tmp_path / "xentop.txt"
    shown.write_text((CAPTURED / "xentop-4.17.txt").read_text())
    script = f"#!/bin/sh\ncase $1 in vm-list) cat {CAPTURED}/xl-vm-list-4.17.txt;; info) cat {CAPTURED}/xl-info-4.17.txt;; esac\n"
    _program(tmp_path / "xl", script)
    _program(tmp_path / "xentop", f"#!/bin/sh\ncat {shown}\nexec sleep 60\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_what_xentop_shows_becomes_counters_that_rise(tools: Path) -> None:
    top = Xentop()
    try:
        first, second = top.read(), top.read()
    finally:
        top.close()
    assert (first.cpus, first.memory_bytes) == (1, 767 * MIB)
    assert {(domain.name, bool(domain.uuid)) for domain in first.domains} == {("Domain-0", False), ("d1", True)}
    used = {domain.name: domain.cpu_s for domain in first.domains}
    assert all(domain.cpu_s > used[domain.name] for domain in second.domains)


def test_a_guest_that_has_shut_down_since_xentop_showed_it_first_is_ending(tools: Path) -> None:
    more = tools / "more"
    _program(
        tools / "xentop",
        f"#!/bin/sh\ncat {tools}/xentop.txt; until [ -e {more} ]; do :; done; cat {more}; exec sleep 60\n",
    )
    top = Xentop()

    def ending() -> list[str]:
        return [domain.name for domain in top.read().domains if domain.is_ending]

    try:
        assert ending() == []
        shown = (tools / "xentop.txt").read_text().replace(" d1 --b---", " d1 ---s--")
        (tools / "more.new").write_text(shown)
        (tools / "more.new").rename(more)
        assert until(ending) == ["d1"]
    finally:
        top.close()


def test_a_xentop_that_does_not_stay_is_named_with_its_last_words(tools: Path) -> None:
    _program(tools / "xentop", "#!/bin/sh\necho Failed to initialize xenstat library\nexit 1\n")
    with pytest.raises(XenUnreadable, match="ended with exit code 1; its last words: 'Failed to init"):
        Xentop()


def test_a_xentop_that_ends_is_started_anew(tools: Path) -> None:
    top = Xentop()
    try:
        assert top._process is not None
        os.kill(top._process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, top._process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(XenUnreadable, match="ended with exit code -9"):
            top.read()
        until_s = time.monotonic() + 10
        while time.monotonic() < until_s:
            with contextlib.suppress(XenUnreadable):
                assert len(top.read().domains) == 2
                return
        raise AssertionError("it was not started anew")
    finally:
        top.close()


def test_a_xentop_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(XenUnreadable, match="xentop cannot be run: No such file"):
        Xentop()

"""How a host's health is read beside the ticks, held in between, and named where a tool fails."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from readings import busy_host, host
from structlog.testing import capture_logs

from migd_agent.collectors import table
from migd_agent.collectors.health import Health, sources
from migd_agent.command import Command
from migd_agent.config import HealthSection, MeasureSection, NoGuests, SimGuests
from migd_agent.failures import Failures
from migd_agent.health import Finding, Found, HealthUnreadable, Source
from migd_agent.health.edac import Edac
from migd_agent.health.held import Held
from migd_agent.health.hwmon import Hwmon
from migd_agent.health.ipmi import Ipmi
from migd_agent.health.smart import Smart
from migd_agent.sampler import Sampler
from migd_core.errors import MigdError
from migd_core.health import MAX_REASONS, HealthState, HostHealth
from migd_core.messages import HostSample

FIXTURES = Path(__file__).parent / "fixtures"
LIMIT_S = 20.0
RECOVER_S = 300.0
OK, DEGRADED, FAILING = HealthState.OK, HealthState.DEGRADED, HealthState.FAILING
HOT = Finding("temperature of a", DEGRADED, "temperature of a is 97 °C (critical 100 °C)")
HOTTER = Finding("temperature of a", FAILING, "temperature of a is 101 °C (critical 100 °C)")


class Scripted:
    """A source that finds what a test says, one reading after the other; an exception is raised."""

    name = "scripted"
    is_reading = False

    def __init__(self, *readings: Found | Exception, every_s: float = 30.0) -> None:
        self.every_s = every_s
        self.readings = list(readings)
        self.began = 0

    def is_here(self) -> bool:
        return True

    def begin(self) -> None:
        self.began += 1

    def take(self, at_s: float) -> Found:
        match self.readings.pop(0):
            case Exception() as error:
                raise error
            case Found() as found:
                return found

    def close(self) -> None:
        """Nothing is open."""


class Agent:
    """The ticks of an agent that measures its host's health; time is a number, tools are real."""

    def __init__(self, *watched: Source, recover_s: float = RECOVER_S) -> None:
        self.failures = Failures()
        self.health = Health(watched, recover_s, self.failures)
        self.sampler = Sampler([_Host(self), self.health], self.failures)
        self.now_s = 0.0
        self.slowest_s = 0.0
        self.tick()

    def tick(self, after_s: float = 1.0) -> HostSample:
        self.now_s += after_s
        began_s = time.monotonic()
        sample = self.sampler.tick(self.now_s)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        return sample  # type: ignore[return-value]  # the first tick has none

    def until(self, wanted: Callable[[HostSample], object]) -> HostSample:
        """Return the first sample that is as wanted; real time passes, as the tools need it."""
        deadline_s = time.monotonic() + LIMIT_S
        while not wanted(sample := self.tick(0.02)):
            assert time.monotonic() < deadline_s, sample
            time.sleep(0.01)
        return sample


class _Host:
    supplies = ("dom0",)

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self, so_far: object) -> object:
        return host(self._agent.now_s)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write programs that stand in the place of tools, and are found first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(name: str, text: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return write


def smartctl(*answers: tuple[str, str]) -> str:
    """Return a smartctl that prints fixtures (or runs what is no fixture) by a word of its command line."""
    cases = "\n".join(
        f"*{word}*) {f'cat {FIXTURES}/smart/{answer}.json' if (FIXTURES / 'smart' / f'{answer}.json').exists() else answer};;"
        for word, answer in answers
    )
    return f'case "$*" in\n{cases}\nesac'


def finds(*findings: Finding, judged: int = 1, **differs: object) -> Found:
    return Found(judged, findings, **differs)  # type: ignore[arg-type]


def states(readings: Sequence[Found], every_s: float = 100.0) -> list[str]:
    """Return the state after each reading, one every `every_s`."""
    held = Held(RECOVER_S)
    found = []
    for number, reading in enumerate(readings):
        held.take("hwmon", reading, number * every_s)
        found.append(held.health.state.value)
    return found


def test_a_host_gets_worse_at_once_and_better_only_after_a_while() -> None:
    well = [finds()] * 5
    assert states([finds(), finds(HOT), finds(HOTTER), *well]) == ["ok", "degraded", *["failing"] * 4, "ok", "ok"]


def test_a_host_that_goes_up_and_down_stays_as_bad_as_it_was() -> None:
    assert states([finds(HOTTER), finds(HOT)] * 6) == ["failing"] * 12
    assert states([finds(HOTTER), *[finds(HOT)] * 5]) == [*["failing"] * 4, "degraded", "degraded"]


def test_of_one_thing_only_the_worst_is_told() -> None:
    held = Held(RECOVER_S)
    held.take("hwmon", finds(HOTTER), 0.0)
    held.take("hwmon", finds(HOT), 30.0)
    assert held.health == HostHealth(state=FAILING, reasons=(HOTTER.reason,), watched=("hwmon",))


def test_the_worst_comes_first_and_many_reasons_are_cut_short() -> None:
    held = Held(RECOVER_S)
    many = [Finding(f"fan {number:02}", DEGRADED, f"fan {number:02} stands still") for number in range(40)]
    held.take("ipmi", finds(*many), 0.0)
    held.take("hwmon", finds(HOTTER), 1.0)
    assert held.health.state is FAILING
    assert held.health.reasons[0] == HOTTER.reason
    assert held.health.reasons[-1] == f"and {41 - MAX_REASONS + 1} more"
    assert len(held.health.reasons) == MAX_REASONS
    assert held.health.watched == ("hwmon", "ipmi")


def test_a_sensor_that_vanishes_counts_as_well_after_a_while() -> None:
    assert states([finds(HOTTER, judged=1), *[Found()] * 5]) == [*["failing"] * 4, "unknown", "unknown"]


def test_what_a_device_said_stands_while_it_says_nothing() -> None:
    held = Held(RECOVER_S)
    bad = Finding("disk /dev/sda", FAILING, "disk /dev/sda says of itself that it is failing", "/dev/sda")
    held.take("smart", finds(bad), 0.0)
    for number in range(1, 10):
        held.take("smart", Found(unread=frozenset({"/dev/sda"})), 600.0 * number)
    assert held.health == HostHealth(state=FAILING, reasons=(bad.reason,), watched=("smart",))


def test_a_source_is_read_at_its_own_pace_and_held_in_between() -> None:
    source = Scripted(finds(HOT), finds(HOT), finds(HOT))
    agent = Agent(source)
    health = [agent.tick().health.state for _ in range(65)]
    assert health == [DEGRADED] * 65
    assert source.began == 3


def test_where_nothing_can_be_read_health_is_unknown(tmp_path: Path) -> None:
    nowhere = tmp_path / "missing"
    agent = Agent(
        Hwmon(1.0, nowhere), Edac(1.0, nowhere), Smart(1.0, "no-such-tool"), Ipmi(1.0, [tmp_path], "no-such-tool")
    )
    sample = [agent.tick() for _ in range(5)][-1]
    assert sample.health == HostHealth()
    assert sample.failed_collectors == ()


def test_a_source_that_breaks_is_named_and_what_it_found_stands_and_the_others_go_on() -> None:
    other = Scripted(*[finds()] * 9, every_s=1.0)
    other.name = "other"
    broken = Scripted(finds(HOT), ZeroDivisionError("bug"), HealthUnreadable("no answer"), finds(HOT), every_s=1.0)
    agent = Agent(broken, other)
    with capture_logs() as lines:
        samples = [agent.tick() for _ in range(3)]
    assert [sample.failed_collectors for sample in samples] == [("health:scripted",), ("health:scripted",), ()]
    assert [sample.health.reasons for sample in samples] == [(HOT.reason,)] * 3
    assert other.began == 4
    assert [(line["event"], line["what"]) for line in lines] == [
        ("measurement missing", "health:scripted"),
        ("measurement no longer missing", "health:scripted"),
    ]


def test_without_the_hosts_own_figures_there_is_no_health_to_add() -> None:
    with pytest.raises(MigdError, match="the host itself could not be measured"):
        Health([Scripted()], 0.0, Failures()).collect(None)


def test_a_sensor_that_does_not_answer_delays_no_tick_and_is_named(tmp_path: Path) -> None:
    """A FIFO that nobody writes holds up whoever reads it, as a sensor behind a dead disk does."""
    for file, text in {"name": "chip", "temp1_input": "95000", "temp1_crit": "90000"}.items():
        (tmp_path / "hwmon0").mkdir(exist_ok=True)
        (tmp_path / "hwmon0" / file).write_text(f"{text}\n")
    hwmon = Hwmon(0.05, tmp_path)
    agent = Agent(hwmon)
    agent.until(lambda sample: sample is not None and sample.health.state is FAILING)
    os.mkfifo(tmp_path / "hwmon0" / "temp2_input")
    hwmon._grep._timeout_s = 1.0
    sample = agent.until(lambda sample: sample.failed_collectors)
    assert sample.failed_collectors == ("health:hwmon",)
    assert sample.health.state is FAILING
    (tmp_path / "hwmon0" / "temp2_input").unlink()
    agent.until(lambda sample: not sample.failed_collectors)
    assert agent.slowest_s < 0.8
    agent.health.close()


def test_disks_are_asked_one_after_the_other(tools: Callable[[str, str], Path]) -> None:
    tools(
        "smartctl",
        smartctl(("--scan", "scan-qemu"), ("sda", "ata-failing"), ("sdb", "scsi-qemu"), ("nvme0", "nvme-qemu")),
    )
    agent = Agent(Smart(600.0))
    sample = agent.until(lambda sample: sample.health.watched)
    assert sample.health.watched == ("smart",)
    assert sample.health.state is FAILING
    assert "disk /dev/sda says of itself that it is failing" in sample.health.reasons
    assert len(sample.health.reasons) == 4
    assert sample.failed_collectors == ()


def test_an_agent_tells_the_controller_of_a_failing_disk_and_of_a_tool_that_fails(
    tools: Callable[[str, str], Path], listen: Callable[[], Any], start_agent: Callable[..., Any]
) -> None:
    tools(
        "smartctl", smartctl(("--scan", "scan-qemu"), ("sda", "ata-failing"), ("sdb", "exit 1"), ("nvme0", "nvme-qemu"))
    )
    listener = listen()
    agent = start_agent(listener.endpoint, health='off = ["hwmon", "ipmi", "edac", "nics"]')
    sample = listener.receive(lambda sample: sample.health.state is not HealthState.UNKNOWN)
    assert (sample.health.state, sample.health.watched) == (FAILING, ("smart",))
    assert "disk /dev/sda says of itself that it is failing" in sample.health.reasons
    assert sample.failed_collectors == ("health:smart",)
    assert agent.end() == 0


def test_a_disk_that_does_not_answer_is_named_and_the_others_are_judged(tools: Callable[[str, str], Path]) -> None:
    tools(
        "smartctl",
        smartctl(("--scan", "scan-qemu"), ("sda", "exec sleep 60"), ("sdb", "ata-failing"), ("nvme0", "nvme-qemu")),
    )
    with capture_logs() as lines:
        agent = Agent(Smart(600.0, timeout_s=1.0))
        sample = agent.until(lambda sample: sample.failed_collectors)
    assert sample.failed_collectors == ("health:smart",)
    assert sample.health.state is FAILING
    assert all("/dev/sdb" in reason for reason in sample.health.reasons)
    assert [line["why"] for line in lines] == ["smartctl -j -H -A -n standby /dev/sda has not ended within 1 s"]
    assert agent.slowest_s < 0.8


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 1", "smartctl --scan: expected JSON"),
        ("echo 'Segmentation fault'; kill -SEGV $$", "smartctl -j --scan failed with exit code -11"),
        ("cat /dev/urandom | head -c 100000", "smartctl --scan: expected JSON"),
        (smartctl(("--scan", "not-a-disk")), "smartctl --scan: exit code 1: /dev/vda: Unable to detect device type"),
        (smartctl(("--scan", "scan-qemu"), ("-H", "echo nonsense")), "smartctl /dev/sda: expected JSON"),
    ],
)
def test_a_smartctl_that_fails_is_named_with_its_words(
    tools: Callable[[str, str], Path], script: str, why: str
) -> None:
    tools("smartctl", script)
    with capture_logs() as lines:
        sample = Agent(Smart(600.0)).until(lambda sample: sample.failed_collectors)
    assert (sample.failed_collectors, sample.health) == (("health:smart",), HostHealth())
    assert why in lines[0]["why"]


def test_a_program_that_cannot_be_run_is_named(
    tools: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tools("smartctl", "")
    broken.write_text("\x7fELF nonsense")
    monkeypatch.setenv("PATH", str(broken.parent))
    with capture_logs() as lines:
        Agent(Smart(600.0)).until(lambda sample: sample.failed_collectors)
    assert lines[0]["why"] == "smartctl cannot be run: Exec format error; is it installed?"


def test_a_boards_controller_is_asked_where_there_is_one(tools: Callable[[str, str], Path], tmp_path: Path) -> None:
    tools("ipmitool", f"[ \"$*\" = 'sdr list full' ] && cat {FIXTURES}/ipmi/server.txt")
    assert not Ipmi(120.0, [tmp_path / "ipmi0"]).is_here()
    (tmp_path / "ipmi0").touch()
    agent = Agent(Ipmi(120.0, [tmp_path / "ipmi0"]))
    sample = agent.until(lambda sample: sample.health.watched)
    assert (sample.health.state, len(sample.health.reasons)) == (FAILING, 4)


def test_a_boards_controller_that_says_nothing_is_named(tools: Callable[[str, str], Path], tmp_path: Path) -> None:
    tools("ipmitool", "echo 'Unable to establish IPMI session' >&2; exit 1")
    (tmp_path / "ipmi0").touch()
    with capture_logs() as lines:
        sample = Agent(Ipmi(120.0, [tmp_path / "ipmi0"])).until(lambda sample: sample.failed_collectors)
    assert sample.failed_collectors == ("health:ipmi",)
    assert lines[0]["why"] == "ipmitool sdr list full failed with exit code 1: Unable to establish IPMI session"


def test_a_tool_that_hangs_is_ended_with_the_agent(tools: Callable[[str, str], Path], tmp_path: Path) -> None:
    tools("smartctl", f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 60")
    agent = Agent(Smart(600.0))
    agent.until(lambda sample: (tmp_path / "pid").exists())
    pid = int((tmp_path / "pid").read_text())
    agent.health.close()
    deadline_s = time.monotonic() + LIMIT_S
    while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_tool_that_cannot_be_killed_is_not_started_again() -> None:
    """A stopped process is killed all the same; one that waits for hardware is not, so here one is taken for it."""
    command = Command("sleep", "60", failure=HealthUnreadable, timeout_s=0.0)
    command.begin()
    alive = command._process
    assert alive is not None
    alive.kill, kill = (lambda: None), alive.kill  # type: ignore[method-assign]
    with pytest.raises(HealthUnreadable, match="sleep 60 has not ended within 0 s"):
        command.take()
    with pytest.raises(HealthUnreadable, match="sleep 60 hangs in the kernel and cannot be killed"):
        command.begin()
    assert not command.is_running
    kill()
    alive.wait(LIMIT_S)
    command.begin()
    assert command.is_running
    command.close()


def test_what_the_configuration_switches_off_is_never_read() -> None:
    every = [source.name for source in sources(HealthSection())]
    assert every == ["hwmon", "ipmi", "edac", "smart", "nics"]
    left = sources(HealthSection(off=("smart", "ipmi"), every_s=5.0))
    assert [(source.name, source.every_s) for source in left] == [("hwmon", 5.0), ("edac", 5.0), ("nics", 5.0)]


@pytest.mark.parametrize(
    ("measure", "off", "is_watched"),
    [
        (MeasureSection(guests=NoGuests()), (), True),
        (MeasureSection(guests=NoGuests()), ("hwmon", "ipmi", "edac", "smart", "nics"), False),
        (MeasureSection(guests=SimGuests(url="http://127.0.0.1:1")), (), False),
    ],
)
def test_health_is_read_unless_all_is_off_or_the_host_is_emulated(
    measure: MeasureSection, off: tuple[str, ...], is_watched: bool
) -> None:
    chosen = table.chosen(measure, "h", None, HealthSection(off=off), Failures())  # type: ignore[arg-type]
    assert any(isinstance(collector, Health) for collector in chosen) == is_watched


def test_a_held_sample_keeps_the_health_that_was_known() -> None:
    class Failing(_Host):
        def collect(self, so_far: object) -> object:
            if self._agent.now_s > 2.5:
                raise MigdError("broken")
            return busy_host(self._agent.now_s)

    agent = Agent(Scripted(finds(HOT)))
    agent.sampler = Sampler([Failing(agent), agent.health], agent.failures)  # type: ignore[list-item]
    agent.tick(0.0)
    agent.tick()
    assert agent.tick().health.reasons == (HOT.reason,)

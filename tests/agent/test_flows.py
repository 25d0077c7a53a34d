"""Who talks to whom: counted by real nftables on real bridges in network namespaces, and by Open vSwitch's own text."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from readings import HOST, busy_host, host
from structlog.testing import capture_logs
from test_sampler import Readings

from faulty_pool import until
from migd_agent.collectors import flows, table
from migd_agent.collectors.flows import Flows, Unreadable, read_every_s, switch_of
from migd_agent.command import Command, run
from migd_agent.config import HealthSection, MeasureSection, NoGuests
from migd_agent.failures import Failures
from migd_agent.flows import FlowsUnreadable, Pair, Switch, bridge, openvswitch
from migd_agent.flows.bridge import Bridge
from migd_agent.flows.openvswitch import OpenVSwitch
from migd_agent.sampler import Sampler
from migd_core.counters import FlowCounter

LIMIT_S = 20.0
CAPTURED = Path(__file__).parent / "captured"
A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
PING_BYTES = 20 + 8 + 1000  # the bridge family counts a frame from its IP header on


def answer(switch: Switch) -> Mapping[Pair, int]:
    """Ask a switch, and return what it says."""
    switch.begin()
    return until(lambda: [found] if (found := switch.take()) is not None else [])[0]


@dataclass
class Lan:
    """A bridge in one network namespace, with a station in each of two more."""

    name: str

    def run(self, where: str, *command: str) -> str:
        """Run a command in the bridge's namespace (`switch`) or a station's (`a`, `b`)."""
        done = subprocess.run(
            ["ip", "netns", "exec", f"{self.name}-{where}", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ping(self, times: int = 5) -> None:
        """Let a ping b, 1,000 bytes each time."""
        self.run("a", "ping", "-q", "-c", str(times), "-i", "0.01", "-s", "1000", "-W", "5", "10.99.0.2")

    def tables(self) -> str:
        return self.run("switch", "nft", "list", "tables")

    def agent(self, tmp_path: Path) -> "subprocess.Popen[bytes]":
        """Start something that counts on the bridge as the agent does, and says so; it ends as the agent does."""
        script = tmp_path / "counts.py"
        script.write_text(
            "import signal, sys\n"
            "from migd_agent.flows import FlowsUnreadable\n"
            "from migd_agent.flows.bridge import Bridge\n"
            "try:\n    counting = Bridge()\n"
            "except FlowsUnreadable as error:\n    sys.exit(str(error))\n"
            "print('counting', flush=True)\n"
            "signal.sigwait([signal.SIGTERM])\n"
            "counting.close()\n"
        )
        return subprocess.Popen(
            ["ip", "netns", "exec", f"{self.name}-switch", sys.executable, str(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
        )


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces and nftables need root")
    assert shutil.which("nft"), "`make test` installs nftables"
    lan = Lan(f"migd-{os.getpid()}")
    try:
        for place in ("switch", "a", "b"):
            run(["ip", "netns", "add", f"{lan.name}-{place}"], failure=FlowsUnreadable)
        lan.run("switch", "ip", "link", "add", "br0", "type", "bridge")
        lan.run("switch", "ip", "link", "set", "br0", "up")
        for number, (place, mac) in enumerate({"a": A, "b": B}.items(), start=1):
            lan.run("switch", "ip", "link", "add", f"port{place}", "type", "veth", "peer", "name", "eth0")
            lan.run("switch", "ip", "link", "set", "eth0", "netns", f"{lan.name}-{place}")
            lan.run("switch", "ip", "link", "set", f"port{place}", "master", "br0", "up")
            lan.run(place, "ip", "link", "set", "eth0", "address", mac, "up")
            lan.run(place, "ip", "address", "add", f"10.99.0.{number}/24", "dev", "eth0")
        yield lan
    finally:
        for place in ("a", "b", "switch"):
            with contextlib.suppress(FlowsUnreadable):
                run(["ip", "netns", "del", f"{lan.name}-{place}"], failure=FlowsUnreadable)


@pytest.fixture
def inside(lan: Lan, monkeypatch: pytest.MonkeyPatch) -> Lan:
    """Let this process' nft work in the bridge's namespace."""
    real = bridge.run
    prefix = ("ip", "netns", "exec", f"{lan.name}-switch")
    monkeypatch.setattr(bridge, "run", lambda command, text="", **how: real((*prefix, *command), text, **how))
    monkeypatch.setattr(bridge, "Command", lambda *command, **how: Command(*prefix, *command, **how))
    return lan


def test_the_bridge_counts_exactly_what_two_stations_send_each_other(inside: Lan) -> None:
    inside.ping(1)  # they know each other's addresses from here on
    switch = Bridge()
    try:
        assert answer(switch) == {}
        inside.ping(5)
        assert answer(switch) == {(A, B): 5 * PING_BYTES, (B, A): 5 * PING_BYTES}
        inside.ping(2)
        assert answer(switch)[A, B] == 7 * PING_BYTES
    finally:
        switch.close()
    assert bridge.TABLE not in inside.tables()


def test_the_tables_of_others_are_not_touched(inside: Lan) -> None:
    inside.run("switch", "nft", "add", "table", "bridge", "theirs")
    before = inside.tables()
    Bridge().close()
    assert inside.tables() == before
    inside.run("switch", "nft", "delete", "table", "bridge", "theirs")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_table_goes_with_its_agent_or_at_the_next_start(lan: Lan, tmp_path: Path, number: int) -> None:
    agent = lan.agent(tmp_path)
    assert agent.stdout is not None
    assert agent.stdout.readline() == b"counting\n"
    assert "table bridge migd" in lan.tables()
    agent.send_signal(number)
    agent.communicate(timeout=LIMIT_S)
    assert ("table bridge migd" in lan.tables()) is (number == signal.SIGKILL)
    lan.ping(1)
    again = lan.agent(tmp_path)
    assert again.stdout is not None
    assert again.stdout.readline() == b"counting\n"
    assert "elements" not in lan.run("switch", "nft", "list", "set", "bridge", "migd", "pairs")
    again.terminate()
    again.communicate(timeout=LIMIT_S)
    assert "migd" not in lan.tables()


def test_a_table_that_somebody_has_flushed_is_no_failure_at_the_end(inside: Lan) -> None:
    switch = Bridge()
    inside.run("switch", "nft", "flush", "ruleset")
    switch.close()
    assert inside.tables() == ""


def test_a_table_that_somebody_has_flushed_is_told_and_made_anew(inside: Lan) -> None:
    inside.ping(1)
    switch = Bridge()
    try:
        inside.run("switch", "nft", "flush", "ruleset")
        with pytest.raises(FlowsUnreadable, match="No such file or directory"):
            answer(switch)
        assert answer(switch) == {}
        inside.ping(5)
        assert answer(switch) == {(A, B): 5 * PING_BYTES, (B, A): 5 * PING_BYTES}
    finally:
        switch.close()
    assert inside.tables() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_sample_that_is_not_waited_for_leaves_no_table(lan: Lan, tmp_path: Path, number: int) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        '[controller]\nendpoint = "tcp://127.0.0.1:7201"\npublic_key_file = ""\nsecret_key_file = ""\n'
        '[measure]\nperiod_s = 60\nflows = "bridge"\nguests = { source = "none" }\n'
    )
    command = ("ip", "netns", "exec", f"{lan.name}-switch", sys.executable, "-m", "migd_agent", "--print-sample")
    with subprocess.Popen([*command, "--config", config], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as agent:
        until(lambda: "table bridge migd" in lan.tables())
        agent.send_signal(number)
        printed, _ = agent.communicate(timeout=LIMIT_S)
    assert (agent.returncode, printed, lan.tables()) == (1, b"", "")


def test_a_second_agent_on_the_host_is_told_and_leaves_the_first_ones_counts_alone(lan: Lan, tmp_path: Path) -> None:
    first = lan.agent(tmp_path)
    assert first.stdout is not None
    assert first.stdout.readline() == b"counting\n"
    lan.ping(1)
    second = lan.agent(tmp_path)
    _, said = second.communicate(timeout=LIMIT_S)
    assert b"another migd-agent counts this host's flows already" in said
    assert A in lan.run("switch", "nft", "list", "set", "bridge", "migd", "pairs")
    first.terminate()
    first.communicate(timeout=LIMIT_S)


def test_a_missing_nft_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FlowsUnreadable, match="nft cannot be run: No such file or directory; is it installed"):
        Bridge()


@pytest.mark.parametrize(
    "said",
    [
        "Error: Could not process rule: Operation not permitted",
        # What one before 0.9.4 cannot read.
        "/dev/stdin:6:5-10: Error: syntax error, unexpected string\n    typeof ether saddr . ether daddr\n    ^^^^^^",
    ],
)
def test_an_nft_that_refuses_is_quoted_and_what_is_needed_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    _program(tmp_path / "nft", f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(FlowsUnreadable) as refused:
        Bridge()
    quoted = " ".join(said.split())
    assert str(refused.value) == f"nft -f - failed: {quoted} (nftables 1.0 and Linux 5.7 or newer are needed)"


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"not json",
        b"{}",
        b'{"nftables": []}',
        b'{"nftables": [{"set": {"elem": ["00:16:3e:00:00:01"]}}]}',
        b'{"nftables": [{"set": {"elem": [{"elem": {"val": {"concat": ["a", "b"]}}}]}}]}',
    ],
)
def test_an_answer_of_nft_that_is_no_set_with_counters_is_refused(output: bytes) -> None:
    with pytest.raises(FlowsUnreadable, match=r"nft: expected a set of MAC pairs .*; nftables 1\.0 and Linux 5\.7 or"):
        bridge.parse(output)


def test_flows_of_open_vswitch_are_read_and_what_is_no_pair_is_left_out() -> None:
    found = openvswitch.parse((CAPTURED / "ovs-dump-flows.txt").read_bytes())
    assert sorted(found.values()) == [
        (("00:16:3e:00:00:01", "00:16:3e:00:00:02"), 42),
        (("00:16:3e:00:00:01", "00:16:3e:00:00:02"), 980),
        (("00:16:3e:00:00:02", "00:16:3e:00:00:01"), 980),
    ]


def test_a_text_that_is_no_flow_is_refused() -> None:
    with pytest.raises(FlowsUnreadable, match="ovs-appctl: expected a flow and its bytes, found no datapath"):
        openvswitch.parse(b"no datapath\n")


def test_a_flow_that_was_evicted_and_came_back_counts_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = "in_port(2),eth(src={a},dst={b}),eth_type(0x0800), packets:1, bytes:{n}, used:0.1s, actions:3\n"
    shown = tmp_path / "shown"
    _program(tmp_path / "ovs-appctl", f"#!/bin/sh\ncat {shown}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    switch, totals = OpenVSwitch(), []
    for count in (1000, 1500, None, 200, 300):
        shown.write_text("" if count is None else line.format(a=A, b=B, n=count))
        totals.append(answer(switch)[A, B])
    assert totals == [1000, 1500, 1500, 1700, 1800]


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_a_tool_that_hangs_is_given_up() -> None:
    command = Command("sleep", "60", failure=FlowsUnreadable, timeout_s=0.1)
    command.begin()
    with pytest.raises(FlowsUnreadable, match=r"sleep 60 has not ended within 0\.1 s"):
        until(command.take)
    assert not command.is_running


class Scripted:
    """A switch whose answers a test writes."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.is_reading = False

    def begin(self) -> None:
        self.is_reading = True

    def take(self) -> Mapping[Pair, int] | None:
        if self.answer is None:
            return None
        self.is_reading = False
        if isinstance(self.answer, Exception):
            raise self.answer
        found: Mapping[Pair, int] = dict(self.answer)
        return found

    def close(self) -> None:
        pass


def test_counts_are_those_of_the_moment_the_switch_was_asked_and_stay_until_it_is_read_again() -> None:
    switch = Scripted()
    collector = Flows(switch, read_every_s=2.0)
    shown = []
    for second, count in enumerate([None, 10, 20, None, 40, 50, 60], start=1):
        switch.answer = None if count is None else {(A, B): count}
        counters = collector.collect(host(float(second)))
        shown.append((counters.flows_at_s, [flow.bytes for flow in counters.flows]))
    assert shown == [(None, []), (1.0, [10]), (1.0, [10]), (1.0, [10]), (3.0, [40]), (5.0, [50]), (5.0, [50])]


@pytest.mark.parametrize(("cost_s", "every_s"), [(0.0, 5.0), (0.004, 5.0), (0.017, 17.0), (0.059, 59.0), (0.2, 60.0)])
def test_a_switch_that_is_dear_to_read_is_read_more_seldom(cost_s: float, every_s: float) -> None:
    assert read_every_s(cost_s) == pytest.approx(every_s)


def test_what_the_tool_of_a_switch_takes_counts_as_cost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tool that takes 0.03 s of CPU or more is asked again after 30 s at the earliest, whatever the wall clock says."""
    busy = "import time\nwhile time.process_time() < 0.03: pass\n"
    _program(tmp_path / "ovs-appctl", f"#!{sys.executable} -IS\n{busy}")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    switch = OpenVSwitch()
    collector = Flows(switch)
    collector.collect(host(1.0))
    until(lambda: collector.collect(host(2.0)).flows_at_s == 1.0)
    collector.collect(host(30.9))
    assert not switch.is_reading
    collector.collect(host(61.0))
    assert switch.is_reading
    collector.close()


def test_a_switch_that_fails_is_told_until_it_answers_again() -> None:
    switch = Scripted()
    collector = Flows(switch, read_every_s=1.0)
    collector.collect(host(1.0))
    switch.answer = FlowsUnreadable("it is gone")
    for at_s in (2.0, 3.0):
        with pytest.raises(FlowsUnreadable, match="it is gone"):
            collector.collect(host(at_s))
    switch.answer = {(A, B): 7}
    assert collector.collect(host(4.0)).flows == (FlowCounter(A, B, 7),)


def test_a_failure_that_lasts_holds_on_to_nothing_of_the_ticks_that_told_it() -> None:
    collector = Flows(Unreadable("there is none"))
    depths = []
    for second in range(1, 5):
        with pytest.raises(FlowsUnreadable, match="there is none") as told:
            collector.collect(host(float(second)))
        depths.append(len(told.traceback))
    assert depths == depths[:1] * 4


@pytest.mark.parametrize(
    ("wanted", "has", "expected"),
    [
        ("auto", {"db.sock"}, OpenVSwitch),
        ("auto", {"db.sock", "br0/bridge"}, OpenVSwitch),
        ("auto", {"eth0"}, type(None)),
        ("openvswitch", set(), OpenVSwitch),
        ("off", {"br0/bridge"}, type(None)),
    ],
)
def test_the_switch_is_the_one_that_the_host_has(tmp_path: Path, wanted: Any, has: set[str], expected: type) -> None:
    for name in has:
        (tmp_path / name).mkdir(parents=True)
    assert type(switch_of(wanted, tmp_path, (tmp_path / "db.sock",))) is expected


@pytest.mark.parametrize(("wanted", "fails"), [("auto", False), ("bridge", True)])
def test_a_bridge_that_cannot_be_counted_on_is_named_in_every_sample_and_ends_the_agent_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Any, fails: bool
) -> None:
    (tmp_path / "br0" / "bridge").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    if fails:
        with pytest.raises(FlowsUnreadable, match="nft cannot be run"):
            switch_of(wanted, tmp_path, ())
    else:
        switch = switch_of(wanted, tmp_path, ())
        assert switch is not None
        sampler = Sampler([Readings([busy_host(1.0), busy_host(2.0)]), Flows(switch)], Failures())
        with capture_logs() as lines:
            sampler.tick(1.0)
            sample = sampler.tick(2.0)
        assert sample is not None
        assert (len(sample.guests), sample.failed_collectors) == (3, ("flows",))
        assert [line["why"] for line in lines] == [
            "nft cannot be run: No such file or directory; is it installed? "
            "(nftables 1.0 and Linux 5.7 or newer are needed) "
            '(then start the agent again, or set `flows = "off"`)'
        ]


def test_a_machine_that_is_no_xen_host_counts_no_flows_unless_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "switch_of", lambda wanted: Scripted())
    unasked, asked = (
        [type(each) for each in table.chosen(section, HOST, None, HealthSection(), Failures())]
        for section in (MeasureSection(guests=NoGuests()), MeasureSection(guests=NoGuests(), flows="bridge"))
    )
    assert Flows in asked
    assert Flows not in unasked

"""The real daemon between a real pool endpoint and a real controller socket."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest
import zmq.auth
from conftest import Agent, Granter, Listener, Pool
from readings import HOST

from migd_agent.xen import library
from migd_core.frames import encode_request
from migd_core.messages import HostSample, ProbeLease, ProbeReport

Start = Callable[..., Agent]
Listen = Callable[..., Listener]
MAX_RESIDENT_BYTES = 40 * 10**6


def test_guests_of_the_pool_arrive_with_their_rates(pool: Pool, listen: Listen, start_agent: Start) -> None:
    listener = listen()
    start_agent(listener.endpoint, pool.url)
    sample = listener.receive()
    assert sample.host_uuid == HOST
    assert [guest.uuid for guest in sample.guests] == ["g0", "g1", "g2"]
    assert sample.guests[0].cpu_ratio == pytest.approx(0.5, abs=0.01)
    assert sample.guests[0].tx_bytes_per_s == pytest.approx(1000, rel=0.1)
    assert sample.cpu_ratio == pytest.approx(0.375, abs=0.01)
    assert sample.link_bytes_per_s == 125e6
    assert sample.failed_collectors == ()


def test_without_guests_this_host_itself_is_measured(listen: Listen, start_agent: Start) -> None:
    listener = listen()
    start_agent(listener.endpoint)
    sample = listener.receive()
    assert sample.memory_bytes == psutil.virtual_memory().total
    assert (sample.guests, sample.failed_collectors) == ((), ())


def test_a_guest_is_probed_on_a_lease_and_its_curve_goes_along_from_then_on(
    pool: Pool, listen: Listen, start_agent: Start, key_folder: Path
) -> None:
    listener, granter = listen(), Granter(key_folder)
    start_agent(listener.endpoint, pool.url, granter.endpoint)
    assert granter.subscribed() == b"\x01" + HOST.encode()
    sample = listener.receive()
    assert (sample.probe, [guest.dirty_curve for guest in sample.guests]) == (None, [None] * 3)
    lease = ProbeLease(
        lease="P1",
        host_uuid=HOST,
        guest_uuid="g1",
        boot_id=sample.boot_id,
        until_s=sample.monotonic_s + 6.0,
        ages_s=(0.05, 1.0),
        sessions=1,
    )
    granter.socket.send_multipart(encode_request(lease))
    done = ProbeReport(lease="P1", guest_uuid="g1", state="done")
    sample = listener.receive(lambda sample: sample.probe == done)
    first, probed, last = (guest.dirty_curve for guest in sample.guests)
    assert (first, last) == (None, None)
    assert probed is not None
    assert probed.unique_pages == (10, 20)
    assert 0 <= sample.monotonic_s - probed.measured_s < 10
    granter.close()


def test_samples_come_at_a_steady_period(pool: Pool, listen: Listen, start_agent: Start) -> None:
    listener = listen()
    start_agent(listener.endpoint, pool.url, period_s=0.1)
    samples = [listener.receive() for _ in range(12)]
    first, last = samples[0], samples[-1]
    periods = (last.monotonic_s - first.monotonic_s) / 0.1
    assert abs(periods - round(periods)) < 0.5
    assert [sample.sequence for sample in samples] == list(range(first.sequence, first.sequence + 12))


def test_the_agent_goes_on_when_the_controller_comes_back(pool: Pool, listen: Listen, start_agent: Start) -> None:
    first = listen()
    agent = start_agent(first.endpoint, pool.url)
    before = first.receive()
    first.close()
    agent.until(lambda: "controller absent; samples are dropped" in agent.events())
    again = listen(port=first.port)
    after = again.receive()
    assert after.boot_id == before.boot_id
    assert after.sequence > before.sequence
    assert after.samples_dropped > 0
    agent.end()
    assert agent.events() == [
        "agent started",
        "controller connected",
        "controller absent; samples are dropped",
        "controller connected",
        "agent ended",
    ]


def test_a_key_that_is_let_in_later_connects_then(
    pool: Pool, listen: Listen, start_agent: Start, key_folder: Path
) -> None:
    allowed: set[bytes] = set()
    listener = listen(allowed=allowed)
    agent = start_agent(listener.endpoint, pool.url)
    agent.until(lambda: "controller refused; samples are dropped" in agent.events())
    (refusal,) = [line for line in agent.log() if line["event"].startswith("controller refused")]
    assert "does not know this agent's key" in refusal["why"]
    allowed.add(zmq.auth.load_certificate(key_folder / "agent.key")[0])
    assert listener.receive().samples_dropped > 0


def test_the_wrong_controller_gets_nothing(pool: Pool, listen: Listen, start_agent: Start, key_folder: Path) -> None:
    listener = listen()
    zmq.auth.create_certificates(key_folder, "controller")
    agent = start_agent(listener.endpoint, pool.url)
    agent.until(lambda: "controller refused; samples are dropped" in agent.events())
    assert listener.socket.poll(0) == 0


def test_a_pool_that_is_down_is_named_while_samples_go_on(pool: Pool, listen: Listen, start_agent: Start) -> None:
    listener = listen()
    agent = start_agent(listener.endpoint, pool.url)
    measured = listener.receive(lambda sample: bool(sample.guests))
    pool.stop()
    without = listener.receive(lambda sample: bool(sample.failed_collectors))
    assert without.failed_collectors == ("dom0", "guests")
    assert (without.guests, without.memory_bytes) == ((), measured.memory_bytes)
    listener.receive(lambda sample: sample.sequence == without.sequence + 3 and bool(sample.failed_collectors))
    pool.start()
    again = listener.receive(lambda sample: not sample.failed_collectors)
    assert [guest.uuid for guest in again.guests] == ["g0", "g1", "g2"]
    missing = [line for line in agent.log() if line["event"] == "measurement missing"]
    assert [line["what"] for line in missing] == ["dom0", "guests"]
    assert f"GET {pool.url}/dom0/{HOST}" in missing[0]["why"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_agent_ends_within_a_second_of_a_signal(
    pool: Pool, listen: Listen, start_agent: Start, number: signal.Signals
) -> None:
    listener = listen()
    agent = start_agent(listener.endpoint, pool.url, period_s=30.0)
    agent.until(lambda: not listener.socket.poll(0) and "controller connected" in agent.events())
    asked_s = time.monotonic()
    agent.process.send_signal(number)
    assert agent.process.wait(10) == 0
    assert time.monotonic() - asked_s < 2.0  # a second, and one more on a busy machine; the pool hangs for 5 s
    assert agent.events()[-1] == "agent ended"


def test_the_agent_ends_within_a_second_while_the_pool_hangs(pool: Pool, listen: Listen, start_agent: Start) -> None:
    agent = start_agent(listen().endpoint, pool.url)
    agent.until(lambda: bool(pool.asked))
    pool.answer = lambda path: time.sleep(5) or (200, b"")
    count = len(pool.asked)
    agent.until(lambda: len(pool.asked) > count + 1)
    asked_s = time.monotonic()
    assert agent.end() == 0
    assert time.monotonic() - asked_s < 2.0  # a second, and one more on a busy machine; the pool hangs for 5 s


def test_a_second_agent_of_a_host_is_refused_as_long_as_the_first_runs(
    pool: Pool, listen: Listen, start_agent: Start
) -> None:
    listener, other = listen(), listen()
    first = start_agent(listener.endpoint, pool.url)
    listener.receive()
    second = start_agent(listener.endpoint, pool.url)
    assert second.process.wait(30) == 3
    assert f"another migd-agent speaks for host {HOST} to {listener.endpoint} already" in second.said()
    start_agent(other.endpoint, pool.url)  # another controller's
    other.receive()
    first.process.kill()
    first.process.wait()
    third = start_agent(listener.endpoint, pool.url)
    third.until(lambda: "agent started" in third.events())


def test_an_agent_loads_no_event_loop_and_no_openssl() -> None:
    """They are 7 MB of a Dom0's memory, and some library or other loads them unless it is kept from it."""
    script = (
        "import sys, migd_agent.__main__; print(*sorted({'_asyncio', '_ssl', 'asyncio.events'} & sys.modules.keys()))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout == "\n"


def test_a_running_agent_stays_within_its_memory(pool: Pool, listen: Listen, start_agent: Start) -> None:
    listener = listen()
    agent = start_agent(listener.endpoint, pool.url, period_s=0.05)
    listener.receive(lambda sample: sample.sequence >= 40)
    assert psutil.Process(agent.process.pid).memory_info().rss <= MAX_RESIDENT_BYTES


@pytest.mark.skipif(
    not Path("/etc/machine-id").exists(), reason="this machine has no /etc/machine-id, as a bare chroot"
)
def test_a_sample_can_be_printed_without_configuration() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "migd_agent", "--print-sample"], capture_output=True, timeout=30, check=False
    )
    (said,) = ended.stderr.decode().splitlines()
    assert "no guests are measured: this is no Dom0 of a Xen host" in said
    assert ended.returncode == 0
    assert msgspec.json.decode(ended.stdout, type=HostSample).interval_s == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--config", "/nowhere/agent.toml"], 3, "migd-agent: /nowhere/agent.toml: there is no such file"),
        (["--wrong"], 2, "unrecognized arguments: --wrong"),
    ],
)
def test_a_wrong_start_says_why(arguments: list[str], code: int, text: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "migd_agent", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == code
    assert text in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(library.PRIVCMD.exists(), reason="there is a Xen here")
@pytest.mark.parametrize(
    ("source", "code", "text"),
    [
        (
            "xen",
            3,
            "migd-agent: there is no Xen here: /dev/xen/privcmd does not exist; boot Xen, or set measure.guests",
        ),
        ("auto", 0, "no guests are measured: this is no Dom0 of a Xen host"),
    ],
)
def test_without_xen_an_agent_that_is_to_ask_it_says_so_and_another_measures_the_host_alone(
    key_folder: Path, source: str, code: int, text: str
) -> None:
    config = key_folder / "agent.toml"
    config.write_text(
        f"""
controller = {{endpoint = "tcp://127.0.0.1:1", public_key_file = "x", secret_key_file = "x"}}
measure = {{host_uuid = "{HOST}", period_s = 0.1, guests = {{source = "{source}"}}}}
"""
    )
    command = [sys.executable, "-m", "migd_agent", "--print-sample", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, HOST in ended.stdout) == (code, code == 0)
    assert text in ended.stderr


def test_a_host_that_cannot_be_measured_prints_no_sample(key_folder: Path) -> None:
    config = key_folder / "agent.toml"
    config.write_text(
        f"""
controller = {{endpoint = "tcp://127.0.0.1:1", public_key_file = "x", secret_key_file = "x"}}
[measure]
host_uuid = "{HOST}"
period_s = 0.1
guests = {{source = "sim", url = "http://127.0.0.1:1"}}
""",
        encoding="utf-8",
    )
    ended = subprocess.run(
        [sys.executable, "-m", "migd_agent", "--print-sample", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "is the emulated pool running" in ended.stderr

"""Latency and bandwidth at a level: fitted from times, and measured for real between two ends."""

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migd_cli.commands.measure import snippet_lines
from migd_cli.failures import Failure
from migd_cli.links.across import Endpoint, command_of, measure
from migd_cli.links.fit import fit
from migd_cli.screen import Screen
from migd_core import config
from migd_core.api import LinkMeasurement, LinksRequest, LinkView
from migd_core.world import Level

HERE = "env WHERE={host}"
SIZES = [4**n for n in range(12)]


@given(
    latency_s=st.floats(1e-6, 0.1),
    bandwidth_bytes_per_s=st.floats(1e5, 1e10),
    noise=st.lists(st.floats(0.98, 1.02), min_size=5, max_size=20),
    largest=st.integers(5, 11),
)
def test_a_link_that_follows_the_model_is_found_again(
    latency_s: float, bandwidth_bytes_per_s: float, noise: list[float], largest: int
) -> None:
    """One odd time in five does not matter; a message is compared with the latency only where it takes longer."""
    middle = statistics.median(noise)
    times = {
        size: [each / middle * (latency_s + size / bandwidth_bytes_per_s) for each in noise] + [1e3] * (len(noise) // 5)
        for size in SIZES[: largest + 1]
    }
    exact = {size: [latency_s + size / bandwidth_bytes_per_s] * 3 for size in times}
    found = fit(exact)
    assert found.latency_s == pytest.approx(latency_s + 1 / bandwidth_bytes_per_s)
    if SIZES[largest] / bandwidth_bytes_per_s > 1e-9 * latency_s:
        assert found.bandwidth_bytes_per_s == pytest.approx(bandwidth_bytes_per_s, rel=0.01)
    if SIZES[largest] / bandwidth_bytes_per_s > latency_s:
        assert fit(times).bandwidth_bytes_per_s == pytest.approx(bandwidth_bytes_per_s, rel=0.25)


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ({}, "expected positive times of two message sizes or more, found those of"),
        ({1: [1e-5]}, "two message sizes"),
        ({1: [0.0], 4: [1e-5]}, "positive times"),
        ({1: [1e-3], 1 << 20: [1e-4]}, "found none that does; measure again"),
    ],
)
def test_times_that_cannot_be_are_refused(times: dict[int, list[float]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        fit(times)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("rank0", Endpoint("rank0", "rank0")),
        ("root@rank0", Endpoint("root@rank0", "rank0")),
        ("rank0=10.0.0.1", Endpoint("rank0", "10.0.0.1")),
        ("rank0=fe80::1%eth0", Endpoint("rank0", "fe80::1%eth0")),
    ],
)
def test_an_end_is_a_host_and_perhaps_its_address(text: str, found: Endpoint) -> None:
    assert Endpoint.parse(text) == found


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "a b", "a=;reboot", "a=$(id)"])
def test_an_end_that_a_shell_would_take_for_more_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected HOST or HOST=ADDRESS, found"):
        Endpoint.parse(text)


def test_the_command_names_the_host_where_it_is_asked_to() -> None:
    assert command_of("ssh -p 22 'root@{host}' nice", "rank0") == ["ssh", "-p", "22", "root@rank0", "nice"]
    with pytest.raises(ValueError, match=r"expected a command with \{host\} in it"):
        command_of("ssh rank0", "rank0")


def test_loopback_is_measured_with_every_size() -> None:
    times = measure(HERE, Endpoint("here", "127.0.0.1"), Endpoint("there", "127.0.0.1"))
    assert list(times) == SIZES
    assert all(len(each) >= 4 and min(each) > 0 for each in times.values())
    found = fit(times)
    assert 1e-7 < found.latency_s < 0.1
    assert 1e6 < found.bandwidth_bytes_per_s < 1e12


# Runs what it is told to; where that is the sending end, its messages go through a proxy that passes each piece on
# DELAY_S later and no more than BYTES_PER_S of them, each way.
SLOW_WIRE = """
import queue, socket, subprocess, sys, threading, time

DELAY_S, BYTES_PER_S = 0.020, 20e6


def take(source, pieces):
    free_s = time.monotonic()
    while piece := source.recv(16384):
        free_s = max(free_s, time.monotonic()) + len(piece) / BYTES_PER_S
        pieces.put((free_s + DELAY_S, piece))
    pieces.put((0.0, b""))


def give(pieces, target):
    while True:
        due_s, piece = pieces.get()
        if not piece:
            return target.shutdown(socket.SHUT_WR)
        time.sleep(max(0.0, due_s - time.monotonic()))
        target.sendall(piece)


def serve(front, address, port):
    near, _ = front.accept()
    far = socket.create_connection((address, port))
    for source, target in ((near, far), (far, near)):
        source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pieces = queue.Queue()
        threading.Thread(target=take, args=(source, pieces), daemon=True).start()
        threading.Thread(target=give, args=(pieces, target), daemon=True).start()


words = sys.argv[2:]
if "send" in words:
    front = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(front, words[-2], int(words[-1])), daemon=True).start()
    words[-1] = str(front.getsockname()[1])
sys.exit(subprocess.run(words).returncode)
"""


def test_a_link_of_known_delay_and_bandwidth_is_measured_as_that(tmp_path: Path) -> None:
    """20 ms and 20 MB/s each way, by a proxy in between; within a quarter on a busy machine."""
    wire = tmp_path / "wire.py"
    wire.write_text(SLOW_WIRE)
    via = f"{sys.executable} {wire} {{host}}"
    found = fit(measure(via, Endpoint("here", "127.0.0.1"), Endpoint("there", "127.0.0.1")))
    assert found.latency_s == pytest.approx(0.020, rel=0.25)
    assert found.bandwidth_bytes_per_s == pytest.approx(20e6, rel=0.25)


@pytest.fixture
def two_namespaces() -> Iterator[tuple[Endpoint, Endpoint]]:
    """Two network namespaces that a veth pair joins."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    names = [f"migd-link{os.getpid()}-{end}" for end in "ab"]

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("-n", names[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", names[1])
        for number, name in enumerate(names, start=1):
            ip("-n", name, "address", "add", f"10.98.0.{number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        yield Endpoint(names[0], "10.98.0.1"), Endpoint(names[1], "10.98.0.2")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)


def test_two_namespaces_are_measured_from_the_command_line_and_the_controller_told(
    two_namespaces: tuple[Endpoint, Endpoint], controller: Any, migctl: Any
) -> None:
    a, b = two_namespaces
    ended = migctl(
        *("measure", "links", "--between", "same-switch", f"{a.host}={a.address}", b.host),
        *("--via", "ip netns exec {host}", "--store"),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    ((method, path, request),) = controller.asked
    assert (method, path, list(request.links)) == ("PUT", "/v1/links", [Level.SAME_SWITCH])
    link = request.links[Level.SAME_SWITCH]
    assert link.between == f"{a.host} and {b.host}"
    assert 1e-7 < link.latency_s < 0.1
    assert 1e6 < link.bandwidth_bytes_per_s < 1e12
    assert "measured" in ended.stdout


def test_an_address_that_cannot_be_reached_is_named(two_namespaces: tuple[Endpoint, Endpoint]) -> None:
    a, b = two_namespaces
    with pytest.raises(Failure, match=rf"{b.host}: the measurement ended with exit code 1: [\s\S]*unreachable"):
        measure("ip netns exec {host}", Endpoint(a.host, "192.0.2.1"), b)


@pytest.mark.parametrize(
    ("via", "why"),
    [
        ("no-such-command {host}", "here: no-such-command here cannot be run: .*; see --via"),
        (
            "sh -c 'echo no route to {host} >&2; exit 255'",
            "here: the measurement ended with exit code 255: no route to here",
        ),
        ("sh -c 'echo Welcome to {host}'", "here: expected a port, found 'Welcome to here'"),
    ],
)
def test_a_way_that_does_not_lead_there_is_told(via: str, why: str) -> None:
    with pytest.raises(Failure, match=why):
        measure(via, Endpoint("here", "127.0.0.1"), Endpoint("there", "127.0.0.1"))


def test_who_does_not_know_the_token_is_not_served() -> None:
    from migd_cli.links.across import _first_line, _started

    here = Endpoint("here", "127.0.0.1")
    with _started(HERE, here, "listen", "t" * 32) as listening:
        port = int(_first_line(listening, here))
        with socket.create_connection(("127.0.0.1", port), 10) as stranger:
            stranger.sendall(b"x" * 36)
            stranger.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
        with socket.create_connection(("127.0.0.1", port), 10) as partner:
            partner.sendall(b"t" * 32 + b"\0\0\0\1" + b"!")
            partner.settimeout(10)
            assert partner.recv(1) == b"!"


def test_the_snippet_is_what_the_controllers_file_takes() -> None:
    request = LinksRequest(
        links={Level.SAME_HOST: LinkMeasurement(bandwidth_bytes_per_s=22.5e6, latency_s=60e-6, between="a and b")}
    )
    lines = snippet_lines(request, Screen(width=None, has_colours=False, now_s=0.0))
    assert lines[0] == "# between a and b: 180 Mbit/s, 60 µs"
    assert config.tomli.loads("\n".join(lines)) == {
        "topology": {"links": {"same-host": {"bandwidth_bytes_per_s": 22.5e6, "latency_s": 6e-5}}}
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["--between", "near", "a", "b"],
        ["--between", "same-host", "-x", "b"],
        ["--between", "same-host", "a", "b", "--between", "same-host", "a", "c"],
        ["--between", "same-host", "a", "b", "--via", "ssh a"],
        [],
    ],
    ids=" ".join,
)
def test_wrong_usage_measures_nothing(arguments: list[str], controller: Any, migctl: Any) -> None:
    ended = migctl("measure", "links", *arguments)
    assert (ended.returncode, ended.stdout, controller.asked) == (2, "", [])


def test_levels_are_listed_with_where_they_are_from(controller: Any, migctl: Any) -> None:
    lines = migctl("links").stdout.splitlines()
    assert lines[1].split() == [
        *("same-guest", "-", "-", "unknown", "-", "-"),
    ]
    assert "180 Mbit/s" in lines[2]
    assert "measured" in lines[2]
    assert (
        msgspec.json.decode(migctl("links", "--json").stdout, type=list[LinkView])
        == controller.answers["GET", "/v1/links"]
    )

"""`migctl demo` as a stranger runs it: real processes, real migrations, nothing left behind."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyte
import pytest

# The demo itself gives up after 90 s; the rest is for a loaded machine to start and end its processes.
AT_MOST_S = 150.0


class Demo:
    """A running demo, its lines as they come, and the processes and folders it made."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "migd_cli", "demo", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        )
        self._give_up = threading.Timer(AT_MOST_S, self.process.kill)
        self._give_up.start()

    def line_with(self, text: str) -> str:
        """Return the first line still to come that has `text` in it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return line
        raise AssertionError(f"no line has {text!r}; standard error: {self.errors()}")

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def files(self) -> list[Path]:
        return list(self.folder.iterdir())

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._give_up.cancel()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")  # short: sockets live in it


@pytest.fixture
def demo(folder: Path, request: pytest.FixtureRequest) -> Iterator[Demo]:
    running = Demo(folder, *request.param)
    yield running
    running.end()


class Terminal:
    """A terminal of 80 × 24, with all that has scrolled off it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._screen = pyte.HistoryScreen(80, 24, history=10_000, ratio=0.001)
        self._stream = pyte.ByteStream(self._screen)

    def lines(self) -> list[str]:
        """Return every line so far, the oldest first."""
        past = ["".join(row[column].data for column in range(80)) for row in self._screen.history.top]
        return [line.rstrip() for line in (*past, *self._screen.display)]

    def shows(self, *texts: str) -> None:
        """Return once the terminal has lines with these texts, one after the other; fail after a while."""
        deadline_s = time.monotonic() + AT_MOST_S
        while not self._has(texts):
            assert time.monotonic() < deadline_s, "\n".join(self.lines())
            if select.select([self._descriptor], [], [], 0.5)[0]:
                self._stream.feed(os.read(self._descriptor, 65536))

    def _has(self, texts: tuple[str, ...]) -> bool:
        lines = iter(self.lines())
        return all(any(text in line for line in lines) for text in texts)


@contextmanager
def terminal() -> Iterator[tuple[Terminal, int]]:
    """A terminal, and the end of it that a program is started on."""
    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (24, 80))
        yield Terminal(ours), theirs
    finally:
        os.close(ours)
        os.close(theirs)


def migctl(socket: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "migd_cli", "--socket", socket, "--json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def cause_number(status: str) -> int:
    return int(json.loads(status)["last_decision"]["cause"].removeprefix("D"))


def assert_gone(children: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


@pytest.mark.parametrize("demo", [("--json",)], indirect=True)
def test_a_job_beside_a_hog_gets_its_speed_back_by_live_migration(demo: Demo) -> None:
    demo.line_with("up: 4 hosts, 12 guests, job brams of 8 ranks, policy least-loaded")
    children = demo.children()
    assert len(children) == 6, "the pool, the controller and four agents are processes of their own"
    report = json.loads(demo.line_with('{"job"'))
    assert report["job"] == "brams"
    assert report["steps_per_s_hog"] < 0.8 * report["steps_per_s_before"]
    assert report["steps_per_s_after"] >= 0.9 * report["steps_per_s_before"]
    moved = [migration for migration in report["migrations"] if migration["ok"]]
    assert moved
    for migration in moved:
        assert migration.keys() == {"guest", "from", "to", "predicted_s", "actual_s", "pause_s", "ok"}
        assert re.fullmatch("rank[01]", migration["guest"])
        assert migration["from"] == "host1" != migration["to"]
        assert 0 < migration["pause_s"] < migration["actual_s"]
        assert migration["predicted_s"] > 0
    assert demo.process.wait(30) == 0, demo.errors()
    assert_gone(children)
    assert demo.files() == []


@pytest.mark.parametrize("demo", [()], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process_and_no_file(demo: Demo, number: signal.Signals) -> None:
    demo.line_with("up: 4 hosts")
    children = demo.children()
    demo.process.send_signal(number)
    assert demo.process.wait(30) == 128 + number
    assert demo.errors() == "migctl: interrupted; every process of the demo has been ended\n"
    assert_gone(children)
    assert demo.files() == []


@pytest.mark.parametrize("demo", [()], indirect=True)
def test_a_demo_that_is_killed_takes_its_processes_with_it(demo: Demo) -> None:
    demo.line_with("up: 4 hosts")
    children = demo.children()
    demo.process.kill()
    assert_gone(children)


@pytest.mark.parametrize("demo", [()], indirect=True)
def test_a_process_of_the_demo_that_dies_is_named_with_its_last_words(demo: Demo) -> None:
    demo.line_with("up: 4 hosts")
    children = demo.children()
    (controller,) = (child for child in children if "migd_controller" in child.cmdline())
    controller.kill()
    assert demo.process.wait(30) == 1
    assert demo.errors().startswith("migctl: controller was ended by SIGKILL; the last lines of its log:")
    assert_gone(children)
    assert demo.files() == []


def test_on_a_terminal_a_demo_that_is_kept_can_be_reached_and_steered_and_outlives_late_answers(folder: Path) -> None:
    with terminal() as (screen, device):
        command = [sys.executable, "-m", "migd_cli", "demo", "--keep"]
        environment = {**os.environ, "TMPDIR": str(folder), "TERM": "xterm-256color"}
        process = subprocess.Popen(command, stdin=device, stdout=device, stderr=device, env=environment)
        try:
            screen.shows("Everything goes on until Ctrl-C", "migctl --socket")
            (socket,) = map(str, folder.glob("*/controller.sock"))
            assert f"migctl --socket {socket} policy set colocate" in "".join(screen.lines())
            assert json.loads(migctl(socket, "policy", "set", "colocate"))["is_active"]
            decided = cause_number(migctl(socket, "status"))
            while (status := json.loads(migctl(socket, "status")))["last_decision"]["policy"] != "colocate":
                assert cause_number(json.dumps(status)) - decided <= 2, (
                    "a policy takes effect within two control periods"
                )
            screen.shows("Everything goes on until Ctrl-C", "hosts: CPU wanted")
            children = psutil.Process(process.pid).children(recursive=True)
            (controller,) = (child for child in children if "migd_controller" in child.cmdline())
            controller.suspend()
            screen.shows("Everything goes on until Ctrl-C", "no answer yet")
            controller.resume()
            decided = cause_number(migctl(socket, "status"))
            screen.shows("Everything goes on until Ctrl-C", "hosts: CPU wanted", f"D{decided + 1}: ")
            process.send_signal(signal.SIGINT)
            screen.shows(
                "with the hog",
                "STOOD STILL",
                "Everything goes on until Ctrl-C",
                "hosts: CPU wanted",
                "every process of the demo has been ended",
            )
            assert process.wait(30) == 0
            assert list(folder.iterdir()) == []
        finally:
            process.kill()
            process.wait(10)


def test_a_folder_too_deep_for_sockets_is_told_before_anything_starts(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    demo = Demo(deep)
    try:
        assert demo.process.wait(30) == 1
        assert "name a shorter folder for temporary files: TMPDIR=/tmp migctl demo" in " ".join(demo.errors().split())
        assert demo.files() == []
    finally:
        demo.end()

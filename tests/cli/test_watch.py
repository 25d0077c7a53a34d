"""`--watch`: the view in place, on a terminal that a test reads."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyte
import pytest

from migd_core.api import Problem

LIMIT_S = 30.0
ROUTE = ("GET", "/v1/hosts")


class Terminal:
    """`migctl` on a terminal of 100×20."""

    def __init__(self, *arguments: str, socket_path: Path, **environment: str) -> None:
        self._here, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
        variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "migd_cli", *arguments],
            env={**variables, "MIGD_SOCKET": str(socket_path), "TERM": "xterm-256color", **environment},
            stdin=there,
            stdout=there,
            stderr=there,
        )
        os.close(there)
        self._screen = pyte.Screen(100, 20)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""

    def shows(self, wanted: Callable[[str], bool]) -> str:
        """Return what stands on the terminal, once that is as wanted; what is read may end in the midst of a frame."""
        until_s = time.monotonic() + LIMIT_S
        while not wanted(text := "\n".join(line.rstrip() for line in self._screen.display)):
            assert time.monotonic() < until_s, text
            self._read()
        return text

    def ended(self) -> int:
        """Return the exit code, once it has ended and all is read."""
        while self._read():
            pass
        return self.process.wait(LIMIT_S)

    def _read(self) -> bool:
        if not select.select([self._here], [], [], 0.1)[0]:
            return True
        try:
            part = os.read(self._here, 65536)
        except OSError:
            return False
        self.written += part
        self._stream.feed(part)
        return bool(part)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._here)


@pytest.fixture
def watch(controller) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str, **environment: str) -> Terminal:
        opened.append(Terminal(*arguments, socket_path=controller.socket, **environment))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def test_the_view_is_drawn_anew_in_place_until_ctrl_c(controller, watch):
    terminal = watch("hosts", "--watch", "0.2")
    terminal.shows(lambda text: "every 0.2 s" in text and "xen01" in text)
    first, *others = controller.answers[ROUTE]
    controller.answers[ROUTE] = [msgspec.structs.replace(first, name="renamed"), *others]
    terminal.shows(lambda text: "renamed" in text and "xen01" not in text and text.count("HOST") == 1)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.ended() == 0
    assert terminal.written.count(b"\x1b[?1049h") == terminal.written.count(b"\x1b[?1049l") == 1
    after = terminal.written.rpartition(b"\x1b[?1049l")[2].decode()
    assert "renamed" in after  # the last view stays
    assert "Traceback" not in after


def test_a_controller_that_does_not_answer_is_told_above_what_was_seen_last(controller, watch):
    terminal = watch("hosts", "--watch", "0.2")
    terminal.shows(lambda text: "xen01" in text)
    controller.refuse(ROUTE, 500, Problem(code="X", text="the journal cannot be read"))
    terminal.shows(lambda text: "no answer: the journal cannot be read" in text and "xen01" in text)
    del controller.problems[ROUTE]
    terminal.shows(lambda text: "no answer" not in text and "xen01" in text)


@pytest.mark.parametrize("command", ["status", "guests", "jobs", "history", "plan"])
def test_other_views_are_watched_too_every_two_seconds_by_default(command: str, controller, watch):
    terminal = watch(command, "--watch")
    terminal.shows(lambda text: "every 2 s" in text and "rank0" in text)


def test_no_color_leaves_out_colours(watch):
    terminal = watch("hosts", "--watch", "0.2", NO_COLOR="1")
    terminal.shows(lambda text: "xen01" in text)
    assert b"\x1b[31m" not in terminal.written


def test_without_a_terminal_or_with_json_there_is_nothing_to_draw_on(migctl, watch):
    ended = migctl("hosts", "--watch")
    assert ended.returncode == 2
    assert "--watch draws on a terminal" in ended.stderr
    terminal = watch("hosts", "--watch", "--json")
    assert terminal.ended() == 2

"""A program on a pseudo-terminal of 80 × 24, as pyte understands what it writes."""

import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

LIMIT_S = 30.0


class Terminal:
    """The program runs until it ends, or this does."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self.screen = pyte.Screen(80, 24)
        self.written = b""
        self._stream = pyte.ByteStream(self.screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_S)
        os.close(self._ours)

    def shows(self, *texts: str) -> list[str]:
        """Return the screen once all these texts are on it; fail after a while."""
        deadline_s = time.monotonic() + LIMIT_S
        while not all(any(text in line for line in self.screen.display) for text in texts):
            assert time.monotonic() < deadline_s, "\n".join(self.screen.display)
            if select.select([self._ours], [], [], 0.5)[0]:
                read = os.read(self._ours, 65536)
                self.written += read
                self._stream.feed(read)
        return [line.rstrip() for line in self.screen.display]

    def press(self, keys: str) -> None:
        """Type, as an operator would."""
        os.write(self._ours, keys.encode())

    def ends(self) -> int:
        """Return the exit code once it has ended, reading what it still writes."""
        deadline_s = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline_s, "it did not end"
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    os.read(self._ours, 65536)
                except OSError:
                    break  # nobody has the other end any more
        return self.process.wait(LIMIT_S)

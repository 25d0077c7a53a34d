"""Runs a tool beside the ticks: started in one, its answer taken in a later one, so that none waits for it."""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Final

from migd_agent.flows import FlowsUnreadable

TIMEOUT_S: Final = 10.0
MAX_OUTPUT_BYTES: Final = 16 * 1024 * 1024


class Command:
    """One command, run again and again."""

    def __init__(self, *command: str) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._late_s = 0.0

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def begin(self) -> None:
        """Start the command. Raises FlowsUnreadable where it cannot be."""
        # Into a file: a pipe that nobody reads between two ticks holds 64 KiB, and the tool would stand still.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - open until the answer was taken
        self._late_s = time.monotonic() + TIMEOUT_S
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
            )
        except OSError as error:
            self.close()
            raise FlowsUnreadable(f"{self._command[0]} cannot be run: {error.strerror}; is it installed?") from error

    def take(self) -> bytes | None:
        """Return what the command printed, None while it runs. Raises FlowsUnreadable where it failed or took long."""
        assert self._process is not None, "it was begun"
        assert self._output is not None
        code = self._process.poll()
        if code is None and time.monotonic() < self._late_s:
            return None
        self._output.seek(0)
        output = self._output.read(MAX_OUTPUT_BYTES)
        self.close()
        if code is None:
            raise FlowsUnreadable(f"{' '.join(self._command)} has not ended within {TIMEOUT_S:g} s")
        if code:
            raise FlowsUnreadable(f"{' '.join(self._command)} failed: {start_of(output)}")
        return output

    def close(self) -> None:
        """End the command."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._output is not None:
            self._output.close()
        self._process = self._output = None


def run(command: Sequence[str], text: str = "") -> None:
    """Run a command and wait for its end. Raises FlowsUnreadable."""
    try:
        done = subprocess.run(
            command,
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise FlowsUnreadable(f"{command[0]} cannot be run: {error.strerror}; is it installed?") from error
    except subprocess.TimeoutExpired as error:
        raise FlowsUnreadable(f"{' '.join(command)} has not ended within {TIMEOUT_S:g} s") from error
    if done.returncode:
        raise FlowsUnreadable(f"{' '.join(command)} failed: {start_of(done.stdout)}")


def start_of(output: bytes) -> str:
    """Return the first words of an output, in one line."""
    return " ".join(output[:300].decode(errors="backslashreplace").split()) or "it said nothing"

"""Runs a tool beside the ticks: started in one, its answer taken in a later one, so that none waits for it."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import IO, Final

from migd_core.errors import MigdError

TIMEOUT_S: Final = 10.0
DIES_WITHIN_S: Final = 0.05
MAX_OUTPUT_BYTES: Final = 16 * 1024 * 1024


class Command:
    """One command, run again and again, each time with further arguments. What goes wrong is raised as a `failure`."""

    def __init__(
        self,
        *command: str,
        failure: type[MigdError],
        timeout_s: float = TIMEOUT_S,
        is_failure: Callable[[int], bool] = bool,
    ) -> None:
        """`is_failure` tells by the exit code (negative: the signal that ended it) whether the output is of no use."""
        self._command, self._failure = command, failure
        self._arguments: tuple[str, ...] = ()
        self._timeout_s, self._is_failure = timeout_s, is_failure
        self._process: subprocess.Popen[bytes] | None = None
        self._stuck: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._late_s = 0.0

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def begin(self, *arguments: str) -> None:
        """Start the command. Raises where it cannot be, or where its last run cannot even be killed."""
        if self._stuck is not None and self._stuck.poll() is None:
            raise self._failure(f"{self} hangs in the kernel and cannot be killed; what it asked does not answer")
        self._stuck, self._arguments = None, arguments
        # Into a file: a pipe that nobody reads between two ticks holds 64 KiB, and the tool would stand still.
        self._late_s = time.monotonic() + self._timeout_s
        try:
            self._output = _unnamed_file()
            self._process = subprocess.Popen(
                (*self._command, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as error:
            self.close()
            raise self._failure(f"{self._command[0]} cannot be run: {error.strerror}; is it installed?") from error

    def take(self) -> bytes | None:
        """Return what the command printed, None while it runs. Raises where it failed or took long."""
        assert self._process is not None, "it was begun"
        assert self._output is not None
        code = self._process.poll()
        if code is None and time.monotonic() < self._late_s:
            return None
        self._output.seek(0)
        output = self._output.read(MAX_OUTPUT_BYTES)
        self.close()
        if code is None:
            raise self._failure(f"{self} has not ended within {self._timeout_s:g} s")
        if self._is_failure(code):
            raise self._failure(f"{self} failed with exit code {code}: {start_of(output)}")
        return output

    def close(self) -> None:
        """End the command. One that waits for hardware dies only once that answers; so long nobody waits for it."""
        if self._process is not None:
            self._process.kill()
            try:
                self._process.wait(DIES_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._stuck = self._process
        if self._output is not None:
            self._output.close()
        self._process = self._output = None

    def __str__(self) -> str:
        line = " ".join((*self._command, *self._arguments))
        return line if len(line) <= 120 else f"{line[:120]}…"


def is_installed(tool: str) -> bool:
    """Return whether a tool would be found. (`shutil` and `tempfile` would take 0.7 MB of memory for as little.)"""
    return any(os.access(os.path.join(folder, tool), os.X_OK) for folder in os.get_exec_path())


def run(command: Sequence[str], text: str = "", *, failure: type[MigdError]) -> None:
    """Run a command and wait for its end. Raises `failure`."""
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
        raise failure(f"{command[0]} cannot be run: {error.strerror}; is it installed?") from error
    except subprocess.TimeoutExpired as error:
        raise failure(f"{' '.join(command)} has not ended within {TIMEOUT_S:g} s") from error
    if done.returncode:
        raise failure(f"{' '.join(command)} failed: {start_of(done.stdout)}")


def _unnamed_file() -> IO[bytes]:
    """Return an open file that nobody else can find, and that is gone once it is closed."""
    folder = os.environ.get("TMPDIR", "/tmp")
    return open(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), "w+b")


def start_of(output: bytes) -> str:
    """Return the first words of an output, in one line."""
    return " ".join(output[:300].decode(errors="backslashreplace").split()) or "it said nothing"

"""The processes of the demo: started with their logs in files, watched, and ended without fail.

Each child is killed by the kernel when this process dies, however it dies (PR_SET_PDEATHSIG, prctl(2)); a watch on
standard input would need the children's help. Each is in a session of its own, so that Ctrl-C reaches the demo alone.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from migd_core.errors import MigdError

LOG_LINES_SHOWN: Final = 12
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ChildDied(MigdError):
    """One of the demo's processes ended by itself; the text has the last lines of its log."""


class Child:
    """One process, `python -m module …`, that writes to `folder/name.out` and `folder/name.log`."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], folder: Path) -> None:
        self.name = name
        self._output, self._log = folder / f"{name}.out", folder / f"{name}.log"
        parent = os.getpid()
        with self._output.open("wb") as output, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def output(self) -> str:
        """Return what the process has written to its standard output so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def log(self) -> str:
        """Return what the process has written to its log so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def check(self) -> None:
        """Raises ChildDied when the process has ended, well or not."""
        if (code := self._process.poll()) is not None:
            raise ChildDied(f"{self.name} {_ending(code)}; {self.last_words()}")

    def has_succeeded(self) -> bool:
        """Return whether the process has ended well. Raises ChildDied when it has ended otherwise."""
        if self._process.poll() != 0:
            self.check()
            return False
        return True

    def last_words(self) -> str:
        """Return the last lines that the process wrote."""
        lines = (self.log() + self.output()).splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join(["the last lines of its log:", *(f"  {line}" for line in lines or ["(none)"])])

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal, if it still runs."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the process to end; False if it has not after `timeout_s`."""
        try:
            self._process.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            return False
        return True


class Brood:
    """All children; they end together, the youngest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    def start(self, name: str, module: str, *arguments: str) -> Child:
        """Start `python -m module arguments`."""
        child = Child(name, module, arguments, self._folder)
        self._children.append(child)
        return child

    def forget(self, child: Child) -> None:
        """Go on without a child that has ended as it should."""
        self._children.remove(child)

    def check(self) -> None:
        """Raises ChildDied when any child has ended."""
        for child in self._children:
            child.check()

    def end(self, patience_s: float = 5.0) -> None:
        """Ask every child to end, wait for `patience_s` in all, and kill those that have not."""
        children, self._children = self._children[::-1], []
        for child in children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        for child in children:
            if not child.wait(deadline - time.monotonic()):
                child.send(signal.SIGKILL)
                child.wait(patience_s)


@contextlib.contextmanager
def brood(folder: Path) -> Iterator[Brood]:
    """A brood whose children have ended when the block is left."""
    children = Brood(folder)
    try:
        yield children
    finally:
        children.end()


def _die_with(parent: int) -> None:
    """Run in the child, between fork and exec: die when the demo dies, and take signals as a fresh process does."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"

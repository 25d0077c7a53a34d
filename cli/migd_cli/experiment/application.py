"""The application that is measured: a process group of its own, which ends as one."""

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Final

from migd_cli.failures import Failure

ENDS_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.02
_LAST_WORDS: Final = 400
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Application:
    """One run of a command; what it writes goes to a file. Should `migctl` be killed, the kernel ends it."""

    def __init__(self, command: list[str], log: Path) -> None:
        """Start it. Raises Failure where it cannot be started."""
        self._log = log
        self.began_s = time.monotonic()
        with log.open("wb") as output:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=as_a_fresh_process,
                )
            except OSError as error:
                raise Failure(
                    f"{shlex.join(command)}: cannot be run: {error.strerror}; name the application after `--`"
                ) from error
        self._ended_s: float | None = None
        # Its end is timed by somebody who does nothing else: what is asked of the controller meanwhile may take long.
        self._waiter = threading.Thread(target=self._wait, name="application", daemon=True)
        self._waiter.start()

    @property
    def ran_for_s(self) -> float:
        """How long it ran, or has been running for."""
        return (self._ended_s if self._ended_s is not None else time.monotonic()) - self.began_s

    def is_over(self) -> bool:
        """Return whether its first process has ended."""
        return self._ended_s is not None

    def _wait(self) -> None:
        self._process.wait()
        self._ended_s = time.monotonic()

    @property
    def failure(self) -> str:
        """How it failed, empty if it ended well; only once it is over."""
        code = self._process.returncode
        if code == 0:
            return ""
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        words = self._log.read_bytes()[-_LAST_WORDS:].decode(errors="backslashreplace").strip()
        said = " | ".join(words.splitlines()) or "it said nothing"
        return f"the application {how} after {self.ran_for_s:.1f} s: {said}"

    def end(self) -> None:
        """End every process of its group: asked first, killed after ENDS_WITHIN_S. What is a zombie by then is left."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            until_s, is_left = time.monotonic() + ENDS_WITHIN_S, self._signal(number)
            while is_left and time.monotonic() < until_s:
                time.sleep(_POLL_S)
                is_left = self._signal(0)
            if not is_left:
                break
        self._waiter.join()

    def _signal(self, number: int) -> bool:
        """Send the group a signal; False if nobody is left in it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
            return True
        return False


def as_a_fresh_process() -> None:
    """Run in the child, between fork and exec: take signals as a fresh process does, and end with `migctl`."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

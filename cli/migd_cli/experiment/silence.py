"""How long a guest did not answer, by the system's `ping`: its pause, and the time until the network found it again."""

import re
import signal
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Final

from migd_cli.experiment.application import as_a_fresh_process
from migd_cli.failures import Failure

INTERVAL_S: Final = 0.1
TRIES: Final = 5
_REPLY: Final = re.compile(rb"^\[(\d+\.\d+)\] \d+ bytes from", re.MULTILINE)
_LAST_WORDS: Final = 300


def told_by(address: str) -> str:
    """Say what tells how long a guest stood still."""
    return f"ping of {address} every {INTERVAL_S:g} s"


class Silence:
    """A ping that goes on until it is ended; what it writes goes to a file. No process outlives it."""

    def __init__(self, address: str, log: Path, count: int | None = None) -> None:
        """Begin, for ever or for `count` echoes. Raises Failure where `ping` cannot be run."""
        self._address, self._log = address, log
        words = ["ping", "-n", "-D", "-i", str(INTERVAL_S), "-W", "1", *(["-c", str(count)] if count else []), address]
        with log.open("wb") as output:
            try:
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=as_a_fresh_process,
                )
            except OSError as error:
                raise Failure(
                    f"ping cannot be run: {error.strerror}; install it (iputils-ping), or leave --ping out"
                ) from error

    def end(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGINT)  # then it writes out what it has
        self._process.wait()

    def wait(self) -> None:
        """Wait until all echoes were sent."""
        self._process.wait()

    def longest_s(self) -> float:
        """Return the longest time between two answers, once it has ended. Raises Failure where there are not two."""
        return longest_s(self._log.read_bytes(), self._address)


def longest_s(said: bytes, address: str) -> float:
    """Return the longest time between two answers in what `ping -D` wrote. Raises Failure where there are not two."""
    times_s = [float(match[1]) for match in _REPLY.finditer(said)]
    if len(times_s) < 2:
        words = said[-_LAST_WORDS:].decode(errors="backslashreplace").strip()
        raise Failure(f"ping of {address}: expected two answers at least, found {len(times_s)}: {words!r}")
    return max(later - earlier for earlier, later in pairwise(times_s))


def check(address: str) -> None:
    """Raises Failure where a guest does not answer while nothing happens to it."""
    with tempfile.TemporaryDirectory() as folder:
        silence = Silence(address, Path(folder) / "ping.log", count=TRIES)
        silence.wait()
        silence.longest_s()

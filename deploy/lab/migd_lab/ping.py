"""How long something was silent, as ping sees it."""

import re
import signal
import subprocess
from itertools import pairwise
from types import TracebackType
from typing import Final

from migd_lab.errors import LabError

INTERVAL_S: Final = 0.1
_REPLY: Final = re.compile(r"^\[(\d+\.\d+)\] \d+ bytes from", re.MULTILINE)


class Ping:
    """A ping that runs while the block is open; to be used inside the lab's network."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> "Ping":
        words = ["ping", "-n", "-D", "-i", str(INTERVAL_S), "-W", "1", self._address]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        self._said, _ = self._process.communicate(timeout=20)

    def longest_silence_s(self) -> float:
        """Return the longest time between two answers, once the block is left. Raises LabError."""
        return longest_silence_s(self._said)


def longest_silence_s(text: str) -> float:
    """Return the longest time between two answers in what `ping -D` wrote. Raises LabError where there are not two."""
    times_s = [float(match[1]) for match in _REPLY.finditer(text)]
    if len(times_s) < 2:
        raise LabError(f"ping: expected two answers at least, found {len(times_s)}: {text[-300:]!r}")
    return max(later - earlier for earlier, later in pairwise(times_s))

"""Daemons of migd that run beside the nodes, in the lab's network, until the lab is stopped."""

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migd_lab.errors import LabError

_LOG_LINES_SHOWN: Final = 12
_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """`python -m module arguments`; its output, log and process id are in `folder`."""

    name: str
    folder: Path
    namespace: str

    @property
    def output(self) -> Path:
        return self.folder / f"{self.name}.out"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self, module: str, *arguments: str | Path) -> None:
        """Start it and return."""
        words = ["ip", "netns", "exec", self.namespace, sys.executable, "-m", module, *map(str, arguments)]
        writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        # Not subprocess, which takes a process that outlives it for a mistake. `ip` becomes the daemon: one process id.
        pid = os.posix_spawnp(
            words[0],
            words,
            {**os.environ, "PYTHONUNBUFFERED": "1"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.output), writing, 0o600),
                (os.POSIX_SPAWN_OPEN, 2, str(self.log), writing, 0o600),
            ],
            setsid=True,
        )
        self._pid_file.write_text(f"{pid} {_began(pid)}")

    def says(self, text: str, timeout_s: float = 30.0) -> str:
        """Return the first line of output or log that has `text` in it. Raises LabError when it ends or says none."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            lines = [line for file in (self.output, self.log) for line in file.read_text(errors="replace").splitlines()]
            if found := next((line for line in lines if text in line), None):
                return found
            if not self.is_alive() or time.monotonic() > deadline_s:
                raise LabError(
                    "\n".join([f"{self.name} never said {text!r}; its last lines:", *lines[-_LOG_LINES_SHOWN:]])
                )
            time.sleep(0.05)

    def is_alive(self) -> bool:
        return self._pid() is not None

    def end(self) -> None:
        """End it: asked first, killed when that takes too long."""
        for number, patience_s in ((signal.SIGTERM, _PATIENCE_S), (signal.SIGKILL, _PATIENCE_S)):
            deadline_s = time.monotonic() + patience_s
            if (pid := self._pid()) is not None:
                os.kill(pid, number)
            while self._pid() is not None and time.monotonic() < deadline_s:
                time.sleep(0.02)

    @property
    def _pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def _pid(self) -> int | None:
        """Return its process id while it runs; that of another process that came later is not."""
        if not self._pid_file.exists():
            return None
        pid, _, began = self._pid_file.read_text().partition(" ")
        with contextlib.suppress(ChildProcessError):  # another process began it
            os.waitpid(int(pid), os.WNOHANG)
        return int(pid) if _began(int(pid)) == began else None


def _began(pid: int) -> str:
    """Return when the process began, in ticks since boot (proc(5), field 22); nothing for one that has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state == "Z" else fields[18]

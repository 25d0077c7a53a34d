"""Runs another program's command for what it prints, with a limit on how long it takes and on how much that is."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Final

from migd_core.errors import MigdError
from migd_core.units import format_duration

COMPLAINT_BYTES: Final = 4096
COMPLAINT_LINES: Final = 3
# A process that is killed is gone at once, except one that waits for a disk or an NFS server.
KILLED_WITHIN_S: Final = 5.0
_STDOUT: Final = 1


class CommandFailed(MigdError):
    """A command could not be run, ended with an error, took too long or printed too much."""


async def output_of(command: Sequence[str], timeout_s: float, limit_bytes: int) -> bytes:
    """Return what `command` (program and arguments, no shell) prints. Raises CommandFailed.

    Nothing of it runs any more when this returns or is cancelled: it has a process group of its own, which is killed.
    """
    name = command[0]
    loop = asyncio.get_running_loop()
    # Cancelled while it connects the pipes, asyncio waits for ever for those that it has not (seen with Python 3.11.7).
    starting = loop.create_task(
        loop.subprocess_exec(
            lambda: _Heard(loop, limit_bytes),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    )
    try:
        await asyncio.wait({starting})
        process, heard = starting.result()
        async with asyncio.timeout(timeout_s):
            await heard.end
    except TimeoutError as error:
        raise CommandFailed(f"{name}: has not answered within {format_duration(timeout_s)} and was ended") from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CommandFailed(f"{name}: cannot be run: {why}; is it installed here, and in the PATH?") from error
    finally:
        await _ended(starting)
    if heard.size_bytes > limit_bytes:
        raise CommandFailed(f"{name}: printed more than {limit_bytes} bytes and was ended")
    if status := process.get_returncode() or 0:
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        raise CommandFailed(f"{name}: {how}: {heard.complaint or 'it said nothing'}")
    return b"".join(heard.parts)


async def _ended(starting: asyncio.Task[tuple[asyncio.SubprocessTransport, "_Heard"]]) -> None:
    """Kill what was started, if it was, with all that it has started itself."""
    await asyncio.wait({starting})
    if starting.exception() is not None:
        return
    process, heard = starting.result()
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or is somebody else's (sudo)
        os.killpg(process.get_pid(), signal.SIGKILL)
    process.close()
    await asyncio.wait({heard.exit}, timeout=KILLED_WITHIN_S)


class _Heard(asyncio.SubprocessProtocol):
    """What a process prints. `end` is done once it has ended and closed its output, or printed more than the limit;
    `exit` once it has ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_bytes: int) -> None:
        self.end: asyncio.Future[None] = loop.create_future()
        self.exit: asyncio.Future[None] = loop.create_future()
        self._limit_bytes = limit_bytes
        self.parts: list[bytes] = []
        self.size_bytes = 0
        self._complaint = b""

    @property
    def complaint(self) -> str:
        """The last lines that it wrote to its standard error."""
        lines = self._complaint.decode(errors="replace").split("\n")
        return "; ".join([line.strip() for line in lines if line.strip()][-COMPLAINT_LINES:])

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd != _STDOUT:
            self._complaint = (self._complaint + data)[-COMPLAINT_BYTES:]
            return
        self.size_bytes += len(data)
        if self.size_bytes <= self._limit_bytes:
            self.parts.append(data)
        else:
            self._over()

    def process_exited(self) -> None:
        self.exit.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._over()

    def _over(self) -> None:
        if not self.end.done():
            self.end.set_result(None)

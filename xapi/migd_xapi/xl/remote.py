"""Runs a shell script on a Dom0 with the system's ssh. One connection a host is kept and shared (ControlMaster)."""

import asyncio
import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from migd_core.errors import MigdError
from migd_core.units import MIB
from migd_xapi.xl.hosts_file import XlHost

OUTPUT_LIMIT_BYTES: Final = 4 * MIB
SSH_FAILED: Final = 255
KEPT_S: Final = 60


class RemoteFailed(MigdError):
    """The script did not end well, or nobody knows how it ended: `code` is None when the host gave no answer."""

    def __init__(self, text: str, code: int | None = None) -> None:
        self.code = code
        super().__init__(text)


class Remote:
    """One Dom0."""

    def __init__(self, host: XlHost, sockets: Path, timeout_s: float, options: Sequence[str] = ()) -> None:
        """`sockets` is a folder of this process alone, its name short enough for sockets in it."""
        self.host, self._timeout_s = host, timeout_s
        self._command = [
            "ssh",
            *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, round(timeout_s))}"),
            *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
            *("-o", "ControlMaster=auto", "-o", f"ControlPath={sockets}/{host.name}"),
            *("-o", f"ControlPersist={KEPT_S}"),
            *(part for option in options for part in ("-o", option)),
            *(("-i", str(host.identity)) if host.identity is not None else ()),
            *("-p", str(host.port)),
        ]
        self._address = f"{host.user}@{host.address}"

    async def run(self, script: str) -> str:
        """Return what the script writes to its standard output. Raises RemoteFailed."""
        return await self._run([*self._command, self._address, f"exec sh -c {shlex.quote(script)}"])

    async def close(self) -> None:
        """Let go of the connection."""
        with contextlib.suppress(RemoteFailed):
            await self._run([*self._command, "-O", "exit", self._address])

    async def _run(self, command: list[str]) -> str:
        name = f"host {self.host.name}"
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise RemoteFailed(f"ssh cannot be run: {error.strerror}; install openssh-client") from error
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(self._timeout_s):
                output, errors = await asyncio.gather(_all_of(process.stdout), _all_of(process.stderr))
                code = await process.wait()
        except TimeoutError as error:
            raise RemoteFailed(f"{name}: no answer by ssh within {self._timeout_s:g} s") from error
        except _TooLong as error:
            raise RemoteFailed(f"{name}: answers more than {OUTPUT_LIMIT_BYTES} bytes", code=0) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if code == 0:
            return output.decode(errors="replace")
        said = errors.decode(errors="replace").strip()[-500:] or "nothing on standard error"
        if code == SSH_FAILED:
            raise RemoteFailed(f"{name}: ssh to {self._address} fails: {said}")
        raise RemoteFailed(f"{name}: exit code {code}: {said}", code)


class _TooLong(Exception):
    """More output than is read."""


async def _all_of(stream: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    left = OUTPUT_LIMIT_BYTES
    while part := await stream.read(65536):
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise _TooLong
    return b"".join(parts)

"""A script on a Dom0 that nobody waits for any more does not go on."""

import asyncio
import contextlib
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from migd_xapi.xl.hosts_file import XlHost
from migd_xapi.xl.remote import Remote

LIMIT_S = 20.0


@pytest.mark.parametrize("steps", range(8))
async def test_a_run_that_is_cancelled_at_any_moment_ends_and_so_does_its_ssh(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the process is only just being started."""
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho $$ >> "{tmp_path}/pids"\nexec sleep 600\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    run = asyncio.create_task(Remote(XlHost(name="a", address="192.0.2.1"), tmp_path, 60.0).run("true"))
    for _ in range(steps):
        await asyncio.sleep(0)
    run.cancel()
    async with asyncio.timeout(LIMIT_S):
        with contextlib.suppress(asyncio.CancelledError):
            await run
    pids = tmp_path / "pids"
    for pid in pids.read_text().split() if pids.exists() else ():
        assert not psutil.pid_exists(int(pid))

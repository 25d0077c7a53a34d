"""Serves Dom0s that know only `xl`: asks them, takes over what is under way, and lets the records follow."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path

import structlog

from migd_xapi import migration, readiness
from migd_xapi.failure import Failure
from migd_xapi.following import Following
from migd_xapi.keeping import Kept
from migd_xapi.pool import Call
from migd_xapi.server import Server
from migd_xapi.settings import Settings
from migd_xapi.xl.backend import XlBackend
from migd_xapi.xl.hosts_file import HostsFile
from migd_xapi.xl.migrations import Request

_log = structlog.get_logger()


async def serve(file: HostsFile, settings: Settings, state: Path, listen: tuple[str, int]) -> None:
    """Serve until told to end. Raises MigdError."""
    stop = readiness.stop_event()
    kept = Kept(state)
    try:
        with tempfile.TemporaryDirectory(prefix="migd-xl-") as sockets:
            await _serve(file, settings, XlBackend(file, Path(sockets)), kept, listen, stop)
    finally:
        kept.close()


async def _serve(
    file: HostsFile,
    settings: Settings,
    backend: XlBackend,
    kept: Kept,
    listen: tuple[str, int],
    stop: asyncio.Event,
) -> None:
    work: list[asyncio.Task[None]] = []
    server: Server | None = None
    try:
        await backend.first_look()
        server = Server(backend, file.name, settings, kept=kept, has_members=False)
        backend.on_change = Following(server).follow
        backend.on_change()
        url = await server.start(*listen)
        work = [asyncio.create_task(_take_over(server, backend, each)) for each in await backend.unfinished()]
        ready = readiness.ready(server, url)
        _log.info("pool is served", pool=file.name, **ready)
        readiness.announce(ready)
        asking = asyncio.create_task(backend.run(), name="asking")
        work.append(asking)
        await readiness.until_stopped(stop, asking)
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        if server is not None:
            await server.stop()
        await backend.close()


async def _take_over(server: Server, backend: XlBackend, request: Request) -> None:
    """Follow a migration that a server before this one has begun; clients see it as a task."""
    pool = server.pool
    vm, target = pool.db.find_by_uuid("VM", request.guest_uuid), pool.db.find_by_uuid("host", request.target_uuid)
    if vm is None or target is None:
        _log.warning("a migration under way is of a guest or to a host that is not known", request=request.id)
        return
    run = pool.tasks.begin("Async.VM.pool_migrate", pool.coordinator, None)
    call = Call(pool, "Async.VM.pool_migrate", pool.coordinator, run=run)
    try:
        await migration.go_on(call, vm, target, partial(backend.take_over, request))
        run.complete()
    except Failure as failure:
        run.fail(failure)
    finally:
        pool.tasks.end(run)

"""A server at the pool's address that speaks XenAPI until it is asked for events, and then says what nobody can read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from migd_controller.config import XapiSection
from migd_controller.events import PoolReachability
from migd_controller.pool_watch import PoolWatch
from migd_controller.xapi import Pool
from migd_xapi.wire.xml_rpc import bare, success

LIMIT_S = 20.0
EVENT = {"class": "vm", "operation": "add", "ref": "OpaqueRef:1", "snapshot": {"uuid": "g"}}
COUNTS: dict[str, Any] = {"valid_ref_counts": {}, "token": "1"}


@asynccontextmanager
async def pool_that_answers(body: bytes) -> AsyncIterator[tuple[str, list[str]]]:
    """Give its URL, and what it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        text = (await request.read()).decode()
        asked.append(text.partition("<methodName>")[2].partition("<")[0])
        return web.Response(body=body if asked[-1] == "event.from" else success("OpaqueRef:s"), content_type="text/xml")

    app = web.Application()
    app.router.add_post("/{any:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (bare({"Status": "Failure", "ErrorDescription": ()}), "does not speak XenAPI"),
        (b"<html>It works!</html>", "does not speak XenAPI"),
        (b"<methodResponse><params><param><value><int>x</int></value>", "does not speak XenAPI"),
        (b"<?xml version='1.0' encoding='none'?><methodResponse/>", "does not speak XenAPI"),
        (bare(("no", "map")), "does not speak XenAPI"),
        (bare({"Status": "Success"}), "does not speak XenAPI"),
        (success("nothing"), "no token, events and counts"),
        (success({"events": (EVENT,), **COUNTS}), "its records are not those of XenAPI"),
        (success({"events": ("x",), **COUNTS}), "its records are not those of XenAPI"),
    ],
)
async def test_a_pool_that_tells_what_cannot_be_read_is_told_as_lost_and_asked_again(
    tmp_path: Path, body: bytes, why: str
) -> None:
    (tmp_path / "password").write_text("p\n")
    async with pool_that_answers(body) as (url, asked):
        pool = Pool(XapiSection(url=url, username="root", password_file=tmp_path / "password", timeout_s=5.0))
        told: asyncio.Queue[Any] = asyncio.Queue()
        watch = PoolWatch(pool, told.put_nowait)
        watching = asyncio.create_task(watch.run())
        try:
            event = await asyncio.wait_for(told.get(), LIMIT_S)
            assert isinstance(event, PoolReachability)
            assert not event.is_reachable
            assert why in event.problem
            async with asyncio.timeout(LIMIT_S):
                while asked.count("event.from") < 2:  # noqa: ASYNC110 - nobody is told that it was asked
                    await asyncio.sleep(0.02)
            assert not watching.done()
        finally:
            watch.stop()
            await asyncio.to_thread(pool.close)
            await asyncio.to_thread(watch.close)
            await asyncio.wait_for(watching, LIMIT_S)

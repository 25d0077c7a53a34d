"""Server-sent events over real TCP: a snapshot, then what changes."""

import asyncio
import socket
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from cluster_of_events import pool_guest
from hypothesis import given
from hypothesis import strategies as st
from served import OverTcp

from migd_controller.config import HttpSection
from migd_controller.events import JobAdded, MigrationRequested, Paused, PoolReachability, Resumed
from migd_controller.http import event_stream
from migd_controller.http.live import document, merge_patch
from migd_core.api import JobView, Role, StatusView

LIMIT_S = 20.0
STATUS = StatusView(
    version="1",
    uptime_s=1.0,
    policy="observe",
    is_paused=False,
    period_s=5.0,
    hosts=0,
    hosts_frozen=0,
    guests=0,
    jobs=0,
    migrations=[],
    xapi_connected=True,
)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[OverTcp]:
    served = OverTcp(tmp_path)
    async with served.answering():
        yield served


async def frame(answer: aiohttp.ClientResponse) -> tuple[str, str, Any]:
    """Return id, kind and content of the next frame; comments and the retry line are passed over."""
    found: dict[str, str] = {}
    async with asyncio.timeout(LIMIT_S):
        while True:
            line = (await answer.content.readline()).decode()
            assert line, "the stream has ended"
            if line == "\n" and "data" in found:
                return found["id"], found["event"], msgspec.json.decode(found["data"])
            name, _, value = line.rstrip("\n").partition(": ")
            found[name] = value


async def test_the_whole_comes_first_and_then_what_changes(served: OverTcp) -> None:
    headers = {"Authorization": f"Bearer {served.token(Role.VIEWER)}"}
    async with served.client.get(f"{served.url}/v1/events", headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert answer.headers["Content-Encoding"] == "gzip"
        first, kind, snapshot = await frame(answer)
        assert kind == "snapshot"
        assert snapshot.keys() == {"status", "hosts", "guests", "jobs", "migrations", "plan"}
        assert snapshot["guests"]["hog"]["host_name"] == "a"
        served.control.dispatch(Paused())
        second, kind, change = await frame(answer)
        assert (kind, change) == ("change", {"status": {"is_paused": True}})
        assert (int(second.partition("-")[2]), second.partition("-")[0]) == (
            int(first.partition("-")[2]) + 1,
            first.partition("-")[0],
        )


def reading(served: OverTcp, token: str) -> Any:
    """Return what opens a stream."""
    return served.client.get(f"{served.url}/v1/events", headers={"Authorization": f"Bearer {token}"})


def merged(document: Any, patch: Any) -> Any:
    """Return RFC 7396's MergePatch, as its section 2 writes it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


async def test_changes_added_to_the_snapshot_are_what_a_new_reader_gets(served: OverTcp) -> None:
    viewer = served.token(Role.VIEWER)
    async with reading(served, viewer) as answer:
        _, _, document = await frame(answer)
        served.control.dispatch(MigrationRequested(guest="rank0", target="b"))
        served.cluster.guests["new"] = pool_guest("new", "b")
        del served.cluster.guests["rank1"]
        served.cluster.tell_inventory()
        served.cluster.run(3, {"hog": 1.0, "new": 0.5})
        served.control.dispatch(JobAdded(name="brams", guests=("rank0",)))
        while "brams" not in document["jobs"]:
            _, kind, patch = await frame(answer)
            assert kind == "change"
            document = merged(document, patch)
        async with reading(served, viewer) as other:
            _, kind, snapshot = await frame(other)
    assert kind == "snapshot"
    assert document == snapshot
    assert set(snapshot["guests"]) == {"hog", "rank0", "new"}
    assert [each["state"] for each in snapshot["migrations"].values()] == ["asked"]


async def test_nothing_is_sent_while_nothing_changes_but_a_sign_of_life(
    served: OverTcp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.05)
    async with reading(served, served.token(Role.VIEWER)) as answer:
        await frame(answer)
        served.control.dispatch(Resumed())  # as it was already
        lines = [(await asyncio.wait_for(answer.content.readline(), LIMIT_S)).decode() for _ in range(30)]
    assert set(lines) == {": alive\n", "\n"}


async def test_a_reader_that_is_slow_is_cut_off_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads nothing: what the kernel keeps for it fills up, then its queue, then it is let go."""
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.05)
    served = OverTcp(tmp_path)
    async with served.answering():
        viewer = served.token(Role.VIEWER)
        port = int(served.url.rpartition(":")[2])
        stream = served.service.stream
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.sendall(f"GET /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {viewer}\r\n\r\n".encode())
            async with reading(served, viewer) as answer:
                await frame(answer)
                number = 0
                async with asyncio.timeout(120.0):
                    while stream.cut_off == 0:
                        number += 1
                        text = f"{number:08d}" * 50_000  # 400 kB a frame
                        served.cluster.core.pool = PoolReachability(is_reachable=False, problem=text)
                        stream.publish()
                        _, _, change = await frame(answer)
                        assert change["status"]["xapi_problem"] == text
            assert stream.cut_off == 1
            assert await gone(stream) == 0


async def test_readers_that_come_and_go_do_not_make_the_loop_look_each_time(served: OverTcp) -> None:
    """A look at a large cluster takes the loop a second; whoever may read must not take all of them."""
    stream, looks = served.service.stream, list[float]()
    look = stream._look

    def slow() -> Any:
        looks.append(time.monotonic())
        began_s = time.thread_time()
        while time.thread_time() < began_s + 0.05:  # as a large cluster does
            pass
        return look()

    stream._look = slow
    viewer = served.token(Role.VIEWER)
    began_s = time.monotonic()
    for _ in range(20):
        async with reading(served, viewer) as answer:
            served.control.dispatch(Resumed())
            assert (await frame(answer))[1] == "snapshot"
    took_s = time.monotonic() - began_s
    assert len(looks) <= 1 + took_s / (0.05 * event_stream.IDLE_RATIO)


async def test_a_look_that_did_not_get_the_cpu_does_not_keep_the_next_one_waiting(served: OverTcp) -> None:
    """On a busy machine a page stood still for fifteen times as long as a look had been kept from working."""
    stream = served.service.stream
    look = stream._look

    def kept() -> Any:
        time.sleep(0.5)
        return look()

    stream._look = kept
    stream.publish()
    assert stream._next_look_s - time.monotonic() < 0.5 * event_stream.IDLE_RATIO / 2


async def test_a_reader_that_comes_between_two_looks_is_told_what_changed_since_the_last(served: OverTcp) -> None:
    viewer = served.token(Role.VIEWER)
    async with reading(served, viewer) as first:
        assert "is_paused" in (await frame(first))[2]["status"]
    served.control.dispatch(Paused())
    async with reading(served, viewer) as second:
        _, _, document = await frame(second)
        while not document["status"]["is_paused"]:
            document = merged(document, (await frame(second))[2])


async def gone(stream: event_stream.EventStream) -> int:
    """Wait until nobody follows; return how many do."""
    async with asyncio.timeout(LIMIT_S):
        while stream.readers:  # noqa: ASYNC110 - the stream tells nobody that it has been left
            await asyncio.sleep(0.01)
    return stream.readers


async def test_a_reader_that_leaves_is_forgotten(served: OverTcp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.05)
    async with reading(served, served.token(Role.VIEWER)) as answer:
        await frame(answer)
        assert served.service.stream.readers == 1
    assert await gone(served.service.stream) == 0


async def test_no_more_readers_than_bound_are_let_in(served: OverTcp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_READERS", 2)
    viewer = served.token(Role.VIEWER)
    async with reading(served, viewer) as first, reading(served, viewer) as second:
        await frame(first)
        await frame(second)
        async with reading(served, viewer) as third:
            assert (third.status, third.headers["Retry-After"]) == (429, "30")
            assert (await third.json())["text"].startswith("2 browsers or programs follow this controller's events")


async def test_a_reader_whose_token_is_revoked_hears_no_more(served: OverTcp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.05)
    async with reading(served, served.token(Role.VIEWER)) as answer:
        await frame(answer)
        served.service.tokens.revoke("the-viewer")
        served.control.dispatch(Paused())
        left = await asyncio.wait_for(answer.content.read(), LIMIT_S)
    assert b"is_paused" not in left


async def test_after_a_restart_a_reader_begins_with_a_new_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 3600.0)
    first = OverTcp(tmp_path)
    async with first.answering():
        viewer = first.token(Role.VIEWER)
        port = int(first.url.rpartition(":")[2])
        async with reading(first, viewer) as answer:
            before, _, _ = await frame(answer)
            await first.service.stream.end(None)
            assert await asyncio.wait_for(answer.content.read(), LIMIT_S) == b"", "a whole answer has ended"
            assert await gone(first.service.stream) == 0, "a controller that ends does not wait for who reads"
    second = OverTcp(tmp_path, HttpSection(listen=f"127.0.0.1:{port}"))
    async with second.answering():
        headers = {"Authorization": f"Bearer {viewer}", "Last-Event-ID": before}
        async with second.client.get(f"{second.url}/v1/events", headers=headers) as answer:
            after, kind, snapshot = await frame(answer)
    assert (kind, snapshot["guests"].keys()) == ("snapshot", {"hog", "rank0", "rank1"})
    assert after.partition("-")[0] != before.partition("-")[0]


JSON = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=4),
    max_leaves=12,
)
DOCUMENT = st.dictionaries(st.text(max_size=2), JSON, max_size=4)


@given(DOCUMENT, DOCUMENT)
def test_a_patch_leads_from_any_document_to_any_other(before: Any, after: Any) -> None:
    patch = merge_patch(before, after)
    assert merged(before, patch) == after
    assert merge_patch(after, after) == {}


@given(st.dictionaries(st.text(max_size=2), DOCUMENT), st.dictionaries(st.text(max_size=2), DOCUMENT))
def test_a_patch_of_what_is_kept_as_json_has_json_and_leads_there_too(before: Any, after: Any) -> None:
    def kept(guests: dict[str, Any]) -> dict[str, Any]:
        return {uuid: msgspec.Raw(msgspec.json.encode(guest)) for uuid, guest in guests.items()}

    patch = merge_patch(kept(before), kept(after))
    assert all(change is None or isinstance(change, msgspec.Raw) for change in patch.values())
    assert merged(before, msgspec.json.decode(msgspec.json.encode(patch))) == after


def test_numbers_are_told_as_an_eye_tells_them_apart_and_times_of_day_are_not() -> None:
    job = JobView(name="j", guests=[], guest_names=[], started_at=1_780_000_000.25, iteration_s=0.0123456)
    assert document(STATUS, [], [], [job], [])["jobs"]["j"] == {
        "name": "j",
        "guests": [],
        "guest_names": [],
        "remaining_basis": "",
        "started_at": 1_780_000_000.25,
        "iteration_s": 0.0123,
        "speed_while_migrating_basis": "",
        "missing": [],
        "limits": {},
        "stalled_s": 0.0,
    }


class Whole(dict[str, Any]):
    """A document that can be followed to its end."""


async def test_there_is_no_document_while_nobody_reads() -> None:
    gone, looks = asyncio.Event(), []

    def look() -> Whole:
        document = Whole(a=1)
        weakref.finalize(document, gone.set)
        looks.append(1)
        return document

    stream = event_stream.EventStream(look)
    stream.publish()
    assert not gone.is_set()
    running = asyncio.create_task(stream.run())
    stream.heard(Paused())
    async with asyncio.timeout(LIMIT_S):
        await gone.wait()
    running.cancel()
    assert len(looks) == 1, "nobody asked for another"


async def test_of_a_large_document_a_connection_is_given_a_piece_at_a_time() -> None:
    """Several browsers that read slowly would have one copy each of what 20,000 guests do."""
    large = 16_000_000
    stream = event_stream.EventStream(lambda: {"a": "x" * large})
    seen: list[web.Request] = []

    async def follow(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return await stream.follow(request, lambda: True)

    app = web.Application()
    app.router.add_get("/", follow)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2], limit=2**14)
        async with asyncio.timeout(LIMIT_S):
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sizes: list[int] = []
            taken = 0
            while not any(sizes) or taken < large:  # what waits in the kernel comes first
                if any(sizes):
                    taken += len(await reader.read(2**16))
                await asyncio.sleep(0)
                if seen and seen[0].transport is not None:
                    sizes.append(seen[0].transport.get_write_buffer_size())
        assert max(sizes) < 300_000
    finally:
        writer.close()
        await writer.wait_closed()
        await runner.cleanup()

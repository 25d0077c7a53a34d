"""Server-sent events: a snapshot of the live document at once, then what changes in it.

Each frame is an event `snapshot` (the document of `live.py`) or `change` (a JSON Merge Patch to it), with an id that
grows by one a frame. A reader that falls behind is cut off rather than waited for: it connects again, as browsers do by
themselves, and begins with a new snapshot. So does one that comes back after the controller has restarted.

The document of a large site has megabytes. Readers share one copy of each frame, of which a connection is given a piece
at a time, and while nobody reads there is no document.
"""

import asyncio
import contextlib
import secrets
import time
import zlib
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from migd_controller.events import AnyEvent, MeasuringFailed, SampleArrived
from migd_controller.http.answers import TooMuch
from migd_controller.http.live import Document, merge_patch

MAX_READERS: Final = 64
MAX_WAITING: Final = 16  # frames that a reader may be behind
HEARTBEAT_S: Final = 15.0  # less than the minute after which proxies cut silent connections
BETWEEN_FRAMES_S: Final = 0.5
IDLE_RATIO: Final = 15.0  # after each look, so many times the CPU time that it took
RETRY_MS: Final = 2000
PIECE_BYTES: Final = 1 << 16


class Reader:
    """One connection: the frames that wait for it (None: there are no more), and whether it may have any more."""

    def __init__(self, request: web.Request, is_still_let_in: Callable[[], bool]) -> None:
        self.frames: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)
        self.is_still_let_in = is_still_let_in
        self._request = request

    def end(self) -> None:
        """End the stream after what waits for it, as a browser expects of one that is over."""
        try:
            self.frames.put_nowait(None)
        except asyncio.QueueFull:
            self.cut_off()

    def cut_off(self) -> None:
        """End the connection now, whatever it still waits for."""
        if (transport := self._request.transport) is not None:
            transport.abort()


class EventStream:
    """The one document, and everybody who follows it."""

    def __init__(self, look: Callable[[], Document]) -> None:
        """Publish what `look` returns."""
        self._look = look
        self._life = secrets.token_hex(4)  # of this process, so that ids of two lives differ
        self._number = 0
        self._document: Document = {}
        self._snapshot: bytes | None = None  # the frame that tells the whole document, once somebody asked for it
        self._readers: set[Reader] = set()
        self._has_changed = asyncio.Event()
        self._is_stale = True
        self._next_look_s = 0.0  # monotonic
        self.cut_off = 0

    @property
    def readers(self) -> int:
        """How many follow now."""
        return len(self._readers)

    def heard(self, event: AnyEvent) -> None:
        """Take note that something happened. Samples count with the next control period."""
        if not isinstance(event, SampleArrived | MeasuringFailed):
            self._is_stale = True
            self._has_changed.set()

    async def run(self) -> None:
        """Publish changes for as long as this lives, none closer together than an eye can follow.

        Nor closer than what looking takes from the loop that decides: 65 ms at 64 hosts and 1,000 guests. Where others
        keep the machine busy, a look may be over much later than it has worked; nobody waits for an update for that.
        """
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            await asyncio.sleep(max(0.0, self._next_look_s - time.monotonic()))
            if not self._is_stale:
                continue
            if self._readers:
                self.publish()
            else:
                self._document, self._snapshot = {}, None

    async def follow(self, request: web.Request, is_still_let_in: Callable[[], bool]) -> web.StreamResponse:
        """Answer `GET /v1/events` until the reader leaves or is no longer let in. Raises TooMuch."""
        if len(self._readers) >= MAX_READERS:
            raise TooMuch(
                f"{MAX_READERS} browsers or programs follow this controller's events already; close one of them", 30
            )
        reader = Reader(request, is_still_let_in)
        if self._is_stale and time.monotonic() >= self._next_look_s:
            self.publish()
        elif self._is_stale:  # readers that come one after the other must not make the loop look all the time
            self._has_changed.set()
        if self._snapshot is None:
            self._snapshot = self._frame("snapshot", self._document)
        reader.frames.put_nowait(self._snapshot)
        self._readers.add(reader)
        try:
            return await self._send(request, reader)
        finally:
            self._readers.discard(reader)

    async def end(self, _app: web.Application | None) -> None:
        """Let everybody's stream end: the controller ends, and does not wait for the next frame."""
        for reader in tuple(self._readers):
            reader.end()

    def publish(self) -> None:
        """Look again, and hand what changed to every reader."""
        began_s = time.thread_time()
        before, self._document = self._document, self._look()
        self._snapshot = None
        pause_s = max(BETWEEN_FRAMES_S, IDLE_RATIO * (time.thread_time() - began_s))
        self._is_stale, self._next_look_s = False, time.monotonic() + pause_s
        if not (patch := merge_patch(before, self._document)):
            return
        self._number += 1
        frame = self._frame("change", patch)
        for reader in tuple(self._readers):
            try:
                reader.frames.put_nowait(frame)
            except asyncio.QueueFull:
                self.cut_off += 1
                self._readers.discard(reader)
                reader.cut_off()

    def _frame(self, event: str, content: Document) -> bytes:
        data = msgspec.json.encode(content)  # one line: JSON escapes line ends in strings
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._life.encode(), self._number, event.encode(), data)

    async def _send(self, request: web.Request, reader: Reader) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        squeeze: Callable[[memoryview], bytes | memoryview] = _unchanged
        flush: Callable[[int], bytes] = _nothing
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            response.headers["Content-Encoding"] = "gzip"
            stream = zlib.compressobj(level=1, wbits=zlib.MAX_WBITS | 16)  # | 16: with gzip's header
            squeeze, flush = stream.compress, stream.flush
        frame: bytes | None = b"retry: %d\n\n" % RETRY_MS
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            while frame is not None and reader.is_still_let_in():
                for start in range(0, len(frame), PIECE_BYTES):
                    await response.write(squeeze(memoryview(frame)[start : start + PIECE_BYTES]))
                await response.write(flush(zlib.Z_SYNC_FLUSH))  # can be read at once
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        frame = await reader.frames.get()
                except TimeoutError:
                    frame = b": alive\n\n"
            await response.write_eof(flush(zlib.Z_FINISH))
        return response


def _unchanged(piece: memoryview) -> memoryview:
    return piece


def _nothing(_mode: int) -> bytes:
    return b""

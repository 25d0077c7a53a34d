"""The record of a live controller: switched on and off, and written in a thread, so that no disk holds up the loop.

What a record cannot take ends it, never the controller: the log says why, and some minutes later another begins.
"""

import contextlib
import queue
import threading
from typing import Final

import structlog

from migd_controller.commands import AnyCommand
from migd_controller.core import Core
from migd_controller.events import AnyEvent, Tick
from migd_controller.record.parts import Parts, part_files
from migd_controller.record.recorder import RecordedCore
from migd_core import api

log = structlog.get_logger()

# What may wait for the disk: some minutes of a large cluster.
WAITING_BYTES: Final = 64 << 20
RETRY_S: Final = 600.0
CLOSING_S: Final = 10.0


class Recording:
    """Stands in front of a core, and records it while it is on."""

    def __init__(self, core: Core) -> None:
        """Off at first; the core's configuration has the folder and its bounds."""
        self._core, self._settings = core, core.config.record
        self.folder = core.config.record_folder
        self._recorded: RecordedCore | None = None
        self._writer: _Writer | None = None
        self._last_writer: _Writer | None = None  # of a record that was switched off
        self._since_s: float | None = None
        self._retry_s: float | None = None
        self._problem = ""

    def adopt(self, now_s: float) -> list[AnyCommand]:
        """As `Core.adopt`."""
        return (self._recorded or self._core).adopt(now_s)

    def handle(self, event: AnyEvent, now_s: float) -> list[AnyCommand]:
        """As `Core.handle`."""
        if isinstance(event, Tick):
            self._look_after(now_s)
        return (self._recorded or self._core).handle(event, now_s)

    def switch_on(self, now_s: float) -> None:
        """Record from now on, beginning with the core as it is; nothing happens where it is on."""
        if self._recorded is not None:
            return
        self._problem, self._retry_s = "", None
        try:
            parts = Parts(self.folder, self._settings.part_bytes, self._settings.keep_bytes)
        except OSError as error:
            self._give_up(f"{self.folder}: {error.strerror}", now_s)
            return
        self._writer = _Writer(parts)
        self._recorded, self._since_s = RecordedCore(self._core, self._writer, now_s), now_s
        log.info("record begins", folder=str(self.folder))

    def switch_off(self) -> None:
        """Record nothing from now on; what waits is written still."""
        if self._writer is not None:
            self._writer.end()
            self._last_writer = self._writer
            log.info("record ends", folder=str(self.folder), problem=self._writer.problem or None)
        self._recorded = self._writer = self._since_s = self._retry_s = None

    def close(self) -> None:
        """Switch off, and wait until what was recorded is written."""
        self.switch_off()
        if self._last_writer is not None:
            self._last_writer.wait()

    def view(self) -> api.RecordView:
        """Return how it stands."""
        try:
            sizes = [path.stat().st_size for path in part_files(self.folder)]
        except OSError:
            sizes = []
        return api.RecordView(
            is_on=self._recorded is not None,
            since=self._since_s,
            folder=str(self.folder),
            parts=len(sizes),
            size_bytes=sum(sizes),
            keep_bytes=self._settings.keep_bytes,
            problem=self._problem,
        )

    def _look_after(self, now_s: float) -> None:
        if self._writer is not None and self._writer.problem:
            problem = self._writer.problem
            self.switch_off()
            self._give_up(problem, now_s)
        elif self._retry_s is not None and now_s >= self._retry_s:
            self.switch_on(now_s)

    def _give_up(self, problem: str, now_s: float) -> None:
        self._problem, self._retry_s = problem, now_s + RETRY_S
        log.warning(
            "not recorded", why=problem, again_in_s=RETRY_S, mend="check the folder's owner and its disk's space"
        )


class _Writer:
    """Writes parts in a thread of its own. `problem` says why it has stopped; what comes then is dropped."""

    def __init__(self, parts: Parts) -> None:
        self.problem = ""
        self._parts = parts
        self._queue: queue.SimpleQueue[tuple[bytes, bool | None] | None] = queue.SimpleQueue()
        self._waiting_bytes, self._lock = 0, threading.Lock()
        self._is_beginning = False  # a part that waits to be begun is not full, whatever the one before it was
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    @property
    def is_full(self) -> bool:
        return not self._is_beginning and self._parts.is_full

    def begin(self, header: bytes) -> None:
        self._is_beginning = True
        self._put(header, None)

    def add(self, frame: bytes, *, flush: bool) -> None:
        self._put(frame, flush)

    def end(self) -> None:
        self._queue.put(None)

    def wait(self) -> None:
        self._thread.join(CLOSING_S)

    def _put(self, body: bytes, flush: bool | None) -> None:
        """`flush` is None for the header of a new part."""
        if self.problem:
            return
        with self._lock:
            self._waiting_bytes += len(body)
        if self._waiting_bytes > WAITING_BYTES:
            self.problem = f"{self._parts.folder}: the disk takes less than there is to record"
            return
        self._queue.put((body, flush))

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None and not self.problem:
                body, flush = item
                if flush is None:
                    self._parts.begin(body)
                    self._is_beginning = False
                else:
                    self._parts.add(body, flush=flush)
                with self._lock:
                    self._waiting_bytes -= len(body)
        except OSError as error:
            self.problem = f"{self._parts.folder}: {error.strerror}"
        finally:
            with contextlib.suppress(OSError):
                self._parts.close()

"""Follows the pool's event stream in a thread of its own and tells the event loop what it means.

`event.from` gives every live object at first and then what changed, merged per object. After any trouble the mirror is
rebuilt from nothing, so that an event that was lost cannot leave it wrong for longer than the trouble lasts.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from migd_controller.events import InventoryChanged, PoolReachability
from migd_controller.pool_records import CLASSES, PoolMirror, PoolView, UnreadableRecords, batch_of
from migd_controller.xapi import SESSION_INVALID, Pool, PoolRefusal, PoolUnreachable

# Answers to a token that mean: begin again. With its session a token is lost too: the next may be of another database.
REFUSED_TOKEN: Final = frozenset({"EVENT_FROM_TOKEN_PARSE_FAILURE", "EVENTS_LOST", SESSION_INVALID})
# How long the pool may hold back an empty answer. A host that dies breaks no connection: that is noticed by the answer
# that does not come, so much later at most, and `timeout_s`.
HOLD_S: Final = 5.0
# How long to wait after trouble, doubling in between.
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 15.0


class PoolWatch:
    """The pool's inventory and tasks as the event stream tells them. Every method belongs to the event loop.

    `is_current` is False while the pool does not answer; `view` is then what it said last.
    """

    def __init__(self, pool: Pool, sink: Callable[[InventoryChanged | PoolReachability], None]) -> None:
        """`sink` is called in the event loop that `start` was called in."""
        self.is_current = False
        self._pool = pool
        self._sink = sink
        self.view = PoolView()
        self._problem = ""
        self._pulse = asyncio.Event()
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pool-watch")

    async def run(self) -> None:
        """Watch until `stop`. Raises what goes wrong unexpectedly in the thread: nobody may go on with a dead watch."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._thread, self._watch)

    def stop(self) -> None:
        """Tell nothing any more, and end with the pool's next answer."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and wait for the thread. Close the pool first, or this takes until it answers."""
        self.stop()
        self._thread.shutdown(wait=True)

    async def next_change(self) -> None:
        """Return when something has changed: a record, or whether the pool can be reached."""
        await self._pulse.wait()

    def _watch(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._stopping.is_set():
            try:
                self._follow()
            except (PoolRefusal, PoolUnreachable, UnreadableRecords) as error:
                if self._stopping.is_set():
                    return
                self._tell(self._lost, str(error))
                retry_s = FIRST_RETRY_S if self.is_current else min(LAST_RETRY_S, retry_s * 2)
                self._stopping.wait(retry_s)

    def _follow(self) -> None:
        mirror, token, doubts = PoolMirror(), "", 0
        while not self._stopping.is_set():
            hold_s = HOLD_S if doubts != 1 else 0.0
            try:
                batch = self._pool.call(
                    "event.from", list(CLASSES), token, hold_s, wait_s=hold_s, in_any_session=not token
                )
            except PoolRefusal as refusal:
                if not token or refusal.code not in REFUSED_TOKEN:
                    raise
                mirror, token = PoolMirror(), ""
                continue
            token, events, counts = batch_of(batch)
            changed = mirror.apply(events)
            self._pool.remember(mirror.addresses)
            # What was deleted long ago is told by the counts only; a count may be ahead of the events, but not twice.
            doubts = doubts + 1 if mirror.disagrees_with(counts) else 0
            if doubts == 2:
                mirror, token = PoolMirror(), ""
                continue
            if events or changed is not None:
                self._tell(self._take, changed, mirror.view())

    def _tell(self, what: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *args)
        except RuntimeError:  # the loop is closed: the daemon is ending and nobody listens
            self._stopping.set()

    def _take(self, changed: InventoryChanged | None, view: PoolView) -> None:
        self.view, self._problem = view, ""
        if changed is not None:
            self._sink(changed)
        if not self.is_current:
            self.is_current = True
            self._sink(PoolReachability(is_reachable=True))
        self._notify()

    def _lost(self, why: str) -> None:
        self.is_current = False
        if why != self._problem:  # said once, not at every attempt
            self._problem = why
            self._sink(PoolReachability(is_reachable=False, problem=why))
        self._notify()

    def _notify(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()

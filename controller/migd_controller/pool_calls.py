"""Calls to the pool from the event loop: each waits in a worker thread."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog

from migd_controller.pool_records import NULL_REF, Record
from migd_controller.xapi import Pool, PoolRefusal, PoolUnreachable

log = structlog.get_logger()
T = TypeVar("T")

WORKERS: Final = 8
# Between attempts to reach a pool that gave no answer, or refused what has to be done: the latter more and more.
RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 60.0


class PoolCalls:
    """A pool, and the threads in which it is waited for."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="pool")

    def close(self) -> None:
        """Let the worker threads end. Close the pool first, or they wait for its answers."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def once(self, function: Callable[..., T], *args: object) -> T:
        """Return what `function`, which calls the pool, returns. Raises PoolRefusal, PoolUnreachable."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def change(self, method: str, *args: Any) -> Any:
        """Return the pool's answer to a call that changes something. Raises PoolRefusal, PoolUnreachable."""
        return await self.once(self.call, method, *args)

    async def patiently(self, function: Callable[..., T], *args: object) -> T:
        """Call until the pool answers. For what does no harm when it is done twice: a request is never repeated."""
        retry_s = RETRY_S
        while True:
            try:
                return await self.once(function, *args)
            except PoolUnreachable as error:
                retry_s, why = RETRY_S, str(error)
            except PoolRefusal as refusal:
                retry_s, why = min(LAST_RETRY_S, 2 * retry_s), str(refusal)
            log.warning("the pool gave no usable answer; asking again", why=why, retry_s=retry_s)
            await asyncio.sleep(retry_s)

    def call(self, method: str, *args: Any) -> Any:
        """Return the pool's answer; to be called in a worker thread. Raises PoolRefusal, PoolUnreachable."""
        return self._pool.call(method, *args)

    def unless_gone(self, method: str, *args: Any) -> Any:
        """Return the pool's answer, None where what is asked about is gone; to be called in a worker thread."""
        try:
            return self._pool.call(method, *args)
        except PoolRefusal as refusal:
            if refusal.code in ("HANDLE_INVALID", "UUID_INVALID"):
                return None
            raise

    def guest_record(self, guest: str) -> Record | None:
        """Return the record of a guest (uuid), None where it is gone; to be called in a worker thread."""
        ref = self.unless_gone("VM.get_by_uuid", guest)
        record: Record | None = self.unless_gone("VM.get_record", ref) if ref is not None else None
        return record


def what_occupies(guest: Record, source: str) -> str:
    """Say what a guest that is not idle on `source` (a reference) is doing; empty if it is."""
    if guest["resident_on"] != source:
        return f"is on {guest['resident_on']}, not on {source}"
    if guest["current_operations"]:
        return f"is busy with {', '.join(sorted(guest['current_operations'].values()))}"
    if guest["scheduled_to_be_resident_on"] != NULL_REF:
        return f"is expected on {guest['scheduled_to_be_resident_on']}"
    return ""

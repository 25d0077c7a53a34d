"""How many operations a host carries out at once: the rest wait in line (xenopsd.ml, worker-pool-size)."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from migd_xapi.database import Row
from migd_xapi.tasks import TaskRun

WORKERS_PER_HOST: Final = 4


class Workers:
    """The worker slots of all hosts; migrations that arrive have workers of their own."""

    def __init__(self) -> None:
        self._slots: dict[tuple[str, str], asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(WORKERS_PER_HOST))

    def slot(self, host: Row) -> asyncio.Semaphore:
        """Return the slots of what a host does to its own guests."""
        return self._slots[host.ref, "default"]

    def arrival_slot(self, host: Row) -> asyncio.Semaphore:
        """Return the slots of what arrives at a host."""
        return self._slots[host.ref, "receive-memory"]


@asynccontextmanager
async def taken(run: TaskRun, slot: asyncio.Semaphore) -> AsyncIterator[None]:
    """Hold a worker's slot. Raises TASK_CANCELLED when somebody cancels the task while it waits for one."""
    acquired = asyncio.ensure_future(slot.acquire())
    cancelled = asyncio.ensure_future(run.asked_to_cancel())
    try:
        await asyncio.wait({acquired, cancelled}, return_when=asyncio.FIRST_COMPLETED)
        run.check()
        yield
    finally:
        cancelled.cancel()
        if acquired.done() and not acquired.cancelled():
            slot.release()
        else:
            acquired.cancel()

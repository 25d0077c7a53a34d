"""How many operations a host carries out at once: the rest wait in line (xenopsd.ml, worker-pool-size)."""

import asyncio
from collections import defaultdict
from typing import Final

from migd_xapi.database import Row

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

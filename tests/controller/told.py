"""The events that come out of what a test runs in its loop, and waiting for what it looks for."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

LIMIT_S = 15.0


class Told:
    """Collects events; to be made in the loop that `take` is called in."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._news = asyncio.Event()

    def take(self, event: Any) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Return what `condition` finds, looking again after each event and a little later."""
        async with asyncio.timeout(LIMIT_S):
            while not (found := condition()):
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.02)
        return found

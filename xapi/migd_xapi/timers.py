"""What is to happen after a while, and is given up at the end."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

_log = structlog.get_logger()


class Timers:
    """Coroutines that wait for their time."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Task[None]] = set()

    def after(self, delay_s: float, function: Callable[[], Awaitable[None]]) -> None:
        """Call `function` after `delay_s` seconds."""
        task = asyncio.create_task(_after(delay_s, function))
        self._waiting.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Give up what has not happened yet."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._waiting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("what was to happen failed", exc_info=error)


async def _after(delay_s: float, function: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(delay_s)
    await function()

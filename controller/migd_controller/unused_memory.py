"""Memory that nobody uses any more goes back to the system.

glibc keeps the pages of blocks that were freed as long as later ones lie behind them. What a thousand agents sent while
the controller stood still, or 10,000 connections that were none, took 0.7 GB from the system long after it was gone.

What there is once the pool is known stays: Python is told not to look for cycles in it any more, which takes half a
second in a pool of 20,000 guests, in the midst of a control cycle.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 30.0


def trimmer() -> Callable[[], object]:
    """Return what gives the pages of freed blocks back; nothing happens where the C library cannot (musl)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return (lambda: trim(0)) if trim is not None else lambda: None


async def give_back(is_settled: Callable[[], bool], every_s: float = EVERY_S) -> None:
    """Give back what is free, now and then; in a thread, since it takes some 10 ms for each GB.

    Once `is_settled` says so, what is in use by then is left out of the search for cycles.
    """
    trim = trimmer()
    while True:
        await asyncio.sleep(every_s)
        if gc.get_freeze_count() == 0 and is_settled():
            gc.collect()
            gc.freeze()
        await asyncio.to_thread(trim)

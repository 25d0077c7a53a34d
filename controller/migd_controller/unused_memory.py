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
# mallopt(3): blocks from this size on have pages of their own, which go back when they are freed. Left to itself glibc
# raises it to the size of the largest block that was freed, up to 32 MB.
M_MMAP_THRESHOLD: Final = -3
LARGE_BYTES: Final = 128 * 1024


def trimmer() -> Callable[[], object]:
    """Return what gives the pages of freed blocks back; nothing happens where the C library cannot (musl)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return (lambda: trim(0)) if trim is not None else lambda: None


def keep_large_blocks_apart() -> None:
    """Let each large block go back as it is freed; nothing happens where the C library cannot (musl)."""
    if (set_option := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        set_option(M_MMAP_THRESHOLD, LARGE_BYTES)


async def give_back(is_settled: Callable[[], bool], every_s: float = EVERY_S) -> None:
    """Give back what is free, now and then; in a thread, since it takes some 10 ms for each GB.

    Once `is_settled` says so, what is in use by then is left out of the search for cycles.
    """
    keep_large_blocks_apart()
    trim = trimmer()
    while True:
        await asyncio.sleep(every_s)
        if gc.get_freeze_count() == 0 and is_settled():
            gc.collect()
            gc.freeze()
        await asyncio.to_thread(trim)

"""What is freed in between what is not goes back to the system; what stays is not looked through for cycles."""

import subprocess
import sys

# Blocks of 2 KiB, of which every 64th stays: no page at the end of the heap is free.
PROGRAM = """
import psutil
from migd_controller.unused_memory import trimmer
rss = lambda: psutil.Process().memory_info().rss
before = rss()
blocks = [bytes(2048) for _ in range(50_000)]
kept = blocks[::64]
del blocks
freed = rss()
trimmer()()
print(freed - before, rss() - before)
"""


def test_pages_between_blocks_in_use_are_given_back() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    freed, given_back = (int(word) for word in run.stdout.split())
    assert freed > 80_000_000
    assert given_back < freed / 3


SETTLING = """
import asyncio, gc
from migd_controller.unused_memory import give_back

async def main() -> None:
    told = []
    task = asyncio.create_task(give_back(lambda: told.append(gc.get_freeze_count()) or len(told) == 3, every_s=0.001))
    async with asyncio.timeout(30):
        while gc.get_freeze_count() == 0:
            await asyncio.sleep(0.001)
    task.cancel()
    print(told)

asyncio.run(main())
"""


def test_what_is_in_use_once_the_pool_is_known_is_frozen_then_and_not_before() -> None:
    run = subprocess.run([sys.executable, "-c", SETTLING], capture_output=True, text=True, timeout=60)
    assert run.stdout == "[0, 0, 0]\n", run.stderr

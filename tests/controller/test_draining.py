"""What comes in over a socket is taken in turns with everything else, at once, and to the end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import zmq

from migd_controller.draining import drained

BATCH = 10
LIMIT_S = 15.0


class Drained:
    """A socket that is drained in batches, and another that sends to it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.taken: list[bytes] = []
        self.batches = 0
        self.always_more = False  # and what is there is left there
        self.pull, self.push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        self.push.linger = 0
        self.push.connect(f"tcp://127.0.0.1:{self.pull.bind_to_random_port('tcp://127.0.0.1')}")

    def take(self) -> bool:
        self.batches += 1
        if self.always_more:
            return True
        for _ in range(BATCH):
            try:
                self.taken.append(self.pull.recv(zmq.NOBLOCK))
            except zmq.Again:
                return False
        return True


@pytest.fixture
async def ends() -> AsyncIterator[Drained]:
    with zmq.Context() as context:
        ends = Drained(context)
        with ends.pull, ends.push:
            yield ends


@contextlib.asynccontextmanager
async def running(ends: Drained) -> AsyncIterator[None]:
    task = asyncio.create_task(drained(ends.pull, ends.take))
    await asyncio.sleep(0)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_all_that_was_sent_is_taken_in_batches(ends: Drained) -> None:
    numbers = [str(number).encode() for number in range(1000)]
    async with running(ends):
        for number in numbers:
            ends.push.send(number)
        deadline_s = asyncio.get_running_loop().time() + LIMIT_S
        while ends.taken != numbers:
            assert asyncio.get_running_loop().time() < deadline_s
            await asyncio.sleep(0.01)
    assert ends.batches >= len(numbers) / BATCH


async def test_however_often_the_socket_speaks_a_turn_of_the_loop_has_two_batches_at_most(ends: Drained) -> None:
    """Each word of the socket left one more waiting once, and under a flood the loop was gone for ten seconds."""
    ends.always_more = True
    ends.push.send(b"x")
    most = 0
    async with running(ends), asyncio.timeout(LIMIT_S):
        while most < 2 or ends.batches < 1000:  # its descriptor has spoken, too
            before = ends.batches
            await asyncio.sleep(0)
            most = max(most, ends.batches - before)
    assert most == 2


async def test_once_it_was_cancelled_nothing_is_taken_though_more_waits(ends: Drained) -> None:
    ends.always_more = True
    async with running(ends):
        assert ends.batches == 1
    before = ends.batches
    for _ in range(100):
        await asyncio.sleep(0)
    assert ends.batches == before

"""Takes what comes in over a ZeroMQ socket in turns with everything else of the event loop."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import zmq

# The socket's descriptor is edge-triggered, and never to be relied on alone.
LOOK_EVERY_S: Final = 1.0


async def drained(
    socket: zmq.Socket[Any], take: Callable[[], bool], each_second: Callable[[], object] = lambda: None
) -> None:
    """Call `take` whenever something may have come, and both each second, until cancelled.

    It is to take a batch, and to return whether more waits: then it has the loop's next turn, too. Never are there two
    in one turn for that: each word of the descriptor would add one, and a flood of messages would keep the loop.
    """
    loop, descriptor = asyncio.get_running_loop(), socket.fileno()
    again: asyncio.Handle | None = None

    def turn() -> None:
        nonlocal again
        if again is not None:
            again.cancel()
        again = loop.call_soon(turn) if take() else None

    loop.add_reader(descriptor, turn)
    try:
        while True:
            turn()
            each_second()
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        loop.remove_reader(descriptor)
        if again is not None:
            again.cancel()

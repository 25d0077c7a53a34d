"""How a server tells whoever started it that it can be used, and learns that it is to end."""

import asyncio
import signal
import sys
from collections.abc import Mapping

import msgspec

from migd_xapi.server import Server


def stop_event() -> asyncio.Event:
    """Return what is set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def announce(ready: Mapping[str, object]) -> None:
    """Write the one line of JSON."""
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()


def ready(server: Server, url: str) -> dict[str, object]:
    """Return what is to be said of a server that answers at `url`."""
    certificate = server.certificate
    return {"ready": True, "url": url, **({"certificate_sha256": certificate.sha256} if certificate else {})}


async def until_stopped(stop: asyncio.Event, work: "asyncio.Task[None]") -> None:
    """Wait until told to end. `work` only ends by a fault of its own, which is raised then."""
    stopped = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({stopped, work}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()

"""How a server tells whoever started it that it can be used, and learns that it is to end."""

import asyncio
import signal
import sys
from collections.abc import Mapping

import msgspec


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

"""The loop of the agent: tick, send, and follow what happens between ticks.

One thread and one poll, no asyncio: a tick is one short piece of blocking work, the rest is waiting for descriptors.
A second thread would cost memory and an event loop CPU in a Dom0 that the guests pay for, and neither would make a tick
any shorter.
"""

import math
import select
import signal
import socket
import time
from collections.abc import Sequence
from types import FrameType
from typing import Final

import structlog
import zmq

from migd_agent.pace import next_due_s
from migd_agent.probing import Probing
from migd_agent.publisher import Publisher
from migd_agent.sampler import NOTHING_PROBED, Sampler
from migd_core import systemd

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Within `with`, SIGTERM and SIGINT set `is_asked` and make `fileno` readable, whatever waits for it."""

    def __init__(self) -> None:
        self.is_asked = False
        self._wakes, self._woken = socket.socketpair()

    def __enter__(self) -> "StopRequest":
        self._wakes.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._wakes.fileno())
        self._old_handlers = [signal.signal(number, self._ask) for number in _SIGNALS]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in zip(_SIGNALS, self._old_handlers, strict=True):
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._wakes.close()
        self._woken.close()

    def fileno(self) -> int:
        return self._woken.fileno()

    def wait(self, seconds: float) -> None:
        """Return after so long, or once it is asked."""
        if not self.is_asked:
            select.select([self], [], [], seconds)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True


def run(
    sampler: Sampler, probing: Probing | None, publishers: Sequence[Publisher], period_s: float, stop: StopRequest
) -> None:
    """Publish one sample a period, to each controller, until `stop` is asked for."""
    log = structlog.get_logger()
    start_s = due_s = time.monotonic()
    watchdog_s, fed_s = systemd.watchdog_period_s(), -math.inf
    systemd.notify("READY=1")
    while not stop.is_asked:
        now_s = time.monotonic()
        if watchdog_s is not None and now_s >= fed_s + watchdog_s:
            systemd.notify("WATCHDOG=1")
            fed_s = now_s
        if now_s >= due_s:
            sample = sampler.tick(now_s, probing.probed if probing else NOTHING_PROBED)
            if sample is not None:
                is_sent = [publisher.send(sample) for publisher in publishers]
                log.debug("sample", sequence=sample.sequence, guests=len(sample.guests), is_sent=is_sent)
            due_s = next_due_s(start_s, period_s, time.monotonic())
        until_s = due_s if watchdog_s is None else min(due_s, fed_s + watchdog_s)
        _wait(sampler, probing, publishers, until_s, stop)
    systemd.notify("STOPPING=1")


def _wait(
    sampler: Sampler, probing: Probing | None, publishers: Sequence[Publisher], until_s: float, stop: StopRequest
) -> None:
    """Wait until `until_s` or the first thing that happens before, and deal with that."""
    poller = zmq.Poller()
    sockets = [each for publisher in publishers for each in publisher.sockets]
    for readable in (stop, *sockets, *(probing.readable if probing else ())):
        poller.register(readable, zmq.POLLIN)
    until_s = min(until_s, *(publisher.due_s for publisher in publishers), probing.due_s if probing else until_s)
    # Whole milliseconds, rounded up: rounded down, the last one would be spent spinning.
    poller.poll(math.ceil(max(0.0, until_s - time.monotonic()) * 1000))
    now_s = time.monotonic()
    for publisher in publishers:
        publisher.follow(now_s)
    if probing is not None:
        probing.follow(sampler.guests, now_s)

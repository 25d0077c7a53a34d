"""Sends samples to the controller, and counts those that it could not.

A PUB socket drops in silence what nobody takes, so this is an XPUB one: the same on the wire, but it tells who has
subscribed, and with XPUB_NODROP a full queue is an error rather than a loss. A sample counts as dropped when no
controller is subscribed, or when the queue to it is full. Not counted is what was under way when a connection broke:
at most QUEUE_SAMPLES and what the kernel held; the controller sees those as gaps in the sequence.
"""

import time
from enum import StrEnum
from typing import Any, Final

import structlog
import zmq
from msgspec.structs import replace

from migd_agent.config import Endpoints
from migd_agent.connection import Connection
from migd_agent.identity import Keys
from migd_core import __version__
from migd_core.frames import encode_sample
from migd_core.messages import HostSample

# The newest sample wins: one that waited longer than a few periods is worth nothing.
QUEUE_SAMPLES: Final = 4
LINGER_MS: Final = 200


class Link(StrEnum):
    """How the connection stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    ABSENT = "absent"
    REFUSED = "refused"


class Publisher:
    """One connection to one controller, which comes back by itself.

    Poll `sockets`, and call `follow` when one is readable and at latest at `due_s`.
    """

    def __init__(self, context: zmq.Context[Any], settings: Endpoints, keys: Keys, topic: str) -> None:
        """Raises ConfigError."""
        self._topic = topic.encode()
        self._log = structlog.get_logger().bind(controller=settings.endpoint)
        self._subscriptions: set[bytes] = set()
        self.link = Link.CONNECTING
        self.dropped = 0
        self._socket = context.socket(zmq.XPUB)
        self._socket.sndhwm, self._socket.linger = QUEUE_SAMPLES, LINGER_MS
        self._socket.setsockopt(zmq.XPUB_NODROP, 1)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # keep no queue for a controller that is not there
        self._connection = Connection(self._socket, settings.endpoint, "controller.endpoint", keys)

    @property
    def sockets(self) -> tuple[zmq.Socket[Any], ...]:
        """What to poll for reading."""
        return self._connection.sockets

    @property
    def due_s(self) -> float:
        """When to call `follow` at latest."""
        return self._connection.due_s

    def follow(self, now_s: float) -> None:
        """Take in what became of the connection, log a change, and try again where the controller had refused."""
        while self._socket.poll(0):
            match self._socket.recv_multipart():
                case [frame, *_] if frame[:1] == b"\x01":
                    self._subscriptions.add(frame[1:])
                case [frame, *_] if frame[:1] == b"\x00":
                    self._subscriptions.discard(frame[1:])
        if (why := self._connection.follow(now_s)) is not None:
            self._become(Link.REFUSED, why)
        if self._has_listener:
            self._become(Link.CONNECTED)
        elif self.link is Link.CONNECTED:
            self._become(Link.ABSENT, "the connection broke; connecting again")

    def send(self, sample: HostSample) -> bool:
        """Hand `sample` to the connection without waiting; False, and one more dropped, where it takes none."""
        if self._has_listener:
            try:
                signed = replace(sample, version=__version__, clock_s=time.time(), samples_dropped=self.dropped)
                self._socket.send_multipart(encode_sample(signed), zmq.NOBLOCK)
            except zmq.Again:
                self.dropped += 1
                return False
            return True
        self.dropped += 1
        if self.link is Link.CONNECTING:
            why = "nobody answers there yet; is the controller running, and its port open? Connecting until it answers"
            self._become(Link.ABSENT, why)
        return False

    def close(self) -> None:
        """Close the connection; samples still queued have LINGER_MS to leave."""
        self._connection.close()

    @property
    def _has_listener(self) -> bool:
        return any(self._topic.startswith(prefix) for prefix in self._subscriptions)

    def _become(self, link: Link, why: str = "") -> None:
        if link is self.link:
            return
        self.link = link
        if link is Link.CONNECTED:
            self._connection.stands()
            self._log.info("controller connected", samples_dropped=self.dropped)
        else:
            self._log.warning(f"controller {link}; samples are dropped", why=why)

"""Leases in: what the controller allows this host's agent to probe."""

from typing import Any, Final

import structlog
import zmq

from migd_agent.connection import Connection
from migd_agent.identity import Keys
from migd_core.errors import FrameError
from migd_core.frames import MAX_MESSAGE_BYTES, decode_request
from migd_core.messages import ProbeLease, ProbeRevoked

QUEUE_REQUESTS: Final = 16


class LeaseInbox:
    """One subscription at the controller, for this host's leases. Poll `sockets`, and call `follow` by `due_s`."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, keys: Keys, host_uuid: str) -> None:
        """Raises ConfigError."""
        self._log = structlog.get_logger().bind(controller=endpoint)
        self._socket = context.socket(zmq.SUB)
        self._socket.rcvhwm, self._socket.linger = QUEUE_REQUESTS, 0
        self._socket.maxmsgsize = MAX_MESSAGE_BYTES
        self._socket.subscribe(host_uuid.encode())
        self._host_uuid = host_uuid
        self._refused: str | None = None
        self._connection = Connection(self._socket, endpoint, "controller.lease_endpoint", keys)

    @property
    def sockets(self) -> tuple[zmq.Socket[Any], ...]:
        """What to poll for reading."""
        return self._connection.sockets

    @property
    def due_s(self) -> float:
        """When to call `follow` at latest."""
        return self._connection.due_s

    def follow(self, now_s: float) -> list[ProbeLease | ProbeRevoked]:
        """Return what has come in since, without waiting; what cannot be read is logged and dropped."""
        refused = self._connection.follow(now_s)
        if refused is not None and refused != self._refused:
            self._refused = refused
            self._log.warning("no leases to probe guests come in", why=refused)
        found: list[ProbeLease | ProbeRevoked] = []
        while self._socket.poll(0):
            frames = self._socket.recv_multipart()
            self._connection.stands()
            self._refused = None
            try:
                request = decode_request(frames)
            except FrameError as error:
                self._log.warning("a lease was refused", why=str(error))
                continue
            if request.host_uuid == self._host_uuid:  # a subscription matches prefixes
                found.append(request)
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

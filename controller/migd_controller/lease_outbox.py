"""Leases out: to the agents that listen for them, over the same keys as their samples come in; and memory to standbys.

`follows` is called in the event loop with the name of a controller that stands by, when it comes and when it goes.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import zmq

from migd_controller.events import AgentListens
from migd_controller.intake import ZAP_DOMAIN
from migd_controller.memory_stream import HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS, follower_of
from migd_core import keys, systemd
from migd_core.errors import MigdError
from migd_core.frames import encode_request
from migd_core.messages import ProbeLease, ProbeRevoked

QUEUE_REQUESTS: Final = 1000


class LeaseOutbox:
    """The socket that agents subscribe to, each for its own host. Its context has the authenticator of the intake."""

    def __init__(
        self,
        context: zmq.Context[Any],
        listen: str,
        secret_key_file: Path,
        emit: Callable[[AgentListens], None],
    ) -> None:
        """Bind the socket; `emit` is called in the event loop.

        Raises ConfigError for bad keys, MigdError where the address cannot be had.
        """
        public, secret = keys.read_secret(systemd.secret(secret_key_file))
        self._emit = emit
        self.follows: Callable[[str, bool], None] = lambda follower, is_there: None
        self._socket = context.socket(zmq.XPUB)
        self._socket.linger, self._socket.sndhwm = 0, QUEUE_REQUESTS
        self._socket.heartbeat_ivl, self._socket.heartbeat_timeout = HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS
        self._socket.zap_domain, self._socket.curve_server = ZAP_DOMAIN, True
        self._socket.curve_publickey, self._socket.curve_secretkey = public, secret
        try:
            self._socket.bind(listen)
        except zmq.ZMQError as error:
            self.close()
            raise MigdError(
                f"probe.listen = {listen}: cannot be bound: {error}; is another controller running?"
            ) from error

    @property
    def endpoint(self) -> str:
        """The address that agents connect to, with the actual port."""
        endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        return endpoint.decode()

    async def run(self) -> None:
        """Tell who listens until cancelled."""
        loop, descriptor = asyncio.get_running_loop(), self._socket.fileno()
        loop.add_reader(descriptor, self._drain)
        try:
            while True:
                self._drain()  # the socket's descriptor is edge-triggered: never rely on it alone
                await asyncio.sleep(1.0)
        finally:
            loop.remove_reader(descriptor)

    def _drain(self) -> None:
        while self._socket.poll(0):
            frame = self._socket.recv_multipart()[0]
            if (follower := follower_of(frame[1:])) is not None:
                self.follows(follower, frame[:1] == b"\x01")
                continue
            with contextlib.suppress(UnicodeDecodeError):  # no agent's topic
                self._emit(AgentListens(host=frame[1:].decode(), listens=frame[:1] == b"\x01"))

    def send(self, request: ProbeLease | ProbeRevoked) -> None:
        """Send a request to the agent of its host. It may get lost; leases end by themselves."""
        self._socket.send_multipart(encode_request(request), zmq.NOBLOCK)

    def tell(self, message: Sequence[bytes]) -> None:
        """Send a memory to who follows it. It may get lost; the next one says all that it did."""
        self._socket.send_multipart(message, zmq.NOBLOCK)

    def close(self) -> None:
        """Unbind."""
        self._socket.close()

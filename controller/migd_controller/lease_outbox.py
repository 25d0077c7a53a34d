"""Leases out: to the agents that listen for them, over the same keys as their samples come in; and memory to standbys.

An agent hears of its own host's leases only: one that asks for another host's, or whose key was taken off the list, is
cut off. How often it says that it listens, and does not, is not passed on faster than a person could follow. A topic of
memory is for who has this controller's own key. `follows` is called in the event loop with the name of a controller
that stands by, when it comes and when it goes.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import zmq

from migd_controller.cutting import cut
from migd_controller.draining import drained
from migd_controller.events import AgentListens
from migd_controller.http.limits import Buckets
from migd_controller.intake import BACKLOG, HANDSHAKE_WITHIN_MS, ZAP_DOMAIN
from migd_controller.memory_stream import follower_of
from migd_core import keys, systemd
from migd_core.errors import MigdError
from migd_core.frames import encode_request
from migd_core.messages import ProbeLease, ProbeRevoked
from migd_core.tcp import notice_silence

QUEUE_REQUESTS: Final = 1000
# Of subscriptions, each connection: an agent has one, of some 40 bytes. The messages of the handshake have some 350.
QUEUE_SUBSCRIPTIONS: Final = 16
MAX_MESSAGE_BYTES: Final = 1024
# Subscriptions taken in one go before the loop may see to anything else.
BATCH: Final = 128
# How often an agent may say that it listens, or does not any more.
SUBSCRIPTIONS_PER_S: Final = 1.0
SUBSCRIPTIONS_AT_ONCE: Final = 16.0


class LeaseOutbox:
    """The socket that agents subscribe to, each for its own host. Its context has the authenticator of the intake."""

    def __init__(
        self,
        context: zmq.Context[Any],
        listen: str,
        secret_key_file: Path,
        emit: Callable[[AgentListens], None],
        host_of: Callable[[zmq.Frame], str | None],
    ) -> None:
        """Bind the socket; `emit` is called in the event loop, `host_of` gives the host that a message may speak for.

        Raises ConfigError for bad keys, MigdError where the address cannot be had.
        """
        public, secret = keys.read_secret(systemd.secret(secret_key_file))
        self._emit, self._host_of, self._own_key = emit, host_of, public.decode()
        self.follows: Callable[[str, bool], None] = lambda follower, is_there: None
        self._subscribed: dict[str, zmq.Frame] = {}  # by host: what its agent's connection is known by
        self._listening: Counter[str] = Counter()  # by host: connections that listen
        # By topic: the descriptors of connections whose subscription did not count, and is not over yet.
        self._unheard: dict[bytes, list[int]] = {}
        self._often = Buckets(SUBSCRIPTIONS_PER_S, SUBSCRIPTIONS_AT_ONCE)
        self._socket = context.socket(zmq.XPUB)
        self._socket.linger, self._socket.sndhwm, self._socket.rcvhwm = 0, QUEUE_REQUESTS, QUEUE_SUBSCRIPTIONS
        self._socket.maxmsgsize = MAX_MESSAGE_BYTES
        self._socket.backlog, self._socket.handshake_ivl = BACKLOG, HANDSHAKE_WITHIN_MS
        notice_silence(self._socket)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # tell of each, so that nobody hides behind another's topic
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
        await drained(self._socket, self._drain, self._cut_revoked)

    def _drain(self) -> bool:
        """Take what waits, at most one batch; return whether more may wait."""
        for _ in range(BATCH):
            try:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return False
            while frame.more:
                frame = self._socket.recv(copy=False)
            self._take(frame)
        return True

    def _take(self, frame: zmq.Frame) -> None:
        kind, topic = frame.bytes[:1], frame.bytes[1:]
        follower = follower_of(topic)
        if _is_of_ended_connection(frame):
            if topic in self._unheard:
                self._is_over(topic, self._unheard[topic][0])
            elif follower is not None:
                self.follows(follower, False)
            else:
                self._listens(topic.decode(errors="replace"), -1)
            return
        if follower is not None and frame.get("User-Id") == self._own_key:
            self.follows(follower, kind == b"\x01")
            return
        host = self._host_of(frame)
        is_its_own = host is not None and topic == host.encode()
        if host is not None and is_its_own and kind == b"\x00":
            self._listens(host, -1)
        elif host is not None and is_its_own and kind == b"\x01" and not self._often.take(host, time.monotonic()):
            self._subscribed[host] = frame
            self._listens(host, +1)
        else:
            descriptor, unheard = int(frame.get(zmq.SRCFD)), self._unheard.setdefault(topic, [])
            if kind == b"\x00":
                self._is_over(topic, descriptor)
            elif descriptor not in unheard:  # ZeroMQ ends it once, however often it was asked
                unheard.append(descriptor)
            cut(frame, self._socket)

    def _is_over(self, topic: bytes, descriptor: int) -> None:
        """Forget a subscription that did not count, if there is one."""
        connections = self._unheard.get(topic, [])
        if descriptor in connections:
            connections.remove(descriptor)
        if not connections:
            self._unheard.pop(topic, None)

    def _listens(self, host: str, more: int) -> None:
        """Take note of one connection more or less that listens for a host's leases, and tell if it is the only one."""
        before = self._listening[host]
        self._listening[host] = max(0, before + more)
        if not self._listening[host]:
            del self._listening[host]
            self._subscribed.pop(host, None)
        if bool(before) != (host in self._listening):
            self._emit(AgentListens(host=host, listens=not before))

    def _cut_revoked(self) -> None:
        for host, frame in self._subscribed.items():
            if self._host_of(frame) != host:
                cut(frame, self._socket)

    def send(self, request: ProbeLease | ProbeRevoked) -> None:
        """Send a request to the agent of its host. It may get lost; leases end by themselves."""
        self._socket.send_multipart(encode_request(request), zmq.NOBLOCK)

    def tell(self, message: Sequence[bytes]) -> None:
        """Send a memory to who follows it. It may get lost; the next one says all that it did."""
        self._socket.send_multipart(message, zmq.NOBLOCK)

    def close(self) -> None:
        """Unbind."""
        self._socket.close()


def _is_of_ended_connection(frame: zmq.Frame) -> bool:
    """Return whether ZeroMQ itself says that a subscription is over: nobody's key is on that."""
    try:
        frame.get("User-Id")
    except zmq.ZMQError:
        return True
    return False

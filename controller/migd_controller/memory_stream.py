"""The leader's whole memory on its way to those who stand by, on the socket from which leases go out to agents.

Each follower subscribes to a topic of its own, which tells the leader who stands by, and gets the newest memory at once
and after each change. It is sealed: agents may connect to that socket, too. What is lost on the way costs nothing that
must not be lost, since claims carry that (see `inheritance`).
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import zmq

from migd_controller.inheritance import Heard
from migd_controller.leader_claims import Seal
from migd_core import keys, systemd
from migd_core.decoding import UNDECODABLE
from migd_core.tcp import notice_silence

log = structlog.get_logger()
TOPIC: Final = b"migd-memory:"
MAX_MEMORY_BYTES: Final = 64 * 1024 * 1024
# libzmq connects no more once a peer has refused it, and a leader tells something every control period.
SILENCE_S: Final = 30.0


def topic_of(name: str) -> bytes:
    """Return the topic of a follower."""
    return TOPIC + name.encode()


def follower_of(topic: bytes) -> str | None:
    """Return the name of the follower whose topic this is, None where it is no such topic."""
    return topic.removeprefix(TOPIC).decode(errors="replace") if topic.startswith(TOPIC) else None


def frames(name: str, sealed: bytes) -> list[bytes]:
    """Return the message that brings a memory to a follower."""
    return [topic_of(name), sealed]


def sealed(heard: Heard, seal: Seal) -> bytes:
    """Return what is sent of a memory."""
    return seal.closed(msgspec.msgpack.encode(heard)).encode()


class MemoryFollower:
    """Hears the memory of one leader at a time. `take` is called in the event loop."""

    def __init__(
        self, context: zmq.Context[Any], name: str, secret_key_file: Path, seal: Seal, take: Callable[[Heard], None]
    ) -> None:
        """`context` must outlive it. Raises ConfigError."""
        self._context, self._topic, self._seal, self._take = context, topic_of(name), seal, take
        self._public, self._secret = keys.read_secret(systemd.secret(secret_key_file))
        self._endpoint, self._problem = "", ""
        self._socket = self._fresh()

    def follow(self, endpoint: str) -> None:
        """Hear what is told at this endpoint from now on, and nothing else; empty: nothing."""
        if endpoint == self._endpoint:
            return
        self._endpoint = endpoint
        self._connect()

    async def run(self) -> None:
        """Hear until cancelled."""
        loop = asyncio.get_running_loop()
        heard_s = loop.time()
        while True:
            if self._hear():
                heard_s = loop.time()
            elif loop.time() - heard_s > SILENCE_S:
                heard_s = loop.time()
                self._connect()
            await asyncio.sleep(0.1)

    def close(self) -> None:
        """Hear nothing any more."""
        self._socket.close()

    def _fresh(self) -> zmq.Socket[Any]:
        socket: zmq.Socket[Any] = self._context.socket(zmq.SUB)
        socket.linger, socket.rcvhwm, socket.maxmsgsize = 0, 16, MAX_MEMORY_BYTES
        notice_silence(socket)
        socket.curve_serverkey = socket.curve_publickey = self._public
        socket.curve_secretkey = self._secret
        socket.subscribe(self._topic)
        return socket

    def _connect(self) -> None:
        self._socket.close()
        self._socket = self._fresh()
        if self._endpoint:
            try:
                self._socket.connect(self._endpoint)
            except zmq.ZMQError as error:
                log.warning("the leader's memory cannot be followed", endpoint=self._endpoint, why=str(error))

    def _hear(self) -> bool:
        newest: bytes | None = None
        while self._socket.poll(0):
            newest = self._socket.recv_multipart()[-1]
        if newest is None:
            return False
        opened = self._seal.opened(newest.decode(errors="replace"))
        try:
            heard = msgspec.msgpack.decode(opened, type=Heard) if opened is not None else None
        except UNDECODABLE as error:
            self._complain(f"it cannot be read: {error}; both controllers need the same release")
            return False
        if heard is None:
            self._complain("it was sealed with another key; all controllers need the same telemetry.secret_key_file")
            return False
        self._take(heard)
        return True

    def _complain(self, why: str) -> None:
        if why != self._problem:
            self._problem = why
            log.warning("the leader's memory cannot be followed", endpoint=self._endpoint, why=why)

"""Telemetry in: authenticated samples from the agents, newest first.

CURVE encrypts, ZAP admits only listed keys, and each message is checked against the key that sent it, so that an agent
can speak for its own host only and a key that is taken off the list is cut off at once, connected or not. Of several
samples of one host that wait together only the newest is handed on; the rest is counted.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
import zmq
import zmq.auth.thread

from migd_controller.config import TelemetrySection
from migd_core import keys, systemd
from migd_core.agents_file import AllowedAgents
from migd_core.errors import ConfigError, FrameError, MigdError
from migd_core.frames import MAX_MESSAGE_BYTES, decode_sample
from migd_core.messages import HostSample

# Messages taken in one go before the loop may see to anything else.
BATCH: Final = 512
QUEUE_MESSAGES: Final = 10_000
ZAP_DOMAIN: Final = b"migd"

log = structlog.get_logger()


@dataclass(slots=True)
class IntakeCounts:
    """What came in since the start. `last_refusal` is the text of the newest refused message or agent."""

    received: int = 0
    superseded: int = 0
    refused: int = 0
    agents_refused: int = 0
    last_refusal: str = ""


class Intake:
    """The socket that agents report to. `sink` is called in the event loop, once per host and batch.

    Other sockets of its `context` admit the same keys, and must be closed before it is.
    """

    def __init__(self, section: TelemetrySection, sink: Callable[[HostSample], None]) -> None:
        """Bind the socket. Raises ConfigError for bad keys, MigdError where the address cannot be had."""
        self.counts = IntakeCounts()
        self._sink = sink
        self._agents = AllowedAgents(section.agents_file)
        self._logged: set[str] = set()
        public, secret = keys.read_secret(systemd.secret(section.secret_key_file))
        self._own_key = public.decode()
        self.context: zmq.Context[Any] = zmq.Context()
        self._authenticator = zmq.auth.thread.ThreadAuthenticator(self.context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(ZAP_DOMAIN.decode(), credentials_provider=_Credentials(self))
        self._socket = self.context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.rcvhwm = QUEUE_MESSAGES
        self._socket.maxmsgsize = MAX_MESSAGE_BYTES
        self._socket.zap_domain = ZAP_DOMAIN
        self._socket.curve_server = True
        self._socket.curve_publickey, self._socket.curve_secretkey = public, secret
        self._socket.subscribe(b"")
        try:
            self._socket.bind(section.listen)
        except zmq.ZMQError as error:
            self.close()
            raise MigdError(
                f"telemetry.listen = {section.listen}: cannot be bound: {error}; is another controller running?"
            ) from error

    @property
    def endpoint(self) -> str:
        """The address that agents connect to, with the actual port."""
        endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        return endpoint.decode()

    async def run(self) -> None:
        """Take samples in until cancelled, and read the list of agents again when it changes."""
        loop = asyncio.get_running_loop()
        descriptor = self._socket.fileno()
        loop.add_reader(descriptor, self.drain)
        try:
            while True:
                self.drain()  # the socket's descriptor is edge-triggered: never rely on it alone
                await asyncio.sleep(1.0)
        finally:
            loop.remove_reader(descriptor)

    def drain(self) -> None:
        """Hand on what waits, at most one batch; if more waits, come back after everybody else had a turn."""
        self._refresh()  # a key that was revoked before these came does not count for them
        newest: dict[str, HostSample] = {}
        for _ in range(BATCH):
            try:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            # Twice as fast as recv_multipart, which asks the socket after each frame whether there is another.
            parts = [frame.bytes]
            while frame.more:
                frame = self._socket.recv(copy=False)
                parts.append(frame.bytes)
            self._take(parts, str(frame.get("User-Id")), newest)
        else:
            asyncio.get_running_loop().call_soon(self.drain)
        for sample in newest.values():
            self._sink(sample)

    @property
    def authorised(self) -> frozenset[str]:
        """The hosts (uuids) on the list of agents, whether their agents speak or not."""
        return frozenset(self._agents.host_of_key.values())

    def has_agent(self, host: str) -> bool:
        """Return whether the list of agents names this host (uuid), whether its agent speaks or not."""
        return host in self._agents.host_of_key.values()

    def close(self) -> None:
        """Unbind and end the authenticator."""
        if hasattr(self, "_socket"):
            self._socket.close()
        self._authenticator.stop()
        self.context.term()

    def _refresh(self) -> None:
        """Read the list of agents again if it changed; called in the loop and in the authenticator's thread."""
        try:
            if self._agents.refresh():
                log.info("list of agents read", agents=len(set(self._agents.host_of_key.values())))
        except ConfigError as error:
            self._complain(str(error))

    def _take(self, parts: list[bytes], key: str, newest: dict[str, HostSample]) -> None:
        try:
            sample = decode_sample(parts)
            host = self._agents.host_of_key.get(key)
            if host is None:
                raise FrameError(f"host {sample.host_uuid}: the key that sent this was taken off the list of agents")
            if host != sample.host_uuid:
                raise FrameError(f"the agent of host {host} sent a sample of host {sample.host_uuid}")
        except FrameError as error:
            self.counts.refused += 1
            self._complain(str(error))
            return
        self.counts.received += 1
        waiting = newest.get(sample.host_uuid)
        if waiting is not None:
            self.counts.superseded += 1
            if waiting.boot_id == sample.boot_id and sample.sequence <= waiting.sequence:
                return
        newest[sample.host_uuid] = sample

    def _complain(self, text: str) -> None:
        """Say each refusal once; a thousand a second must not fill the log."""
        self.counts.last_refusal = text
        if text not in self._logged and len(self._logged) < 1000:
            self._logged.add(text)
            log.warning("telemetry refused", why=text)


class _Credentials:
    """ZAP's question, asked in the authenticator's thread: may this key in?"""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def callback(self, domain: str, key: bytes) -> bool:
        public = key.decode("ascii")
        self._intake._refresh()
        # Another controller of the pool has this one's key; a sample of it is refused as nobody's.
        if self._intake._agents.is_allowed(public) or public == self._intake._own_key:
            return True
        self._intake.counts.agents_refused += 1
        self._intake.counts.last_refusal = (
            f"an agent with the unknown key {public} was refused; `migctl keys authorise` lets it in, if it is yours"
        )
        return False

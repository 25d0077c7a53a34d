"""Telemetry in: authenticated samples from the agents, newest first.

CURVE encrypts, ZAP admits only listed keys, and each message is checked against the key that sent it, so that an agent
can speak for its own host only and a key that is taken off the list is cut off at once, connected or not. Of several
samples of one host that wait together only the newest is handed on; the rest is counted. An agent that sends more than
any host has to tell is cut off, too, before what it sent is read: the others are not kept waiting.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
import zmq
import zmq.auth.thread

from migd_controller.config import TelemetrySection
from migd_controller.cutting import cut
from migd_controller.draining import drained
from migd_controller.http.limits import Buckets
from migd_core import keys, systemd
from migd_core.agents_file import AllowedAgents
from migd_core.errors import ConfigError, FrameError, MigdError
from migd_core.frames import MAX_MESSAGE_BYTES, decode_sample
from migd_core.messages import HostSample
from migd_core.tcp import notice_silence

# For so long messages are taken in in one go before the loop may see to anything else.
BATCH_S: Final = 0.03
# A message has three frames. It is read to its end where it has more, but no more than this is kept of it.
MOST_FRAMES: Final = 4
# Of each connection, of which somebody may open several: where the loop comes late, an agent's next samples wait in the
# kernel's buffers and its own socket, and only the newest counts then.
QUEUE_MESSAGES: Final = 4
# What a host may tell: its largest sample twice a second, at first as much as it sends in ten minutes; a small message
# counts as so many bytes, for it costs time, too. A sample of 20 guests has 6 kB.
BYTES_PER_S: Final = 2 * MAX_MESSAGE_BYTES
BURST_BYTES: Final = 16 * MAX_MESSAGE_BYTES
LEAST_BYTES: Final = 16 * 1024
# Agents connect all at once when the controller has been away; somebody who connects and says nothing has so long.
BACKLOG: Final = 4096
HANDSHAKE_WITHIN_MS: Final = 10_000
ZAP_DOMAIN: Final = b"migd"
# So many refusals of one agent are logged, each once: a thousand a second must not fill the log, nor hide another's.
TEXTS_OF_ONE: Final = 20

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
        self._logged: defaultdict[str, set[str]] = defaultdict(set)  # by host
        self._allowances = Buckets(BYTES_PER_S, BURST_BYTES)
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
        self._socket.backlog, self._socket.handshake_ivl = BACKLOG, HANDSHAKE_WITHIN_MS
        notice_silence(self._socket)
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
        await drained(self._socket, self.drain)

    def drain(self) -> bool:
        """Hand on what waits, at most one batch; return whether more may wait."""
        self._refresh()  # a key that was revoked before these came does not count for them
        newest: dict[str, HostSample] = {}
        until_s = time.monotonic() + BATCH_S
        while is_in_time := time.monotonic() <= until_s:
            try:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            # Twice as fast as recv_multipart, which asks the socket after each frame whether there is another.
            frames, size = [frame], len(frame)
            while frame.more:
                frame = self._socket.recv(copy=False)
                size += len(frame)
                if len(frames) < MOST_FRAMES:
                    frames.append(frame)
            self._take(frames, size, newest)
        for sample in newest.values():
            self._sink(sample)
        return not is_in_time

    @property
    def authorised(self) -> frozenset[str]:
        """The hosts (uuids) on the list of agents, whether their agents speak or not."""
        return frozenset(self._agents.host_of_key.values())

    def host_of(self, frame: zmq.Frame) -> str | None:
        """Return the host (uuid) whose agent's key a message came under; None where that is on the list no more."""
        return self._agents.host_of_key.get(str(frame.get("User-Id")))

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

    def _take(self, frames: list[zmq.Frame], size: int, newest: dict[str, HostSample]) -> None:
        try:
            sample = self._sample(frames, size)
        except FrameError as error:
            self.counts.refused += 1
            self._complain(str(error), self.host_of(frames[0]) or "no longer listed")
            return
        self.counts.received += 1
        waiting = newest.get(sample.host_uuid)
        if waiting is not None:
            self.counts.superseded += 1
            if waiting.boot_id == sample.boot_id and sample.sequence <= waiting.sequence:
                return
        newest[sample.host_uuid] = sample

    def _sample(self, frames: list[zmq.Frame], size: int) -> HostSample:
        """Return the sample in a message of `size` bytes. Raises FrameError; who may not send any is cut off."""
        host = self.host_of(frames[0])
        if host is None:
            cut(frames[0], self._socket)
            key = frames[0].get("User-Id")
            raise FrameError(
                f"the key that sent this was taken off the list of agents, and its connection is cut: {key}"
            )
        if self._allowances.take(host, time.monotonic(), max(size, LEAST_BYTES)):
            cut(frames[0], self._socket)
            raise FrameError(
                f"host {host}: its agent sends more than {BYTES_PER_S >> 20} MiB a second or "
                f"{BYTES_PER_S // LEAST_BYTES} messages, and is cut off each time; look for what has taken it over"
            )
        sample = decode_sample([frame.bytes for frame in frames])
        if host != sample.host_uuid:
            raise FrameError(f"the agent of host {host} sent a sample of host {sample.host_uuid}")
        return sample

    def _complain(self, text: str, host: str = "") -> None:
        """Say once what was refused of a host's agent, or what is wrong with the list."""
        self.counts.last_refusal = text
        logged = self._logged[host]
        if text not in logged and len(logged) < TEXTS_OF_ONE:
            logged.add(text)
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

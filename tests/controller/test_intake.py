"""Who may speak, for whom, and what is taken in: over real sockets with real keys."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import zmq
from msgspec.structs import replace
from zmq.utils.monitor import recv_monitor_message

from migd_controller.config import TelemetrySection
from migd_controller.intake import TEXTS_OF_ONE, Intake
from migd_core import keys
from migd_core.agents_file import AllowedAgents
from migd_core.errors import ConfigError, MigdError
from migd_core.frames import MAX_MESSAGE_BYTES, encode_sample
from migd_core.messages import HostSample

SAMPLE = HostSample(
    host_uuid="h1",
    boot_id="b",
    sequence=1,
    monotonic_s=1.0,
    interval_s=1.0,
    cpus=4,
    cpu_ratio=0.5,
    dom0_cpu_ratio=0.0,
    memory_bytes=100,
    memory_free_bytes=50,
    rx_bytes_per_s=0.0,
    tx_bytes_per_s=0.0,
)
LIMIT_S = 15.0


class Receiver:
    """An intake that runs, and what came out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.samples: list[HostSample] = []
        self.news = asyncio.Event()
        section = TelemetrySection(
            secret_key_file=folder / "controller.key_secret",
            agents_file=folder / "agents.toml",
            listen="tcp://127.0.0.1:*",
        )
        self.intake = Intake(section, self._take)

    def _take(self, sample: HostSample) -> None:
        self.samples.append(sample)
        self.news.set()

    async def until(self, condition: Callable[[], bool], resend: Callable[[], object] = lambda: None) -> None:
        """Wait for `condition`, sending again meanwhile: a PUB that is not connected yet drops what it is given."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + LIMIT_S
        while not condition():
            assert loop.time() < deadline_s, f"not within {LIMIT_S:g} s; {self.intake.counts}"
            resend()
            self.news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), 0.05)


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    keys.create(tmp_path, "controller")
    for name in ("h1", "h2", "stranger"):
        keys.create(tmp_path, name)
    for name in ("h1", "h2"):
        keys.authorise(tmp_path / "agents.toml", name, keys.read_public(tmp_path / f"{name}.key"))
    receiver = Receiver(tmp_path)
    running = asyncio.create_task(receiver.intake.run())
    yield receiver
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    receiver.intake.close()


Connect = Callable[[str], zmq.Socket[bytes]]


@pytest.fixture
def connect(receiver: Receiver) -> Iterator[Connect]:
    """Connects as an agent with the key of that name."""
    with contextlib.ExitStack() as closing:
        context = closing.enter_context(zmq.Context())

        def connected(name: str) -> zmq.Socket[bytes]:
            socket = closing.enter_context(context.socket(zmq.PUB))
            socket.linger = 0
            socket.curve_serverkey = keys.read_public(receiver.folder / "controller.key").encode()
            socket.curve_publickey, socket.curve_secretkey = keys.read_secret(receiver.folder / f"{name}.key_secret")
            socket.connect(receiver.intake.endpoint)
            return socket

        yield connected


@contextlib.contextmanager
def watching(socket: zmq.Socket[bytes], events: int) -> Iterator[Callable[[], int]]:
    """Give what tells the next of these events of a socket's connections, 0 where there is none."""
    monitor = socket.get_monitor_socket(events)
    try:
        yield lambda: recv_monitor_message(monitor)["event"] if monitor.poll(0) else 0
    finally:
        socket.disable_monitor()
        monitor.close(linger=0)


async def test_a_listed_agent_is_heard(receiver: Receiver, connect: Connect) -> None:
    socket = connect("h1")
    await receiver.until(lambda: bool(receiver.samples), lambda: socket.send_multipart(encode_sample(SAMPLE)))
    assert receiver.samples[0] == SAMPLE


async def test_an_unknown_key_is_refused_and_counted(receiver: Receiver, connect: Connect) -> None:
    socket = connect("stranger")
    counts = receiver.intake.counts
    await receiver.until(lambda: counts.agents_refused > 0, lambda: socket.send_multipart(encode_sample(SAMPLE)))
    assert receiver.samples == []
    assert keys.read_public(receiver.folder / "stranger.key") in counts.last_refusal
    assert "keys authorise" in counts.last_refusal


async def test_an_agent_speaks_for_its_own_host_only(receiver: Receiver, connect: Connect) -> None:
    socket = connect("h2")
    counts = receiver.intake.counts
    await receiver.until(lambda: counts.refused > 0, lambda: socket.send_multipart(encode_sample(SAMPLE)))
    assert receiver.samples == []
    assert counts.last_refusal == "the agent of host h2 sent a sample of host h1"


async def test_a_revoked_key_is_cut_off_with_the_next_sample_though_it_is_connected(
    receiver: Receiver, connect: Connect
) -> None:
    socket = connect("h1")

    def send() -> None:
        socket.send_multipart(encode_sample(SAMPLE))

    await receiver.until(lambda: bool(receiver.samples), send)
    receiver.intake.drain()  # what came before the revocation
    keys.revoke(receiver.folder / "agents.toml", "h1")
    before = len(receiver.samples)
    await receiver.until(lambda: receiver.intake.counts.refused > 0, send)
    assert len(receiver.samples) == before
    assert "taken off the list" in receiver.intake.counts.last_refusal


async def test_the_connection_of_a_revoked_agent_is_cut_and_its_key_lets_it_in_no_more(
    receiver: Receiver, connect: Connect
) -> None:
    socket = connect("h1")
    with watching(socket, zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH) as heard:
        await receiver.until(lambda: bool(receiver.samples), lambda: socket.send_multipart(encode_sample(SAMPLE)))
        keys.revoke(receiver.folder / "agents.toml", "h1")
        await receiver.until(lambda: heard() == zmq.EVENT_DISCONNECTED, partial(socket.send_multipart, [b"any"]))
        await receiver.until(lambda: heard() == zmq.EVENT_HANDSHAKE_FAILED_AUTH)


async def test_an_agent_that_floods_is_cut_off_and_the_others_are_heard(receiver: Receiver, connect: Connect) -> None:
    mad, calm = connect("h1"), connect("h2")
    counts, topic = receiver.intake.counts, b"h1"
    sequence = iter(range(1, 100_000))

    def send() -> None:
        for _ in range(50):
            mad.send_multipart([topic, b"1", b"\x00" * (MAX_MESSAGE_BYTES // 8)])
        calm.send_multipart(encode_sample(replace(SAMPLE, host_uuid="h2", sequence=next(sequence))))

    with watching(mad, zmq.EVENT_DISCONNECTED) as heard:
        await receiver.until(lambda: heard() == zmq.EVENT_DISCONNECTED, send)
    assert "host h1: its agent sends more than 2 MiB a second" in counts.last_refusal
    heard_before = len(receiver.samples)
    await receiver.until(lambda: len(receiver.samples) > heard_before + 5, send)
    assert {sample.host_uuid for sample in receiver.samples} == {"h2"}
    assert counts.refused > 0


async def test_an_agent_that_is_refused_in_ever_new_words_does_not_keep_others_out_of_the_log(
    receiver: Receiver, connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, wrong = connect("h1"), connect("h2")
    sequence, counts = iter(range(1, 1_000_000)), receiver.intake.counts

    def send() -> None:
        for _ in range(50):
            impossible = replace(SAMPLE, sequence=next(sequence), memory_free_bytes=2 * SAMPLE.memory_bytes)
            broken.send_multipart(encode_sample(impossible))

    await receiver.until(lambda: counts.refused > 1020, send)
    text = "the agent of host h2 sent a sample of host h1"
    await receiver.until(lambda: counts.last_refusal == text, lambda: wrong.send_multipart(encode_sample(SAMPLE)))
    said = capsys.readouterr().out
    assert text in said
    assert said.count("impossible sample") == TEXTS_OF_ONE


@pytest.mark.parametrize(
    "payload",
    [b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0", b"\x81\xa9host_uuid\xa2\xff\xfe"],
    ids=["nested too deep", "no UTF-8"],
)
async def test_what_cannot_be_decoded_is_counted_and_the_rest_goes_on(
    receiver: Receiver, connect: Connect, payload: bytes
) -> None:
    socket = connect("h1")

    def send() -> None:
        socket.send_multipart([b"h1", b"1", payload])
        socket.send_multipart(encode_sample(SAMPLE))

    await receiver.until(lambda: bool(receiver.samples) and receiver.intake.counts.refused > 0, send)
    assert receiver.intake.counts.last_refusal.startswith("host h1: message refused: ")


async def test_while_a_key_is_rotated_the_old_and_the_next_one_speak_for_the_host(
    receiver: Receiver, connect: Connect
) -> None:
    agents, (next_key, _) = receiver.folder / "agents.toml", keys.create(receiver.folder, "next")
    keys.rotate(agents, "h1", keys.read_public(next_key))
    for sequence, name in enumerate(("h1", "next"), start=1):
        socket, sample = connect(name), encode_sample(replace(SAMPLE, sequence=sequence))
        await receiver.until(lambda: bool(receiver.samples), partial(socket.send_multipart, sample))
        assert receiver.samples[-1].sequence == sequence
        receiver.samples.clear()
    keys.finish(agents, "h1")
    old = connect("h1")
    await receiver.until(
        lambda: receiver.intake.counts.agents_refused > 0, lambda: old.send_multipart(encode_sample(SAMPLE))
    )


async def test_garbage_and_another_version_are_counted_and_the_rest_goes_on(
    receiver: Receiver, connect: Connect
) -> None:
    socket = connect("h1")
    counts = receiver.intake.counts

    def send() -> None:
        topic, _, payload = encode_sample(SAMPLE)
        socket.send(b"garbage")
        socket.send_multipart([topic, b"99", payload])
        socket.send_multipart(encode_sample(SAMPLE))

    await receiver.until(lambda: bool(receiver.samples) and counts.refused >= 2, send)
    assert "protocol version 1" in counts.last_refusal


async def test_an_oversize_frame_costs_its_sender_the_connection_and_is_never_taken_in(
    receiver: Receiver, connect: Connect
) -> None:
    socket = connect("h1")
    counts = receiver.intake.counts
    await receiver.until(lambda: bool(receiver.samples), lambda: socket.send_multipart(encode_sample(SAMPLE)))
    topic, version, _ = encode_sample(SAMPLE)
    socket.send_multipart([topic, version, b"\x00" * (MAX_MESSAGE_BYTES + 1)])
    later = encode_sample(replace(SAMPLE, sequence=2))
    await receiver.until(lambda: receiver.samples[-1].sequence == 2, lambda: socket.send_multipart(later))
    assert counts.refused == 0  # it did not even come as far as being refused


async def test_of_samples_that_wait_together_the_newest_is_handed_on(receiver: Receiver, connect: Connect) -> None:
    socket = connect("h1")
    await receiver.until(lambda: bool(receiver.samples), lambda: socket.send_multipart(encode_sample(SAMPLE)))
    for sequence in range(2, 102):  # faster than the loop can be woken for each
        socket.send_multipart(encode_sample(replace(SAMPLE, sequence=sequence)))
    await receiver.until(lambda: receiver.samples[-1].sequence == 101)
    sequences = [sample.sequence for sample in receiver.samples]
    assert sequences == sorted(sequences)
    assert receiver.intake.counts.received == len(receiver.samples) + receiver.intake.counts.superseded


async def test_of_samples_that_overtook_each_other_the_newest_is_handed_on(
    receiver: Receiver, connect: Connect
) -> None:
    socket, pairs = connect("h1"), itertools.count(2, 2)

    def send() -> None:
        newest = next(pairs)
        for sequence in (newest, newest - 1):
            socket.send_multipart(encode_sample(replace(SAMPLE, sequence=sequence)))

    await receiver.until(lambda: receiver.intake.counts.superseded > 0, send)
    assert receiver.samples[-1].sequence % 2 == 0


async def test_an_address_in_use_is_named(receiver: Receiver) -> None:
    section = TelemetrySection(
        secret_key_file=receiver.folder / "controller.key_secret",
        agents_file=receiver.folder / "agents.toml",
        listen=receiver.intake.endpoint,
    )
    with pytest.raises(MigdError, match=r"cannot be bound: Address already in use .*; is another controller running"):
        Intake(section, lambda sample: None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[agents]\nh1 = "short"', r"agents\.h1: a public key has 40 characters, found 5"),
        (f'[agents]\nh1 = "{"x" * 40}"\nh2 = "{"x" * 40}"', "hosts h1 and h2 share a key"),
        ("[agent]\n", "agent: unknown key; did you mean agents"),
    ],
)
def test_a_wrong_list_of_agents_is_refused_by_name(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "agents.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why):
        AllowedAgents(path)


def test_a_pool_without_agents_has_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text("")
    assert AllowedAgents(tmp_path / "agents.toml").host_of_key == {}
    with pytest.raises(ConfigError, match="where no host has one, an empty file will do"):
        AllowedAgents(tmp_path / "missing.toml")

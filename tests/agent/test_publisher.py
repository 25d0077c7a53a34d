"""What the publisher counts, and that nothing gets lost uncounted."""

import time
from collections.abc import Callable, Iterator

import pytest
import zmq
from conftest import Listener
from msgspec.structs import replace
from readings import HOST, busy_host
from structlog.testing import capture_logs

from migd_agent.config import ControllerSection
from migd_agent.identity import Keys
from migd_agent.publisher import Link, Publisher
from migd_core import __version__
from migd_core.errors import ConfigError
from migd_core.messages import HostSample
from migd_core.rates import Stamp, form

Listen = Callable[..., Listener]
Connect = Callable[[str], Publisher]
LIMIT_S = 15.0


@pytest.fixture
def connect(keys: Keys) -> Iterator[Connect]:
    """Make publishers that are closed with the test."""
    context, opened = zmq.Context(), list[Publisher]()

    def make(endpoint: str) -> Publisher:
        opened.append(Publisher(context, settings(endpoint), keys, HOST))
        return opened[-1]

    yield make
    for publisher in opened:
        publisher.close()
    context.term()


def settings(endpoint: str) -> ControllerSection:
    return ControllerSection(endpoint=endpoint, public_key_file="", secret_key_file="")


def sample(sequence: int, guests: int = 3) -> HostSample:
    before, now = (replace(busy_host(at_s, guests), cpus=1024) for at_s in (1.0, 2.0))
    found = form(before, now, Stamp("boot", sequence, 1.0)).sample
    assert found is not None
    return found


def follow_until(publisher: Publisher, condition: Callable[[], bool]) -> None:
    """Follow the connection as the daemon does until `condition` holds."""
    until_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < until_s, f"still {publisher.link}, {publisher.dropped} dropped"
        for socket in publisher.sockets:
            socket.poll(5)
        publisher.follow(time.monotonic())


def connected(publisher: Publisher, listener: Listener) -> None:
    # The SUB side sends its subscription only while its thread is inside libzmq.
    follow_until(publisher, lambda: not listener.socket.poll(0) and publisher.link is Link.CONNECTED)


def test_samples_without_a_controller_are_counted_as_dropped_and_said_once(connect: Connect) -> None:
    with capture_logs() as lines:
        publisher = connect("tcp://127.0.0.1:1")
        assert [publisher.send(sample(number)) for number in range(3)] == [False] * 3
    assert (publisher.dropped, publisher.link) == (3, Link.ABSENT)
    assert [line["event"] for line in lines] == ["controller absent; samples are dropped"]


def test_a_controller_that_does_not_keep_up_loses_exactly_what_is_counted(listen: Listen, connect: Connect) -> None:
    listener = listen(queue=1)
    publisher = connect(listener.endpoint)
    connected(publisher, listener)
    sent = 0
    until_s = time.monotonic() + LIMIT_S
    while publisher.dropped < 5:
        publisher.send(sample(sent, guests=1000))
        sent += 1
        assert time.monotonic() < until_s, f"{sent} samples went somewhere"
    assert publisher.link is Link.CONNECTED
    arrived = [listener.receive().sequence for _ in range(sent - publisher.dropped)]
    assert arrived == sorted(set(arrived))
    assert listener.socket.poll(100) == 0


def test_nothing_old_is_sent_to_a_controller_that_comes_back(listen: Listen, connect: Connect) -> None:
    listener = listen()
    publisher = connect(listener.endpoint)
    connected(publisher, listener)
    publisher.send(sample(1))
    assert listener.receive().sequence == 1
    listener.close()
    follow_until(publisher, lambda: publisher.link is Link.ABSENT)
    publisher.send(sample(2))
    again = listen(port=listener.port)
    connected(publisher, again)
    publisher.send(sample(3))
    assert again.receive().sequence == 3
    assert publisher.dropped == 1


def test_closing_waits_no_longer_than_its_linger(listen: Listen, keys: Keys) -> None:
    listener = listen(queue=1)
    with zmq.Context() as context:
        publisher = Publisher(context, settings(listener.endpoint), keys, HOST)
        connected(publisher, listener)
        while not publisher.dropped:
            publisher.send(sample(0, guests=1000))
        started_s = time.monotonic()
        publisher.close()
    assert time.monotonic() - started_s < 1.0


def test_an_endpoint_to_listen_on_is_refused(keys: Keys) -> None:
    with zmq.Context() as context, pytest.raises(ConfigError) as caught:
        Publisher(context, settings("tcp://*:7201"), keys, HOST)
    assert str(caught.value) == (
        "controller.endpoint: expected a host and a port like tcp://controller.example.org:7201, "
        "found 'tcp://*:7201': Invalid argument (addr='tcp://*:7201')"
    )


def test_a_sample_says_which_release_sent_it_and_what_its_clock_showed(listen: Listen, connect: Connect) -> None:
    listener = listen()
    publisher = connect(listener.endpoint)
    connected(publisher, listener)
    before_s = time.time()
    assert publisher.send(sample(1))
    received = listener.receive()
    assert received.version == __version__
    assert before_s <= received.clock_s <= time.time()

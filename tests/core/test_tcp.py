"""Connections that notice their other end is gone, and how they do not."""

import os
import socket
from pathlib import Path

import pytest
import zmq

from migd_core.tcp import UNACKNOWLEDGED_MS, notice_silence

SOURCES = [
    file
    for component in ("agent", "controller", "core")
    for file in (Path(__file__).parents[2] / component).rglob("*.py")
]


@pytest.fixture
def context() -> zmq.Context[zmq.Socket[bytes]]:
    return zmq.Context()


def test_both_ends_of_a_connection_ask_tcp_to_notice(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with context, context.socket(zmq.PULL) as bound, context.socket(zmq.PUSH) as connecting:
        for each in (bound, connecting):
            notice_silence(each)
        bound.bind("tcp://127.0.0.1:*")
        connecting.connect(bound.last_endpoint.decode())
        connecting.send(b"any")
        frame = bound.recv(copy=False)
        with socket.socket(fileno=os.dup(int(frame.get(zmq.SRCFD)))) as accepted:
            asked = {
                "keepalive": accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                "idle_s": accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                "every_s": accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                "probes": accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                "unacknowledged_ms": accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            }
    assert asked == {"keepalive": 1, "idle_s": 2, "every_s": 2, "probes": 3, "unacknowledged_ms": UNACKNOWLEDGED_MS}


def test_nobody_asks_for_heartbeats_of_zmtp() -> None:
    """libzmq aborts the process that owes the answer to one, on a connection that broke while its queue was full."""
    assert SOURCES
    assert [file for file in SOURCES if "heartbeat_ivl" in file.read_text(encoding="utf-8")] == []

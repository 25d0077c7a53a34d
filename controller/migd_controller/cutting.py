"""Ends a connection of a ZeroMQ socket: libzmq itself can only refuse new ones."""

import contextlib
import os
import socket
from typing import Any

import zmq


def cut(frame: zmq.Frame, bound: zmq.Socket[Any]) -> None:
    """End the connection of a bound socket that a message came over; its other end may connect again, if it may.

    A message may outlive its connection, whose descriptor may be another's by then. So only one that leads from this
    socket's port to the address which the message came from is ended: at worst that host's agent connects anew.
    """
    endpoint = bound.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    port = int(endpoint.rpartition(b":")[2])
    with (
        contextlib.suppress(OSError, zmq.ZMQError),  # it has ended already
        socket.socket(fileno=os.dup(int(frame.get(zmq.SRCFD)))) as connection,
    ):
        if connection.getsockname()[1] == port and connection.getpeername()[0] == frame.get("Peer-Address"):
            connection.shutdown(socket.SHUT_RDWR)

"""What may come at a controller: an agent gone mad, connections that are none, readers that do not read.

Each runs as a process of its own, `python -m benchmarks._load.trouble KIND ARGUMENTS`, until its input ends, and then
prints what it did as JSON. It says `ready` before it begins.
"""

import contextlib
import json
import random
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import zmq

from benchmarks._load.agents import sample
from benchmarks._load.still_pool import host_uuid
from migd_core import keys
from migd_core.frames import MAX_MESSAGE_BYTES, encode_sample
from migd_core.messages import FlowSample

CONNECTIONS_OF_MAD: Final = 8
JUNK: Final = (
    b"",
    b"GET / HTTP/1.1\r\n",
    b"\xff" + 8 * b"\0" + b"\x7f\x03",
    b"\x16\x03\x01\x02\x00\x01",
    b"junk\n" * 100,
)


def mad_agent(folder: str, endpoint: str, leases: str, host: str) -> dict[str, int]:
    """Send what an agent may and what it may not, as fast as it goes, over several connections of one key."""
    name = host_uuid(int(host))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets: list[zmq.Socket[bytes]] = []
    subscribers: list[zmq.Socket[bytes]] = []
    server = keys.read_public(Path(folder) / "controller.key").encode()
    own = keys.read_secret(Path(folder) / f"{name}.key_secret")
    for kind, where, made in ((zmq.PUB, endpoint, sockets), (zmq.XSUB, leases, subscribers)):
        for _ in range(CONNECTIONS_OF_MAD):
            made.append(context.socket(kind))
            made[-1].linger, made[-1].sndhwm = 0, 100
            made[-1].curve_serverkey, (made[-1].curve_publickey, made[-1].curve_secretkey) = server, own
            made[-1].connect(where)
    large = _large(int(host))
    topic, version, _ = large
    forms = (
        large,
        encode_sample(sample(int(host), 20, 1, random.Random(1))),
        [topic, version, b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0"],
        [topic, version, b"\x81\xa9host_uuid\xa2\xff\xfe"],
        [topic, b"99", b""],
        [b"x" * 1000],
        [version] * 50,
        encode_sample(sample(int(host) + 1, 20, 10**9, random.Random(1))),
    )
    sent = number = 0
    while not _is_over():
        for _ in range(200):
            number += 1
            sockets[number % len(sockets)].send_multipart(forms[number % len(forms)])
            sent += 1
            with contextlib.suppress(zmq.Again):
                subscribers[number % len(subscribers)].send(b"%c%d" % (number // 2 % 2, number // 4), zmq.NOBLOCK)
    context.destroy(linger=0)
    return {"sent": sent}


def junk(count: str, *addresses: str) -> dict[str, int]:
    """Open connections and leave them half-way: silent, or with the beginning of something else; when cut, anew."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    opened = refused = 0
    kept: list[socket.socket] = []
    with contextlib.ExitStack() as closing:
        while opened + refused < int(count) and not _is_over():
            address = addresses[(opened + refused) % len(addresses)]
            one = closing.enter_context(_socket(address))
            try:
                one.settimeout(5.0)
                one.connect(_place(address))
                one.setblocking(False)
                one.send(JUNK[opened % len(JUNK)])
            except OSError:
                refused += 1
                one.close()
                continue
            opened += 1
            kept.append(one)
        while not _is_over():
            time.sleep(0.05)
        still = sum(_is_open(one) for one in kept)
    return {"opened": opened, "refused": refused, "open_at_the_end": still}


def slow_readers(count: str, address: str, token: str) -> dict[str, int]:
    """Follow the event stream, and read none of it."""
    kept = []
    with contextlib.ExitStack() as closing:
        for _ in range(int(count)):
            one = closing.enter_context(_socket(address))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(5.0)
            one.connect(_place(address))
            one.sendall(f"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            kept.append(one)
        while not _is_over():
            time.sleep(0.05)
    return {"readers": len(kept)}


def _large(host: int) -> list[bytes]:
    """Return a valid sample of nearly the most bytes that a message may have."""
    plain = sample(host, 20, 2, random.Random(1))
    flows = tuple(FlowSample(f"02:{'0' * 100}{n:06d}", f"03:{'0' * 100}{n:06d}", 1.0) for n in range(4000))
    frames = encode_sample(msgspec.structs.replace(plain, flows=flows))
    assert MAX_MESSAGE_BYTES * 0.8 < len(frames[2]) < MAX_MESSAGE_BYTES
    return frames


def _socket(address: str) -> socket.socket:
    return socket.socket(socket.AF_UNIX if address.startswith("/") else socket.AF_INET)


def _place(address: str) -> str | tuple[str, int]:
    if address.startswith("/"):
        return address
    host, _, port = address.rpartition(":")
    return host, int(port)


def _is_open(one: socket.socket) -> bool:
    try:
        while one.recv(65536):  # a greeting may stand before the end
            pass
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _is_over() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


KINDS: Final[dict[str, Callable[..., object]]] = {"mad-agent": mad_agent, "junk": junk, "slow-readers": slow_readers}


def main(kind: str, arguments: Sequence[str]) -> None:
    """Make trouble of one kind until the input ends."""
    print("ready", flush=True)
    print(json.dumps(KINDS[kind](*arguments)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

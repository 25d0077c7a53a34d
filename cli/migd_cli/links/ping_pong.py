"""Sends messages to and fro over TCP and times them. Run on two machines as a text on standard input; see `across`.

    python3 - listen TOKEN            prints the port, serves one partner, ends
    python3 - send TOKEN ADDRESS PORT prints {"size": [seconds of half a round trip, ...], ...} as JSON

It needs Python 3.9 and nothing else: a guest has no migd. Whoever does not know the token is not served.
"""

import json
import signal
import socket
import struct
import sys
import time

# NetPIPE's range: from a message that is all latency to one that is all bandwidth.
SIZES = [4**n for n in range(12)]
ROUNDS_AT_LEAST = 5
ROUNDS_AT_MOST = 200
SIZE_TAKES_S = 0.5
# On a link this slow the next size, four times as much, would take too long and tell nothing new.
ENOUGH_S = 1.0
WAIT_S = 30.0
ENDS_WITHIN_S = 120
HEADER = struct.Struct("!I")


def received(connection: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes; fewer at the end of the connection."""
    parts, missing = [], size
    while missing:
        part = connection.recv(min(missing, 1 << 20))
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def bound() -> socket.socket:
    """Return a socket that listens on a free port of every address."""
    try:
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except (OSError, ValueError):  # a kernel without IPv6
        return socket.create_server(("", 0))


def listen(token: bytes) -> None:
    """Send back whatever one partner sends."""
    with bound() as server:
        server.settimeout(WAIT_S)
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(WAIT_S)
                if received(connection, len(token)) != token:
                    continue
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while len(header := received(connection, HEADER.size)) == HEADER.size:
                    (size,) = HEADER.unpack(header)
                    connection.sendall(received(connection, min(size, SIZES[-1])))
                return


def send(token: bytes, address: str, port: int) -> None:
    """Send messages of all sizes, and print how long each took one way."""
    found = {}
    with socket.create_connection((address, port), WAIT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(token)
        for size in SIZES:
            message = HEADER.pack(size) + bytes(size)
            times: list[float] = []
            began_s = time.perf_counter()
            while len(times) < ROUNDS_AT_LEAST or (
                len(times) < ROUNDS_AT_MOST and time.perf_counter() - began_s < SIZE_TAKES_S
            ):
                sent_s = time.perf_counter()
                connection.sendall(message)
                if len(received(connection, size)) < size:
                    raise SystemExit("the partner closed the connection")
                times.append((time.perf_counter() - sent_s) / 2)
            found[size] = times[1:]  # the first of a size finds windows and buffers as the last size left them
            if times[-1] > ENOUGH_S:
                break
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    signal.alarm(ENDS_WITHIN_S)  # whatever becomes of the other end or of who started it, nothing stays behind
    if sys.argv[1] == "listen":
        listen(sys.argv[2].encode())
    else:
        send(sys.argv[2].encode(), sys.argv[3], int(sys.argv[4]))

#!/usr/bin/python3
"""The sending end: `xl migrate -s /lab/connect.py DOMAIN HOST` runs `connect.py HOST xl migrate-receive`.

The stream goes from xl's pipes into a plain TCP connection by splice(2): ssh manages 1.4 MB/s under emulation. It ends
when its peer does; otherwise xl would wait for ever, with the guest suspended.
"""

import contextlib
import fcntl
import os
import socket
import sys
import threading

PORT = 8002
F_SETPIPE_SZ = 1031


def back(peer: socket.socket) -> None:
    """Pass on what the receiver says, and end when it ends."""
    try:
        while data := peer.recv(65536):
            os.write(1, data)
    except OSError as error:
        sys.stderr.write(f"connect: {error}\n")
        os._exit(1)
    os._exit(0)


def main() -> None:
    with socket.create_connection((sys.argv[1], PORT), timeout=20) as peer:
        peer.settimeout(None)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pipe in (0, 1):
            with contextlib.suppress(OSError):  # without, it is only slower
                fcntl.fcntl(pipe, F_SETPIPE_SZ, 1 << 20)
        listener = threading.Thread(target=back, args=(peer,))
        listener.start()
        while os.splice(0, peer.fileno(), 1 << 20):
            pass
        peer.shutdown(socket.SHUT_WR)
        listener.join(60)
    os._exit(1)  # the receiver did not end in time


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""The receiving end of migrations: for each TCP connection an `xl migrate-receive` that reads and writes the socket."""

import signal
import socket
import subprocess

PORT = 8002


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # their ends are xl's matter; none is to stay as a zombie
    with socket.create_server(("0.0.0.0", PORT)) as listener, open("/var/log/xen/migrate-receive.log", "ab") as log:
        while True:
            peer, (address, _) = listener.accept()
            with peer:
                log.write(f"from {address}\n".encode())
                log.flush()
                subprocess.Popen(
                    ["xl", "-v", "migrate-receive"], stdin=peer, stdout=peer, stderr=log, restore_signals=True
                )


if __name__ == "__main__":
    main()

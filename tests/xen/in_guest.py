"""Runs a command in a guest of the lab and ends as it did: `python in_guest.py ADDRESS COMMAND`.

It is the application that is measured. Where it is ended, the guest's shell loses its connection, and with it what runs
there and writes.
"""

import socket
import sys

SHELL_PORT = 514
END = "IN-GUEST-EXIT "


def main(address: str, command: str) -> int:
    """Print what the command says as it says it, and return its exit code; 255 where the guest was lost."""
    with socket.create_connection((address, SHELL_PORT), timeout=30) as connection:
        connection.settimeout(None)
        connection.sendall(f"{command} 2>&1; echo {END}$?\nexit\n".encode())
        with connection.makefile(encoding="utf-8", errors="replace") as said:
            for line in said:
                if line.startswith(END):
                    return int(line.removeprefix(END))
                sys.stdout.write(line)
                sys.stdout.flush()
    return 255


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

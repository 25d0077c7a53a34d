"""What a service gets from systemd, and what it tells it: sd_notify(3), and the credentials of systemd.exec(5)."""

import os
import socket
from pathlib import Path
from typing import Final

# The units load the folder of secrets as one credential, so that a missing file is migd's to name.
_CREDENTIAL: Final = "migd"


def notify(state: str) -> None:
    """Tell systemd how things are, where it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notified:
        notified.connect("\0" + address[1:] if address.startswith("@") else address)
        notified.sendall(state.encode())


def watchdog_period_s() -> float | None:
    """Return how often `WATCHDOG=1` is due, half of the time that systemd waits for it; None where it does not wait."""
    wait_us, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not wait_us.isdigit() or int(wait_us) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(wait_us) / 2e6


def secret(file: Path) -> Path:
    """Return where to read a secret file from: the credential that systemd made of it, else the file itself.

    So a service reads secrets that its user may not, and cannot change them. systemd copies them as the service starts.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and (credential := Path(folder) / f"{_CREDENTIAL}_{file.name}").exists():
        return credential
    return file

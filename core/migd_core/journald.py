"""Hands log lines to systemd's journal with their fields, by its native protocol.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: one datagram an entry, or, where it is too large for one, a sealed memory
file that is passed on. What a line tells becomes fields MIGD_…, so that `journalctl MIGD_CAUSE=D12` finds all of it.
"""

import errno
import fcntl
import json
import os
import re
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

SOCKET: Final = Path("/run/systemd/journal/socket")
# A journal that does not read for so long keeps nobody waiting: lines are dropped, and the next one says how many.
TIMEOUT_S: Final = 0.5
# By syslog(3).
PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_UNFIT: Final = re.compile(r"[^A-Z0-9_]")
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_IN_MESSAGE: Final = ("why", "reason")
_NOT_TOLD: Final = ("event", "level", "timestamp", "component", "exception")


def is_journal(stream: TextIO) -> bool:
    """Return whether `stream` is what systemd connected to the journal, by JOURNAL_STREAM (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False  # a stream without a file
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def entry(line: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fields of one structlog event, a field twice where it has two values.

    A cause like D12.1 is also one of D12, and both hosts of a migration are its hosts.
    """
    told = {name: value for name, value in line.items() if name not in _NOT_TOLD and value is not None}
    component = line.get("component", "")
    fields = [
        ("MESSAGE", _message(line, told)),
        ("PRIORITY", str(PRIORITIES.get(str(line.get("level")), 6))),
        ("SYSLOG_IDENTIFIER", f"migd-{component}" if component else "migd"),
    ]
    fields += [(f"MIGD_{_UNFIT.sub('_', name.upper())}"[:64], _text(value)) for name, value in told.items()]
    cause = str(told.get("cause", ""))
    decision = re.split(r"[./]", cause, maxsplit=1)[0]
    if decision != cause:
        fields.append(("MIGD_CAUSE", decision))
    return fields + [("MIGD_HOST", _text(told[end])) for end in ("source", "target") if end in told]


def encoded(fields: list[tuple[str, str]]) -> bytes:
    """Return fields as the journal reads them: a value of several lines stands after its length."""
    parts = []
    for name, value in fields:
        data = value.encode(errors="backslashreplace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


class JournalLogger:
    """Where structlog sends its lines, each encoded. `lost` counts those that the journal has not taken of late."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = str(path)
        self.lost = 0

    def msg(self, line: bytes) -> None:
        """Send one line. Nothing is raised where the journal does not take it: a log must not stop what it tells of."""
        if self.lost:
            line += encoded([("MIGD_LINES_LOST", str(self.lost))])
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(TIMEOUT_S)
                sender.connect(self._path)
                _send(sender, line)
        except OSError:
            self.lost += 1
        else:
            self.lost = 0

    debug = info = warning = error = critical = msg


def _send(sender: socket.socket, line: bytes) -> None:
    """Send a line as a datagram or, where it is too large for one, as a sealed memory file. Raises OSError."""
    try:
        sender.send(line)
        return
    except OSError as error:
        if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
            raise
    with open(os.memfd_create("migd-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as file:
        file.write(line)
        file.flush()
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        socket.send_fds(sender, [b""], [file.fileno()])


def _message(line: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """Say in one line for a person what happened, then why, then the rest."""
    words = [str(line.get("event", "")), *(_text(told[name]) for name in _IN_MESSAGE if name in told)]
    rest = ", ".join(f"{name}={_text(value)}" for name, value in told.items() if name not in _IN_MESSAGE)
    text = ": ".join(words) + (f" ({rest})" if rest else "")
    return f"{text}\n{line['exception']}" if line.get("exception") else text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str)

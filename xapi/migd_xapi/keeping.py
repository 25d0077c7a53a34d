"""What clients set on guests and the pool, and no host remembers: kept in a file, so that it holds after a restart.

A change is on the disk before its call is answered. XAPI has its database for this.
"""

import fcntl
import os
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from migd_core.decoding import UNDECODABLE
from migd_core.errors import ConfigError
from migd_xapi.database import Row
from migd_xapi.datamodel.types import Value
from migd_xapi.failure import Failure

FIELDS: Final = {"VM": ("blocked_operations", "other_config", "tags"), "pool": ("other_config", "tags")}
# Guests come and go, and nobody says which never return: the oldest are forgotten.
MOST_GUESTS: Final = 4096
NAME: Final = "kept.json"
# There is one pool, whose uuid is another one after each start.
POOL: Final = "pool"


class _Guest(msgspec.Struct, omit_defaults=True):
    """The fields of one VM, or of the pool."""

    blocked_operations: dict[str, str] = {}
    other_config: dict[str, str] = {}
    tags: tuple[str, ...] = ()


_Guests = dict[Annotated[str, Meta(min_length=1)], _Guest]


class Kept:
    """The file, and what is in it."""

    def __init__(self, folder: Path) -> None:
        """Read the file in `folder`, which is made where it is not there. Raises ConfigError."""
        self._path = folder / NAME
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = self._path.read_bytes() if self._path.exists() else b"{}"
        except BlockingIOError as error:
            os.close(self._lock)
            raise ConfigError(f"--state {folder}: another migd-xapi uses it; end that, or name another") from error
        except OSError as error:
            raise ConfigError(f"--state {folder}: {error.strerror}; name a folder that can be written") from error
        try:
            self._guests = msgspec.json.decode(text, type=_Guests)
        except UNDECODABLE as error:
            raise ConfigError(f"{self._path}: {error}; mend it, or remove it: then nothing is blocked") from error

    def close(self) -> None:
        """Let another process have the file."""
        os.close(self._lock)

    def of(self, uuid: str) -> dict[str, Value]:
        """Return the fields that were set on a guest."""
        guest = self._guests.get(uuid)
        return {} if guest is None else {name: getattr(guest, name) for name in guest.__struct_fields__}

    def of_pool(self) -> dict[str, Value]:
        """Return the fields that were set on the pool."""
        guest = self._guests.get(POOL, _Guest())
        return {name: getattr(guest, name) for name in FIELDS["pool"]}

    def note(self, row: Row, field: str, value: Any) -> None:
        """Keep what is about to be written to a row. Raises Failure where it cannot be kept."""
        fields = FIELDS.get(row.class_.name, ())
        if field not in fields:
            return
        key = row["uuid"] if row.class_.name == "VM" else POOL
        now = {name: value if name == field else row[name] for name in fields}
        others = {uuid: guest for uuid, guest in self._guests.items() if uuid != key}
        guests = {**others, key: _Guest(**now)} if any(now.values()) else others
        guests = dict([*guests.items()][-MOST_GUESTS:])
        try:
            self._write(msgspec.json.encode(guests))
        except OSError as error:
            raise Failure("INTERNAL_ERROR", f"{self._path} cannot be written: {error.strerror}") from error
        self._guests = guests

    def _write(self, text: bytes) -> None:
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

"""What a probe leaves on disk while log-dirty is on, so that a killed agent's next life turns it off.

The file lies on a tmpfs: a host that boots has neither the file nor log-dirty.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from migd_agent.xen.libxenctrl import Gone
from migd_agent.xen.log_dirty import LogDirty
from migd_core.errors import MigdError

PATH: Final = Path("/run/migd/probe.json")


class Record(msgspec.Struct, frozen=True):
    """The domain that is probed, and the highest count that was seen of it."""

    domid: int
    seen_pages: int


class ProbeRecord:
    """The record of this host's agent; one domain at a time."""

    def __init__(self, path: Path = PATH) -> None:
        self._path = path

    def begin(self, domid: int) -> None:
        """Put down that log-dirty is about to be on. Raises MigdError: then it must not be."""
        with self._told():
            self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with self._path.open("xb") as file:
                file.write(msgspec.json.encode(Record(domid, 0)))

    def write(self, domid: int, seen_pages: int) -> None:
        """Put down how many pages were seen. Raises MigdError."""
        with self._told():
            new = self._path.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(Record(domid, seen_pages)))
            new.replace(self._path)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror
            if isinstance(error, FileExistsError) and self._path.is_file():
                why = "another agent of this host probes a guest; end one of the two, then remove the file if it stays"
            raise MigdError(f"{self._path}: {why}; no guest is probed without a record of its own") from error

    def clear(self) -> None:
        """Put down that log-dirty is off, or somebody else's."""
        self._path.unlink(missing_ok=True)

    def recover(self, xen: LogDirty) -> None:
        """Turn off what a killed agent left on, unless somebody else has taken over since. Raises MigdError."""
        try:
            record = msgspec.json.decode(self._path.read_bytes(), type=Record)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            raise MigdError(f"{self._path}: expected the record of a probe: {error}; remove the file") from error
        log = structlog.get_logger().bind(domid=record.domid)
        try:
            if xen.peek(record.domid) >= record.seen_pages:
                xen.off(record.domid)
                log.warning("a probe that was killed had left log-dirty on; it is off")
            else:
                log.warning("a probe that was killed had left log-dirty on; somebody else uses it now, and keeps it")
        except Gone:
            log.info("the guest of a probe that was killed is gone")
        self.clear()

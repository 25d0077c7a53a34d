"""Remembers on disk which domains this agent has switched log-dirty on for, so that its next life switches it off.

One small file a domain, under /run: it is gone when the host boots, as is log-dirty.
"""

import fcntl
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final, Protocol

import structlog

from migd_agent.xen.libxenctrl import DomainGone
from migd_agent.xen.reading import XenUnreadable
from migd_agent.xen.savers import BeingSaved

FOLDER: Final = Path("/run/migd-agent/probes")


class Switch(Protocol):
    """The part of Xen's log-dirty mode that clearing up needs."""

    def peek(self, domid: int) -> int: ...
    def off(self, domid: int) -> None: ...


class ProbeRecords:
    """One file for each domain under probe, with the highest count of dirty pages seen.

    The folder is locked while this exists (the kernel ends the lock with the process): of two agents on one host the
    second must not clear up what the first one is at.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        """Raises XenUnreadable where the folder cannot be made, or another agent has it."""
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise XenUnreadable(f"{folder}: {error.strerror}; without it no guest is probed") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise XenUnreadable(f"{folder}: another agent on this host probes guests; end one of the two") from error

    def close(self) -> None:
        """Let another agent probe guests."""
        os.close(self._lock)

    def note(self, domid: int, count: int) -> None:
        """Remember that log-dirty of `domid` is this agent's, with `count` pages dirty. Raises XenUnreadable."""
        path = self._folder / str(domid)
        fresh = path.with_suffix(".new")
        try:
            # By rename: a reader finds the old count or the new one. A tmpfs needs no fsync to survive kill -9.
            fresh.write_text(str(count), encoding="ascii")
            fresh.replace(path)
        except OSError as error:
            raise XenUnreadable(f"{path}: {error.strerror}; no guest is probed without a record") from error

    def forget(self, domid: int) -> None:
        """Log-dirty of `domid` is off, or somebody else's. Raises nothing where it was not remembered."""
        (self._folder / str(domid)).unlink(missing_ok=True)

    def clear_up(self, xen: Switch, under_way: Collection[int] = ()) -> list[int]:
        """Switch off what was left on, unless somebody else has taken over; not where a probe is under way.

        Returns the domains that this was done for or tried. A record stays until it is known that log-dirty is off, or
        somebody else's: while a migration runs it is not, and an OFF may fail.
        """
        found = []
        for path in sorted(self._folder.iterdir()):
            if not path.name.isdigit():
                path.unlink(missing_ok=True)
                continue
            domid = int(path.name)
            if domid not in under_way:
                self._clear_up_one(domid, path, xen)
                found.append(domid)
        return found

    def _clear_up_one(self, domid: int, path: Path, xen: Switch) -> None:
        log = structlog.get_logger().bind(domid=domid)
        text = path.read_text(encoding="ascii", errors="replace").strip()
        try:
            count = xen.peek(domid)
            if not text.isdigit() or count < int(text):
                log.warning("log-dirty is not switched off: somebody else has taken over", pages=count, before=text)
            else:
                xen.off(domid)
                log.warning("log-dirty that a probe left on is off again", pages=count)
        except DomainGone:
            log.info("a domain that was probed is gone")
        except BeingSaved as error:
            log.warning("log-dirty is not switched off yet", cause=str(error))
            return
        except XenUnreadable as error:
            log.error("log-dirty is not switched off", cause=str(error))
            return
        self.forget(domid)

"""Keeps the timeline over a restart, in a file of its own: a full disk must cost a picture, never the controller."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from migd_controller.commands import AnyCommand
from migd_controller.core import Core
from migd_controller.events import AnyEvent, Tick
from migd_controller.timeline import STEPS, Moment, Timeline, moment
from migd_core.decoding import UNDECODABLE

log = structlog.get_logger()
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS moments (step_s INTEGER, at REAL, body BLOB NOT NULL, PRIMARY KEY (step_s, at)) WITHOUT ROWID
"""


class TimelineStore:
    """The timeline of one controller and its file. Once the file fails, what comes is kept in memory only."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; where that fails, it is said in the log and nothing is kept over a restart."""
        self._path = path
        self._db: sqlite3.Connection | None = None
        kept: Mapping[int, Sequence[Moment]] = {}
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(_SCHEMA)
            kept = {step_s: self._read(step_s) for step_s, _ in STEPS}
        except (sqlite3.Error, *UNDECODABLE, TypeError) as error:
            self._give_up(error)
        self.timeline = Timeline(kept)

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()

    def watcher(self, core: Core) -> Callable[[AnyEvent, Sequence[AnyCommand]], None]:
        """Return what takes in the world that each control cycle of a core saw."""
        return lambda event, commands: self.observe(core) if isinstance(event, Tick) else None

    def observe(self, core: Core) -> None:
        """Take in the world that the last control cycle saw."""
        if core.last_world is None:
            return
        tracks = {name: job.track for name, job in core.memory.jobs.items()}
        rows = self.timeline.add(moment(core.last_world, tracks, core.memory.contest))
        if rows and self._db is not None:
            try:
                self._write(self._db, rows)
            except sqlite3.Error as error:
                self._give_up(error)

    def _read(self, step_s: int) -> list[Moment]:
        assert self._db is not None
        rows = self._db.execute("SELECT body FROM moments WHERE step_s = ? ORDER BY at", (step_s,))
        return [msgspec.msgpack.decode(body, type=Moment) for (body,) in rows]

    def _write(self, db: sqlite3.Connection, rows: Sequence[tuple[int, Moment]]) -> None:
        for step_s, each in rows:
            values = (step_s, each.at, msgspec.msgpack.encode(each))
            db.execute("INSERT OR REPLACE INTO moments (step_s, at, body) VALUES (?, ?, ?)", values)
            oldest_s = each.at - step_s * dict(STEPS)[step_s]
            db.execute("DELETE FROM moments WHERE step_s = ? AND at < ?", (step_s, oldest_s))

    def _give_up(self, error: Exception) -> None:
        log.warning(
            "timeline not kept over a restart",
            file=str(self._path),
            why=str(error),
            mend="check the disk's free space and health; if the file is damaged, move it away and restart",
        )
        self.close()
        self._db = None

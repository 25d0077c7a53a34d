"""The emulated pool: what every method of the API works on, and the call it works for."""

import asyncio
import uuid
from dataclasses import dataclass, field

from migd_xapi.backend import Backend
from migd_xapi.clock import Clock
from migd_xapi.database import Database, Row
from migd_xapi.keeping import Kept
from migd_xapi.rrd.recorder import Recorder
from migd_xapi.sessions import Session, Sessions
from migd_xapi.settings import GuestSettings, Settings
from migd_xapi.tasks import TaskRun, Tasks
from migd_xapi.workers import Workers


@dataclass(frozen=True)
class Pool:
    """All state of one pool.

    `guests` is what the pool file or their hosts say of guests, by uuid; `kept` outlives this process;
    `booting` holds, by reference of its VM, the timer of each
    guest that boots.
    """

    db: Database
    clock: Clock
    sessions: Sessions
    tasks: Tasks
    backend: Backend
    workers: Workers
    metrics: Recorder
    settings: Settings
    guests: dict[str, GuestSettings]
    kept: Kept | None = None
    booting: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    @property
    def row(self) -> Row:
        """Return the one record of class pool."""
        return next(iter(self.db.rows("pool")))

    @property
    def coordinator(self) -> Row:
        """Return the host that answers for the pool."""
        return self.db.get("host", self.row["master"])

    def is_coordinator(self, host: Row) -> bool:
        return bool(self.row["master"] == host.ref)

    def guest_settings(self, vm: Row) -> GuestSettings:
        """Return what the pool file says of the guest in a VM."""
        return self.guests.get(vm["uuid"], GuestSettings())

    def is_live(self, host: Row) -> bool:
        """Return whether the pool believes that the host is up."""
        metrics = self.db.find("host_metrics", host["metrics"])
        return metrics is not None and bool(metrics["live"])


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method: for whom, on which host, and as which task."""

    pool: Pool
    name: str
    host: Row
    session: Session | None = None
    run: TaskRun | None = None
    unrecorded_ref: str = field(default_factory=lambda: f"OpaqueRef:{uuid.uuid4()}")

    @property
    def task(self) -> TaskRun:
        """Return the task of a call that may wait: each one has one, whether or not the client waits for it."""
        assert self.run is not None
        return self.run

    @property
    def task_ref(self) -> str:
        """Return the task's reference; that of a call without a record leads nowhere, as in XAPI."""
        return self.run.ref if self.run is not None else self.unrecorded_ref

    def check_cancel(self) -> None:
        """Raise TASK_CANCELLED when somebody has asked for it."""
        if self.run is not None:
            self.run.check()

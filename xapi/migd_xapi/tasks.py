"""The life of a task, from pending to its one last state.

`TaskRun` is a task while its call runs: it reports progress, and knows whether somebody wants it to end.
"""

import asyncio
from typing import Final

from migd_xapi.clock import Clock
from migd_xapi.database import Database, Row
from migd_xapi.datamodel.types import NULL, Value
from migd_xapi.failure import Failure
from migd_xapi.roles import POOL_OPERATOR
from migd_xapi.sessions import Session
from migd_xapi.wire import xml_rpc

LAST_STATES: Final = frozenset({"success", "failure", "cancelled"})


class TaskRun:
    """One task that is under way."""

    def __init__(self, db: Database, clock: Clock, row: Row) -> None:
        self.row = row
        self._db = db
        self._clock = clock
        self._asked_to_cancel = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def ref(self) -> str:
        return self.row.ref

    def progress(self, ratio: float) -> None:
        """Show how far the task is; it may go back, as XAPI's does."""
        self._write(progress=ratio)

    def allow_cancel(self, allowed: bool) -> None:
        """Say whether a cancel would have an effect now."""
        self._write(allowed_operations=("cancel",) if allowed else ())

    def check(self) -> None:
        """Raise TASK_CANCELLED when somebody has asked for it."""
        if self._asked_to_cancel.is_set():
            raise Failure("TASK_CANCELLED", self.ref)

    async def asked_to_cancel(self) -> None:
        """Return when somebody asks the task to end."""
        await self._asked_to_cancel.wait()

    def cancel(self, by: str) -> None:
        """Ask the task to end, on behalf of the task `by`; whether it still can is its own matter."""
        self._write(current_operations={**self.row["current_operations"], by: "cancel"})
        self._asked_to_cancel.set()

    def end(self) -> None:
        """Say that the call is over, and its task has its last state."""
        self._ended.set()

    async def ended(self) -> None:
        """Return when the call is over."""
        await self._ended.wait()

    def complete(self) -> None:
        """End the task well, with no result."""
        self._end(status="success", progress=1.0)

    def succeed(self, value: Value, returns: str) -> None:
        """End the task with the value of its call."""
        result = "<value></value>" if returns == "void" else xml_rpc.text_of(value)
        self._end(status="success", progress=1.0, result=result)

    def fail(self, failure: Failure) -> None:
        """End the task with a failure, or as cancelled if that is what the failure says."""
        if failure.code == "TASK_CANCELLED":
            self._end(status="cancelled", progress=1.0)
        else:
            self._end(status="failure", progress=1.0, error_info=failure.description)

    def _end(self, **values: Value) -> None:
        if self.row["status"] not in LAST_STATES:
            self._write(allowed_operations=(), finished=self._clock.stamp(), **values)

    def _write(self, **values: Value) -> None:
        # A client may have destroyed the record; the call goes on without it.
        if self._db.find("task", self.ref) is not None:
            self._db.update(self.row, **values)


class Tasks:
    """The tasks of a pool: whose they are, and which are under way."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._running: dict[str, TaskRun] = {}
        self._owners: dict[str, Session] = {}

    def create(self, label: str, description: str, host: Row, owner: Session | None, parent: str = NULL) -> Row:
        """Return a new, pending task."""
        row = self._db.create(
            "task",
            name_label=label,
            name_description=description,
            created=self._clock.stamp(),
            status="pending",
            resident_on=host.ref,
            type="<none/>",
            subtask_of=parent,
        )
        if owner is not None:
            self._owners[row.ref] = owner
        return row

    def begin(self, label: str, host: Row, owner: Session | None, parent: str = NULL) -> TaskRun:
        """Return the task of a call that begins."""
        run = TaskRun(self._db, self._clock, self.create(label, "", host, owner, parent))
        self._running[run.ref] = run
        return run

    def end(self, run: TaskRun) -> None:
        """Forget a call that is over; its record stays."""
        self._running.pop(run.ref, None)
        run.end()

    def complete(self, ref: str) -> None:
        """End a task that a client made for a request other than a call; one that is over, or gone, stays so."""
        if (row := self._db.find("task", ref)) is not None:
            TaskRun(self._db, self._clock, row).complete()

    def running(self, ref: str) -> TaskRun | None:
        """Return the call that the task stands for, None when it is over or never was one."""
        return self._running.get(ref)

    def delete(self, row: Row) -> None:
        """Delete a task's record, if it is there; a call that is under way goes on without it."""
        self._owners.pop(row.ref, None)
        if self._db.find("task", row.ref) is not None:
            self._db.delete(row)

    def require_power_over(self, row: Row, session: Session) -> None:
        """Raise RBAC_PERMISSION_DENIED unless the task is one of the session's user, or the session may end any."""
        owner = self._owners.get(row.ref)
        if owner is None or owner.row["auth_user_sid"] != session.row["auth_user_sid"]:
            session.require(POOL_OPERATOR, "task.destroy/any")

    def lose(self) -> None:
        """Know of no task any more."""
        self._running.clear()
        self._owners.clear()

"""Carries out commands against the pool and reports what became of them as events.

One asyncio task a migration, with a name; blocking calls go to worker threads. The one thing never assumed is that
something happened because it was asked for, or did not because no answer came: after a task is over, lost or vanished,
the pool is asked where the guest is, and if the guest turns out to be migrating still, that is followed to its end.
"""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from migd_controller.commands import CancelMigration, FollowMigration, PoolCommand, StartMigration
from migd_controller.config import XapiSection
from migd_controller.events import MigrationAccepted, MigrationEnded, MigrationProgressed, MigrationTaskLost
from migd_controller.inventory import toolstacks_of
from migd_controller.leader import NotLeading
from migd_controller.pool_calls import RETRY_S, PoolCalls, what_occupies
from migd_controller.pool_failures import CANCELLED
from migd_controller.pool_records import (
    MIGRATE,
    NULL_REF,
    Record,
    is_pending_migration,
    migration_task_of,
    probed_by,
    toolstack_since,
)
from migd_controller.pool_watch import PoolWatch
from migd_controller.xapi import PoolRefusal, PoolUnreachable

log = structlog.get_logger()
Emit = Callable[[MigrationAccepted | MigrationTaskLost | MigrationProgressed | MigrationEnded], None]
Change = Callable[..., Awaitable[Any]]

# Progress is an event in the journal, so small steps are not worth one.
PROGRESS_STEP: Final = 0.02
# However long a migration was predicted to take, one without a task is not waited for any longer than this.
PATIENCE_AT_MOST_S: Final = 86400.0
# The pool's word is lost with the task: a toolstack that restarts forgets its tasks, and their migrations go on.
TASK_VANISHED: Final = "TASK_VANISHED"
ANSWER_LOST: Final = "ANSWER_LOST"
# The pool was lost before the migration was asked for, so there is none.
NOT_ASKED: Final = "NOT_ASKED"
# Somebody else moves or changes the guest, and the inventory had not told of it when the move was planned.
CHANGED_MEANWHILE: Final = "CHANGED_MEANWHILE"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task ended: the pool's failure code and its text, both empty for success."""

    code: str = ""
    text: str = ""


class Executor:
    """Starts and follows migrations. `emit` is called in the event loop.

    `settings` say how long a guest whose task was lost may still turn up on its target.
    """

    def __init__(
        self,
        calls: PoolCalls,
        watch: PoolWatch,
        emit: Emit,
        tasks: asyncio.TaskGroup,
        settings: XapiSection,
        change: Change | None = None,
    ) -> None:
        """`change` asks the pool for a migration; where it is not given, `calls` does."""
        self._calls, self._watch, self._emit, self._tasks = calls, watch, emit, tasks
        self._settings, self._change_pool = settings, change or calls.change
        self._under_way: set[asyncio.Task[None]] = set()
        self._followed: set[str] = set()

    def submit(self, command: PoolCommand) -> None:
        """Begin to carry a command out."""
        if isinstance(command, CancelMigration):
            task = self._tasks.create_task(self._cancel(command), name=f"cancel {command.cause}")
        else:
            task = self._tasks.create_task(self._carry_out(command), name=f"migration {command.cause}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def leave(self) -> None:
        """Follow no migration any more. They go on in the pool, and the next start takes them up."""
        for task in self._under_way:
            task.cancel()

    async def _carry_out(self, command: StartMigration | FollowMigration) -> None:
        cause, guest = command.cause, command.guest
        with structlog.contextvars.bound_contextvars(cause=cause, guest=guest):
            clock = asyncio.get_running_loop().time
            patience_s = min(PATIENCE_AT_MOST_S, self._settings.settle_ratio * command.predicted_at_most_s)
            if isinstance(command, StartMigration):
                task, ending = await self._begun(command)
            else:
                task = command.task or await self._task_of_request(guest)
                ending = Ending() if task else Ending(ANSWER_LOST, "migd restarted before the pool had answered")
            arrives_by_s = clock() + patience_s
            if task is None and ending.code == ANSWER_LOST:
                task = await self._task_after(None, ending, command, arrives_by_s)
            while task is not None:
                self._emit(MigrationAccepted(cause=cause, task=task))
                ending = await self._follow(cause, task)
                task = await self._task_after(task, ending, command, arrives_by_s)
            host_now = await self._host_of(guest)
            self._emit(MigrationEnded(cause=cause, host_now=host_now, code=ending.code, text=ending.text))

    async def _begun(self, command: StartMigration) -> tuple[str | None, Ending]:
        """Ask for a migration; return its task, or none and why."""
        try:
            guest, target, earlier = await self._calls.once(self._checked, command)
        except PoolRefusal as refusal:
            return None, self._refused(refusal)
        except PoolUnreachable as error:
            return None, Ending(NOT_ASKED, str(error))
        try:
            return str(await self._change_pool(MIGRATE, guest, target, {"live": "true"})), Ending()
        except NotLeading as error:
            return None, Ending(NOT_ASKED, str(error))
        except PoolRefusal as refusal:
            return None, self._refused(refusal)
        except PoolUnreachable as error:
            log.warning("the pool's answer to a request was lost", why=str(error))
            return await self._task_of_request(command.guest, earlier), Ending(ANSWER_LOST, str(error))

    def _refused(self, refusal: PoolRefusal) -> Ending:
        return Ending(refusal.code, self._watch.view.readable(str(refusal)))

    def _checked(self, command: StartMigration) -> tuple[str, str, frozenset[str]]:
        """Ask whether guest and target are as planned still; return the references of both, and of others' migrations.

        The inventory may be late, and XAPI refuses no request for a guest that is being moved: it queues it.
        """
        guest = self._calls.call("VM.get_by_uuid", command.guest)
        source, target = (self._calls.call("host.get_by_uuid", host) for host in (command.source, command.target))
        record = self._calls.call("VM.get_record", guest)
        probed = f"is being probed by migd ({probed_by(record)})" if probed_by(record) else ""
        if changed := what_occupies(record, source) or probed:
            raise PoolRefusal([CHANGED_MEANWHILE, guest, changed])
        self._calls.call("VM.assert_can_boot_here", guest, target)
        return guest, target, self._pending_migrations()

    async def _cancel(self, command: CancelMigration) -> None:
        """Ask for the cancellation until the pool has heard it; how the migration ends is told by its own task."""
        while command.task in self._followed:
            try:
                await self._calls.once(self._calls.call, "task.cancel", command.task)
                return
            except PoolRefusal as refusal:
                log.warning("the pool does not cancel a migration", cause=command.cause, why=str(refusal))
                return
            except PoolUnreachable as error:
                log.warning("the pool has not heard a cancellation yet", cause=command.cause, why=str(error))
                await asyncio.sleep(RETRY_S)

    async def _follow(self, cause: str, task: str) -> Ending:
        """Return how `task` ended. It may vanish: with a restart of the toolstack, or by somebody's hand."""
        self._followed.add(task)
        try:
            return await self._end_of(cause, task)
        finally:
            self._followed.discard(task)

    async def _end_of(self, cause: str, task: str) -> Ending:
        shown, was_seen = -1.0, False
        while True:
            if self._watch.is_current:
                record = self._watch.view.tasks.get(task)
                if record is None and not was_seen:
                    record = await self._calls.patiently(self._task_record, task)
                if record is None:
                    return Ending(TASK_VANISHED, "the pool no longer has the task")
                was_seen = True
                if (ending := _ending(record)) is not None:
                    return replace(ending, text=self._watch.view.readable(ending.text))
                progress = min(1.0, max(0.0, float(record["progress"])))
                if abs(progress - shown) >= PROGRESS_STEP:
                    shown = progress
                    self._emit(MigrationProgressed(cause=cause, progress_ratio=progress))
            await self._watch.next_change()

    def _task_record(self, task: str) -> Record | None:
        record: Record | None = self._calls.unless_gone("task.get_record", task)
        return record

    async def _task_of_request(self, guest: str, earlier: frozenset[str] = frozenset()) -> str | None:
        """Return the task of a request whose answer was lost; None once it is certain that the pool has none.

        XAPI's tasks do not name their guest. The guest names its task, but not before the migration may begin, so a
        pending one that no guest names yet may be the one looked for, unless it is `earlier` than the request.
        """
        while True:
            pending = await self._calls.patiently(self._pending_migrations)
            task = await self._migration_of(guest)
            if task is not None or not pending - earlier - self._watch.view.migrating - self._followed:
                return task
            await self._change()

    async def _task_after(
        self, task: str | None, ending: Ending, command: StartMigration | FollowMigration, arrives_by_s: float
    ) -> str | None:
        """Return the task that migrates the guest after `task` has ended or was lost, None if none does.

        Where it was lost, the guest may be moving without one: then that is certain only when the guest is on its
        target or gone, or has stayed for long enough. A toolstack that restarts tells nothing of it meanwhile, so for
        as long as the guest may be moving nothing else is done with it. Where no task was ever seen, and no toolstack
        has restarted since the request, there is no migration: it is `settle_s` old then, and no call takes so long.
        """
        clock = asyncio.get_running_loop().time
        is_lost = ending.code in (TASK_VANISHED, ANSWER_LOST)
        settled_s = max(clock() + self._settings.settle_s, arrives_by_s) if is_lost else clock()
        if is_lost:
            self._emit(MigrationTaskLost(cause=command.cause))
        looks_at_s = clock() + self._settings.settle_s if is_lost and task is None and command.toolstacks else math.inf
        while True:
            now = await self._migration_of(command.guest)
            if now is not None and now != task:
                return now
            if now is None and (clock() >= settled_s or await self._host_of(command.guest) in (command.target, None)):
                return None
            if now is None and clock() >= looks_at_s:
                if await self._calls.patiently(self._toolstacks) == command.toolstacks:
                    return None
                looks_at_s = math.inf
            await self._change()  # the task's record may be lost alone, and the guest still name it

    async def _change(self) -> None:
        """Wait for a change, but not for ever: what is waited for may have come before."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._watch.next_change(), RETRY_S)

    def _pending_migrations(self) -> frozenset[str]:
        records: dict[str, Record] = self._calls.call("task.get_all_records")
        return frozenset(ref for ref, record in records.items() if is_pending_migration(record))

    def _toolstacks(self) -> str:
        records: dict[str, Record] = self._calls.call("host.get_all_records")
        return toolstacks_of({host["uuid"]: toolstack_since(host) for host in records.values()})

    async def _migration_of(self, guest: str) -> str | None:
        """Return the task that migrates the guest at this moment, None if none does."""
        record = await self._calls.patiently(self._calls.guest_record, guest)
        return migration_task_of(record) if record is not None else None

    async def _host_of(self, guest: str) -> str | None:
        """Return the uuid of the host that the guest runs on, None if it does not run any more."""
        return await self._calls.patiently(self._host_uuid_of, guest)

    def _host_uuid_of(self, guest: str) -> str | None:
        record = self._calls.guest_record(guest)
        if record is None or record["resident_on"] == NULL_REF:
            return None
        return str(self._calls.call("host.get_uuid", record["resident_on"]))


def _ending(task: Record) -> Ending | None:
    match task["status"]:
        case "pending" | "cancelling":
            return None
        case "success":
            return Ending()
        case "cancelled":
            return Ending(CANCELLED, "the migration was cancelled")
        case _:
            details = [str(part) for part in task["error_info"]] or ["UNKNOWN"]
            return Ending(details[0], str(PoolRefusal(details)))

"""What the controller's executors do (`executor.py`, `probe_executor.py`), in virtual time: the same steps in the same
order, with every call to the pool there and back, and the answer lost where the pool falls silent in between.

They are parts of the controller's process: once it has died nothing of theirs goes on, and while it stalls they wait.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Final, TypeVar

from migd_controller.commands import (
    BeginProbe,
    CancelMigration,
    EndProbe,
    FollowMigration,
    PoolCommand,
    ProbeCommand,
    RevokeProbe,
    StartMigration,
)
from migd_controller.config import XapiSection
from migd_controller.events import AnyEvent, MigrationAccepted, MigrationEnded, MigrationTaskLost, ProbeEnded
from migd_controller.inventory import toolstacks_of
from migd_controller.leases import Lease
from migd_sim.run.soak.agents import Agents
from migd_sim.run.soak.calendar import Process
from migd_sim.run.soak.pool import MIGD, Refused, SimPool

T = TypeVar("T")
RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 60.0
# The watch wakes whoever waits for a change; here the pool is looked at again after so long.
LOOK_S: Final = 2.0
PATIENCE_AT_MOST_S: Final = 86400.0


class Unreachable(Exception):
    """No answer came: nobody knows whether the pool has heard the call."""


@dataclass(slots=True)
class SimExecutor:
    """One life of the controller's executors. `emit` tells its core, `spawn` lets a process run in that life."""

    pool: SimPool
    agents: Agents
    settings: XapiSection
    emit: Callable[[AnyEvent], None]
    spawn: Callable[[Process[None]], None]
    _followed: set[str] = field(default_factory=set)
    _beginning: set[str] = field(default_factory=set)

    def submit(self, command: PoolCommand | ProbeCommand) -> None:
        """Begin to carry a command out."""
        match command:
            case CancelMigration():
                self.spawn(self._cancel(command))
            case StartMigration() | FollowMigration():
                self.spawn(self._carry_out(command))
            case BeginProbe(lease=lease):
                self._beginning.add(lease.lease)
                self.spawn(self._begin_probe(lease))
            case EndProbe(lease=lease, text=text):
                self.spawn(self._end_probe(lease, text))
            case RevokeProbe(lease=lease):
                self.agents.revoke(lease)

    # Calls

    def _once(self, what: Callable[[], T]) -> Process[T]:
        """Call the pool. Raises Unreachable, Refused."""
        yield self.pool.call_s / 2
        if not self.pool.answers:
            raise Unreachable
        found, heard_by = what(), self.pool.restarts
        yield self.pool.call_s / 2
        if self.pool.restarts != heard_by or not self.pool.answers:
            raise Unreachable
        return found

    def _patiently(self, what: Callable[[], T]) -> Process[T]:
        """Call the pool until it answers."""
        retry_s = RETRY_S
        while True:
            try:
                return (yield from self._once(what))
            except Unreachable:
                retry_s = RETRY_S
            except Refused:
                retry_s = min(LAST_RETRY_S, 2 * retry_s)
            yield retry_s

    # Migrations

    def _carry_out(self, command: StartMigration | FollowMigration) -> Process[None]:
        cause, guest, code = command.cause, command.guest, ""
        patience_s = min(PATIENCE_AT_MOST_S, self.settings.settle_ratio * command.predicted_at_most_s)
        task: str | None
        if isinstance(command, StartMigration):
            task, code = yield from self._begun(command)
        else:
            task = command.task if command.task is not None else (yield from self._task_of_request(guest))
            code = "" if task else "ANSWER_LOST"
        arrives_by_s = self.pool.calendar.now_s + patience_s
        if task is None and code == "ANSWER_LOST":
            task = yield from self._task_after(None, code, command, arrives_by_s)
        while task is not None:
            self.emit(MigrationAccepted(cause=cause, task=task))
            code = yield from self._follow(task)
            task = yield from self._task_after(task, code, command, arrives_by_s)
        host_now = yield from self._patiently(partial(self.pool.host_of, guest))
        self.emit(MigrationEnded(cause=cause, host_now=host_now, code=code, text=code))

    def _begun(self, command: StartMigration) -> Process[tuple[str | None, str]]:
        """Ask for a migration; return its task, or none and why."""
        try:
            yield from self._once(partial(self._checked, command))
        except Refused as refusal:
            return None, refusal.code
        except Unreachable:
            return None, "NOT_ASKED"
        try:
            return (yield from self._once(partial(self.pool.migrate, command.guest, command.target, MIGD))), ""
        except Refused as refusal:
            return None, refusal.code
        except Unreachable:
            return (yield from self._task_of_request(command.guest)), "ANSWER_LOST"

    def _checked(self, command: StartMigration) -> None:
        """Ask whether guest and target are as planned still. Raises Refused."""
        pool, guest = self.pool, command.guest
        is_busy = guest in pool.migrating or guest in pool.busy or guest in pool.blocks
        if pool.host_of(guest) != command.source or is_busy:
            raise Refused("CHANGED_MEANWHILE")
        pool.check(guest, command.target)

    def _task_of_request(self, guest: str) -> Process[str | None]:
        """Return the task of a request whose answer was lost; None once it is certain that the pool has none."""
        while True:
            is_pending = yield from self._patiently(partial(self._has_pending, guest))
            task = yield from self._migration_of(guest)
            if task is not None or not is_pending:
                return task
            yield LOOK_S

    def _has_pending(self, guest: str) -> bool:
        return any(task.guest == guest and task.status == "pending" for task in self.pool.tasks.values())

    def _follow(self, task: str) -> Process[str]:
        """Return the code with which a task ended. It may vanish."""
        self._followed.add(task)
        while True:
            if self.pool.answers:
                known = self.pool.tasks.get(task)
                if known is None or known.status != "pending":
                    self._followed.discard(task)
                    return "TASK_VANISHED" if known is None else known.code
            yield LOOK_S

    def _task_after(
        self, task: str | None, code: str, command: StartMigration | FollowMigration, arrives_by_s: float
    ) -> Process[str | None]:
        """Return the task that migrates the guest after `task` has ended or was lost, None if none does."""
        calendar = self.pool.calendar
        is_lost = code in ("TASK_VANISHED", "ANSWER_LOST")
        settled_s = max(calendar.now_s + self.settings.settle_s, arrives_by_s) if is_lost else calendar.now_s
        if is_lost:
            self.emit(MigrationTaskLost(cause=command.cause))
        looks_at_s = calendar.now_s + self.settings.settle_s if is_lost and task is None and command.toolstacks else inf
        while True:
            now = yield from self._migration_of(command.guest)
            if now is not None and now != task:
                return now
            if now is None:
                if calendar.now_s >= settled_s:
                    return None
                host = yield from self._patiently(partial(self.pool.host_of, command.guest))
                if host in (command.target, None):
                    return None
                if calendar.now_s >= looks_at_s:
                    if (yield from self._patiently(self._toolstacks)) == command.toolstacks:
                        return None
                    looks_at_s = inf
            yield 5 * LOOK_S

    def _toolstacks(self) -> str:
        hosts, _ = self.pool.records()
        return toolstacks_of({uuid: host.toolstack_since for uuid, host in hosts.items()})

    def _migration_of(self, guest: str) -> Process[str | None]:
        """Return the task that migrates the guest at this moment, None if none does."""
        task = yield from self._patiently(lambda: self.pool.migrating.get(guest))
        return None if task is None else task.ref

    def _cancel(self, command: CancelMigration) -> Process[None]:
        while command.task in self._followed:
            try:
                yield from self._once(partial(self.pool.cancel, command.task))
            except Refused:
                return
            except Unreachable:
                yield RETRY_S
            else:
                return

    # Probes

    def _begin_probe(self, lease: Lease) -> Process[None]:
        try:
            yield from self._once(partial(self._block, lease))
            yield from self._once(partial(self._check_idle, lease))
        except (Refused, Unreachable) as error:
            self._beginning.discard(lease.lease)
            yield from self._end_probe(lease, f"not begun: {error}")
            return
        self._beginning.discard(lease.lease)
        self.agents.lend(lease)

    def _end_probe(self, lease: Lease, text: str) -> Process[None]:
        while lease.lease in self._beginning:
            yield LOOK_S
        yield from self._patiently(partial(self._unblock, lease))
        self.emit(ProbeEnded(lease=lease.lease, text=text))

    def _block(self, lease: Lease) -> None:
        self._check_idle(lease)
        if lease.guest in self.pool.blocks or lease.guest in self.pool.holders:
            raise Refused("MAP_DUPLICATE_KEY")
        self.pool.blocks[lease.guest] = lease.lease
        self.pool.version += 1

    def _check_idle(self, lease: Lease) -> None:
        pool, guest = self.pool, lease.guest
        if pool.host_of(guest) != lease.host or guest in pool.migrating or guest in pool.busy:
            raise Refused("not idle")

    def _unblock(self, lease: Lease) -> None:
        if self.pool.blocks.get(lease.guest) == lease.lease:
            del self.pool.blocks[lease.guest]
            self.pool.version += 1

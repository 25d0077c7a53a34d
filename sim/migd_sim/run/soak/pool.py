"""XAPI before the simulated cluster, in virtual time: records, requests, tasks, blocks, and what goes wrong with them.

It checks what XAPI checks and no more. A request for a guest that is being moved waits for its turn, as XAPI lets it
wait; a toolstack that restarts forgets its tasks and what its guests are busy with, and their migrations go on.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from migd_controller.events import PoolGuest, PoolHost, Resource
from migd_sim.model import CannotMigrate, Cluster, MigrationEnd
from migd_sim.model.cluster import UNACKNOWLEDGED
from migd_sim.run.closed_loop import MHZ_AT_SPEED_1
from migd_sim.run.soak.calendar import Calendar
from migd_sim.run.soak.case import Case

# So long the pool takes a dead host for alive (its heartbeats stop).
UNNOTICED_S: Final = 40.0
MIGD: Final = "migd"
CALL_S: Final = 0.1


class Refused(Exception):
    """The pool refuses a call, with one of its codes."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True, eq=False)
class Task:
    """One migration as it was asked for, by whom, and how it ended: the code of its failure, empty for success."""

    ref: str
    guest: str
    target: str
    by: str
    status: str = "pending"
    code: str = ""
    fails_with: str = ""


@dataclass(slots=True)
class SimPool:
    """The pool as XAPI tells of it. Guests and hosts are uuids; `version` rises with whatever the records tell.

    `answers` while it does, within `call_s` there and back; `restarts` counts its toolstack's. `blocks` are migd's own,
    by lease, `holders` those of other people. `asked` are migd's requests, for whoever checks.
    """

    case: Case
    cluster: Cluster
    calendar: Calendar
    answers: bool = True
    call_s: float = CALL_S
    restarts: int = 0
    version: int = 0
    names: dict[str, str] = field(init=False)
    tags: dict[str, tuple[str, ...]] = field(init=False)
    storages: dict[str, tuple[str, ...]] = field(init=False)
    disabled: set[str] = field(default_factory=set)
    evacuating: set[str] = field(default_factory=set)
    blocks: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    busy: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    migrating: dict[str, Task] = field(default_factory=dict)
    asked: list[Task] = field(default_factory=list)
    failing: deque[tuple[str, float]] = field(default_factory=deque)
    lingering: deque[float] = field(default_factory=deque)
    _unnoticed: dict[str, float] = field(default_factory=dict)
    _ghosts: dict[str, str] = field(default_factory=dict)
    _queue: list[Task] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        guests, hosts = self.cluster.spec.guests, self.cluster.spec.hosts
        self.names = {guest.uuid: guest.name for guest in guests}
        self.tags = {guest.uuid: guest.tags for guest in guests}
        self.storages = {host.uuid: self.case.storages.get(host.name, ()) for host in hosts}

    # What it tells

    def records(self) -> tuple[dict[str, PoolHost], dict[str, PoolGuest]]:
        """Return the hosts and the running guests as the pool has them now."""
        hosts = {
            uuid: PoolHost(
                uuid=uuid,
                name=state.spec.name,
                is_enabled=uuid not in self.disabled,
                is_live=state.is_up or uuid in self._unnoticed,
                is_evacuating=uuid in self.evacuating,
                cpus=state.spec.cpus,
                cpu_mhz=MHZ_AT_SPEED_1 * state.spec.speed,
                memory_for_guests_bytes=state.spec.memory_bytes,
                storages=self.storages[uuid],
                toolstack_since=str(self.restarts),
            )
            for uuid, state in self.cluster.hosts.items()
        }
        return hosts, {uuid: self._guest(uuid, host) for uuid in self.names if (host := self.host_of(uuid)) is not None}

    def _guest(self, uuid: str, host: str) -> PoolGuest:
        state = self.cluster.guests[uuid]
        task = self.migrating.get(uuid)
        blocked = f"blocked_operations forbids it ({self.holders[uuid]})" if uuid in self.holders else ""
        disk, group = self.case.disks.get(state.spec.name), self.case.groups.get(state.spec.name)
        return PoolGuest(
            uuid=uuid,
            name=self.names[uuid],
            host=host,
            vcpus=state.spec.vcpus,
            memory_bytes=state.spec.memory_bytes,
            macs=(state.spec.mac,),
            tags=self.tags[uuid],
            arriving_at=task.target if task is not None else None,
            blocked_because=blocked or ("its power state is Paused" if state.is_paused else ""),
            busy_with=self.busy.get(uuid, ""),
            probed_by=self.blocks.get(uuid, ""),
            storages=(Resource(disk, disk),) if disk is not None else (),
            group=Resource(group, group) if group is not None else None,
            domid=state.domid,
            memory_may_shrink=state.spec.name in self.case.shrinking,
        )

    def host_of(self, guest: str) -> str | None:
        """Return where the pool takes a guest to run; None where it does not."""
        return self._ghosts.get(guest) or self.cluster.guests[guest].host

    def host_named(self, name: str) -> str | None:
        return next((uuid for uuid, state in self.cluster.hosts.items() if state.spec.name == name), None)

    def guest_named(self, name: str) -> str | None:
        """Return a guest (uuid) by the name that it had at first."""
        return next((uuid for uuid, state in self.cluster.guests.items() if state.spec.name == name), None)

    def incoming(self) -> Mapping[str, str]:
        """Return where each guest that is moving goes, whatever the pool knows of it."""
        return {migration.guest.spec.uuid: migration.target for migration in self.cluster.migrations}

    def taken_bytes(self, host: str) -> int:
        """Return the memory that guests have on a host, those on their way there included."""
        incoming = self.incoming()
        return sum(
            state.spec.memory_bytes
            for uuid, state in self.cluster.guests.items()
            if host in (state.host, incoming.get(uuid))
        )

    # What may be asked of it

    def check(self, guest: str, target: str) -> None:
        """Say whether a guest could be on a host, as `VM.assert_can_boot_here` does. Raises Refused."""
        host, spec = self.cluster.hosts[target], self.cluster.guests[guest].spec
        if not host.is_up and target not in self._unnoticed:
            raise Refused("HOST_NOT_LIVE")
        if target in self.disabled or target in self.evacuating:
            raise Refused("HOST_DISABLED")
        if (disk := self.case.disks.get(spec.name)) is not None and disk not in self.storages[target]:
            raise Refused("VM_REQUIRES_SR")
        if self.taken_bytes(target) + spec.memory_bytes > host.spec.memory_bytes:
            raise Refused("HOST_NOT_ENOUGH_FREE_MEMORY")

    def migrate(self, guest: str, target: str, by: str) -> str:
        """Ask for a migration, and return its task. Raises Refused."""
        if guest in self.blocks or guest in self.holders:
            raise Refused("OPERATION_BLOCKED")
        if self.host_of(guest) is None or self.cluster.guests[guest].is_paused:
            raise Refused("VM_BAD_POWER_STATE")
        if guest in self.busy:
            raise Refused("OTHER_OPERATION_IN_PROGRESS")
        self._count += 1
        task = Task(f"task {self._count}", guest, target, by)
        self.tasks[task.ref] = task
        if by == MIGD:
            self.asked.append(task)
        if self.cluster.guests[guest].migration is not None or guest in self.migrating:
            self._queue.append(task)
        else:
            self._begin(task)
        return task.ref

    def cancel(self, ref: str) -> None:
        """Ask for a task to be cancelled. It is too late once the guest is handed over."""
        task = self.tasks.get(ref)
        if task is None:
            raise Refused("HANDLE_INVALID")
        if task in self._queue:
            self._queue.remove(task)
            self._finish(task, "CANCELLED")
        elif (migration := self.cluster.guests[task.guest].migration) is not None and task.status == "pending":
            self.cluster.cancel(migration)

    def place(self, guest: str, host: str) -> bool:
        """Start a guest on a host, if that is possible."""
        state = self.cluster.guests[guest]
        if state.host is not None or not self.cluster.hosts[host].is_up or host in self.disabled:
            return False
        if self.taken_bytes(host) + state.spec.memory_bytes > self.cluster.hosts[host].spec.memory_bytes:
            return False
        self._ghosts.pop(guest, None)
        self.cluster.start_guest(guest, host)
        self.version += 1
        return True

    def stop(self, guest: str) -> None:
        """Stop a guest at once."""
        self._ghosts.pop(guest, None)
        self.cluster.stop_guest(guest)
        self.version += 1

    # What goes wrong with it

    def restart(self) -> None:
        """Let the toolstack restart: it knows of no task any more, nor what guests are busy with."""
        self.restarts += 1
        self.tasks.clear()
        self.migrating.clear()
        self.busy.clear()
        self._queue.clear()
        self.version += 1

    def lose_task(self, guest: str) -> None:
        """Let the record of the task that migrates a guest vanish."""
        if (task := self.migrating.get(guest)) is not None:
            self.tasks.pop(task.ref, None)

    def fail_host(self, host: str) -> None:
        """Let a host die. The pool takes it, and its guests, for running until it notices."""
        if not self.cluster.hosts[host].is_up:
            return
        ghosts = [uuid for uuid, state in self.cluster.guests.items() if state.host == host]
        self._ghosts.update(dict.fromkeys(ghosts, host))
        self._unnoticed[host] = self.calendar.now_s
        self.cluster.fail_host(host)
        self.calendar.after(UNNOTICED_S, partial(self._notice, host))

    def restore_host(self, host: str) -> None:
        """Boot a host that died."""
        if self.cluster.hosts[host].is_up:
            return
        self._notice(host)
        self.cluster.restore_host(host)
        self.version += 1

    def _notice(self, host: str) -> None:
        self._unnoticed.pop(host, None)
        self._ghosts = {guest: where for guest, where in self._ghosts.items() if where != host}
        self.version += 1

    # Inside

    def _begin(self, task: Task) -> None:
        self.version += 1
        try:
            self.check(task.guest, task.target)
            if task.guest in self._ghosts:
                raise Refused("CANNOT_CONTACT_HOST")
            if not self.cluster.hosts[task.target].is_up:
                raise Refused("HOST_OFFLINE")
            migration = self.cluster.start_migration(task.guest, task.target, partial(self._ended, task))
        except Refused as refusal:
            self._finish(task, refusal.code)
            return
        except CannotMigrate:
            self._finish(task, "VM_BAD_POWER_STATE")
            return
        self.migrating[task.guest] = task
        if self.failing:
            task.fails_with, after_s = self.failing.popleft()
            self.calendar.after(after_s, partial(self.cluster.cancel, migration))

    def _ended(self, task: Task, end: MigrationEnd) -> None:
        self.version += 1
        code = "" if end.ok else _code(task, end)
        if self.lingering and task.ref in self.tasks:
            self.calendar.after(self.lingering.popleft(), partial(self._finish, task, code))
        else:
            self._finish(task, code)

    def _finish(self, task: Task, code: str) -> None:
        self.version += 1
        task.status, task.code = ("failure" if code else "success"), code
        if self.migrating.get(task.guest) is task:
            del self.migrating[task.guest]
        following = next((each for each in self._queue if each.guest == task.guest), None)
        if following is not None and self.cluster.guests[task.guest].migration is None:
            self._queue.remove(following)
            self._begin(following)


def _code(task: Task, end: MigrationEnd) -> str:
    """Return the code of a migration that has failed."""
    if end.reason == "cancelled":
        return task.fails_with or "CANCELLED"
    if end.reason == UNACKNOWLEDGED:
        return "VM_FAILED_SUSPEND_ACKNOWLEDGMENT"
    return "VM_HALTED" if end.reason == "the guest was stopped" else "INTERNAL_ERROR"

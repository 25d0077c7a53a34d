"""Carries out the core's commands about probes: keeps the pool from migrating a guest while its agent probes it.

The order is what makes it safe. The guest is seen to be idle; the pool is kept from migrating it; it is seen to be
idle still, for a migration may have begun in between; only then the agent hears of the lease. Whatever goes wrong on
the way, the pool is let migrate it again, and is asked to until it has answered.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

import structlog

from migd_controller.commands import BeginProbe, EndProbe, ProbeCommand, RevokeProbe
from migd_controller.events import ProbeEnded
from migd_controller.executor import Change
from migd_controller.leader import NotLeading
from migd_controller.lease_outbox import LeaseOutbox
from migd_controller.leases import Lease, block_text
from migd_controller.pool_calls import PoolCalls, what_occupies
from migd_controller.xapi import PoolRefusal, PoolUnreachable
from migd_core.errors import MigdError
from migd_core.messages import ProbeRevoked

log = structlog.get_logger()
OPERATION: Final = "pool_migrate"


class NotGranted(MigdError):
    """The guest may not be probed now; the text says why."""


class ProbeExecutor:
    """Begins and ends probes. `emit` is called in the event loop."""

    def __init__(
        self,
        calls: PoolCalls,
        outbox: LeaseOutbox,
        emit: Callable[[ProbeEnded], None],
        tasks: asyncio.TaskGroup,
        change: Change | None = None,
    ) -> None:
        """`change` asks the pool for a block; where it is not given, `calls` does."""
        self._calls, self._outbox, self._emit, self._tasks = calls, outbox, emit, tasks
        self._change = change or calls.change
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def submit(self, command: ProbeCommand) -> None:
        """Begin to carry a command out; those about one lease are carried out one after the other."""
        name = command.lease.lease
        match command:
            case BeginProbe(lease=lease):
                self._start(name, self._begin(lease))
            case EndProbe(lease=lease, text=text):
                self._start(name, self._end(lease, text, self._under_way.get(name)))
            case RevokeProbe(lease=lease):
                self._outbox.send(ProbeRevoked(lease=name, host_uuid=lease.host))

    def leave(self) -> None:
        """Go on with nothing. Blocks stay in the pool, and the next start takes them up."""
        for task in self._under_way.values():
            task.cancel()

    def _start(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = self._tasks.create_task(work, name=f"probe {name}")
        self._under_way[name] = task
        task.add_done_callback(lambda done: self._under_way.pop(name) if self._under_way.get(name) is done else None)

    async def _begin(self, lease: Lease) -> None:
        try:
            await self._block(lease)
        except (NotGranted, NotLeading, PoolRefusal, PoolUnreachable) as error:
            log.info("guest not probed", lease=lease.lease, guest=lease.guest_name, why=str(error))
            await self._end(lease, str(error), None)
            return
        self._outbox.send(lease.for_agent)

    async def _end(self, lease: Lease, text: str, beginning: asyncio.Task[None] | None) -> None:
        if beginning is not None:
            await asyncio.wait([beginning])
        await self._calls.patiently(self._unblock, lease)
        self._emit(ProbeEnded(lease=lease.lease, text=text))

    async def _block(self, lease: Lease) -> None:
        """Keep the pool from migrating the guest. Raises NotGranted, NotLeading, PoolRefusal, PoolUnreachable."""
        guest, host = await self._calls.once(self._idle, lease)
        # Refused where there is an entry already: somebody else's block is never overwritten.
        await self._change("VM.add_to_blocked_operations", guest, OPERATION, block_text(lease.lease))
        await self._calls.once(self._check_idle, lease, guest, host)

    def _idle(self, lease: Lease) -> tuple[str, str]:
        guest, host = self._calls.call("VM.get_by_uuid", lease.guest), self._calls.call("host.get_by_uuid", lease.host)
        self._check_idle(lease, guest, host)
        return guest, host

    def _check_idle(self, lease: Lease, guest: str, host: str) -> None:
        record = self._calls.call("VM.get_record", guest)
        if why := what_occupies(record, host):
            raise NotGranted(f"guest {lease.guest_name} {why}")

    def _unblock(self, lease: Lease) -> None:
        """Let the pool migrate the guest, unless it is somebody else who keeps it from that."""
        record = self._calls.guest_record(lease.guest)
        if record is None or record["blocked_operations"].get(OPERATION) != block_text(lease.lease):
            return
        guest = self._calls.unless_gone("VM.get_by_uuid", lease.guest)
        if guest is not None:
            self._calls.unless_gone("VM.remove_from_blocked_operations", guest, OPERATION)

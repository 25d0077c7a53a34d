"""`VM.pool_migrate`, step by step as message_forwarding.ml and xapi_vm_migrate.ml take it; each step shows in events.

The guest runs on the target before `resident_on` says so: first it is moved, then the records follow, then the
operations are lifted, then the message is written, then the task ends.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from migd_xapi import host_operations, placement, vm_operations
from migd_xapi.backend import BackendMigration, BackendRefusal, MigrationOutcome
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.failure import Failure
from migd_xapi.messages import tell
from migd_xapi.pool import Call, Pool
from migd_xapi.tasks import TaskRun
from migd_xapi.workers import taken

# The save phase fills a task up to here; renaming the domain takes it to 1, and cleaning up begins anew near 0.
SAVE_RATIO: Final = 10 / 11
AFTERWARDS: Final = (1.0, 0.1, 0.6)
AFTERWARDS_STEP_S: Final = 0.02
PROGRESS_PERIOD_S: Final = 0.1
PROGRESS_STEP: Final = 0.01


async def pool_migrate(call: Call, vm: Row, host: Row, options: Mapping[str, str]) -> None:
    """Move a running VM to `host`. Raises Failure."""
    pool, is_forced = call.pool, options.get("force") == "true"
    async with vm_operations.held(call, vm, "pool_migrate", strict=not is_forced):
        placement.check(pool, vm, host)
        with host_operations.held(call, host, "vm_migrate"), _reserved(pool, vm, host):
            source = pool.db.get("host", vm["resident_on"])
            if not pool.is_live(source):
                raise Failure("HOST_OFFLINE", source.ref)
            await _move(call, vm, source, host)
    tell(
        pool,
        "VM_MIGRATED",
        5,
        "VM",
        vm["uuid"],
        f"VM '{vm['name_label']}' (uuid: {vm['uuid']}) migrated from host '{source['name_label']}' "
        f"(uuid: {source['uuid']}) to host '{host['name_label']}' (uuid: {host['uuid']})",
    )


@contextmanager
def _reserved(pool: Pool, vm: Row, host: Row) -> Iterator[None]:
    """Count the VM on the target too, from now until it is there or stays where it was."""
    pool.db.update(vm, scheduled_to_be_resident_on=host.ref)
    try:
        yield
    finally:
        pool.db.update(vm, scheduled_to_be_resident_on=NULL)


async def _move(call: Call, vm: Row, source: Row, target: Row) -> None:
    pool, run = call.pool, call.run
    assert run is not None
    run.allow_cancel(True)
    try:
        async with taken(run, pool.workers.slot(source)), taken(run, pool.workers.arrival_slot(target)):
            _balloon(pool, vm, vm["memory_dynamic_min"])
            try:
                await _copy(call, run, vm, target)
                run.allow_cancel(False)
                for ratio in AFTERWARDS:
                    run.progress(ratio)
                    await asyncio.sleep(AFTERWARDS_STEP_S)
                _arrive(pool, vm, target)
            finally:
                _balloon(pool, vm, vm["memory_dynamic_max"])
    finally:
        run.allow_cancel(False)


async def _copy(call: Call, run: TaskRun, vm: Row, target: Row) -> None:
    """Copy the guest while it runs. Raises Failure when it did not get there, TASK_CANCELLED included."""
    pool = call.pool
    ended: asyncio.Future[MigrationOutcome] = asyncio.get_running_loop().create_future()
    run.check()
    pool.backend.settle()
    try:
        migration = pool.backend.begin_migration(
            vm["uuid"], target["uuid"], vm["memory_dynamic_min"], lambda outcome: _resolve(ended, outcome)
        )
    except BackendRefusal as refusal:
        raise Failure("INTERNAL_ERROR", str(refusal)) from refusal
    outcome = await _follow(run, migration, ended)
    if outcome.ok:
        return
    run.check()
    raise Failure("INTERNAL_ERROR", outcome.reason)


async def _follow(
    run: TaskRun, migration: BackendMigration, ended: "asyncio.Future[MigrationOutcome]"
) -> MigrationOutcome:
    shown = 0.0
    asked_to_cancel = asyncio.ensure_future(run.asked_to_cancel())
    try:
        while not ended.done():
            waits: list[asyncio.Future[Any]] = [ended] if asked_to_cancel.done() else [ended, asked_to_cancel]
            await asyncio.wait(waits, timeout=PROGRESS_PERIOD_S, return_when=asyncio.FIRST_COMPLETED)
            if asked_to_cancel.done() and not ended.done():
                migration.cancel()  # refused once the guest stands still: then it goes on to its end
            ratio = migration.progress_ratio * SAVE_RATIO
            if ratio - shown >= PROGRESS_STEP:
                shown = ratio
                run.progress(ratio)
        return ended.result()
    finally:
        asked_to_cancel.cancel()


def _resolve(ended: "asyncio.Future[MigrationOutcome]", outcome: MigrationOutcome) -> None:
    if not ended.done():
        ended.set_result(outcome)


def _arrive(pool: Pool, vm: Row, target: Row) -> None:
    """Flip residence in one step, then what follows from it."""
    pool.db.update(vm, resident_on=target.ref, scheduled_to_be_resident_on=NULL)
    pool.db.update(vm, domid=pool.backend.domid(vm["uuid"]))
    if (metrics := pool.db.find("VM_metrics", vm["metrics"])) is not None:
        pool.db.update(metrics, last_updated=pool.clock.stamp())


def _balloon(pool: Pool, vm: Row, memory_bytes: int) -> None:
    """Show the memory that the VM is given; the guest has let go of it, or taken it, by then."""
    pool.db.update(vm, memory_target=memory_bytes)
    if (metrics := pool.db.find("VM_metrics", vm["metrics"])) is not None:
        pool.db.update(metrics, memory_actual=memory_bytes)

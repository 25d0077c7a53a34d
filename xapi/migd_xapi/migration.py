"""`VM.pool_migrate`, step by step as message_forwarding.ml and xapi_vm_migrate.ml take it; each step shows in events.

The guest runs on the target before `resident_on` says so: first it is moved, then the records follow, then the
operations are lifted, then the message is written, then the task ends.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from migd_xapi import cpu, domains, ha, memory, placement, vm_groups, vm_operations
from migd_xapi.backend import BackendMigration, BackendRefusal, MigrationOutcome, Why
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.failure import Failure
from migd_xapi.messages import tell_of_vm
from migd_xapi.pool import Call, Pool
from migd_xapi.residence import resync
from migd_xapi.tasks import TaskRun
from migd_xapi.workers import taken

# The save phase fills a task up to here; renaming the domain takes it to 1, and cleaning up begins anew near 0.
SAVE_RATIO: Final = 10 / 11
AFTERWARDS: Final = (1.0, 0.1, 0.6)
AFTERWARDS_STEP_S: Final = 0.02
PROGRESS_PERIOD_S: Final = 0.1
PROGRESS_STEP: Final = 0.01
# A guest that reboots while it is copied spoils the copy; so often it is begun in all.
TRIES: Final = 3

# Begins a migration, and has what it is given called with the outcome.
Begin = Callable[[Callable[[MigrationOutcome], None]], BackendMigration]


async def pool_migrate(call: Call, vm: Row, host: Row, options: Mapping[str, str]) -> None:
    """Move a running VM to `host`. Raises Failure."""
    pool, is_forced = call.pool, options.get("force") == "true"
    if not is_forced:
        cpu.check(pool, vm, host)
    async with vm_operations.held(call, vm, "pool_migrate", strict=not is_forced):
        source = pool.db.get("host", vm["resident_on"])
        placement.check(pool, vm, host)
        ha.check_arrival(pool, vm, host)
        with placement.reserved(call, vm, host, "vm_migrate"):
            if not pool.is_live(source):
                raise Failure("HOST_OFFLINE", source.ref)
            network = pool.db.find("network", options.get("network", NULL))
            if network is not None:
                check_transfer_network(pool, network, host)
            await _move(call, vm, source, host)
    tell_of_vm(
        pool,
        "VM_MIGRATED",
        vm,
        f"migrated from host '{source['name_label']}' (uuid: {source['uuid']}) "
        f"to host '{host['name_label']}' (uuid: {host['uuid']})",
    )


async def go_on(call: Call, vm: Row, target: Row, begin: Begin) -> None:
    """Follow a migration that a toolstack before this one has begun, as a task like any other. Raises Failure.

    Nothing is checked any more, not even whether somebody has blocked it since: the guest is on its way.
    """
    pool, source = call.pool, vm["resident_on"]
    with vm_operations.shown(call, vm, "pool_migrate"), placement.reserved(call, vm, target, "vm_migrate"):
        call.task.allow_cancel(True)
        outcome = await _outcome_of(call, vm, begin)
        if not outcome.ok:
            call.task.check()
            raise _failure_of(pool, outcome, vm, source, target)
        _arrive(pool, vm, target)


def check_transfer_network(pool: Pool, network: Row, host: Row) -> None:
    """Raise Failure where the host cannot receive a migration over the network."""
    pif = next((pif for ref in network["PIFs"] if (pif := pool.db.get("PIF", ref))["host"] == host.ref), None)
    if pif is None:
        raise Failure("PIF_NOT_PRESENT", host.ref, network.ref)
    if not pif["currently_attached"]:
        raise Failure("REQUIRED_PIF_IS_UNPLUGGED", pif.ref)
    if not pif["IP"]:
        raise Failure("INTERFACE_HAS_NO_IP", pif.ref)


async def _move(call: Call, vm: Row, source: Row, target: Row) -> None:
    pool, run = call.pool, call.task
    async with taken(run, pool.workers.slot(source)), taken(run, pool.workers.arrival_slot(target)):
        is_elsewhere = source is not target
        if is_elsewhere:
            _balloon(pool, vm, vm["memory_dynamic_min"])
        try:
            await _copy(call, vm, target)
            run.allow_cancel(False)
            for ratio in AFTERWARDS:
                run.progress(ratio)
                await asyncio.sleep(AFTERWARDS_STEP_S)
            _arrive(pool, vm, target)
        finally:
            run.allow_cancel(False)
            if is_elsewhere and vm["resident_on"] != NULL:
                _balloon(pool, vm, vm["memory_dynamic_max"])


async def _copy(call: Call, vm: Row, target: Row) -> None:
    """Copy the guest while it runs; begin anew when it reboots meanwhile. Raises Failure when it did not get there."""
    pool, run, backend = call.pool, call.task, call.pool.backend
    source = vm["resident_on"]
    for tries_left in reversed(range(TRIES)):
        run.check()
        backend.settle()
        domid = backend.domid(vm["uuid"])
        outcome = await _outcome_of(
            call, vm, partial(backend.begin_migration, vm["uuid"], target["uuid"], vm["memory_target"])
        )
        if outcome.ok:
            return
        if outcome.is_suspended and backend.domid(vm["uuid"]) == domid:
            # Nobody could say which side has the guest: xapi ends it (xapi_vm_migrate.ml, pool_migrate).
            backend.stop(vm["uuid"])
            domains.ended(pool, vm)
        run.check()
        has_rebooted = backend.domid(vm["uuid"]) not in (domid, domains.NO_DOMAIN)
        if has_rebooted:
            domains.renewed(pool, vm)
        if not (has_rebooted and tries_left):
            raise _failure_of(pool, outcome, vm, source, target)


async def _outcome_of(call: Call, vm: Row, begin: Begin) -> MigrationOutcome:
    """Follow what `begin` begins to its end. Raises Failure where the backend refuses."""
    ended: asyncio.Future[MigrationOutcome] = asyncio.get_running_loop().create_future()
    try:
        migration = begin(lambda outcome: _resolve(call.pool, vm, ended, outcome))
    except BackendRefusal as refusal:
        raise Failure("INTERNAL_ERROR", str(refusal)) from refusal
    try:
        return await _follow(call.task, migration, ended)
    except asyncio.CancelledError:
        ended.cancel()  # the toolstack goes down, the copy goes on without it
        raise


def _failure_of(pool: Pool, outcome: MigrationOutcome, vm: Row, source: str, target: Row) -> Failure:
    match outcome.why:
        case Why.UNACKNOWLEDGED:
            return Failure("VM_FAILED_SUSPEND_ACKNOWLEDGMENT", vm.ref)
        case Why.SOURCE_DIED:
            return Failure("CANNOT_CONTACT_HOST", source)
        case Why.TARGET_UNREACHABLE:
            return Failure("CANNOT_CONTACT_HOST", target.ref)
        case Why.NO_MEMORY:
            return Failure(
                "HOST_NOT_ENOUGH_FREE_MEMORY", memory.needed_bytes(vm), memory.free_bytes(pool, target, without=vm)
            )
        case Why.OTHER:
            return Failure("INTERNAL_ERROR", outcome.reason)


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


def _resolve(pool: Pool, vm: Row, ended: "asyncio.Future[MigrationOutcome]", outcome: MigrationOutcome) -> None:
    if ended.cancelled():
        resync(pool, [vm])  # nobody follows it any more, but the next toolstack sees where the guest is
    elif not ended.done():
        ended.set_result(outcome)


def _arrive(pool: Pool, vm: Row, target: Row) -> None:
    """Flip residence in one step, then what follows from it."""
    pool.db.update(vm, resident_on=target.ref, scheduled_to_be_resident_on=NULL)
    pool.db.update(vm, domid=pool.backend.domid(vm["uuid"]))
    if (metrics := pool.db.find("VM_metrics", vm["metrics"])) is not None:
        pool.db.update(metrics, last_updated=pool.clock.stamp())
    vm_groups.refresh_notice(pool, vm)


def _balloon(pool: Pool, vm: Row, memory_bytes: int) -> None:
    """Show the memory that the VM is given; the guest has let go of it, or taken it, by then."""
    pool.db.update(vm, memory_target=memory_bytes)
    if (metrics := pool.db.find("VM_metrics", vm["metrics"])) is not None:
        pool.db.update(metrics, memory_actual=memory_bytes)

"""Emptying a host: which VM goes where, what stands in the way, the migrations, so many at a time (xapi_host.ml)."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from migd_xapi import ha, host_operations, memory, migration, placement, vm_groups, vm_operations
from migd_xapi.database import Row
from migd_xapi.failure import Failure
from migd_xapi.pool import Call, Pool

BATCH: Final = 10  # xapi.conf, evacuation-batch-size
# XAPI sends these two codes with the VM as their one parameter, otherwise than it publishes.
NO_HOSTS: Final = ("NO_HOSTS_AVAILABLE",)
NO_MEMORY: Final = ("HOST_NOT_ENOUGH_FREE_MEMORY",)


def plan(pool: Pool, host: Row) -> dict[str, Row | Failure]:
    """Return for each VM on the host (reference) where it would go, or why it cannot.

    A VM that any of the other hosts could not run stays: XAPI does not look for one that could.
    """
    targets = [each for each in pool.db.rows("host") if each["enabled"] and each is not host]
    vms = [vm for ref in host["resident_VMs"] if not (vm := pool.db.get("VM", ref))["is_control_domain"]]
    if not targets:
        return {vm.ref: Failure(*NO_HOSTS, vm.ref) for vm in vms}
    plans: dict[str, Row | Failure] = {}
    left = {target.ref: memory.free_bytes(pool, target) for target in targets}
    by_size = sorted(vms, key=lambda vm: memory.needed_bytes(vm), reverse=True)
    arrived: dict[str, list[str]] = {}
    for vm in by_size:
        failure = _obstacle(pool, vm, targets)
        if failure is not None:
            plans[vm.ref] = failure
            continue
        group = vm_groups.anti_affinity_group(pool, vm)
        others = vm_groups.vms_by_host(pool, group) if group is not None else {}
        needed = memory.needed_bytes(vm)
        rooms = [target for target in targets if left[target.ref] >= needed]
        if not rooms:
            plans[vm.ref] = Failure(*NO_MEMORY, vm.ref)
            continue
        mates = arrived.setdefault(group.ref, []) if group is not None else []
        best = min(rooms, key=lambda target: (others.get(target.ref, 0) + mates.count(target.ref), -left[target.ref]))
        mates.append(best.ref)
        left[best.ref] -= needed
        plans[vm.ref] = best
    return plans


def obstacles(pool: Pool, host: Row) -> dict[str, Failure]:
    """Return why VMs cannot leave the host, by their references."""
    return {ref: found for ref, found in plan(pool, host).items() if isinstance(found, Failure)}


async def evacuate(call: Call, host: Row, network: Row | None, batch: int) -> None:
    """Move all VMs away from the host. Raises the first Failure; what is under way then still goes on to its end."""
    pool = call.pool
    async with host_operations.held_when_free(call, host, "evacuate"):
        plans = plan(pool, host)
        targets: list[tuple[Row, Row]] = []
        for ref, found in plans.items():
            if isinstance(found, Failure):
                raise found
            if network is not None:
                migration.check_transfer_network(pool, network, found)
            targets.append((pool.db.get("VM", ref), found))
        options = {"live": "true"} | ({"network": network.ref} if network is not None else {})
        await _move_all(call, targets, options, batch or BATCH)
        remaining = [ref for ref in host["resident_VMs"] if not pool.db.get("VM", ref)["is_control_domain"]]
        if remaining:
            raise Failure("INTERNAL_ERROR", f"evacuate: {len(remaining)} VMs are still resident on {host.ref}")


async def _move_all(call: Call, targets: list[tuple[Row, Row]], options: Mapping[str, str], batch: int) -> None:
    waiting, under_way = list(targets), set[asyncio.Task[None]]()
    done = 0
    failure: Failure | None = None
    try:
        while (waiting and failure is None) or under_way:
            while waiting and failure is None and len(under_way) < batch:
                under_way.add(asyncio.create_task(_move(call, *waiting.pop(0), options)))
            ended, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                try:
                    task.result()
                except Failure as found:
                    # One that was shut down meanwhile is no obstacle any more.
                    failure = failure or (found if found.code != "VM_BAD_POWER_STATE" else None)
                done += 1
            call.task.progress(done / len(targets))
    finally:
        for task in under_way:
            task.cancel()
    if failure is not None:
        raise failure


async def _move(call: Call, vm: Row, target: Row, options: Mapping[str, str]) -> None:
    """Migrate one VM as a task of its own, whose record goes when it is over."""
    pool = call.pool
    run = pool.tasks.begin("Async.VM.pool_migrate", call.host, call.session, parent=call.task_ref)
    try:
        await migration.pool_migrate(replace(call, name=run.row["name_label"], run=run), vm, target, options)
    except Failure as failure:
        run.fail(failure)
        raise
    else:
        run.succeed("", "void")
    finally:
        pool.tasks.end(run)
        pool.tasks.delete(run.row)


def _obstacle(pool: Pool, vm: Row, targets: list[Row]) -> Failure | None:
    failure = vm_operations.failure_of(pool, vm, "pool_migrate")
    if failure is not None:
        return failure
    if pool.row["ha_enabled"] and not ha.is_protected(vm):
        return Failure("HOST_EVACUATE_VM_NOT_HA_PROTECTED", vm.ref)
    try:
        for target in targets:
            placement.check(pool, vm, target, with_memory=False, with_cpu=True)
    except Failure as found:
        return found
    return None

"""Methods of class VM."""

from collections.abc import Mapping
from typing import Final

from migd_xapi import agility, memory, migration, placement, storage_migration, vm_operations
from migd_xapi.database import Row
from migd_xapi.failure import Failure
from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.roles import POOL_ADMIN, VM_ADMIN, VM_POWER_ADMIN

METHODS: Final = Methods()


@METHODS.add("VM.pool_migrate", "VM ref vm", "host ref host", "(string -> string) map options", role=VM_POWER_ADMIN)
async def pool_migrate(call: Call, vm: Row, host: Row, options: Mapping[str, str]) -> None:
    """Move a running VM to another host of the pool."""
    await migration.pool_migrate(call, vm, host, options)


@METHODS.add("VM.assert_can_boot_here", "VM ref self", "host ref host")
def assert_can_boot_here(call: Call, vm: Row, host: Row) -> None:
    """Fail with the first reason for which the VM could not run on the host."""
    placement.check(call.pool, vm, host)


@METHODS.add("VM.get_possible_hosts", "VM ref vm", returns="host ref set")
def get_possible_hosts(call: Call, vm: Row) -> tuple[str, ...]:
    """Return the hosts that the VM could run on now."""
    return tuple(host.ref for host in placement.possible_hosts(call.pool, vm))


@METHODS.add("VM.assert_operation_valid", "VM ref self", "enum vm_operations op")
def assert_operation_valid(call: Call, vm: Row, operation: str) -> None:
    """Fail with the first reason for which the operation may not begin now."""
    failure = vm_operations.failure_of(call.pool, vm, operation)
    if failure is not None:
        raise failure


@METHODS.add("VM.update_allowed_operations", "VM ref self", role=POOL_ADMIN)
def update_allowed_operations(call: Call, vm: Row) -> None:
    """Work out anew what may be done to the VM."""
    vm_operations.refresh(call.pool, vm)


@METHODS.add("VM.compute_memory_overhead", "VM ref vm", returns="int")
def compute_memory_overhead(call: Call, vm: Row) -> int:
    """Return what the VM would need besides its own memory."""
    return memory.overhead_bytes(vm["VCPUs_max"], vm["memory_static_max"], vm["HVM_shadow_multiplier"])


@METHODS.add(
    "VM.assert_can_migrate",
    "VM ref vm",
    "(string -> string) map dest",
    "bool live",
    "(VDI ref -> SR ref) map vdi_map",
    "(VIF ref -> network ref) map vif_map",
    "(string -> string) map options",
    "(VGPU ref -> GPU_group ref) map vgpu_map=",
    role=VM_POWER_ADMIN,
)
def assert_can_migrate(
    call: Call,
    vm: Row,
    dest: Mapping[str, str],
    live: bool,
    vdi_map: Mapping[str, str],
    vif_map: Mapping[str, str],
    options: Mapping[str, str],
    vgpu_map: Mapping[str, str],
) -> None:
    """Fail with the first reason for which the VM could not go, with its disks, where host.migrate_receive said."""
    storage_migration.check(call.pool, vm, dest, vdi_map, vif_map, is_forced=options.get("force") == "true")


@METHODS.add("VM.assert_agile", "VM ref self")
def assert_agile(call: Call, vm: Row) -> None:
    """Fail where the VM could not run on each of the hosts."""
    agility.check(call.pool, vm)


@METHODS.add("VM.set_groups", "VM ref self", "VM_group ref set value", role=VM_ADMIN)
def set_groups(call: Call, vm: Row, value: tuple[str, ...]) -> None:
    """Put the VM into a group, or into none."""
    if vm["is_control_domain"] or vm["is_a_template"] or vm["is_a_snapshot"]:
        reason = "Control domains, templates, and snapshots cannot be added to VM groups."
        raise Failure("OPERATION_NOT_ALLOWED", reason)
    if len(value) > 1:
        raise Failure("TOO_MANY_GROUPS")
    for ref in value:
        call.pool.db.get("VM_group", ref)
    call.pool.db.update(vm, groups=value)

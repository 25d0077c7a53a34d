"""What may be done to a VM now, and the hold that an operation has on it while it lasts.

The checks stand in the order of xapi_vm_lifecycle.ml: the first that fails names the failure. `allowed_operations` is
what passes all of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final

from migd_xapi.database import Row
from migd_xapi.failure import Failure
from migd_xapi.pool import Call, Pool

# Where an operation can begin. Those that this server does not carry out are listed too: clients read the list.
POWER_STATES: Final = {
    "changing_dynamic_range": ("Halted", "Running"),
    "changing_static_range": ("Halted",),
    "changing_shadow_memory": ("Halted",),
    "migrate_send": ("Halted", "Running", "Suspended"),
    "pool_migrate": ("Running",),
    "changing_VCPUs_live": ("Running",),
    "suspend": ("Running",),
    "hard_reboot": ("Running", "Paused"),
    "hard_shutdown": ("Running", "Paused", "Suspended"),
    "clean_reboot": ("Running",),
    "clean_shutdown": ("Running",),
    "pause": ("Running",),
    "unpause": ("Paused",),
    "resume": ("Suspended",),
    "resume_on": ("Suspended",),
    "checkpoint": ("Running",),
    "make_into_template": ("Halted",),
    "destroy": ("Halted",),
    "export": ("Halted", "Suspended"),
    "start_on": ("Halted",),
    "start": ("Halted",),
    "clone": ("Halted", "Suspended"),
    "copy": ("Halted", "Suspended"),
    "snapshot": ("Halted", "Running", "Suspended"),
}
# What ends another operation rather than wait for it.
FORCEFUL: Final = frozenset({"hard_reboot", "hard_shutdown"})
INTERRUPTIBLE: Final = frozenset({"pool_migrate", "clean_shutdown", "clean_reboot", "suspend", "pause", "unpause"})
FOR_TEMPLATES: Final = frozenset({"clone", "copy", "export", "destroy", "changing_dynamic_range", "snapshot"})
_MOVES: Final = frozenset({"pool_migrate", "migrate_send", "suspend", "checkpoint"})
_NEED_TOOLS: Final = _MOVES | {"clean_shutdown", "clean_reboot"}
FIRST_RETRY_S, LAST_RETRY_S, GIVE_UP_S = 1.0, 20.0, 7200.0


def failure_of(pool: Pool, vm: Row, operation: str, *, strict: bool = True) -> Failure | None:
    """Return why the operation may not begin now, None if it may."""
    return next((found for check in _CHECKS if (found := check(pool, vm, operation, strict)) is not None), None)


def refresh(pool: Pool, vm: Row) -> None:
    """Bring `allowed_operations` up to date."""
    allowed = tuple(operation for operation in POWER_STATES if failure_of(pool, vm, operation) is None)
    pool.db.update(vm, allowed_operations=allowed)


@asynccontextmanager
async def held(call: Call, vm: Row, operation: str, *, strict: bool = True) -> AsyncIterator[None]:
    """Hold the VM for the operation; wait while another one holds it. Raises Failure."""
    await _until_free(call, vm, operation, strict)
    pool, key = call.pool, call.task_ref
    pool.db.update(vm, current_operations={**vm["current_operations"], key: operation})
    refresh(pool, vm)
    try:
        yield
    finally:
        if pool.db.find("VM", vm.ref) is not None:
            rest = {task: other for task, other in vm["current_operations"].items() if task != key}
            pool.db.update(vm, current_operations=rest)
            refresh(pool, vm)


async def _until_free(call: Call, vm: Row, operation: str, strict: bool) -> None:
    """Return when the operation may begin. Like xapi, try again later while another one is in progress."""
    loop = asyncio.get_running_loop()
    give_up_s, delay_s = loop.time() + GIVE_UP_S, FIRST_RETRY_S
    while (failure := failure_of(call.pool, vm, operation, strict=strict)) is not None:
        if failure.code != "OTHER_OPERATION_IN_PROGRESS" or loop.time() > give_up_s:
            raise failure
        await _wait_for_change(call, vm, delay_s)
        delay_s = min(LAST_RETRY_S, delay_s * 2)
        call.pool.db.get("VM", vm.ref)  # it may have been destroyed meanwhile


async def _wait_for_change(call: Call, vm: Row, at_most_s: float) -> None:
    """Return when the VM's operations change, at the latest after `at_most_s`. Raises TASK_CANCELLED."""
    before = vm["current_operations"]
    try:
        async with asyncio.timeout(at_most_s):
            while vm["current_operations"] == before:
                call.check_cancel()
                await call.pool.db.changed()
    except TimeoutError:
        call.check_cancel()


def _blocked(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    reason = vm["blocked_operations"].get(operation)
    return Failure("OPERATION_BLOCKED", vm.ref, reason) if reason is not None else None


def _power_state(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    expected = POWER_STATES[operation]
    if vm["power_state"] in expected:
        return None
    return Failure("VM_BAD_POWER_STATE", vm.ref, ", ".join(expected).lower(), vm["power_state"].lower())


def _in_progress(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    current = vm["current_operations"]
    if not current or (operation in FORCEFUL and INTERRUPTIBLE.issuperset(current.values())):
        return None
    return Failure("OTHER_OPERATION_IN_PROGRESS", "VM", vm.ref, _joined(current.values()), _joined(current))


def _joined(texts: Iterable[str]) -> str:
    each = tuple(texts)
    return each[0] if len(each) == 1 else "{" + ",".join(each) + "}"


def _template(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    if operation in FOR_TEMPLATES:
        return None
    if vm["is_a_snapshot"]:
        return Failure("VM_IS_SNAPSHOT", vm.ref, operation)
    return Failure("VM_IS_TEMPLATE", vm.ref, operation) if vm["is_a_template"] else None


def _immobile(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    metrics = pool.db.find("VM_metrics", vm["metrics"])
    if operation not in _MOVES or not strict or metrics is None:
        return None
    return Failure("VM_IS_IMMOBILE", vm.ref) if metrics["nomigrate"] or metrics["nested_virt"] else None


def _control_domain(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    if not vm["is_control_domain"]:
        return None
    return Failure("OPERATION_NOT_ALLOWED", "This operation is not allowed on a control domain")


def _tools(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    if operation not in _NEED_TOOLS or vm["power_state"] != "Running":
        return None
    metrics = pool.db.find("VM_guest_metrics", vm["guest_metrics"])
    other = metrics["other"] if metrics is not None else {}
    if operation in _MOVES and (reason := other.get("data-cant-suspend-reason")) is not None:
        return Failure("VM_NON_SUSPENDABLE", vm.ref, reason)
    has_drivers = metrics is not None and metrics["PV_drivers_detected"]
    feature = "feature-suspend" if operation in _MOVES else "feature-shutdown"
    if not strict or vm["domain_type"] != "hvm" or has_drivers or other.get(feature) == "1":
        return None
    return Failure("VM_LACKS_FEATURE", vm.ref)


def _disks(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    if operation in _MOVES and any(vdi["on_boot"] == "reset" and vdi["allow_caching"] for vdi in disks_of(pool, vm)):
        return Failure("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
    return None


def disks_of(pool: Pool, vm: Row) -> Iterator[Row]:
    """Yield the disk images that the VM has in its drives."""
    for ref in vm["VBDs"]:
        vbd = pool.db.find("VBD", ref)
        if vbd is not None and not vbd["empty"] and (vdi := pool.db.find("VDI", vbd["VDI"])) is not None:
            yield vdi


def _devices(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    if operation not in _MOVES:
        return None
    for field, code in (
        ("attached_PCIs", "VM_HAS_PCI_ATTACHED"),
        ("VGPUs", "VM_HAS_VGPU"),
        ("VUSBs", "VM_HAS_VUSBS"),
    ):
        if vm[field]:
            return Failure(code, vm.ref)
    return None


def _upgrade(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    is_upgrading = "rolling_upgrade_in_progress" in pool.row["other_config"]
    return Failure("NOT_SUPPORTED_DURING_UPGRADE") if is_upgrading and operation not in _DURING_UPGRADE else None


_DURING_UPGRADE: Final = FORCEFUL | {"pool_migrate", "clean_shutdown", "clean_reboot", "start", "start_on", "pause"}
_Check = Callable[[Pool, Row, str, bool], Failure | None]
_CHECKS: Final[tuple[_Check, ...]] = (
    _blocked,
    _power_state,
    _in_progress,
    _template,
    _immobile,
    _control_domain,
    _tools,
    _disks,
    _devices,
    _upgrade,
)

"""What may be done to a VM now, and the hold that an operation has on it while it lasts.

The checks stand in the order of xapi_vm_lifecycle.ml: the first that fails names the failure. `allowed_operations` is
what passes all of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from migd_xapi.database import Row
from migd_xapi.datamodel.vm_operation_table import OPERATIONS
from migd_xapi.failure import Failure
from migd_xapi.pool import Call, Pool

# These begin although others are under way, all but the ones named; what they meet they cancel (power.py).
_FORCEFUL: Final = {"hard_shutdown": {"hard_shutdown"}, "hard_reboot": {"hard_shutdown", "hard_reboot"}}
# Operations of one of these sets may be under way together.
_TOGETHER: Final = ({"clone", "copy", "export"}, {"snapshot", "checkpoint"}, {"get_boot_record"})
_MOVES: Final = frozenset({"suspend", "checkpoint", "pool_migrate", "migrate_send"})
_FREEZES: Final = frozenset({"suspend", "checkpoint", "snapshot", "snapshot_with_quiesce"})
# What a guest without drivers must announce, one of them, for the operation.
_FEATURES: Final = {
    **dict.fromkeys(_MOVES, ("feature-suspend",)),
    "clean_shutdown": ("feature-shutdown", "feature-poweroff"),
    "clean_reboot": ("feature-shutdown", "feature-reboot"),
    "changing_VCPUs_live": ("feature-vcpu-hotplug",),
}
FIRST_RETRY_S, LAST_RETRY_S, GIVE_UP_S = 1.0, 20.0, 7200.0


def failure_of(pool: Pool, vm: Row, operation: str, *, strict: bool = True) -> Failure | None:
    """Return why the operation may not begin now, None if it may."""
    return next((found for check in _CHECKS if (found := check(pool, vm, operation, strict)) is not None), None)


def refresh(pool: Pool, vm: Row) -> None:
    """Bring `allowed_operations` up to date."""
    allowed = tuple(
        name for name, known in OPERATIONS.items() if known.is_listed and failure_of(pool, vm, name) is None
    )
    pool.db.update(vm, allowed_operations=allowed)


@asynccontextmanager
async def held(call: Call, vm: Row, operation: str, *, strict: bool = True) -> AsyncIterator[None]:
    """Hold the VM for the operation; wait while another one holds it. Raises Failure."""
    await _until_free(call, vm, operation, strict)
    with shown(call, vm, operation):
        yield


@contextmanager
def shown(call: Call, vm: Row, operation: str) -> Iterator[None]:
    """Show the operation on the VM while it lasts, whether or not it may begin."""
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
    if call.run is not None:
        call.run.allow_cancel(True)
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
    expected = OPERATIONS[operation].power_states
    if vm["power_state"] in expected:
        return None
    return Failure("VM_BAD_POWER_STATE", vm.ref, ", ".join(expected).lower(), vm["power_state"].lower())


def _in_progress(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    current = vm["current_operations"]
    others = set(current.values())
    if not others or any(operation in together and others <= together for together in _TOGETHER):
        return None
    if operation in _FORCEFUL and not others & _FORCEFUL[operation]:
        return None
    return Failure("OTHER_OPERATION_IN_PROGRESS", "VM", vm.ref, _joined(current.values()), _joined(current))


def _joined(texts: Iterable[str]) -> str:
    each = tuple(texts)
    return each[0] if len(each) == 1 else "{" + ",".join(each) + "}"


def _template(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    known = OPERATIONS[operation]
    if vm["is_a_snapshot"]:
        return None if known.for_snapshots else Failure("VM_IS_SNAPSHOT", vm.ref, operation)
    if not vm["is_a_template"] or known.for_templates:
        return None
    if known.for_own_templates and not vm["is_default_template"]:
        return None
    return Failure("VM_IS_TEMPLATE", vm.ref, operation)


def _immobile(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    metrics = pool.db.find("VM_metrics", vm["metrics"])
    if operation not in _MOVES or not strict or metrics is None:
        return None
    return Failure("VM_IS_IMMOBILE", vm.ref) if metrics["nomigrate"] or metrics["nested_virt"] else None


def _control_domain(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    if not vm["is_control_domain"] or OPERATIONS[operation].for_control_domains:
        return None
    return Failure("OPERATION_NOT_ALLOWED", "This operation is not allowed on a control domain")


def _tools(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    if operation not in _FEATURES or vm["power_state"] not in ("Running", "Paused"):
        return None
    metrics = pool.db.find("VM_guest_metrics", vm["guest_metrics"])
    other = metrics["other"] if metrics is not None else {}
    if operation in _MOVES and (reason := other.get("data-cant-suspend-reason")) is not None:
        return Failure("VM_NON_SUSPENDABLE", vm.ref, reason)
    has_drivers = metrics is not None and metrics["PV_drivers_detected"]
    if not strict or vm["domain_type"] != "hvm" or has_drivers:
        return None
    if any(other.get(feature) == "1" for feature in _FEATURES[operation]):
        return None
    return Failure("VM_LACKS_FEATURE", vm.ref)


def _disks(pool: Pool, vm: Row, operation: str, strict: bool) -> Failure | None:
    for vdi in disks_of(pool, vm):
        config = vdi["sm_config"]
        if config.get("on_boot") != "reset":
            continue
        if operation in _FREEZES or (operation == "pool_migrate" and config.get("caching") == "true"):
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
    if not is_upgrading or OPERATIONS[operation].during_upgrade:
        return None
    return Failure("NOT_SUPPORTED_DURING_UPGRADE")


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

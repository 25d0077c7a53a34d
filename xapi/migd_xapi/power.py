"""Starting, stopping, pausing and suspending VMs, step by step as message_forwarding.ml and xapi_vm.ml take it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from migd_xapi import cpu, domains, guest_agents, ha, memory, placement, vm_operations
from migd_xapi.backend import BackendRefusal
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.failure import Failure
from migd_xapi.messages import tell_of_vm
from migd_xapi.pool import Call, Pool
from migd_xapi.workers import taken

# What a forceful operation ends before it begins itself.
_ENDED_BY: Final = {
    "hard_shutdown": frozenset(
        {"clean_shutdown", "clean_reboot", "hard_reboot", "pool_migrate", "call_plugin", "shutdown", "suspend"}
    ),
    "hard_reboot": frozenset({"clean_shutdown", "clean_reboot", "pool_migrate", "call_plugin", "suspend"}),
}


async def start(call: Call, vm: Row, host: Row | None, *, start_paused: bool) -> None:
    """Start a halted VM on `host`, or where there is room for it. Raises Failure."""
    pool = call.pool
    if host is not None and "evacuate" in host["current_operations"].values():
        raise Failure("HOST_EVACUATE_IN_PROGRESS", host.ref)
    async with vm_operations.held(call, vm, "start" if host is None else "start_on"):
        memory.refresh_overhead(pool, vm)
        host = _place(pool, vm, host)
        with placement.reserved(call, vm, host, "vm_start"):
            await _boot(call, vm, host, start_paused)
    tell_of_vm(pool, "VM_STARTED", vm, f"started on host: {host['name_label']} (uuid: {host['uuid']})")


async def pause(call: Call, vm: Row) -> None:
    """Keep a running VM in memory and give it no CPU. Raises Failure."""
    async with _on_its_host(call, vm, "pause"):
        _ask(call.pool.backend.pause, vm["uuid"])
        domains.changed(call.pool, vm, "Paused")
    tell_of_vm(call.pool, "VM_PAUSED", vm, "paused")


async def unpause(call: Call, vm: Row) -> None:
    """Let a paused VM go on. Raises Failure."""
    async with _on_its_host(call, vm, "unpause"):
        _ask(call.pool.backend.unpause, vm["uuid"])
        domains.changed(call.pool, vm, "Running")
        _go_on(call.pool, vm)
    tell_of_vm(call.pool, "VM_UNPAUSED", vm, "unpaused")


async def clean_shutdown(call: Call, vm: Row) -> None:
    """Ask the guest to shut down, and wait until it has. Raises Failure."""
    async with _on_its_host(call, vm, "clean_shutdown"):
        await _guest_shuts_down(call)
        _halt(call.pool, vm)
    tell_of_vm(call.pool, "VM_SHUTDOWN", vm, "shutdown")


async def shutdown(call: Call, vm: Row) -> None:
    """Ask the guest to shut down; where it cannot be asked, cut its power. Raises Failure."""
    pool = call.pool
    async with vm_operations.held(call, vm, "shutdown"):
        if vm["power_state"] != "Suspended":
            async with taken(call.task, _workers_of(pool, vm)):
                if vm["guest_metrics"] != NULL and vm["power_state"] == "Running":
                    await _guest_shuts_down(call)
        _halt(pool, vm)
    tell_of_vm(pool, "VM_SHUTDOWN", vm, "shutdown")


async def hard_shutdown(call: Call, vm: Row) -> None:
    """Cut the power of a VM, whatever is under way with it. Raises Failure."""
    pool = call.pool
    async with vm_operations.held(call, vm, "hard_shutdown"):
        await _end_others(call, vm, "hard_shutdown")
        if vm["power_state"] in ("Running", "Paused"):
            async with taken(call.task, _workers_of(pool, vm)):
                _halt(pool, vm)
        else:
            _halt(pool, vm)
    tell_of_vm(pool, "VM_SHUTDOWN", vm, "shutdown forcibly")


async def clean_reboot(call: Call, vm: Row) -> None:
    """Ask the guest to reboot, and wait until it has. Raises Failure."""
    async with _on_its_host(call, vm, "clean_reboot"):
        await _guest_shuts_down(call)
        _reboot(call.pool, vm)
    tell_of_vm(call.pool, "VM_REBOOTED", vm, "rebooted cleanly")


async def hard_reboot(call: Call, vm: Row) -> None:
    """Reset a VM, whatever is under way with it. Raises Failure."""
    pool = call.pool
    async with vm_operations.held(call, vm, "hard_reboot"):
        await _end_others(call, vm, "hard_reboot")
        match vm["power_state"]:
            case "Running" | "Paused":
                async with taken(call.task, _workers_of(pool, vm)):
                    _reboot(pool, vm)
            case "Halted":  # what was under way had shut it down
                host = _place(pool, vm, None)
                with placement.reserved(call, vm, host, "vm_start"):
                    await _boot(call, vm, host, start_paused=False)
            case state:
                raise Failure("VM_BAD_POWER_STATE", vm.ref, "running", state.lower())
    tell_of_vm(pool, "VM_REBOOTED", vm, "rebooted forcibly")


async def suspend(call: Call, vm: Row) -> None:
    """Write a running VM's memory to disk, and let go of it. Raises Failure."""
    pool = call.pool
    async with _on_its_host(call, vm, "suspend"):
        image = _suspend_image(pool, vm)
        _ask(pool.backend.stop, vm["uuid"])
        pool.db.update(vm, ha_always_run=False, suspend_VDI=image.ref)
        domains.ended(pool, vm, "Suspended")
    tell_of_vm(pool, "VM_SUSPENDED", vm, "suspended")


async def resume(call: Call, vm: Row, host: Row | None, *, start_paused: bool, force: bool) -> None:
    """Let a suspended VM go on, on `host` or where there is room for it. Raises Failure."""
    pool = call.pool
    async with vm_operations.held(call, vm, "resume" if host is None else "resume_on"):
        host = _place(pool, vm, host)
        with placement.reserved(call, vm, host, "vm_resume"):
            if not force:
                cpu.check(pool, vm, host)
            async with taken(call.task, pool.workers.slot(host)):
                _ask(pool.backend.start, vm["uuid"], host["uuid"])
                if start_paused:
                    _ask(pool.backend.pause, vm["uuid"])
                _forget_suspend_image(pool, vm)
                domains.began(pool, vm, host, is_paused=start_paused)
                _go_on(pool, vm)
    tell_of_vm(pool, "VM_RESUMED", vm, f"resumed on host: {host['name_label']} (uuid: {host['uuid']})")


def reset(pool: Pool, vm: Row) -> None:
    """Record that a VM is halted which its host can say nothing of any more. Raises Failure where the host is up."""
    if vm["is_control_domain"]:
        raise Failure("CANNOT_RESET_CONTROL_DOMAIN", vm.ref)
    host = pool.db.find("host", vm["resident_on"])
    if host is not None and pool.is_live(host):
        raise Failure("HOST_IS_LIVE", host.ref)
    _forget_suspend_image(pool, vm)
    pool.db.update(vm, current_operations={})
    domains.ended(pool, vm)


@asynccontextmanager
async def _on_its_host(call: Call, vm: Row, operation: str) -> AsyncIterator[None]:
    """Hold the VM for the operation, and a worker of its host."""
    async with vm_operations.held(call, vm, operation), taken(call.task, _workers_of(call.pool, vm)):
        yield


def _place(pool: Pool, vm: Row, host: Row | None) -> Row:
    if host is None:
        host = placement.choose(pool, vm)
    else:
        placement.check(pool, vm, host)
    ha.check_arrival(pool, vm, host)
    return host


async def _boot(call: Call, vm: Row, host: Row, start_paused: bool) -> None:
    pool = call.pool
    async with taken(call.task, pool.workers.slot(host)):
        _ask(pool.backend.start, vm["uuid"], host["uuid"])
        if start_paused:
            _ask(pool.backend.pause, vm["uuid"])
        pool.db.update(vm, last_boot_CPU_flags=cpu.flags_of_pool(pool))
        guest_agents.forget(pool, vm)
        domains.began(pool, vm, host, is_paused=start_paused)
        _go_on(pool, vm)


def _go_on(pool: Pool, vm: Row) -> None:
    """Let a guest that has not booted yet do so, unless it is paused."""
    if vm["power_state"] == "Running" and vm["guest_metrics"] == NULL:
        guest_agents.boot(pool, vm)


def _reboot(pool: Pool, vm: Row) -> None:
    host = _host_of(pool, vm)
    _ask(pool.backend.stop, vm["uuid"])
    try:
        _ask(pool.backend.start, vm["uuid"], host["uuid"])
    except Failure:
        domains.ended(pool, vm)
        raise
    pool.db.update(vm, last_boot_CPU_flags=cpu.flags_of_pool(pool))
    domains.renewed(pool, vm)


def _halt(pool: Pool, vm: Row) -> None:
    pool.db.update(vm, ha_always_run=False)
    if vm["power_state"] == "Halted":  # what was under way has ended so
        return
    _forget_suspend_image(pool, vm)
    _ask(pool.backend.stop, vm["uuid"])
    domains.ended(pool, vm)


async def _guest_shuts_down(call: Call) -> None:
    """Return when the guest has done what it does at its end. Raises TASK_CANCELLED."""
    try:
        async with asyncio.timeout(call.pool.settings.shutdown_s):
            await call.task.asked_to_cancel()
    except TimeoutError:
        return
    call.task.check()


async def _end_others(call: Call, vm: Row, operation: str) -> None:
    """Cancel what else is under way with the VM, and wait until it has ended."""
    for ref, other in list(vm["current_operations"].items()):
        run = call.pool.tasks.running(ref)
        if run is not None and other in _ENDED_BY[operation]:
            run.cancel(call.task_ref)
            await run.ended()


def _suspend_image(pool: Pool, vm: Row) -> Row:
    choices = (vm["suspend_SR"], *(disk["SR"] for disk in vm_operations.disks_of(pool, vm)), pool.row["default_SR"])
    repository = next((ref for ref in choices if pool.db.find("SR", ref) is not None), None)
    if repository is None:
        raise Failure("VM_NO_SUSPEND_SR", vm.ref)
    size_bytes = vm["memory_dynamic_max"] + vm["memory_overhead"]
    return pool.db.create("VDI", SR=repository, name_label="Suspend image", type="suspend", virtual_size=size_bytes)


def _forget_suspend_image(pool: Pool, vm: Row) -> None:
    image = pool.db.find("VDI", vm["suspend_VDI"])
    pool.db.update(vm, suspend_VDI=NULL)
    if image is not None:
        pool.db.delete(image)


def _host_of(pool: Pool, vm: Row) -> Row:
    """Return the host that the VM is on. Raises HOST_OFFLINE if it is down."""
    host = pool.db.get("host", vm["resident_on"])
    if not pool.is_live(host):
        raise Failure("HOST_OFFLINE", host.ref)
    return host


def _workers_of(pool: Pool, vm: Row) -> asyncio.Semaphore:
    return pool.workers.slot(_host_of(pool, vm))


def _ask(what: Callable[..., None], *arguments: str) -> None:
    try:
        what(*arguments)
    except BackendRefusal as refusal:
        raise Failure("INTERNAL_ERROR", str(refusal)) from refusal

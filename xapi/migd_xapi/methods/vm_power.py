"""Methods of class VM that start, stop, pause and suspend."""

from typing import Final

from migd_xapi import power
from migd_xapi.database import Row
from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.roles import POOL_OPERATOR, VM_OPERATOR, VM_POWER_ADMIN

METHODS: Final = Methods()


@METHODS.add("VM.start", "VM ref vm", "bool start_paused", "bool force", role=VM_OPERATOR)
async def start(call: Call, vm: Row, start_paused: bool, force: bool) -> None:
    """Start a halted VM where there is room for it."""
    await power.start(call, vm, None, start_paused=start_paused)


@METHODS.add("VM.start_on", "VM ref vm", "host ref host", "bool start_paused", "bool force", role=VM_POWER_ADMIN)
async def start_on(call: Call, vm: Row, host: Row, start_paused: bool, force: bool) -> None:
    """Start a halted VM on a host."""
    await power.start(call, vm, host, start_paused=start_paused)


@METHODS.add("VM.pause", "VM ref vm", role=VM_OPERATOR)
async def pause(call: Call, vm: Row) -> None:
    """Give a running VM no CPU."""
    await power.pause(call, vm)


@METHODS.add("VM.unpause", "VM ref vm", role=VM_OPERATOR)
async def unpause(call: Call, vm: Row) -> None:
    """Let a paused VM go on."""
    await power.unpause(call, vm)


@METHODS.add("VM.clean_shutdown", "VM ref vm", role=VM_OPERATOR)
async def clean_shutdown(call: Call, vm: Row) -> None:
    """Ask the guest to shut down."""
    await power.clean_shutdown(call, vm)


@METHODS.add("VM.shutdown", "VM ref vm", role=VM_OPERATOR)
async def shutdown(call: Call, vm: Row) -> None:
    """Ask the guest to shut down, or cut its power where it cannot be asked."""
    await power.shutdown(call, vm)


@METHODS.add("VM.hard_shutdown", "VM ref vm", role=VM_OPERATOR)
async def hard_shutdown(call: Call, vm: Row) -> None:
    """Cut the power of a VM."""
    await power.hard_shutdown(call, vm)


@METHODS.add("VM.clean_reboot", "VM ref vm", role=VM_OPERATOR)
async def clean_reboot(call: Call, vm: Row) -> None:
    """Ask the guest to reboot."""
    await power.clean_reboot(call, vm)


@METHODS.add("VM.hard_reboot", "VM ref vm", role=VM_OPERATOR)
async def hard_reboot(call: Call, vm: Row) -> None:
    """Reset a VM."""
    await power.hard_reboot(call, vm)


@METHODS.add("VM.power_state_reset", "VM ref vm", role=POOL_OPERATOR)
def power_state_reset(call: Call, vm: Row) -> None:
    """Say that a VM is halted whose host is down."""
    power.reset(call.pool, vm)


@METHODS.add("VM.suspend", "VM ref vm", role=VM_OPERATOR)
async def suspend(call: Call, vm: Row) -> None:
    """Write a running VM's memory to disk."""
    await power.suspend(call, vm)


@METHODS.add("VM.resume", "VM ref vm", "bool start_paused", "bool force", role=VM_OPERATOR)
async def resume(call: Call, vm: Row, start_paused: bool, force: bool) -> None:
    """Let a suspended VM go on where there is room for it."""
    await power.resume(call, vm, None, start_paused=start_paused, force=force)


@METHODS.add("VM.resume_on", "VM ref vm", "host ref host", "bool start_paused", "bool force", role=VM_POWER_ADMIN)
async def resume_on(call: Call, vm: Row, host: Row, start_paused: bool, force: bool) -> None:
    """Let a suspended VM go on on a host."""
    await power.resume(call, vm, host, start_paused=start_paused, force=force)

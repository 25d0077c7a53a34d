"""Methods of class VM that start, stop, pause and suspend."""

from typing import Final

from migd_xapi import power
from migd_xapi.database import Row
from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.roles import POOL_OPERATOR, VM_OPERATOR, VM_POWER_ADMIN

METHODS: Final = Methods()

for _do in (
    power.pause,
    power.unpause,
    power.clean_shutdown,
    power.shutdown,
    power.hard_shutdown,
    power.clean_reboot,
    power.hard_reboot,
    power.suspend,
):
    METHODS.add(f"VM.{_do.__name__}", "VM ref vm", role=VM_OPERATOR)(_do)


@METHODS.add("VM.start", "VM ref vm", "bool start_paused", "bool force", role=VM_OPERATOR)
async def start(call: Call, vm: Row, start_paused: bool, force: bool) -> None:
    """Start a halted VM where there is room for it."""
    await power.start(call, vm, None, start_paused=start_paused)


@METHODS.add("VM.start_on", "VM ref vm", "host ref host", "bool start_paused", "bool force", role=VM_POWER_ADMIN)
async def start_on(call: Call, vm: Row, host: Row, start_paused: bool, force: bool) -> None:
    """Start a halted VM on a host."""
    await power.start(call, vm, host, start_paused=start_paused)


@METHODS.add("VM.resume", "VM ref vm", "bool start_paused", "bool force", role=VM_OPERATOR)
async def resume(call: Call, vm: Row, start_paused: bool, force: bool) -> None:
    """Let a suspended VM go on where there is room for it."""
    await power.resume(call, vm, None, start_paused=start_paused, force=force)


@METHODS.add("VM.resume_on", "VM ref vm", "host ref host", "bool start_paused", "bool force", role=VM_POWER_ADMIN)
async def resume_on(call: Call, vm: Row, host: Row, start_paused: bool, force: bool) -> None:
    """Let a suspended VM go on on a host."""
    await power.resume(call, vm, host, start_paused=start_paused, force=force)


@METHODS.add("VM.power_state_reset", "VM ref vm", role=POOL_OPERATOR)
def power_state_reset(call: Call, vm: Row) -> None:
    """Record that a VM is halted whose host is down."""
    power.reset(call.pool, vm)

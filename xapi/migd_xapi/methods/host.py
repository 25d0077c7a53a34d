"""Methods of class host."""

from collections.abc import Mapping
from typing import Final

from migd_xapi import evacuation, ha, host_operations, memory, storage_migration
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL, Stamp
from migd_xapi.failure import Failure
from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.roles import POOL_ADMIN, POOL_OPERATOR, VM_POWER_ADMIN

METHODS: Final = Methods()


@METHODS.add("host.compute_free_memory", "host ref host", returns="int")
def compute_free_memory(call: Call, host: Row) -> int:
    """Return what the host has left for VMs, by what they may be ballooned down to."""
    return memory.free_bytes(call.pool, host)


@METHODS.add("host.compute_memory_overhead", "host ref host", returns="int")
def compute_memory_overhead(call: Call, host: Row) -> int:
    """Return what Xen itself takes of the host's memory."""
    return int(host["memory_overhead"])


@METHODS.add("host.disable", "host ref host", "bool auto_enable=true", role=POOL_OPERATOR)
def disable(call: Call, host: Row, auto_enable: bool) -> None:
    """Let no VM start on, or come to, the host; those that are there stay."""
    ha.check_disable(call.pool, host)
    call.pool.db.update(host, enabled=False)
    host_operations.refresh(call.pool, host)


@METHODS.add("host.enable", "host ref host", role=POOL_OPERATOR)
def enable(call: Call, host: Row) -> None:
    """Let VMs start on, and come to, the host again."""
    if not call.pool.is_live(host):
        raise Failure("HOST_OFFLINE", host.ref)
    call.pool.db.update(host, enabled=True)
    host_operations.refresh(call.pool, host)


@METHODS.add("host.get_servertime", "host ref host", returns="datetime")
def get_servertime(call: Call, host: Row) -> Stamp:
    """Return the host's time."""
    return call.pool.clock.stamp()


@METHODS.add("host.evacuate", "host ref host", "network ref? network=", "int evacuate_batch_size=", role=POOL_OPERATOR)
async def evacuate(call: Call, host: Row, network: str, evacuate_batch_size: int) -> None:
    """Migrate all VMs away, so many at a time; the host is best disabled first, which this does not do."""
    over = call.pool.db.get("network", network) if network != NULL else None
    await evacuation.evacuate(call, host, over, max(0, evacuate_batch_size))


@METHODS.add("host.get_vms_which_prevent_evacuation", "host ref self", returns="(VM ref -> string set) map")
def get_vms_which_prevent_evacuation(call: Call, host: Row) -> dict[str, tuple[str, ...]]:
    """Return the VMs that cannot leave the host, and why."""
    return {ref: failure.description for ref, failure in evacuation.obstacles(call.pool, host).items()}


@METHODS.add("host.assert_can_evacuate", "host ref host", role=POOL_OPERATOR)
def assert_can_evacuate(call: Call, host: Row) -> None:
    """Fail where a VM cannot leave the host; one text holds all reasons."""
    reasons = [",".join(failure.description) for failure in evacuation.obstacles(call.pool, host).values()]
    if reasons:
        raise Failure("CANNOT_EVACUATE_HOST", "|".join(reasons))


@METHODS.add(
    "host.migrate_receive",
    "host ref host",
    "network ref network",
    "(string -> string) map options",
    returns="(string -> string) map",
    role=VM_POWER_ADMIN,
)
def migrate_receive(call: Call, host: Row, network: Row, options: Mapping[str, str]) -> dict[str, str]:
    """Return the destination to ask for with VM.assert_can_migrate."""
    return storage_migration.receive(call, host, network)


@METHODS.add(
    "host.call_plugin",
    "host ref host",
    "string plugin",
    "string fn",
    "(string -> string) map args",
    returns="string",
    role=POOL_ADMIN,
)
def call_plugin(call: Call, host: Row, plugin: str, function: str, arguments: Mapping[str, str]) -> str:
    """Fail: these hosts have no plugins."""
    raise Failure("XENAPI_MISSING_PLUGIN", plugin)


@METHODS.add("host.get_uncooperative_resident_VMs", "host ref self", returns="VM ref set")
def get_uncooperative_resident_vms(call: Call, host: Row) -> tuple[str, ...]:
    """Return nothing: XAPI has given up to look for guests that do not balloon."""
    return ()

"""Methods of class host."""

from typing import Final

from migd_xapi import host_operations, memory
from migd_xapi.database import Row
from migd_xapi.datamodel.types import Stamp
from migd_xapi.failure import Failure
from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.roles import POOL_OPERATOR

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

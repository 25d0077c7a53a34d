"""How XAPI counts memory: what a VM needs on a host, and what a host has left. In bytes."""

import math
from typing import Final

from migd_core.units import MIB, PAGE_BYTES
from migd_xapi.database import Row
from migd_xapi.pool import Pool

_PAGES_PER_MIB: Final = MIB // PAGE_BYTES


def overhead_bytes(vcpus: int, static_max_bytes: int, shadow_multiplier: float = 1.0) -> int:
    """Return what Xen needs for an HVM guest besides its own memory (xenopsd's memory.ml)."""
    shadow_mib = _mib_of_pages(256 * vcpus + 2 * (static_max_bytes // MIB)) * shadow_multiplier
    return MIB * math.ceil(1 + 1 + shadow_mib + _mib_of_pages(38 * vcpus))


def refresh_overhead(pool: Pool, vm: Row) -> None:
    """Work out anew what Xen needs for a VM, before its memory is reserved."""
    overhead = overhead_bytes(vm["VCPUs_max"], vm["memory_static_max"], vm["HVM_shadow_multiplier"])
    pool.db.update(vm, memory_overhead=overhead)


def needed_bytes(vm: Row) -> int:
    """Return what must be free on a host for the VM to run there: what it can be ballooned down to, and overhead."""
    return int(vm["memory_dynamic_min"] + vm["memory_overhead"])


def free_bytes(pool: Pool, host: Row, *, without: Row | None = None) -> int:
    """Return what the host has left for VMs; a VM that is on its way counts on both hosts.

    `without` is a VM that is not counted here although it has its place reserved. Measured use plays no part
    (memory_check.ml).
    """
    metrics = pool.db.find("host_metrics", host["metrics"])
    total = metrics["memory_total"] if metrics is not None else 0
    vms = (
        vm
        for vm in pool.db.rows("VM")
        if host.ref in (vm["resident_on"], vm["scheduled_to_be_resident_on"]) and vm is not without
    )
    return max(0, int(total - host["memory_overhead"]) - sum(map(needed_bytes, vms)))


def _mib_of_pages(pages: int) -> int:
    return math.ceil(pages / _PAGES_PER_MIB)

"""High availability: whether the protected VMs of hosts that fail find room on the others.

XAPI refuses what would break such a plan where one exists (xapi_ha_vm_failover.ml). Here VMs are planned first-fit, the
greatest first, for every choice of hosts that may fail together.
"""

from collections.abc import Iterable
from itertools import combinations

from migd_xapi.database import Row
from migd_xapi.failure import Failure
from migd_xapi.memory import free_bytes, needed_bytes
from migd_xapi.pool import Pool


def check_arrival(pool: Pool, vm: Row, host: Row) -> None:
    """Raise HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN where the VM on this host would."""
    row = pool.row
    if not row["ha_enabled"] or row["ha_allow_overcommit"]:
        return
    failures = int(row["ha_plan_exists_for"])
    if plan_exists(pool, failures) and not plan_exists(pool, failures, (vm, host)):
        raise Failure("HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN")


def check_disable(pool: Pool, host: Row) -> None:
    """Raise HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN where the host cannot be done without."""
    row = pool.row
    if not row["ha_enabled"] or row["ha_allow_overcommit"]:
        return
    failures = int(row["ha_plan_exists_for"])
    if plan_exists(pool, failures) and not plan_exists(pool, failures, without=host):
        raise Failure("HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN")


def plan_exists(pool: Pool, failures: int, arrival: tuple[Row, Row] | None = None, without: Row | None = None) -> bool:
    """Return whether any `failures` hosts may fail, a VM counted on one host more (`arrival`), a host left out."""
    hosts = [host for host in pool.db.rows("host") if host["enabled"] and pool.is_live(host) and host is not without]
    free = {host.ref: free_bytes(pool, host) for host in hosts}
    protected = {vm.ref: vm for vm in pool.db.rows("VM") if is_protected(vm)}
    place = {ref: str(vm["resident_on"]) for ref, vm in protected.items()}
    if arrival is not None:
        vm, host = arrival
        if host.ref not in (vm["resident_on"], vm["scheduled_to_be_resident_on"]):
            free[host.ref] = free.get(host.ref, 0) - needed_bytes(vm)
        if vm.ref in place:
            place[vm.ref] = host.ref
    needed = {ref: needed_bytes(vm) for ref, vm in protected.items()}
    return all(
        _fits(
            [needed[ref] for ref, host in place.items() if host in failed],
            (left for host, left in free.items() if host not in failed),
        )
        for failed in combinations(free, min(failures, len(free)))
    )


def is_protected(vm: Row) -> bool:
    """Return whether the VM is to be restarted elsewhere when its host fails."""
    return vm["ha_restart_priority"] == "restart" and bool(vm["ha_always_run"])


def follow_priority(pool: Pool, vm: Row) -> None:
    """Protect a VM that runs, or no more, as its priority says."""
    is_running = vm["power_state"] in ("Running", "Paused")
    pool.db.update(vm, ha_always_run=is_running and vm["ha_restart_priority"] == "restart")


def tolerated_failures(pool: Pool) -> int:
    """Return how many hosts may fail with a plan for it."""
    return next((failures for failures in range(len(pool.db.tables["host"]), 0, -1) if plan_exists(pool, failures)), 0)


def _fits(needed: Iterable[int], free: Iterable[int]) -> bool:
    left = list(free)
    for size in sorted(needed, reverse=True):
        place = next((index for index, room in enumerate(left) if room >= size), None)
        if place is None:
            return False
        left[place] -= size
    return True

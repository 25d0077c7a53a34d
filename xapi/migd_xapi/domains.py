"""What the records say of a VM's domain: that it has begun, was paused or renewed by a reboot, or has ended."""

from typing import Final

from migd_xapi import guest_agents, vm_groups, vm_operations
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.pool import Pool

NO_DOMAIN: Final = -1


def began(pool: Pool, vm: Row, host: Row, *, is_paused: bool) -> None:
    """Show the VM on the host where it was started or resumed."""
    now = pool.clock.stamp()
    metrics = pool.db.get("VM_metrics", vm["metrics"])
    platform = vm["platform"]
    pool.db.update(
        metrics,
        memory_actual=vm["memory_dynamic_max"],
        VCPUs_number=vm["VCPUs_at_startup"],
        start_time=now,
        last_updated=now,
        hvm=vm["domain_type"] == "hvm",
        current_domain_type=vm["domain_type"],
        nomigrate=platform.get("nomigrate") == "true",
        nested_virt=platform.get("nested-virt") == "true",
    )
    _attach(pool, vm, True)
    pool.db.update(
        vm,
        power_state="Paused" if is_paused else "Running",
        resident_on=host.ref,
        scheduled_to_be_resident_on=NULL,
        domid=pool.backend.domid(vm["uuid"]),
        memory_target=vm["memory_dynamic_max"],
        ha_always_run=vm["ha_restart_priority"] == "restart",
    )
    _follow(pool, vm)


def changed(pool: Pool, vm: Row, power_state: str) -> None:
    """Show that the domain is paused, or is so no more."""
    pool.db.update(vm, power_state=power_state)
    _follow(pool, vm)


def renewed(pool: Pool, vm: Row) -> None:
    """Show the domain that a guest has after it was rebooted where it was."""
    metrics = pool.db.get("VM_metrics", vm["metrics"])
    now = pool.clock.stamp()
    pool.db.update(metrics, start_time=now, last_updated=now)
    pool.db.update(vm, domid=pool.backend.domid(vm["uuid"]), power_state="Running")
    guest_agents.boot(pool, vm)
    _follow(pool, vm)


def ended(pool: Pool, vm: Row, power_state: str = "Halted") -> None:
    """Show the VM without a domain: halted, or suspended."""
    guest_agents.fall_silent(pool, vm)
    _attach(pool, vm, False)
    metrics = pool.db.get("VM_metrics", vm["metrics"])
    pool.db.update(metrics, memory_actual=0, current_domain_type="unspecified", last_updated=pool.clock.stamp())
    pool.db.update(
        vm,
        power_state=power_state,
        resident_on=NULL,
        scheduled_to_be_resident_on=NULL,
        domid=NO_DOMAIN,
        memory_target=0,
    )
    _follow(pool, vm)


def _follow(pool: Pool, vm: Row) -> None:
    vm_operations.refresh(pool, vm)
    vm_groups.refresh_notice(pool, vm)


def _attach(pool: Pool, vm: Row, is_attached: bool) -> None:
    for class_name, refs in (("VBD", vm["VBDs"]), ("VIF", vm["VIFs"])):
        for ref in refs:
            pool.db.update(pool.db.get(class_name, ref), currently_attached=is_attached)

"""What the agent inside a guest reports once the guest has booted: VM_guest_metrics, and with it what may be done.

A guest that has just been started has no drivers yet as far as XAPI knows, and so is not to be migrated.
"""

import asyncio

from migd_xapi import vm_operations
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.pool import Pool


def boot(pool: Pool, vm: Row) -> None:
    """Forget what the agent said, and let it report when the guest has booted."""
    forget(pool, vm)
    boot_s = pool.settings.boot_s
    if boot_s:
        pool.booting[vm.ref] = asyncio.get_running_loop().call_later(boot_s, report, pool, vm)
    else:
        report(pool, vm)


def report(pool: Pool, vm: Row) -> None:
    """Show what the agent reports; nothing if the guest has none."""
    pool.booting.pop(vm.ref, None)
    guest = pool.guest_settings(vm)
    if not guest.has_tools:
        return
    other = dict.fromkeys(("feature-suspend", "feature-shutdown", "feature-reboot", "feature-balloon"), "1")
    if guest.cannot_suspend_because:
        other["data-cant-suspend-reason"] = guest.cannot_suspend_because
    metrics = pool.db.create(
        "VM_guest_metrics",
        os_version={"name": "Debian GNU/Linux 12 (bookworm)", "distro": "debian", "major": "12", "minor": "0"},
        PV_drivers_detected=True,
        PV_drivers_up_to_date=True,
        PV_drivers_version={"major": "7", "minor": "30", "micro": "0", "build": "1"},
        networks={f"{vif['device']}/ip": _address_of(vif["MAC"]) for vif in _vifs(pool, vm)},
        other=other,
        live=True,
        can_use_hotplug_vbd="yes",
        can_use_hotplug_vif="yes",
        last_updated=pool.clock.stamp(),
    )
    pool.db.update(vm, guest_metrics=metrics.ref)
    vm_operations.refresh(pool, vm)


def fall_silent(pool: Pool, vm: Row) -> None:
    """Let the agent report no more; what it said last stays."""
    timer = pool.booting.pop(vm.ref, None)
    if timer is not None:
        timer.cancel()


def forget(pool: Pool, vm: Row) -> None:
    """Delete what the agent said."""
    fall_silent(pool, vm)
    metrics = pool.db.find("VM_guest_metrics", vm["guest_metrics"])
    pool.db.update(vm, guest_metrics=NULL)
    if metrics is not None:
        pool.db.delete(metrics)


def _vifs(pool: Pool, vm: Row) -> list[Row]:
    return [pool.db.get("VIF", ref) for ref in vm["VIFs"]]


def _address_of(mac: str) -> str:
    """Return an address that is as much the guest's own as its MAC."""
    return "10." + ".".join(str(int(part, 16)) for part in mac.split(":")[3:])

"""The VMs of a pool, the first and later ones: guests with all they have, templates, groups, control domains."""

from typing import Final

from migd_core.units import GIB, MIB
from migd_xapi import cpu, guest_agents, memory, vm_groups, vm_operations
from migd_xapi.backend import BackendGuest, BackendHost
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.domains import NO_DOMAIN
from migd_xapi.pool import Pool
from migd_xapi.settings import GuestSettings

DISK_BYTES: Final = 8192 * MIB
MOST_DOM0_VCPUS: Final = 16


def build(pool: Pool) -> None:
    """Make the VMs of all guests, the templates and the groups."""
    vms = {guest.name: add(pool, guest) for guest in pool.backend.guests()}
    for name in pool.settings.templates:
        _template(pool, name)
    for group in pool.settings.groups:
        row = pool.db.create("VM_group", name_label=group.name, placement=group.placement)
        for name in group.guests:
            pool.db.update(vms[name], groups=(row.ref,))
    for vm in pool.db.rows("VM"):
        refresh(pool, vm)


def refresh(pool: Pool, vm: Row) -> None:
    """Bring up to date what follows from a VM's record."""
    vm_operations.refresh(pool, vm)
    vm_groups.refresh_notice(pool, vm)


def control_domain(pool: Pool, host: BackendHost, row: Row) -> Row:
    """Make the VM of a host's Dom0."""
    vcpus = min(host.cpus, MOST_DOM0_VCPUS)
    dom0_bytes, now = host.dom0_bytes or pool.settings.dom0_memory_bytes, pool.clock.stamp()
    metrics = pool.db.create(
        "VM_metrics", memory_actual=dom0_bytes, VCPUs_number=vcpus, last_updated=now, start_time=now
    )
    return pool.db.create(
        "VM",
        name_label=f"Control domain on host: {host.name}",
        name_description="The domain which manages physical devices and manages other domains",
        power_state="Running",
        is_control_domain=True,
        resident_on=row.ref,
        affinity=row.ref,
        metrics=metrics.ref,
        domid=0,
        domain_type="pv",
        VCPUs_max=vcpus,
        VCPUs_at_startup=vcpus,
        **_memory(dom0_bytes, GuestSettings()),
    )


def refresh_control_domain(pool: Pool, host: BackendHost, vm: Row) -> None:
    """Bring the record of a host's Dom0 up to what the host says."""
    vcpus = min(host.cpus, MOST_DOM0_VCPUS)
    pool.db.update(pool.db.get("VM_metrics", vm["metrics"]), memory_actual=host.dom0_bytes, VCPUs_number=vcpus)
    pool.db.update(vm, VCPUs_max=vcpus, VCPUs_at_startup=vcpus, **_memory(host.dom0_bytes, GuestSettings()))


def resize(pool: Pool, vm: Row, guest: BackendGuest) -> None:
    """Show the memory and the vCPUs that a guest was given since."""
    if (vm["memory_dynamic_max"], vm["VCPUs_max"]) == (guest.memory_bytes, guest.vcpus):
        return
    sizes = _memory(guest.memory_bytes, pool.guests.get(guest.uuid, GuestSettings()))
    pool.db.update(vm, VCPUs_max=guest.vcpus, VCPUs_at_startup=guest.vcpus, **sizes)
    memory.refresh_overhead(pool, vm)


def add(pool: Pool, guest: BackendGuest) -> Row:
    """Return the VM of a guest, made with its disks, interfaces and devices."""
    if guest.settings is not None:
        pool.guests.setdefault(guest.uuid, guest.settings)
    settings = pool.guests.get(guest.uuid, GuestSettings())
    host = pool.db.by_uuid("host", guest.host) if guest.host else None
    home = host or _host_called(pool, settings.affinity) or next(iter(pool.db.rows("host")))
    is_running = host is not None
    now = pool.clock.stamp()
    platform = settings.platform
    metrics = pool.db.create(
        "VM_metrics",
        memory_actual=guest.memory_bytes if is_running else 0,
        VCPUs_number=guest.vcpus,
        start_time=now,
        install_time=now,
        last_updated=now,
        hvm=settings.domain_type == "hvm",
        nomigrate=platform.get("nomigrate") == "true",
        nested_virt=platform.get("nested-virt") == "true",
        current_domain_type=settings.domain_type if is_running else "unspecified",
    )
    vm = pool.db.create(
        "VM",
        uuid=guest.uuid,
        name_label=guest.name,
        power_state=("Paused" if guest.is_paused else "Running") if is_running else "Halted",
        resident_on=host.ref if host is not None else NULL,
        metrics=metrics.ref,
        domid=pool.backend.domid(guest.uuid),
        domain_type=settings.domain_type,
        HVM_boot_policy="BIOS order" if settings.domain_type == "hvm" else "",
        VCPUs_max=guest.vcpus,
        VCPUs_at_startup=guest.vcpus,
        tags=guest.tags,
        affinity=affinity.ref if (affinity := _host_called(pool, settings.affinity)) is not None else NULL,
        # Guests that run have been started before their hosts were made one pool: each has its own host's features.
        last_boot_CPU_flags=cpu.flags_of(host["cpu_info"]) if host is not None else {},
        ha_restart_priority=settings.ha_restart_priority,
        ha_always_run=is_running and settings.ha_restart_priority == "restart",
        blocked_operations=settings.blocked_operations,
        platform=platform,
        other_config=settings.other_config,
        **_memory(guest.memory_bytes, settings),
    )
    memory.refresh_overhead(pool, vm)
    _interfaces(pool, vm, guest, settings.networks or (_management(pool),))
    _disks(pool, vm, home, settings.storage)
    _devices(pool, vm, home, settings)
    if pool.kept is not None:
        pool.db.update(vm, **pool.kept.of(guest.uuid))
    if is_running:
        guest_agents.report(pool, vm)
    return vm


def remove(pool: Pool, vm: Row) -> None:
    """Delete the VM of a guest that nobody knows any more, and what belongs to it."""
    for class_name, refs in (("VIF", vm["VIFs"]), ("VBD", vm["VBDs"]), ("VM_metrics", (vm["metrics"],))):
        for ref in refs:
            if (row := pool.db.find(class_name, ref)) is not None:
                pool.db.delete(row)
    guest_agents.forget(pool, vm)
    pool.guests.pop(vm["uuid"], None)
    pool.db.delete(vm)


def _interfaces(pool: Pool, vm: Row, guest: BackendGuest, networks: tuple[str, ...]) -> None:
    by_name = {network["name_label"]: network for network in pool.db.rows("network")}
    known = tuple(filter(None, (guest.mac, *guest.other_macs)))
    if guest.settings is not None:
        networks = networks[:1] * len(known)
    for number, name in enumerate(networks):
        first, rest = guest.mac[:2], guest.mac[2:]
        pool.db.create(
            "VIF",
            VM=vm.ref,
            network=by_name[name].ref,
            device=str(number),
            # Of more interfaces than the backend knows, the others have addresses of their own beside the first one's.
            MAC=known[number] if number < len(known) else f"{(int(first, 16) | 2) + 4 * number:02x}{rest}",
            MTU=by_name[name]["MTU"],
            currently_attached=vm["power_state"] == "Running",
        )


def _disks(pool: Pool, vm: Row, home: Row, storage: tuple[str, ...]) -> None:
    names = storage or tuple(each.name for each in pool.settings.storage[:1])
    for number, name in enumerate(names):
        disk = pool.db.create(
            "VDI",
            SR=_repository(pool, name, home).ref,
            name_label=f"{vm['name_label']} disk {number}",
            virtual_size=DISK_BYTES,
            type="system" if number == 0 else "user",
            managed=True,
            on_boot="persist",
        )
        pool.db.create(
            "VBD",
            VM=vm.ref,
            VDI=disk.ref,
            userdevice=str(number),
            device=f"xvd{chr(ord('a') + number)}",
            bootable=number == 0,
            mode="RW",
            type="Disk",
            currently_attached=vm["power_state"] == "Running",
        )


def _repository(pool: Pool, name: str, home: Row) -> Row:
    """Return the repository of this name that `home` reaches, or else any of that name."""
    reached = {pool.db.get("PBD", ref)["SR"] for ref in home["PBDs"]}
    called = [each for each in pool.db.rows("SR") if each["name_label"] == name]
    return next((each for each in called if each.ref in reached), called[0])


def _devices(pool: Pool, vm: Row, home: Row, settings: GuestSettings) -> None:
    pcis = tuple(
        pool.db.create(
            "PCI",
            host=home.ref,
            pci_id=f"0000:{0x40 + number:02x}:00.0",
            class_name="Infiniband controller",
            device_name="Emulated adapter",
        ).ref
        for number in range(settings.pci_devices)
    )
    pool.db.update(vm, attached_PCIs=pcis)
    for number in range(settings.vgpus):
        pool.db.create("VGPU", VM=vm.ref, device=str(number), currently_attached=vm["power_state"] == "Running")


def _template(pool: Pool, name: str) -> None:
    pool.db.create(
        "VM",
        name_label=name,
        is_a_template=True,
        is_default_template=True,
        other_config={"default_template": "true"},
        domid=NO_DOMAIN,
        domain_type="hvm",
        HVM_boot_policy="BIOS order",
        VCPUs_max=1,
        VCPUs_at_startup=1,
        **_memory(GIB, GuestSettings()),
    )


def _memory(memory_bytes: int, settings: GuestSettings) -> dict[str, int]:
    least_bytes = settings.memory_dynamic_min_bytes or memory_bytes
    return {
        "memory_static_min": least_bytes // 2,
        "memory_dynamic_min": least_bytes,
        "memory_dynamic_max": memory_bytes,
        "memory_static_max": settings.memory_static_max_bytes or memory_bytes,
        "memory_target": memory_bytes,
    }


def _host_called(pool: Pool, name: str) -> Row | None:
    return next((host for host in pool.db.rows("host") if host["name_label"] == name), None)


def _management(pool: Pool) -> str:
    pif = next(pif for pif in pool.db.rows("PIF") if pif["management"])
    return str(pool.db.get("network", pif["network"])["name_label"])

"""The records of a pool as it starts: what the backend has, dressed as XAPI shows it."""

from typing import Final

from migd_core.errors import ConfigError
from migd_core.units import MIB
from migd_xapi import host_operations, memory, vm_operations
from migd_xapi.backend import BackendGuest, BackendHost
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.pool import Pool
from migd_xapi.settings import Settings

API_VERSION: Final = (2, 23)
DISK_BYTES: Final = 8192 * MIB
ETHERNET_MTU: Final = 1500


def build(pool: Pool, name: str, settings: Settings) -> None:
    """Fill the pool's database. Raises ConfigError where its guests do not fit."""
    _Builder(pool, settings).build(name)


class _Builder:
    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._db = pool.db
        self._settings = settings
        self._now = pool.clock.stamp()
        self._network = NULL

    def build(self, name: str) -> None:
        self._pool_row = self._db.create("pool", name_label=name, tls_verification_enabled=False)
        self._network = self._db.create(
            "network", name_label="Pool-wide network associated with eth0", bridge="xenbr0", MTU=ETHERNET_MTU
        ).ref
        hosts = {each.uuid: self._host(each, index) for index, each in enumerate(self._pool.backend.hosts())}
        chosen = [row for row in hosts.values() if row["name_label"] == self._settings.coordinator]
        if self._settings.coordinator and not chosen:
            raise ConfigError(f"xapi.coordinator: there is no host {self._settings.coordinator!r}")
        coordinator = chosen[0] if chosen else next(iter(hosts.values()))
        self._db.update(self._pool_row, master=coordinator.ref)
        repositories = [
            self._db.create("SR", name_label=each.name, type=each.type, shared=each.is_shared, content_type="user")
            for each in self._settings.storage
        ]
        for repository in repositories:
            for host in hosts.values():
                self._db.create("PBD", host=host.ref, SR=repository.ref, currently_attached=True)
        self._db.update(self._pool_row, default_SR=repositories[0].ref if repositories else NULL)
        for guest in self._pool.backend.guests():
            vm = self._guest(
                guest, hosts[guest.host] if guest.host else None, repositories[0] if repositories else None
            )
            vm_operations.refresh(self._pool, vm)
        for host in hosts.values():
            host_operations.refresh(self._pool, host)
            self._check_memory(host)

    def _host(self, host: BackendHost, index: int) -> Row:
        now = self._now
        metrics = self._db.create("host_metrics", memory_total=host.memory_bytes, live=True, last_updated=now)
        product = {
            "product_brand": self._settings.product_brand,
            "product_version": self._settings.product_version,
            "platform_name": "XCP",
            "platform_version": "3.4.0",
            "hostname": host.name,
            "xapi": "24.11",
            "xen": "4.17.4",
        }
        row = self._db.create(
            "host",
            uuid=host.uuid,
            name_label=host.name,
            hostname=host.name,
            address=host.address or f"127.0.0.{index + 1}",
            enabled=True,
            metrics=metrics.ref,
            memory_overhead=self._settings.xen_memory_bytes,
            API_version_major=API_VERSION[0],
            API_version_minor=API_VERSION[1],
            API_version_vendor="XenSource",
            software_version=product,
            cpu_info=_cpu_info(host),
            capabilities=("xen-3.0-x86_64", "hvm-3.0-x86_32", "hvm-3.0-x86_64"),
            sched_policy="credit2",
            edition="xcp-ng",
            virtual_hardware_platform_versions=(0, 1, 2),
        )
        for number in range(host.cpus):
            self._db.create(
                "host_cpu",
                host=row.ref,
                number=number,
                vendor="GenuineIntel",
                modelname=row["cpu_info"]["modelname"],
                speed=round(host.cpu_mhz),
            )
        interface_metrics = self._db.create(
            "PIF_metrics", carrier=True, speed=round(host.link_bytes_per_s * 8 / 1e6), duplex=True, last_updated=now
        )
        self._db.create(
            "PIF",
            host=row.ref,
            network=self._network,
            device="eth0",
            MAC=_mac_of(index),
            MTU=ETHERNET_MTU,
            VLAN=-1,
            IP=row["address"],
            physical=True,
            management=True,
            currently_attached=True,
            ip_configuration_mode="Static",
            metrics=interface_metrics.ref,
        )
        control = self._control_domain(host, row, index)
        self._db.update(row, control_domain=control.ref)
        return row

    def _control_domain(self, host: BackendHost, row: Row, index: int) -> Row:
        vcpus = min(host.cpus, 16)
        dom0_bytes = self._settings.dom0_memory_bytes
        metrics = self._db.create(
            "VM_metrics", memory_actual=dom0_bytes, VCPUs_number=vcpus, last_updated=self._now, start_time=self._now
        )
        return self._db.create(
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
            **_memory(dom0_bytes, dom0_bytes),
        )

    def _guest(self, guest: BackendGuest, host: Row | None, repository: Row | None) -> Row:
        is_running = host is not None
        metrics = self._db.create(
            "VM_metrics",
            memory_actual=guest.memory_bytes if is_running else 0,
            VCPUs_number=guest.vcpus,
            start_time=self._now,
            install_time=self._now,
            last_updated=self._now,
            hvm=True,
            current_domain_type="hvm" if is_running else "unspecified",
        )
        vm = self._db.create(
            "VM",
            uuid=guest.uuid,
            name_label=guest.name,
            power_state="Running" if is_running else "Halted",
            resident_on=host.ref if host is not None else NULL,
            metrics=metrics.ref,
            guest_metrics=self._guest_metrics() if is_running else NULL,
            domid=self._pool.backend.domid(guest.uuid),
            domain_type="hvm",
            HVM_boot_policy="BIOS order",
            VCPUs_max=guest.vcpus,
            VCPUs_at_startup=guest.vcpus,
            memory_overhead=memory.overhead_bytes(guest.vcpus, guest.memory_bytes),
            tags=guest.tags,
            **_memory(guest.memory_bytes, guest.memory_bytes),
        )
        self._db.create(
            "VIF",
            VM=vm.ref,
            network=self._network,
            device="0",
            MAC=guest.mac,
            MTU=ETHERNET_MTU,
            currently_attached=is_running,
        )
        if repository is not None:
            disk = self._db.create(
                "VDI",
                SR=repository.ref,
                name_label=f"{guest.name} disk",
                virtual_size=DISK_BYTES,
                type="system",
                managed=True,
                on_boot="persist",
            )
            self._db.create(
                "VBD",
                VM=vm.ref,
                VDI=disk.ref,
                userdevice="0",
                device="xvda",
                bootable=True,
                mode="RW",
                type="Disk",
                currently_attached=is_running,
            )
        return vm

    def _guest_metrics(self) -> str:
        return self._db.create(
            "VM_guest_metrics",
            PV_drivers_detected=True,
            PV_drivers_up_to_date=True,
            PV_drivers_version={"major": "7", "minor": "30", "micro": "0", "build": "1"},
            other={"feature-suspend": "1", "feature-shutdown": "1", "feature-reboot": "1", "feature-balloon": "1"},
            live=True,
            last_updated=self._now,
        ).ref

    def _check_memory(self, host: Row) -> None:
        needed = sum(memory.needed_bytes(self._db.get("VM", ref)) for ref in host["resident_VMs"])
        metrics = self._db.get("host_metrics", host["metrics"])
        have = metrics["memory_total"] - host["memory_overhead"]
        if needed > have:
            raise ConfigError(
                f"host {host['name_label']}: its guests and Dom0 need {needed} bytes of memory, "
                f"{have} are there; give it more memory, or fewer guests"
            )


def _memory(least_bytes: int, most_bytes: int) -> dict[str, int]:
    return {
        "memory_static_min": least_bytes // 2,
        "memory_dynamic_min": least_bytes,
        "memory_dynamic_max": most_bytes,
        "memory_static_max": most_bytes,
        "memory_target": most_bytes,
    }


def _cpu_info(host: BackendHost) -> dict[str, str]:
    features = "1fcbfbff-80b82221-2993fbff-00000403-00000000-00000000-00000000-00000000-00001000-9c000400"
    return {
        "cpu_count": str(host.cpus),
        "socket_count": "1",
        "threads_per_core": "1",
        "vendor": "GenuineIntel",
        "speed": f"{host.cpu_mhz:.3f}",
        "modelname": "Emulated processor",
        "family": "6",
        "model": "85",
        "stepping": "4",
        "flags": "fpu vme de pse tsc msr pae mce cx8 apic",
        "features": features,
        "features_pv": features,
        "features_hvm": features,
    }


def _mac_of(index: int) -> str:
    return f"02:16:3e:00:{index // 256:02x}:{index % 256:02x}"

"""The records of hosts, networks and storage as the backend has them: those there are at the start, and later ones."""

from typing import Final

from migd_core.errors import ConfigError
from migd_core.units import GIB
from migd_xapi import cpu, ha, host_operations, memory, vm_inventory
from migd_xapi.backend import BackendHost
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.pool import Pool
from migd_xapi.settings import HostSettings

API_VERSION: Final = (2, 23)
STORAGE_BYTES: Final = 1024 * GIB
ETHERNET_MTU: Final = 1500
MANAGEMENT: Final = "Pool-wide network associated with eth0"


def build(pool: Pool, name: str) -> "Hosts":
    """Fill the pool's database. Raises ConfigError where its guests do not fit, or a name leads nowhere."""
    backend, settings = pool.backend, pool.settings
    settings.check((host.name for host in backend.hosts()), (guest.name for guest in backend.guests()))
    row = pool.db.create(
        "pool", name_label=name, tls_verification_enabled=False, migration_compression=settings.migration_compression
    )
    if pool.kept is not None:
        pool.db.update(row, **pool.kept.of_pool())
    builder = Hosts(pool)
    for host in backend.hosts():
        builder.add(host)
    hosts = list(pool.db.rows("host"))
    coordinator = next((host for host in hosts if host["name_label"] == settings.coordinator), hosts[0])
    pool.db.update(row, master=coordinator.ref, cpu_info=_cpu_info_of_pool(hosts))
    _storage(pool, hosts)
    vm_inventory.build(pool)
    for backend_host, row in zip(backend.hosts(), hosts, strict=True):
        host_operations.refresh(pool, row)
        if backend_host.memory_free_bytes is None:
            _check_memory(pool, row)
    _high_availability(pool)
    return builder


class Hosts:
    """Makes hosts, and the networks that they are on."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self._db, self._now = pool, pool.db, pool.clock.stamp()
        self._management = self._network(MANAGEMENT, 0)
        self._networks = {
            network: self._network(network.name, number)
            for number, network in enumerate(pool.settings.networks, start=1)
        }

    def add(self, host: BackendHost) -> Row:
        """Return the record of a host, made with all that belongs to it."""
        index = len(self._db.tables["host"])
        row = self._host(host, index)
        host_operations.note_toolstack(self._pool, row)
        self._interface(row, host, self._management, 0, _mac_of(index, 0))
        for number, (network, network_row) in enumerate(self._networks.items(), start=1):
            if network.hosts is None or host.name in network.hosts:
                self._interface(row, host, network_row, number, _mac_of(index, number))
        if self._pool.row["master"] != NULL:  # it comes to a pool that there is
            self._follow(row)
        return row

    def refresh(self, row: Row, host: BackendHost) -> None:
        """Bring a host's record up to what it says of itself now."""
        own = self._pool.settings.hosts.get(host.name, host.settings or HostSettings())
        metrics = self._db.get("host_metrics", row["metrics"])
        self._db.update(metrics, live=host.is_up, memory_total=host.memory_bytes, last_updated=self._pool.clock.stamp())
        self._db.update(
            row,
            cpu_info=_cpu_info(host, own),
            capabilities=host.capabilities,
            software_version={**row["software_version"], "xen": host.xen_version},
        )
        self._processors(row, host, own)
        vm_inventory.refresh_control_domain(self._pool, host, self._db.get("VM", row["control_domain"]))
        self._follow(row)

    def _follow(self, row: Row) -> None:
        self._db.update(self._pool.row, cpu_info=_cpu_info_of_pool([*self._db.rows("host")]))
        host_operations.refresh(self._pool, row)

    def _processors(self, row: Row, host: BackendHost, own: HostSettings) -> None:
        for number in range(len(row["host_CPUs"]), host.cpus):
            self._db.create(
                "host_cpu",
                host=row.ref,
                number=number,
                vendor=own.cpu_vendor,
                modelname=row["cpu_info"]["modelname"],
                speed=round(host.cpu_mhz),
            )

    def _network(self, name: str, number: int) -> Row:
        return self._db.create("network", name_label=name, bridge=f"xenbr{number}", MTU=ETHERNET_MTU, managed=True)

    def _host(self, host: BackendHost, index: int) -> Row:
        settings = self._pool.settings
        own = settings.hosts.get(host.name, host.settings or HostSettings())
        metrics = self._db.create(
            "host_metrics", memory_total=host.memory_bytes, live=host.is_up, last_updated=self._now
        )
        product = {
            "product_brand": settings.product_brand,
            "product_version": settings.product_version,
            "platform_name": "XCP",
            "platform_version": "3.4.0",
            "hostname": host.name,
            "xapi": "24.11",
            "xen": host.xen_version,
        }
        row = self._db.create(
            "host",
            uuid=host.uuid,
            name_label=host.name,
            hostname=host.name,
            address=host.address or f"127.0.0.{index + 1}",
            enabled=own.is_enabled,
            metrics=metrics.ref,
            memory_overhead=settings.xen_memory_bytes,
            API_version_major=API_VERSION[0],
            API_version_minor=API_VERSION[1],
            API_version_vendor="XenSource",
            software_version=product,
            cpu_info=_cpu_info(host, own),
            capabilities=host.capabilities,
            chipset_info={"iommu": "true"},
            sched_policy="credit2",
            edition="xcp-ng",
            virtual_hardware_platform_versions=(0, 1, 2),
        )
        self._processors(row, host, own)
        control = vm_inventory.control_domain(self._pool, host, row)
        self._db.update(row, control_domain=control.ref)
        return row

    def _interface(self, row: Row, host: BackendHost, network: Row, number: int, mac: str) -> None:
        metrics = self._db.create(
            "PIF_metrics",
            carrier=True,
            speed=round(host.link_bytes_per_s * 8 / 1e6),
            duplex=True,
            last_updated=self._now,
        )
        is_management = network is self._management
        self._db.create(
            "PIF",
            host=row.ref,
            network=network.ref,
            device=f"eth{number}",
            MAC=mac,
            MTU=ETHERNET_MTU,
            VLAN=-1,
            IP=row["address"] if is_management else "",
            physical=True,
            management=is_management,
            currently_attached=True,
            ip_configuration_mode="Static" if is_management else "None",
            metrics=metrics.ref,
        )


def _storage(pool: Pool, hosts: list[Row]) -> None:
    """Make the storage repositories: a shared one once, a local one on each of its hosts."""
    repositories: list[Row] = []
    for storage in pool.settings.storage:
        own = [host for host in hosts if storage.hosts is None or host["name_label"] in storage.hosts]
        for reached_by in [own] if storage.is_shared else [[host] for host in own]:
            repository = pool.db.create(
                "SR",
                name_label=storage.name,
                type=storage.type,
                shared=storage.is_shared,
                content_type="user",
                physical_size=STORAGE_BYTES,
            )
            repositories.append(repository)
            for host in reached_by:
                pool.db.create("PBD", host=host.ref, SR=repository.ref, currently_attached=True)
    default = next((each for each in repositories if each["shared"]), None)
    pool.db.update(pool.row, default_SR=default.ref if default is not None else NULL)


def _check_memory(pool: Pool, host: Row) -> None:
    needed = sum(memory.needed_bytes(pool.db.get("VM", ref)) for ref in host["resident_VMs"])
    have = pool.db.get("host_metrics", host["metrics"])["memory_total"] - host["memory_overhead"]
    if needed > have:
        raise ConfigError(
            f"host {host['name_label']}: its guests and Dom0 need {needed} bytes of memory, "
            f"{have} are there; give it more memory, or fewer guests"
        )


def _high_availability(pool: Pool) -> None:
    settings = pool.settings.ha
    if settings is None:
        return
    wanted = settings.host_failures_to_tolerate
    planned = min(wanted, ha.tolerated_failures(pool))
    pool.db.update(
        pool.row,
        ha_enabled=True,
        ha_host_failures_to_tolerate=wanted,
        ha_plan_exists_for=planned,
        ha_allow_overcommit=settings.allow_overcommit,
        ha_overcommitted=planned < wanted,
    )


def _cpu_info(host: BackendHost, settings: HostSettings) -> dict[str, str]:
    features = settings.cpu_features
    return {
        "cpu_count": str(host.cpus),
        "socket_count": "1",
        "threads_per_core": "1",
        "vendor": settings.cpu_vendor,
        "speed": f"{host.cpu_mhz:.3f}",
        "modelname": host.cpu_model,
        "family": "6",
        "model": "85",
        "stepping": "4",
        "flags": "fpu vme de pse tsc msr pae mce cx8 apic",
        "features": features,
        "features_pv": features,
        "features_hvm": features,
        "features_pv_host": features,
        "features_hvm_host": features,
    }


def _cpu_info_of_pool(hosts: list[Row]) -> dict[str, str]:
    """Return what a VM may count on wherever it goes: the features that all hosts have."""
    features = cpu.common_features(host["cpu_info"]["features_hvm"] for host in hosts)
    keys = ("features_pv", "features_hvm", "features_pv_host", "features_hvm_host")
    return {
        "cpu_count": str(sum(int(host["cpu_info"]["cpu_count"]) for host in hosts)),
        "socket_count": str(len(hosts)),
        "vendor": hosts[0]["cpu_info"]["vendor"],
        **dict.fromkeys(keys, features),
    }


def _mac_of(index: int, number: int) -> str:
    return f"02:16:3e:{number:02x}:{index // 256:02x}:{index % 256:02x}"

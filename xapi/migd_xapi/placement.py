"""Where a VM may run: the checks of xapi_vm_helpers.ml in their order, the first that fails names the failure."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from migd_xapi import cpu, host_operations, vm_groups
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.failure import Failure
from migd_xapi.memory import free_bytes, needed_bytes
from migd_xapi.pool import Call, Pool
from migd_xapi.vm_operations import disks_of

# A network without interfaces that an operator says is the same everywhere.
ASSUMED_SHARED: Final = "assume_network_is_shared"


def check(
    pool: Pool, vm: Row, host: Row, *, with_memory: bool = True, with_cpu: bool = False, with_storage: bool = True
) -> None:
    """Raise Failure where the VM could not run on the host now; the kind of processor counts only `with_cpu`."""
    _check_parameters(vm)
    if not pool.is_live(host):
        raise Failure("HOST_NOT_LIVE")
    is_there = vm["power_state"] == "Running" and vm["resident_on"] == host.ref
    if not host["enabled"] and not is_there and not vm["is_control_domain"]:
        raise Failure("HOST_DISABLED", host.ref)
    if vm["hardware_platform_version"] not in host["virtual_hardware_platform_versions"]:
        raise Failure(
            "VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION",
            host.ref,
            _set_text(host["virtual_hardware_platform_versions"]),
            vm.ref,
            vm["hardware_platform_version"],
        )
    if with_cpu:
        cpu.check(pool, vm, host)
    if with_storage:
        _check_storage(pool, vm, host)
    _check_networks(pool, vm, host)
    if vm["domain_type"] != "pv" and not any("hvm" in each for each in host["capabilities"]):
        raise Failure("VM_HVM_REQUIRED", vm.ref)
    if with_memory:
        needed, available = needed_bytes(vm), free_bytes(pool, host, without=vm)
        if needed > available:
            raise Failure("HOST_NOT_ENOUGH_FREE_MEMORY", needed, available)
    cpus = int(host["cpu_info"]["cpu_count"])
    if vm["VCPUs_max"] > cpus and vm["platform"].get("vcpu-unrestricted") != "true":
        raise Failure("HOST_NOT_ENOUGH_PCPUS", vm["VCPUs_max"], cpus)


def possible_hosts(pool: Pool, vm: Row) -> list[Row]:
    """Return the hosts that the VM could run on; only the one where it is expected, while it is on its way."""
    expected = pool.db.find("host", vm["scheduled_to_be_resident_on"])
    if expected is not None:
        return [expected]
    return [host for host in pool.db.rows("host") if _passes(pool, vm, host)]


def choose(pool: Pool, vm: Row) -> Row:
    """Return the host to start or resume the VM on. Raises NO_HOSTS_AVAILABLE, HOST_NOT_ENOUGH_FREE_MEMORY.

    That which it prefers; else one with the fewest VMs that it is to be apart from; else the one with the most memory
    left, the coordinator's counted half. XAPI draws among the best; here it is the best.
    """
    reachable = [
        host
        for host in pool.db.rows("host")
        if "evacuate" not in host["current_operations"].values()
        and _passes(pool, vm, host, with_memory=False, with_cpu=True)
    ]
    if not reachable:
        raise Failure("NO_HOSTS_AVAILABLE")
    group = vm_groups.anti_affinity_group(pool, vm)
    others = vm_groups.vms_by_host(pool, group) if group is not None else {}
    left = {host.ref: free_bytes(pool, host, without=vm) - needed_bytes(vm) for host in reachable}

    def rank(host: Row) -> tuple[bool, int, float]:
        share = 0.5 if pool.is_coordinator(host) and pool.row["coordinator_bias"] else 1.0
        return host.ref != vm["affinity"], others.get(host.ref, 0), -left[host.ref] * share

    with_room = [host for host in reachable if left[host.ref] >= 0]
    if not with_room:
        best = max(reachable, key=lambda host: left[host.ref])
        raise Failure("HOST_NOT_ENOUGH_FREE_MEMORY", needed_bytes(vm), free_bytes(pool, best, without=vm))
    return min(with_room, key=rank)


@contextmanager
def reserved(call: Call, vm: Row, host: Row, operation: str) -> Iterator[None]:
    """Count the VM on the host too, and show the operation there, until it has arrived or has not. Raises Failure."""
    with host_operations.held(call, host, operation):
        call.pool.db.update(vm, scheduled_to_be_resident_on=host.ref)
        try:
            yield
        finally:
            call.pool.db.update(vm, scheduled_to_be_resident_on=NULL)


def _passes(pool: Pool, vm: Row, host: Row, *, with_memory: bool = True, with_cpu: bool = False) -> bool:
    try:
        check(pool, vm, host, with_memory=with_memory, with_cpu=with_cpu)
    except Failure:
        return False
    return True


def _check_parameters(vm: Row) -> None:
    if vm["VCPUs_max"] < 1:
        raise Failure("INVALID_VALUE", "VCPUs_max", vm["VCPUs_max"])
    if not 1 <= vm["VCPUs_at_startup"] <= vm["VCPUs_max"]:
        raise Failure("INVALID_VALUE", "VCPUs-at-startup", vm["VCPUs_at_startup"])
    limits = [vm[f"memory_{name}"] for name in ("static_min", "dynamic_min", "dynamic_max", "static_max")]
    if limits != sorted(limits):
        raise Failure("MEMORY_CONSTRAINT_VIOLATION", "static_min <= dynamic_min <= dynamic_max <= static_max")


def _check_storage(pool: Pool, vm: Row, host: Row) -> None:
    attached = {pbd["SR"] for ref in host["PBDs"] if (pbd := pool.db.get("PBD", ref))["currently_attached"]}
    image = pool.db.find("VDI", vm["suspend_VDI"]) if vm["power_state"] == "Suspended" else None
    for vdi in (*disks_of(pool, vm), *((image,) if image is not None else ())):
        if vdi["SR"] not in attached:
            raise Failure("VM_REQUIRES_SR", vm.ref, vdi["SR"])


def _check_networks(pool: Pool, vm: Row, host: Row) -> None:
    for ref in vm["VIFs"]:
        network = pool.db.find("network", pool.db.get("VIF", ref)["network"])
        if network is not None and host.ref not in _hosts_on(pool, network, host):
            raise Failure("VM_REQUIRES_NETWORK", vm.ref, network.ref)


def _hosts_on(pool: Pool, network: Row, candidate: Row) -> set[str]:
    """Return the hosts that the network is on; one without interfaces is where VMs that run are on it already."""
    if network["PIFs"]:
        return {pool.db.get("PIF", ref)["host"] for ref in network["PIFs"]}
    if network["other_config"].get(ASSUMED_SHARED) == "true" or not network["managed"]:
        return {candidate.ref}
    vms = (pool.db.get("VM", pool.db.get("VIF", ref)["VM"]) for ref in network["VIFs"])
    return {vm["resident_on"] for vm in vms if vm["power_state"] == "Running"} or {candidate.ref}


def _set_text(values: tuple[int, ...]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"

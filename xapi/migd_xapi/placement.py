"""Where a VM may run: the checks of xapi_vm_helpers.ml in their order, the first that fails names the failure."""

from migd_xapi.database import Row
from migd_xapi.failure import Failure
from migd_xapi.memory import free_bytes, needed_bytes
from migd_xapi.pool import Pool
from migd_xapi.vm_operations import disks_of


def check(pool: Pool, vm: Row, host: Row) -> None:
    """Raise Failure where the VM could not run on the host now."""
    _check_parameters(vm)
    if not pool.is_live(host):
        raise Failure("HOST_NOT_LIVE")
    if not host["enabled"] and vm["resident_on"] != host.ref:
        raise Failure("HOST_DISABLED", host.ref)
    if vm["hardware_platform_version"] not in host["virtual_hardware_platform_versions"]:
        raise Failure(
            "VM_HOST_INCOMPATIBLE_VIRTUAL_HARDWARE_PLATFORM_VERSION",
            host.ref,
            _set_text(host["virtual_hardware_platform_versions"]),
            vm.ref,
            vm["hardware_platform_version"],
        )
    _check_storage(pool, vm, host)
    _check_networks(pool, vm, host)
    _check_memory(pool, vm, host)
    cpus = int(host["cpu_info"]["cpu_count"])
    if vm["VCPUs_at_startup"] > cpus and vm["platform"].get("vcpu-unrestricted") != "true":
        raise Failure("HOST_NOT_ENOUGH_PCPUS", vm["VCPUs_at_startup"], cpus)


def possible_hosts(pool: Pool, vm: Row) -> list[Row]:
    """Return the live hosts that the VM could run on; only the one where it is expected, while it is on its way."""
    expected = pool.db.find("host", vm["scheduled_to_be_resident_on"])
    return [host for host in ([expected] if expected else pool.db.rows("host")) if _passes(pool, vm, host)]


def _passes(pool: Pool, vm: Row, host: Row) -> bool:
    try:
        check(pool, vm, host)
    except Failure:
        return False
    return True


def _check_parameters(vm: Row) -> None:
    limits = [vm[f"memory_{name}"] for name in ("static_min", "dynamic_min", "dynamic_max", "static_max")]
    if limits != sorted(limits):
        raise Failure("MEMORY_CONSTRAINT_VIOLATION", "static_min <= dynamic_min <= dynamic_max <= static_max")
    if not 1 <= vm["VCPUs_at_startup"] <= vm["VCPUs_max"]:
        raise Failure("INVALID_VALUE", "VCPUs_at_startup", vm["VCPUs_at_startup"])


def _check_storage(pool: Pool, vm: Row, host: Row) -> None:
    attached = {pbd["SR"] for ref in host["PBDs"] if (pbd := pool.db.get("PBD", ref))["currently_attached"]}
    for vdi in disks_of(pool, vm):
        if vdi["SR"] not in attached:
            raise Failure("VM_REQUIRES_SR", vm.ref, vdi["SR"])


def _check_networks(pool: Pool, vm: Row, host: Row) -> None:
    reached = {pool.db.get("PIF", ref)["network"] for ref in host["PIFs"]}
    for ref in vm["VIFs"]:
        network = pool.db.find("network", pool.db.get("VIF", ref)["network"])
        # A network without any interface is internal to a host: it can be had anywhere.
        if network is not None and network["PIFs"] and network.ref not in reached:
            raise Failure("VM_REQUIRES_NETWORK", vm.ref, network.ref)


def _check_memory(pool: Pool, vm: Row, host: Row) -> None:
    needed, available = needed_bytes(vm), free_bytes(pool, host, without=vm)
    if needed > available:
        raise Failure("HOST_NOT_ENOUGH_FREE_MEMORY", needed, available)


def _set_text(values: tuple[int, ...]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"

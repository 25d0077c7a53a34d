"""Whether a VM could run on any host: what high availability asks of those that it protects (agility.ml)."""

from migd_xapi.database import Row
from migd_xapi.failure import Failure
from migd_xapi.pool import Pool
from migd_xapi.vm_operations import disks_of


def check(pool: Pool, vm: Row) -> None:
    """Raise Failure naming what ties the VM to some of the hosts."""
    for field, code in (("VGPUs", "VM_HAS_VGPU"), ("VUSBs", "VM_HAS_VUSBS")):
        if vm[field]:
            raise Failure(code, vm.ref)
    enabled = {host.ref for host in pool.db.rows("host") if host["enabled"]}
    for vdi in disks_of(pool, vm):
        repository = pool.db.get("SR", vdi["SR"])
        pbds = [pool.db.get("PBD", ref) for ref in repository["PBDs"]]
        attached = {pbd["host"] for pbd in pbds if pbd["currently_attached"]}
        if not repository["shared"] or not enabled <= attached:
            raise Failure("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", repository.ref)
    for ref in vm["VIFs"]:
        network = pool.db.get("network", pool.db.get("VIF", ref)["network"])
        if not enabled <= {pool.db.get("PIF", pif)["host"] for pif in network["PIFs"]}:
            raise Failure("HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED", network.ref)

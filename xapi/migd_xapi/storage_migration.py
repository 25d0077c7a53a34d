"""What a client asks before it moves a VM with its disks. The move itself (VM.migrate_send) is not offered."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from migd_xapi import placement, vm_operations
from migd_xapi.database import Row
from migd_xapi.datamodel.types import NULL
from migd_xapi.failure import Failure
from migd_xapi.pool import Call, Pool

_SERVICES: Final = {"SM": "services/SM", "xenops": "services/xenops"}


def receive(call: Call, host: Row, network: Row) -> dict[str, str]:
    """Return the destination that a migration to the host is asked for with. Raises Failure."""
    pool = call.pool
    assert call.session is not None
    pif = next((pif for ref in network["PIFs"] if (pif := pool.db.get("PIF", ref))["host"] == host.ref), None)
    if pif is None:
        raise Failure("HOST_CANNOT_ATTACH_NETWORK", host.ref, network.ref)
    if not pif["IP"]:
        raise Failure("PIF_HAS_NO_NETWORK_CONFIGURATION", pif.ref)
    query = urlencode({"session_id": call.session.ref})
    return {
        "host": host.ref,
        "session_id": call.session.ref,
        "master": f"http://{pool.coordinator['address']}/",
        **{name: f"http://{pif['IP']}/{path}?{query}" for name, path in _SERVICES.items()},
    }


def check(
    pool: Pool,
    vm: Row,
    destination: Mapping[str, str],
    vdi_map: Mapping[str, str],
    vif_map: Mapping[str, str],
    *,
    is_forced: bool,
) -> None:
    """Raise Failure where the VM could not go to the destination with its disks as `vdi_map` says (disk to storage)."""
    failure = vm_operations.failure_of(pool, vm, "migrate_send", strict=not is_forced)
    if failure is not None:
        raise failure
    host = pool.db.get("host", destination.get("host", NULL))
    for vdi in vm_operations.disks_of(pool, vm):
        if vdi.ref not in vdi_map:
            raise Failure("VDI_NOT_IN_MAP", vdi.ref)
    for ref in vdi_map.values():
        repository = pool.db.get("SR", ref)
        pbds = (pool.db.get("PBD", pbd) for pbd in repository["PBDs"])
        if not any(pbd["host"] == host.ref and pbd["currently_attached"] for pbd in pbds):
            raise Failure("VM_REQUIRES_SR", vm.ref, repository.ref)
    placement.check(pool, vm, host, with_cpu=not is_forced, with_storage=False)
    if vif_map:
        reason = "VIF mapping is not allowed for intra-pool migration -all VIFs must be on the same network"
        raise Failure("OPERATION_NOT_ALLOWED", reason)

"""What the records say of where VMs run, brought in line with where they really do."""

from collections.abc import Iterable

from migd_xapi import domains
from migd_xapi.database import Row
from migd_xapi.pool import Pool


def resync(pool: Pool, vms: Iterable[Row]) -> None:
    """Look where VMs are and write it down, as a toolstack does that starts (xapi_xenops.ml, resync_resident_on)."""
    host_of = {guest.uuid: guest.host for guest in pool.backend.guests()}
    for vm in list(vms):
        if vm["uuid"] not in host_of:
            continue  # a control domain
        has_domain = vm["power_state"] in ("Running", "Paused")
        uuid = host_of[vm["uuid"]]
        if uuid is None:
            if has_domain:
                domains.ended(pool, vm)
        elif has_domain:
            host = pool.db.by_uuid("host", uuid)
            pool.db.update(vm, resident_on=host.ref, domid=pool.backend.domid(vm["uuid"]))
        else:
            domains.began(pool, vm, pool.db.by_uuid("host", uuid), is_paused=False)

"""Notices to the operator, as objects of class message."""

from typing import Final

from migd_xapi.database import Row
from migd_xapi.pool import Pool

KEPT: Final = 1000
OF_VMS: Final = 5  # the priority of all that is told of what was done to VMs


def tell(pool: Pool, name: str, priority: int, class_name: str, uuid: str, body: str) -> Row:
    """Write a message about the object of `class_name` with `uuid`; the oldest go when there are too many."""
    table = pool.db.tables["message"]
    while len(table) >= KEPT:
        pool.db.delete(next(iter(table.values())))
    return pool.db.create(
        "message",
        name=name,
        priority=priority,
        cls=class_name,
        obj_uuid=uuid,
        timestamp=pool.clock.stamp(),
        body=body,
    )


def tell_of_vm(pool: Pool, name: str, vm: Row, what: str) -> None:
    """Write a message that `what` was done to the VM."""
    tell(pool, name, OF_VMS, "VM", vm["uuid"], f"VM '{vm['name_label']}' (uuid: {vm['uuid']}) {what}")

"""Notices to the operator, as objects of class message."""

from typing import Final

from migd_xapi.database import Row
from migd_xapi.pool import Pool

KEPT: Final = 1000


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

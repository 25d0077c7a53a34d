"""What may be done to a host now, and what is being done to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from migd_xapi.database import Row
from migd_xapi.failure import Failure
from migd_xapi.pool import Call, Pool

OPERATIONS: Final = (
    "provision",
    "evacuate",
    "shutdown",
    "reboot",
    "vm_start",
    "vm_resume",
    "vm_migrate",
    "enable",
)
# Each pair excludes the other: who leaves the host cannot be joined by a guest.
_LEAVING: Final = frozenset({"evacuate", "shutdown", "reboot"})
_ARRIVING: Final = frozenset({"provision", "vm_start", "vm_resume", "vm_migrate"})


def failure_of(host: Row, operation: str) -> Failure | None:
    """Return why the operation may not begin now, None if it may."""
    for task, other in host["current_operations"].items():
        if (operation in _ARRIVING and other in _LEAVING) or (operation in _LEAVING and other in _ARRIVING | _LEAVING):
            return Failure("OTHER_OPERATION_IN_PROGRESS", "host", host.ref, other, task)
    return None


def refresh(pool: Pool, host: Row) -> None:
    """Bring `allowed_operations` up to date."""
    allowed = [operation for operation in OPERATIONS if failure_of(host, operation) is None]
    if host["enabled"]:
        allowed = [operation for operation in allowed if operation not in ("shutdown", "reboot")]
    pool.db.update(host, allowed_operations=tuple(allowed))


@contextmanager
def held(call: Call, host: Row, operation: str) -> Iterator[None]:
    """Show the operation on the host while it lasts. Raises Failure at once where it is not possible."""
    failure = failure_of(host, operation)
    if failure is not None:
        raise failure
    pool, key = call.pool, call.task_ref
    pool.db.update(host, current_operations={**host["current_operations"], key: operation})
    refresh(pool, host)
    try:
        yield
    finally:
        rest = {task: other for task, other in host["current_operations"].items() if task != key}
        pool.db.update(host, current_operations=rest)
        refresh(pool, host)

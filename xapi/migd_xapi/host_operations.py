"""What may be done to a host now, and what is being done to it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
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
# Each pair excludes the other: who leaves the host cannot be joined by a guest. Starting one is no arrival: where a
# guest is started, an evacuation is looked out for elsewhere (xapi_host_helpers.ml, message_forwarding.ml).
_LEAVING: Final = frozenset({"evacuate", "shutdown", "reboot"})
_ARRIVING: Final = frozenset({"provision", "vm_resume", "vm_migrate"})
_EXCLUDED_BY: Final = {
    **dict.fromkeys(_LEAVING, _ARRIVING),
    **dict.fromkeys(_ARRIVING, _LEAVING),
    "provision": _LEAVING | {"provision"},
    "shutdown": _ARRIVING | {"reboot"},
    "reboot": _ARRIVING | {"shutdown"},
}


def note_toolstack(pool: Pool, host: Row) -> None:
    """Let a host tell when its toolstack has started, which is now: Unix time as text, as XAPI has it."""
    since = f"{pool.clock.now().timestamp():.6f}"
    pool.db.update(host, other_config={**host["other_config"], "agent_start_time": since})


def failure_of(host: Row, operation: str) -> Failure | None:
    """Return why the operation may not begin now, None if it may."""
    for task, other in host["current_operations"].items():
        if other in _EXCLUDED_BY.get(operation, ()):
            return Failure("OTHER_OPERATION_IN_PROGRESS", "host", host.ref, other, task)
    if host["enabled"] and operation in ("shutdown", "reboot"):
        return Failure("HOST_NOT_DISABLED")
    return None


def refresh(pool: Pool, host: Row) -> None:
    """Bring `allowed_operations` up to date."""
    allowed = tuple(operation for operation in OPERATIONS if failure_of(host, operation) is None)
    pool.db.update(host, allowed_operations=allowed)


@asynccontextmanager
async def held_when_free(call: Call, host: Row, operation: str) -> AsyncIterator[None]:
    """Show the operation on the host while it lasts; wait while another one excludes it. Raises Failure."""
    while (failure := failure_of(host, operation)) is not None:
        if failure.code != "OTHER_OPERATION_IN_PROGRESS":
            raise failure
        await call.pool.db.changed()
        call.check_cancel()
    with held(call, host, operation):
        yield


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

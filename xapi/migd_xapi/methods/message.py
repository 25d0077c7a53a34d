"""Methods of class message."""

from typing import Final

from migd_xapi.database import Row
from migd_xapi.datamodel.types import Stamp
from migd_xapi.failure import Failure
from migd_xapi.messages import tell
from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.roles import POOL_OPERATOR

METHODS: Final = Methods()
Records = dict[str, Row]


@METHODS.add(
    "message.create",
    "string name",
    "int priority",
    "enum cls cls",
    "string obj_uuid",
    "string body",
    returns="message ref",
    role=POOL_OPERATOR,
    is_async=False,
)
def create(call: Call, name: str, priority: int, class_name: str, uuid: str, body: str) -> str:
    """Write a message about an object."""
    _check_object(call, class_name, uuid)
    return tell(call.pool, name, priority, class_name, uuid, body).ref


@METHODS.add("message.destroy", "message ref self", role=POOL_OPERATOR, is_async=False)
def destroy(call: Call, message: Row) -> None:
    """Delete a message."""
    call.pool.db.delete(message)


@METHODS.add("message.destroy_many", "message ref set messages", role=POOL_OPERATOR)
def destroy_many(call: Call, messages: tuple[str, ...]) -> None:
    """Delete some messages."""
    for row in [call.pool.db.get("message", ref) for ref in messages]:
        call.pool.db.delete(row)


@METHODS.add(
    "message.get",
    "enum cls cls",
    "string obj_uuid",
    "datetime since",
    returns="(message ref -> message record) map",
    is_async=False,
)
def get(call: Call, class_name: str, uuid: str, since: Stamp) -> Records:
    """Return the messages about an object that were written after `since`."""
    _check_object(call, class_name, uuid)
    return {ref: row for ref, row in _since(call, since).items() if (row["cls"], row["obj_uuid"]) == (class_name, uuid)}


@METHODS.add("message.get_since", "datetime since", returns="(message ref -> message record) map", is_async=False)
def get_since(call: Call, since: Stamp) -> Records:
    """Return the messages that were written after `since`."""
    return _since(call, since)


def _since(call: Call, since: Stamp) -> Records:
    return {row.ref: row for row in call.pool.db.rows("message") if row["timestamp"] > since}


def _check_object(call: Call, class_name: str, uuid: str) -> None:
    """Raise UUID_INVALID where there is no such object; the enumeration writes `Host`, the class is `host`."""
    tables = {name.lower(): name for name in call.pool.db.tables}
    table = tables.get(class_name.lower())
    if table is None:
        raise Failure("UUID_INVALID", class_name, uuid)
    try:
        call.pool.db.by_uuid(table, uuid)
    except Failure:
        raise Failure("UUID_INVALID", class_name, uuid) from None

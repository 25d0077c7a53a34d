"""Methods of class event."""

from typing import Final

from migd_xapi.datamodel.types import Value
from migd_xapi.events import WATCHED, Subscription, events_from, next_events, token_of
from migd_xapi.failure import Failure
from migd_xapi.method import Methods
from migd_xapi.pool import Call

METHODS: Final = Methods()


@METHODS.add(
    "event.from",
    "string set classes",
    "string token",
    "float timeout",
    returns="an event batch",
    is_async=False,
)
async def from_(call: Call, classes: tuple[str, ...], token: str, timeout: float) -> Value:  # noqa: ASYNC109 - XenAPI's name
    """Wait for events."""
    assert call.session is not None
    session = call.session
    return await events_from(
        call.pool.db, Subscription.parse(classes), token, timeout, lambda: call.pool.sessions.get(session.ref)
    )


@METHODS.add("event.inject", "string class", "string ref", returns="string", is_async=False)
def inject(call: Call, class_name: str, ref: str) -> str:
    """Make an event about an object, and return the token just before it."""
    db = call.pool.db
    name = next((known for known in WATCHED if known.lower() == class_name.lower()), None)
    if name is None:
        raise Failure("HANDLE_INVALID", class_name, ref)
    row = db.get(name, ref)
    token = token_of(db.generation)
    db.touch(row)
    return token


@METHODS.add("event.register", "string set classes", is_async=False)
def register(call: Call, classes: tuple[str, ...]) -> None:
    """Let event.next tell of some classes or objects, from now on."""
    assert call.session is not None
    Subscription.parse(classes)
    if not call.session.filters:
        call.session.heard = call.pool.db.generation
    call.session.filters = tuple(dict.fromkeys((*call.session.filters, *classes)))


@METHODS.add("event.unregister", "string set classes", is_async=False)
def unregister(call: Call, classes: tuple[str, ...]) -> None:
    """Let event.next tell of some classes or objects no more."""
    assert call.session is not None
    call.session.filters = tuple(each for each in call.session.filters if each not in classes)


@METHODS.add("event.next", returns="event record set", is_async=False)
async def next_(call: Call) -> Value:
    """Wait for events of what was registered."""
    assert call.session is not None
    session = call.session
    return await next_events(call.pool.db, session, lambda: call.pool.sessions.get(session.ref))


@METHODS.add("event.get_current_id", returns="int", is_async=False)
def get_current_id(call: Call) -> int:
    """Return the number of the last event."""
    return call.pool.db.generation

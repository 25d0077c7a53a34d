"""`event.from`: what is different now from what it was at a token.

An object that changed twice since the token is told once, as it is now; one that came and went is not told at all.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from migd_xapi.database import Database, Row, Tombstone
from migd_xapi.datamodel.classes import CLASSES
from migd_xapi.datamodel.types import Value
from migd_xapi.failure import Failure
from migd_xapi.sessions import Session
from migd_xapi.wire.exact import ExactInt

# xapi_event.ml waits so long before it looks, so that what belongs together is told together; tasks are urgent.
GATHER_S: Final = 0.05
# Sessions are secrets: no event ever tells of one.
WATCHED: Final = tuple(name for name in CLASSES if name != "session")
_TOKEN: Final = re.compile(r"(\d{1,20}),(\d{1,20})")


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which objects a client wants to hear of: whole classes, and single objects (class, reference)."""

    classes: frozenset[str]
    objects: frozenset[tuple[str, str]]

    @classmethod
    def parse(cls, filters: tuple[str, ...]) -> "Subscription":
        """Return what `*`, `vm` or `vm/OpaqueRef:...` ask for. Raises EVENT_SUBSCRIPTION_PARSE_FAILURE."""
        classes: set[str] = set()
        objects: set[tuple[str, str]] = set()
        for text in filters:
            name, slash, ref = text.partition("/")
            if text == "*":
                classes.update(WATCHED)
            elif not name or (slash and not ref):
                raise Failure("EVENT_SUBSCRIPTION_PARSE_FAILURE", text)
            elif slash:
                objects.update((known, ref) for known in WATCHED if known.lower() == name.lower())
            else:
                classes.update(known for known in WATCHED if known.lower() == name.lower())
        return cls(frozenset(classes), frozenset(objects))

    def covers(self, class_name: str, ref: str) -> bool:
        """Return whether the client wants to hear of this object."""
        return class_name in self.classes or (class_name, ref) in self.objects

    @property
    def is_urgent(self) -> bool:
        """Return whether only tasks are asked for."""
        return self.classes | {name for name, _ in self.objects} == {"task"}


def token_of(generation: int) -> str:
    """Return the token that stands for a generation (of objects, and of messages)."""
    return f"{generation:020d},{generation:020d}"


def parse_token(token: str) -> int:
    """Return the generation in a token, 0 for the empty one. Raises EVENT_FROM_TOKEN_PARSE_FAILURE."""
    if not token:
        return 0
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise Failure("EVENT_FROM_TOKEN_PARSE_FAILURE", token)
    return min(int(match[1]), int(match[2]))


async def events_from(
    db: Database, subscription: Subscription, token: str, timeout_s: float, check: Callable[[], object]
) -> Value:
    """Return the batch of events since `token`; wait up to `timeout_s` for the first. Raises Failure.

    `check` raises when the client may not wait any longer: its session has ended.
    """
    since = parse_token(token)
    deadline_s = asyncio.get_running_loop().time() + max(0.0, timeout_s)
    gather_s = 0.0 if subscription.is_urgent else GATHER_S
    await asyncio.sleep(gather_s)
    while not (events := _events(db, subscription, since)):
        check()  # the session may have ended since the call came in
        try:
            async with asyncio.timeout_at(deadline_s):
                await db.changed()
        except TimeoutError:
            break
        await asyncio.sleep(gather_s)
    return {
        "events": tuple(events),
        "valid_ref_counts": {name.lower(): ExactInt(len(db.tables[name])) for name in WATCHED},
        "token": token_of(db.generation),
    }


async def next_events(db: Database, session: Session, check: Callable[[], object]) -> Value:
    """Return the next events of what the session has registered for; wait for the first. Raises Failure.

    The way of clients older than `event.from`. Otherwise than by XAPI, what came and went meanwhile is not told.
    """
    while True:
        if not session.filters:
            raise Failure("SESSION_NOT_REGISTERED", session.ref)
        heard, session.heard = session.heard, db.generation
        if not db.remembers(heard):
            raise Failure("EVENTS_LOST")
        events = _events(db, Subscription.parse(session.filters), heard)
        if events:
            return tuple(events)
        await db.changed()
        await asyncio.sleep(GATHER_S)
        check()


def _events(db: Database, subscription: Subscription, since: int) -> list[Value]:
    rows = [row for row in db.changed_since(since) if subscription.covers(row.class_.name, row.ref)][::-1]
    gone = [stone for stone in db.deleted_since(since) if subscription.covers(stone.class_name, stone.ref)][::-1]
    made = [row for row in rows if row.created > since]
    changed = [row for row in rows if row.created <= since]
    messages = [_event("add", row) for row in made if row.class_.name == "message"]
    others = [_event("add", row) for row in made if row.class_.name != "message"]
    return messages + others + [_event("mod", row) for row in changed] + [_deletion(stone) for stone in gone]


def _event(operation: str, row: Row) -> Value:
    return {
        "id": str(row.changed),
        "timestamp": "0.0",
        "class": row.class_.name.lower(),
        "operation": operation,
        "ref": row.ref,
        "snapshot": row,
    }


def _deletion(stone: Tombstone) -> Value:
    return {
        "id": str(stone.deleted),
        "timestamp": "0.0",
        "class": stone.class_name.lower(),
        "operation": "del",
        "ref": stone.ref,
    }

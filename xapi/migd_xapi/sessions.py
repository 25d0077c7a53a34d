"""Who has logged in, with which role, and for how long."""

import asyncio
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from migd_xapi.clock import Clock
from migd_xapi.database import Database, Row
from migd_xapi.failure import Failure
from migd_xapi.roles import POOL_ADMIN, ROLES, permits, roles_with

REFRESH_S: Final = 600.0


class User(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who may log in. `role` is one of XenAPI's; empty: the password is right, but there is no access."""

    name: str
    password: str
    role: str = POOL_ADMIN

    def __post_init__(self) -> None:
        if self.role and self.role not in ROLES:
            raise ValueError(f"user {self.name}: role {self.role!r} is none of {', '.join(ROLES)}")


@dataclass(slots=True)
class Session:
    """One client's session, beside its record."""

    row: Row
    user: User
    seen_s: float

    @property
    def ref(self) -> str:
        return self.row.ref

    def require(self, least: str, permission: str) -> None:
        """Raise RBAC_PERMISSION_DENIED unless the session's role is at least `least`."""
        if not permits(self.user.role, least):
            raise Failure(
                "RBAC_PERMISSION_DENIED",
                permission,
                f"No permission in user session. (Roles with this permission: {', '.join(roles_with(least))})",
            )


class Sessions:
    """All sessions of a pool."""

    def __init__(self, db: Database, clock: Clock, users: Mapping[str, User], refusal_delay_s: float) -> None:
        self._db = db
        self._clock = clock
        self._users = users
        self._refusal_delay_s = refusal_delay_s
        self._open: dict[str, Session] = {}

    async def log_in(self, name: str, password: str, originator: str, host: Row) -> Session:
        """Return a new session. Raises Failure, after a while if the password is wrong."""
        user = self._users.get(name)
        expected = user.password if user is not None else ""
        if not hmac.compare_digest(password.encode(), expected.encode()) or user is None:
            await asyncio.sleep(self._refusal_delay_s)
            raise Failure("SESSION_AUTHENTICATION_FAILED", name, "Authentication failure")
        if not user.role:
            raise Failure("SESSION_AUTHORIZATION_FAILED", name, f"Subject {name} has no access role")
        now = self._clock.stamp()
        row = self._db.create(
            "session",
            this_host=host.ref,
            last_active=now,
            validation_time=now,
            is_local_superuser=user.role == POOL_ADMIN,
            auth_user_name=name,
            originator=originator,
        )
        session = self._open[row.ref] = Session(row, user, time.monotonic())
        return session

    def get(self, ref: object) -> Session:
        """Return the session, and note that it is in use. Raises Failure SESSION_INVALID."""
        session = self._open.get(ref) if isinstance(ref, str) else None
        if session is None:
            raise Failure("SESSION_INVALID", ref)
        now_s = time.monotonic()
        if now_s - session.seen_s > REFRESH_S:
            session.seen_s = now_s
            self._db.update(session.row, last_active=self._clock.stamp())
        return session

    def is_open(self, session: Session) -> bool:
        return session.ref in self._open

    def log_out(self, session: Session) -> None:
        """End a session; calls of it that wait for events end too."""
        if self._open.pop(session.ref, None) is not None:
            self._db.delete(session.row)

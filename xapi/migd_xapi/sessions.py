"""Who has logged in, with which role, and for how long."""

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from migd_xapi.clock import Clock
from migd_xapi.database import Database, Row
from migd_xapi.failure import Failure
from migd_xapi.roles import POOL_ADMIN, ROLES, permits, roles_with

REFRESH_S: Final = 600.0
IDLE_S: Final = 24 * 3600.0
# So many sessions of one originator, and of one user other than root, outlive a round of clearing up (xapi_globs.ml).
MOST_ALIKE: Final = 500


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
    """One client's session, beside its record.

    `filters` is what it has registered for with event.register, `heard` the generation up to which event.next has told.
    """

    row: Row
    user: User
    seen: datetime
    filters: tuple[str, ...] = ()
    heard: int = 0

    @property
    def ref(self) -> str:
        return self.row.ref

    @property
    def is_local(self) -> bool:
        """Whether the user is the host's own rather than one of a directory."""
        return not self.row["auth_user_sid"]

    @property
    def kind(self) -> tuple[str, str]:
        """What sessions have in common that count together: root's their originator, others their user."""
        by_originator = self.user.name == "root"
        return ("originator", self.row["originator"]) if by_originator else ("user", self.user.name)

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

    def __init__(
        self,
        db: Database,
        clock: Clock,
        users: Mapping[str, User],
        refusal_delay_s: float,
        permissions: Mapping[str, tuple[str, ...]],
    ) -> None:
        """`permissions` are what each role may call, as XenAPI writes it; a local superuser has none and may do all."""
        self._db = db
        self._clock = clock
        self._users = users
        # Pool administrators stand for the host's own root, all others for subjects of a directory.
        self._subjects = {
            user.name: "" if user.role == POOL_ADMIN else f"S-1-5-21-0-0-0-{number}"
            for number, user in enumerate(users.values(), start=1000)
        }
        self._refusal_delay_s, self._permissions = refusal_delay_s, permissions
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
        return self.begin(user, originator, host)

    def begin(self, user: User, originator: str, host: Row) -> Session:
        """Return a new session of somebody whom there is no need to ask for a password."""
        now = self._clock.stamp()
        row = self._db.create(
            "session",
            this_host=host.ref,
            last_active=now,
            validation_time=now,
            is_local_superuser=user.role == POOL_ADMIN,
            auth_user_name=user.name,
            auth_user_sid=self._subjects.get(user.name, ""),
            rbac_permissions=() if user.role == POOL_ADMIN else self._permissions.get(user.role, ()),
            originator=originator,
        )
        session = self._open[row.ref] = Session(row, user, self._clock.now())
        return session

    def get(self, ref: object) -> Session:
        """Return the session, and note that it is in use. Raises Failure SESSION_INVALID."""
        session = self._open.get(ref) if isinstance(ref, str) else None
        if session is None:
            raise Failure("SESSION_INVALID", ref)
        now = self._clock.now()
        if abs(now - session.seen) > timedelta(seconds=REFRESH_S):
            session.seen = now
            self._db.update(session.row, last_active=self._clock.stamp())
        return session

    def log_out(self, session: Session) -> None:
        """End a session; calls of it that wait for events end too."""
        if self._open.pop(session.ref, None) is not None:
            self._db.delete(session.row)

    def log_out_subject(self, subject: str) -> None:
        """End all sessions of a user of the directory."""
        for session in [each for each in self._open.values() if each.row["auth_user_sid"] == subject]:
            self.log_out(session)

    def subjects(self) -> tuple[str, ...]:
        """Return the users of the directory that are logged in, by their identifiers."""
        return tuple({each.row["auth_user_sid"]: None for each in self._open.values() if not each.is_local})

    def clear_up(self) -> None:
        """End the sessions that were idle for a day, and the longest idle ones of too many alike (db_gc_util.ml)."""
        alike: dict[tuple[str, str], list[Session]] = {}
        oldest = self._clock.now() - timedelta(seconds=IDLE_S)
        for session in list(self._open.values()):
            if session.seen <= oldest:
                self.log_out(session)
            else:
                alike.setdefault(session.kind, []).append(session)
        for group in alike.values():
            for session in sorted(group, key=lambda each: each.seen, reverse=True)[MOST_ALIKE:]:
                self.log_out(session)

    def lose(self) -> None:
        """Know of no session any more."""
        self._open.clear()

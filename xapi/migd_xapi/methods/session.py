"""Methods of class session."""

from typing import Final

from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.roles import POOL_OPERATOR

METHODS: Final = Methods()


@METHODS.add(
    "session.login_with_password",
    "string uname",
    "string pwd",
    "string version=",
    "string originator=",
    returns="session ref",
    role=None,
    is_async=False,
    needs_session=False,
)
async def login_with_password(call: Call, uname: str, pwd: str, version: str, originator: str) -> str:
    """Log in; a wrong password is refused after a while only."""
    return (await call.pool.sessions.log_in(uname, pwd, originator, call.host)).ref


@METHODS.add("session.logout", is_async=False)
def logout(call: Call) -> None:
    """Log out."""
    assert call.session is not None
    call.pool.sessions.log_out(call.session)


@METHODS.add("session.get_all_subject_identifiers", returns="string set")
def get_all_subject_identifiers(call: Call) -> tuple[str, ...]:
    """Return who of the directory is logged in."""
    return call.pool.sessions.subjects()


@METHODS.add("session.logout_subject_identifier", "string subject_identifier", role=POOL_OPERATOR)
def logout_subject_identifier(call: Call, subject_identifier: str) -> None:
    """End all sessions of one user of the directory."""
    if subject_identifier:  # the host's own users have none, and stay
        call.pool.sessions.log_out_subject(subject_identifier)

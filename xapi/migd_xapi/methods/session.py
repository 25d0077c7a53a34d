"""Methods of class session."""

from typing import Final

from migd_xapi.method import Methods
from migd_xapi.pool import Call

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

"""A scripted pool that is served, and sessions of the official SDK in it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import XenAPI

from migd_xapi.server import Server
from migd_xapi.settings import Settings
from scripted_pool import USERS, ServedPool, backend_of


@pytest.fixture
def unserved() -> Callable[..., Server]:
    """Makes servers that nobody connects to; `Settings` are given by name."""

    def make(hosts: int = 3, guests: int = 4, **settings: Any) -> Server:
        return Server(backend_of(hosts, guests), "test", Settings(users=USERS, refusal_delay_s=0.0, **settings))

    return make


@pytest.fixture
def pool() -> Iterator[ServedPool]:
    served = ServedPool(backend_of(), Settings(users=USERS, refusal_delay_s=0.0))
    try:
        yield served
    finally:
        served.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], ServedPool]]:
    """Serve a pool with settings of one's own."""
    served: list[ServedPool] = []

    def start(settings: Settings) -> ServedPool:
        served.append(ServedPool(backend_of(), settings))
        return served[-1]

    yield start
    for each in served:
        each.close()


@pytest.fixture
def login(pool: ServedPool) -> Iterator[Callable[..., XenAPI.Session]]:
    sessions: list[XenAPI.Session] = []

    def log_in(name: str = "root", password: str = "migd") -> XenAPI.Session:
        session = XenAPI.Session(pool.url)
        session.xenapi.login_with_password(name, password, "1.0", "test")
        sessions.append(session)
        return session

    yield log_in
    for session in sessions:
        session("close")()


@pytest.fixture
def session(login: Callable[..., XenAPI.Session]) -> XenAPI.Session:
    return login()

"""A scripted pool that is served, and sessions of the official SDK in it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import XenAPI

from migd_xapi.server import Server
from migd_xapi.settings import Settings
from scripted_pool import USERS, ServedPool, backend_of


def quick(**settings: Any) -> Settings:
    """Settings with which nothing takes time unless a test says so."""
    return Settings(**{"users": USERS, "refusal_delay_s": 0.0, "boot_s": 0.0, "shutdown_s": 0.0, **settings})


@pytest.fixture
def unserved() -> Callable[..., Server]:
    """Makes servers that nobody connects to, of so many hosts and guests; `Settings` are given by name."""

    def make(size: tuple[int, int] = (3, 4), **settings: Any) -> Server:
        return Server(backend_of(*size), "test", quick(**settings))

    return make


@pytest.fixture
def serve() -> Iterator[Callable[..., ServedPool]]:
    """Serves pools of so many hosts and guests; settings are given whole, or by name."""
    pools: list[ServedPool] = []

    def make(settings: Settings | None = None, *, size: tuple[int, int] = (3, 4), **named: Any) -> ServedPool:
        pools.append(ServedPool(backend_of(*size), settings or quick(**named)))
        return pools[-1]

    yield make
    for served in pools:
        served.close()


@pytest.fixture
def pool(serve: Callable[..., ServedPool]) -> ServedPool:
    return serve()


@pytest.fixture
def connect() -> Iterator[Callable[..., XenAPI.Session]]:
    """Logs in to a served pool."""
    sessions: list[XenAPI.Session] = []

    def log_in(served: ServedPool, name: str = "root", password: str = "migd") -> XenAPI.Session:
        session = XenAPI.Session(served.url)
        session.xenapi.login_with_password(name, password, "1.0", "test")
        sessions.append(session)
        return session

    yield log_in
    for session in sessions:
        session("close")()


@pytest.fixture
def login(pool: ServedPool, connect: Callable[..., XenAPI.Session]) -> Callable[..., XenAPI.Session]:
    return partial(connect, pool)


@pytest.fixture
def session(login: Callable[..., XenAPI.Session]) -> XenAPI.Session:
    return login()

"""What the foreign clients drive, and where they are."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emulated_pool import EmulatedPool, emulated_pool

POOL = Path(__file__).with_name("pool.toml")


@pytest.fixture(scope="module")
def pool() -> Iterator[EmulatedPool]:
    with emulated_pool(POOL) as served:
        yield served


@pytest.fixture
def pool_with_tls() -> Iterator[EmulatedPool]:
    with emulated_pool(POOL, "--tls") as served:
        yield served


@pytest.fixture(scope="session")
def fetched() -> Callable[[str], Path]:
    """Return the path of a file that tests/clients/fetch.py brings; skip the test where it is not there."""

    def find(name: str) -> Path:
        path = Path(sys.prefix, "clients", name)
        if not path.exists():
            pytest.skip(f"{name} is not installed; on Debian `make test-clients` does it")
        return path

    return find

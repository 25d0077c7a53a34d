"""A lab for all tests of this folder, and the summary that they leave."""

import contextlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from migd_on_xen import Migd
from out_of_band import Human, without_agents
from scene import TRAVELLER

from migd_lab import network
from migd_lab.errors import Unavailable
from migd_lab.hypervisor import Xen
from migd_lab.lab import Lab, build
from migd_lab.migd import start_migd

_FIGURES = pytest.StashKey[dict[str, Any]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xen)
            item.add_marker(pytest.mark.timeout(600))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = {}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if figures := config.stash[_FIGURES]:
        terminalreporter.write_line(json.dumps(figures, indent=2))


@pytest.fixture(scope="session", params=["current", "shadow"])
def xen(request: pytest.FixtureRequest) -> Xen:
    """The hypervisor that the tests run on, one after the other."""
    which: Xen = request.param
    return which


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest, xen: Xen) -> dict[str, Any]:
    """What was measured on this hypervisor; printed as JSON at the end."""
    return request.config.stash[_FIGURES].setdefault(xen, {})


@pytest.fixture(scope="session")
def lab(xen: Xen, figures: dict[str, Any]) -> Iterator[Lab]:
    """Two nodes; this process is in their network. Nothing of it is left behind."""
    with _lab("test", xen, figures) as begun:
        yield begun


@pytest.fixture(scope="session")
def lab_of_a_traveller(xen: Xen, figures: dict[str, Any]) -> Iterator[Lab]:
    """A lab with one guest."""
    with _lab("integrity", xen, figures) as begun:
        begun.create([(TRAVELLER, begun.nodes[0])])
        yield begun


@pytest.fixture(scope="session")
def human(lab_of_a_traveller: Lab) -> Iterator[Human]:
    """Somebody who migrates that guest by hand while it is probed."""
    with ThreadPoolExecutor(2) as pool, without_agents(lab_of_a_traveller):
        begun = Human(lab_of_a_traveller, pool)
        try:
            yield begun
        finally:
            begun.end()


@contextlib.contextmanager
def _lab(name: str, xen: Xen, figures: dict[str, Any]) -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.fail("`make test-xen` boots Xen under QEMU, which needs root")
    try:
        build(xen)
    except Unavailable as error:
        pytest.skip(str(error))
    begun = Lab(name)
    try:
        figures["lab_boot_s"] = round(begun.start(2, xen), 1)
        with begun.inside():
            yield begun
    finally:
        begun.stop()
    assert remains(begun) == []


@pytest.fixture(scope="session")
def migd(lab: Lab) -> Migd:
    """migd in charge of that lab, observing."""
    start_migd(lab)
    begun = Migd(lab)
    begun.sees(hosts=2, guests=0)
    return begun


def remains(lab: Lab) -> list[str]:
    """Return what is left of a lab that was stopped: its folder, its network, and processes that speak of them."""
    found = [str(lab.folder)] if lab.folder.exists() else []
    found += [lab.namespace] if network.exists(lab.namespace) else []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [words] if str(lab.folder) + "/" in words else []
    return found

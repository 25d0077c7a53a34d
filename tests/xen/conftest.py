"""A lab for all tests of this folder, and the summary that they leave."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from migd_on_xen import Migd
from scene import PLACES

from migd_lab.lab import Lab
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


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What was measured; printed as JSON at the end."""
    return request.config.stash[_FIGURES]


@pytest.fixture(scope="session")
def lab(figures: dict[str, Any]) -> Iterator[Lab]:
    """Two nodes with guests on them; this process is in their network."""
    if os.geteuid() != 0:
        pytest.fail("`make test-xen` boots Xen under QEMU, which needs root")
    begun = Lab("test")
    try:
        figures["lab_boot_s"] = round(begun.start(nodes=2), 1)
        asked_s = time.monotonic()
        begun.create([(guest, begun.nodes[node - 1]) for guest, node in PLACES])
        figures["guests_started_s"] = round(time.monotonic() - asked_s, 1)
        with begun.inside():
            yield begun
    finally:
        begun.stop()


@pytest.fixture(scope="session")
def migd(lab: Lab) -> Migd:
    """migd in charge of that lab, observing."""
    start_migd(lab)
    begun = Migd(lab)
    begun.sees(hosts=2, guests=len(PLACES))
    return begun

"""A browser on a page, and what it sees."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page
from staged import Staged, StagedCluster, cluster

LIMIT_S = 20.0
LAPTOP = {"width": 1366, "height": 850}
PHONE = {"width": 390, "height": 844}
# What every run leaves for people to look at.
PICTURES = Path(__file__).parents[2] / "build" / "screenshots"
AXE = Path(__file__).parents[1] / "clients" / "node_modules" / "axe-core" / "axe.min.js"


@dataclass
class Visit:
    """One browser on one controller's page, and everything about it that should not be."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # every address that was asked for anything

    def at(self, view: str = "") -> Page:
        """Go to a view and return the page once it is there."""
        self.page.goto(f"{self.url}/#/{view}")
        name = view.partition("/")[0] or "cluster"
        self.page.wait_for_selector(f'main[data-view="{name}"] > *', state="attached")
        return self.page

    def forgive(self, text: str) -> None:
        """Leave out what was complained of with such a text."""
        self.complaints[:] = [each for each in self.complaints if text not in each]

    def picture(self, name: str) -> None:
        """Keep what is seen now."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")


Visitor = Callable[..., Visit]
Stager = Callable[..., Staged]


def complain(visit: Visit, kind: str, text: str) -> None:
    """Keep what the console says is wrong."""
    if kind in ("error", "warning"):
        visit.complaints.append(f"{kind}: {text}")


def number(text: str | None) -> float:
    """Return the first number in a text."""
    found = re.search(r"-?\d+(\.\d+)?", text or "")
    assert found is not None, text
    return float(found[0])


def violations(page: Page) -> list[str]:
    """Return what axe says is wrong, a line each."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = json.loads(
        page.evaluate("async (tags) => JSON.stringify((await axe.run({runOnly: tags})).violations)", tags)
    )
    return [f"{each['id']}: {node['target']} {node['failureSummary']}" for each in found for node in each["nodes"]]


def small_cluster() -> StagedCluster:
    """Two racks of two hosts and twelve guests, of which eight are to be the ranks of a job."""
    return cluster(racks=2, hosts=4, guests=12, ranks=10)

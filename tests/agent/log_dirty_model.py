"""A model of Xen's log-dirty mode, and of a guest that `xl migrate` copies by it: what a careless probe would break.

Log-dirty is one bitmap with one count a domain, whoever uses it. The state lives in a file where processes share it.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from migd_agent.xen.libxenctrl import DomainGone, LogDirtyTaken
from migd_agent.xen.reading import XenUnreadable
from migd_agent.xen.savers import BeingSaved

PAGES = 64


@dataclass
class ModelXen:
    """One domain, number 7, of 64 pages, each holding the number of the write that touched it last."""

    is_on: bool = False
    is_gone: bool = False
    dirty: set[int] = field(default_factory=set)
    content: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PAGES), 0))
    writes: int = 0
    count: int = 0
    has_device: bool = False
    is_saved: bool = False
    refuses_off: bool = False

    def enable(self, domid: int) -> None:
        self._check(domid)
        if self.is_on or self.has_device or self.is_saved:
            raise LogDirtyTaken(f"domain {domid}: Invalid argument")
        self.is_on, self.dirty = True, set()

    def off(self, domid: int) -> None:
        """What LibXenCtrl makes of OFF."""
        self._check(domid)
        if self.is_saved:
            raise BeingSaved(f"domain {domid}: process 1 copies its memory away")
        if self.refuses_off:
            raise XenUnreadable(f"domain {domid}: Device or resource busy")
        self.switch_off()

    def switch_off(self) -> None:
        """What Xen makes of OFF."""
        self.is_on, self.dirty = False, set()

    def clean(self) -> set[int]:
        """What only a migration does. With log-dirty off Xen says that nothing is dirty: seen on 4.17.7."""
        taken, self.dirty, self.count = self.dirty, set(), 0
        return taken

    def peek(self, domid: int) -> int:
        self._check(domid)
        return self.count  # neither ENABLE nor OFF sets it to 0, as seen on Xen 4.17.7

    def write(self, page: int) -> None:
        self.writes += 1
        self.content[page] = self.writes
        if self.is_on and page not in self.dirty:
            self.dirty.add(page)
            self.count += 1

    def _check(self, domid: int) -> None:
        if domid != 7 or self.is_gone:
            raise DomainGone(f"domain {domid}: No such process")


class FileXen:
    """A ModelXen in a file: what Xen knows outlives the agent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            self.store(ModelXen())

    def load(self) -> ModelXen:
        state = json.loads(self._path.read_text(encoding="ascii"))
        state["dirty"] = set(state["dirty"])
        state["content"] = {int(page): value for page, value in state["content"].items()}
        return ModelXen(**state)

    def store(self, model: ModelXen) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({**asdict(model), "dirty": sorted(model.dirty)}), encoding="ascii")
        fresh.replace(self._path)

    def enable(self, domid: int) -> None:
        model = self.load()
        model.enable(domid)
        self.store(model)

    def off(self, domid: int) -> None:
        model = self.load()
        model.off(domid)
        self.store(model)

    def peek(self, domid: int) -> int:
        return self.load().peek(domid)


class Migration:
    """`xl migrate`: takes log-dirty over, sends everything, then round by round what is dirty, at last paused."""

    def __init__(self, xen: ModelXen) -> None:
        self._xen = xen
        self.target: dict[int, int] = {}
        xen.switch_off()
        xen.enable(7)
        xen.is_saved = True
        self._send(set(range(PAGES)))

    def round(self) -> None:
        """Fetch and clear the bitmap, send what was in it."""
        self._send(self._xen.clean())

    def finish(self) -> None:
        """Send the rest while the guest is paused."""
        self.round()
        assert self.target == self._xen.content, "a page is stale at the target"
        self._end()
        self._xen.is_gone = True

    def fail(self) -> None:
        """The target is unreachable, say: the guest lives on at the source."""
        self._end()

    def _end(self) -> None:
        self._xen.switch_off()
        self._xen.is_saved = False

    def _send(self, pages: set[int]) -> None:
        self.target |= {page: self._xen.content[page] for page in pages}

"""What a human does to a guest that is under probe: `xl migrate`, at any moment; and how the guest is afterwards."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migd_on_xen import until

from migd_lab.errors import LabError
from migd_lab.guest import Guest
from migd_lab.lab import Lab
from migd_lab.node import Node

_DRIVER = (Path(__file__).parent / "probe_in_dom0.py").read_text()
_AGENT = "pgrep -f '[p]ython3 -m migd_agent' || true"
# Of a guest's `write`, which says a line a second: by then it has met every page of its region.
_WHOLE_REGION_LINES = 6
_ANSWER_S = 60.0
_STEADY_LINES = 5


@dataclass(frozen=True)
class Migrated:
    """How an `xl migrate` ended. `bad` counts the guest's stale pages; it is None where the guest says nothing more."""

    exit_code: int
    said: str
    bad: float | None
    is_at_target: bool

    @property
    def harm(self) -> str:
        """What is wrong with the guest, or not as `xl` said; empty if nothing is."""
        if self.bad is None:
            return f"the guest is dead, and xl ended by {self.exit_code}"
        if self.bad:
            return f"{self.bad:g} pages are stale, and xl ended by {self.exit_code}"
        return (
            ""
            if self.is_at_target == (self.exit_code == 0)
            else f"xl ended by {self.exit_code}: the guest is not there"
        )


@dataclass(frozen=True)
class Observed:
    """What a guest wrote by its own word, and its CPU time over the time that went by."""

    pages_per_s: float
    cpu_ratio: float


class Human:
    """Somebody at work in the Dom0s of a lab, with the agent's probe at hand."""

    def __init__(self, lab: Lab, pool: ThreadPoolExecutor) -> None:
        self.lab, self._pool = lab, pool

    def node_of(self, guest: Guest) -> Node:
        """Return where the guest runs. Raises LabError where that is not one node."""
        found = [node for node in self.lab.nodes if f"{guest.name} " in node.run("xl list")]
        if len(found) != 1:
            raise LabError(f"{guest.name} is on {[node.name for node in found]}, not on one node")
        return found[0]

    def domid(self, node: Node, guest: Guest) -> int:
        return int(node.run(f"xl domid {guest.name}"))

    def drive(self, node: Node, *words: object, kill_after_s: float = 90.0) -> list[dict[str, Any]]:
        """Return what `probe_in_dom0.py` said there, a line each, until it ended or was killed."""
        command = f"timeout -s KILL {kill_after_s:g} env PYTHONPATH=/opt/migd python3 - {' '.join(map(str, words))}"
        said = node.run(f"{command}; echo exit=$?", timeout_s=kill_after_s + 10, stdin=_DRIVER)
        if "exit=0" not in said and "exit=137" not in said:
            raise LabError(f"{node.name}: {words}: {said}")
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    def await_steady(self, guest: Guest, pages_per_s: float) -> None:
        """Wait until the guest writes what it should: it does not while it starts, or others take its CPU."""

        def look() -> bool:
            last = guest.lines("WRITE")[-_STEADY_LINES:]
            return len(last) == _STEADY_LINES and all(abs(line["pages"] / pages_per_s - 1) < 0.1 for line in last)

        until(look, f"{_STEADY_LINES} s in which {guest.name} writes {pages_per_s} pages a second", 120)

    def observe(self, guest: Guest, seconds: int) -> "Observed":
        """Return what the guest does by its own word for so many seconds, and what CPU time it takes for it."""
        node = self.node_of(guest)
        begun, (used_s, at_s) = guest.lines("WRITE")[-1], guest.cpu(node)
        lines = until(lambda: _lines_since(guest, begun["line"] + seconds), f"{seconds} s of {guest.name}", 4 * seconds)
        used_then_s, then_s = guest.cpu(node)
        written = sum(line["pages"] for line in lines if line["line"] > begun["line"])
        return Observed(written / (lines[-1]["t"] - begun["t"]), (used_then_s - used_s) / (then_s - at_s))

    def is_on(self, guest: Guest) -> bool:
        """Return whether log-dirty of the guest is on."""
        node = self.node_of(guest)
        return bool(self.drive(node, "is-on", self.domid(node, guest))[0]["is_on"])

    def probe(self, guest: Guest, last_age_s: float, sessions: int = 1) -> Future[dict[str, Any]]:
        """Begin a probe; what comes of it is its last line."""
        node = self.node_of(guest)
        words = ("probe", self.domid(node, guest), last_age_s, sessions, 60.0)
        return self._pool.submit(lambda: self.drive(node, *words)[-1])

    def kill_a_probe(self, guest: Guest) -> None:
        """Begin a probe and kill it in its midst: log-dirty is on afterwards."""
        node = self.node_of(guest)
        said = self.drive(node, "probe", self.domid(node, guest), 16.0, 1, 60.0, kill_after_s=6.0)
        assert said == [{"begun": True}]
        assert self.is_on(guest)

    def overtaken_off(self, guest: Guest) -> Future[list[dict[str, Any]]]:
        """Begin to switch log-dirty off, which a migration overtakes that begins later."""
        node = self.node_of(guest)
        domid = self.domid(node, guest)
        return self._pool.submit(lambda: self.drive(node, "off-in-first-round", domid))

    def restart(self, node: Node) -> list[str]:
        """Do what the agent does when it starts; return the domains that are on record then."""
        (said,) = self.drive(node, "restart")
        return list(said["records"])

    def migrate(self, guest: Guest, after_s: float = 0.0) -> Future[Migrated]:
        """Begin an `xl migrate` to the other node, so much later."""
        source = self.node_of(guest)
        (target,) = [node for node in self.lab.nodes if node != source]
        before = guest.lines("WRITE")[-1]["line"]

        def run() -> Migrated:
            said = source.run(
                f"sleep {after_s:.2f}; xl -v migrate -s /lab/connect.py {guest.name} {target.address} </dev/null 2>&1; "
                "echo exit=$?",
                timeout_s=180,
            )
            with self.lab.inside():
                bad = _bad_pages(guest, before)
            return Migrated(
                int(said.rpartition("exit=")[2]), said, bad, bad is not None and self.node_of(guest) == target
            )

        return self._pool.submit(run)


def _bad_pages(guest: Guest, since_line: float) -> float | None:
    """Return how many stale pages the guest met once it had looked at all; None where it is dead."""

    try:
        arrived = until(lambda: _lines_since(guest, since_line + 1), f"a word of {guest.name}", _ANSWER_S)
        enough = arrived[-1]["line"] + _WHOLE_REGION_LINES
        lines = until(lambda: _lines_since(guest, enough), f"more of {guest.name}", _ANSWER_S)
        return max(line["bad"] for line in lines)
    except LabError:
        return None


def _lines_since(guest: Guest, line: float) -> list[dict[str, float]] | None:
    """Return what the guest has written once it has come to this line; None if not yet, or if it does not answer."""
    with suppress(LabError):
        said = guest.lines("WRITE")
        return said if said and said[-1]["line"] >= line else None
    return None


@contextmanager
def without_agents(lab: Lab) -> Iterator[None]:
    """Keep the agents of the lab away meanwhile: of two that probe on one host, the second is refused."""
    for node in lab.nodes:
        node.run(f"touch /run/agent.off; kill $({_AGENT}) 2>/dev/null || true")
        until(lambda n=node: not n.run(_AGENT).strip(), f"the end of the agent on {node.name}", 60)
    try:
        yield
    finally:
        for node in lab.nodes:
            node.run("rm -f /run/agent.off")

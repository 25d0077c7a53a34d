"""What a human does to a guest that is under probe: `xl migrate`, at any moment; and how the guest is afterwards."""

import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from migd_on_xen import AGENTS, until

from migd_lab.errors import LabError
from migd_lab.guest import Guest
from migd_lab.lab import Lab
from migd_lab.node import Node

_DRIVER = (Path(__file__).parent / "probe_in_dom0.py").read_text()
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


class Dom0:
    """A Dom0 with `probe_in_dom0.py` at hand, which lives until it is killed."""

    def __init__(self, node: Node) -> None:
        node.run("cat >/root/probe_in_dom0.py", stdin=_DRIVER)
        self._node = node
        self._process: subprocess.Popen[str] | None = None

    def tell(self, *words: object) -> None:
        """Give it a command."""
        if self._process is None:
            command = "PYTHONPATH=/opt/migd exec python3 /root/probe_in_dom0.py 2>&1"
            self._process = subprocess.Popen(
                [*self._node.ssh(), command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def hear(self, timeout_s: float = 240.0) -> dict[str, Any] | None:
        """Return its next answer, or None when it has been killed. Raises LabError where it says anything else."""
        assert self._process is not None
        assert self._process.stdout is not None
        with _killed_after(self._process, timeout_s):
            for line in self._process.stdout:
                if line.startswith("{"):
                    return dict(json.loads(line))
                if " [" not in line:  # not of the agent's log
                    raise LabError(f"{self._node.name}: {line}{self._process.stdout.read()}")
        self.end()
        return None

    def end(self) -> None:
        """Let it end."""
        if self._process is not None:
            with self._process:
                self._process.kill()
            self._process = None


@contextmanager
def _killed_after(process: subprocess.Popen[str], timeout_s: float) -> Iterator[None]:
    timer = threading.Timer(timeout_s, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Human:
    """Somebody at work in the Dom0s of a lab, with the agent's probe at hand."""

    def __init__(self, lab: Lab, pool: ThreadPoolExecutor) -> None:
        self.lab, self._pool = lab, pool
        self._dom0 = {node: Dom0(node) for node in lab.nodes}

    def end(self) -> None:
        """Leave nothing running."""
        for dom0 in self._dom0.values():
            dom0.end()

    def node_of(self, guest: Guest) -> Node:
        """Return where the guest runs. Raises LabError where that is not one node."""
        found = [node for node in self.lab.nodes if f"{guest.name} " in node.run("xl list")]
        if len(found) != 1:
            raise LabError(f"{guest.name} is on {[node.name for node in found]}, not on one node")
        return found[0]

    def probe(self, guest: Guest, last_age_s: float, sessions: int = 1) -> Future[dict[str, Any] | None]:
        """Begin a probe, and return once it has begun."""
        dom0 = self._tell(guest, "probe", last_age_s, sessions)
        assert dom0.hear() == {"begun": True}
        return self._pool.submit(dom0.hear)

    def kill_a_probe(self, guest: Guest) -> None:
        """Begin a probe and kill it in its midst: log-dirty is on afterwards."""
        assert self._tell(guest, "die").hear() is None
        assert self.is_on(guest)

    def restart(self, node: Node) -> int:
        """Do what the agent does when it starts; return how many domains are on record then."""
        self._dom0[node].tell("restart")
        return _records(self._dom0[node])

    def restart_in_first_round(self, guest: Guest) -> Future[int]:
        """The same, once a migration is in its first round."""
        dom0 = self._tell(guest, "restart-in-first-round")
        return self._pool.submit(lambda: _records(dom0))

    def close_in_first_round(self, guest: Guest) -> Future[dict[str, Any] | None]:
        """Begin a probe, which is given up once a migration is in its first round; return once it has begun."""
        dom0 = self._tell(guest, "close-in-first-round")
        assert dom0.hear() == {"begun": True}
        return self._pool.submit(dom0.hear)

    def off_in_first_round(self, guest: Guest) -> Future[dict[str, Any] | None]:
        """Look for a migration, and switch log-dirty off only once one is in its first round."""
        return self._pool.submit(self._tell(guest, "off-in-first-round").hear)

    def is_on(self, guest: Guest) -> bool:
        """Return whether log-dirty of the guest is on."""
        said = self._tell(guest, "is-on").hear()
        assert said is not None
        return bool(said["is_on"])

    def _tell(self, guest: Guest, what: str, *words: object) -> Dom0:
        node = self.node_of(guest)
        self._dom0[node].tell(what, int(node.run(f"xl domid {guest.name}")), *words)
        return self._dom0[node]

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

    def _word_of(self, guest: Guest) -> dict[str, float]:
        """Return the last line of the guest. Raises LabError with what its node and its console say of it."""
        try:
            return until(lambda: _lines_since(guest, 1), f"a word of {guest.name}", _ANSWER_S)[-1]
        except LabError as error:
            log = f"/var/log/xen/guest-{guest.name}.log"
            said = self.node_of(guest).run(
                f"xl list; xl vcpu-list {guest.name}; tail -c 3000 {log}; xl dmesg | tail -30"
            )
            raise LabError(f"{error}; its node says:\n{said}") from error

    def migrate(self, guest: Guest, after_s: float = 0.0) -> Future[Migrated]:
        """Begin an `xl migrate` to the other node, so much later."""
        source = self.node_of(guest)
        (target,) = [node for node in self.lab.nodes if node != source]
        before = self._word_of(guest)["line"]

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


def _records(dom0: Dom0) -> int:
    said = dom0.hear()
    assert said is not None
    return len(said["records"])


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


def _has_no_agent(node: Node) -> bool:
    return not node.run(AGENTS).strip()


@contextmanager
def without_agents(lab: Lab) -> Iterator[None]:
    """Keep the agents of the lab away meanwhile: of two that probe on one host, the second is refused."""
    for node in lab.nodes:
        node.run(f"touch /run/agent.off; kill $({AGENTS}) 2>/dev/null || true")
        until(partial(_has_no_agent, node), f"the end of the agent on {node.name}", 60)
    try:
        yield
    finally:
        for node in lab.nodes:
            node.run("rm -f /run/agent.off")

"""Which nodes of Slurm get no new jobs because the host under them is failing, and which of these may again.

Nothing is remembered here: Slurm keeps why a node is drained, and a reason that begins with REASON is migd's. A node
that somebody else has drained, or taken out otherwise, is theirs, and so is one whose reason they changed.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from migd_core.health import HealthState, HostHealth

REASON: Final = "migd: "
LONGEST_REASON: Final = 200
# What sinfo is asked for: node, state, reason, which may hold anything.
SINFO_ARGUMENTS: Final = ("--noheader", "--Node", "--all", "--format=%N|%T|%E")
# States in which a node gets no jobs already, in whatever way: with a suffix where it does not answer, reboots, ….
_OUT: Final = re.compile("drain|down|fail|maint|power|future|reboot|unknown", re.IGNORECASE)
_UNFIT: Final = re.compile(r"[^\w .,:;()%°/+-]+")


@dataclass(frozen=True, slots=True)
class Node:
    """One node as `sinfo` prints it."""

    name: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Under:
    """The host that a node's guest is on, and how it is."""

    host_name: str
    health: HostHealth


@dataclass(frozen=True, slots=True)
class Update:
    """What is asked of Slurm for one node; a reason only where the node is drained."""

    node: str
    state: str
    reason: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows `scontrol` on its command line."""
        reason = (f"Reason={self.reason}",) if self.reason else ()
        return ("update", f"NodeName={self.node}", f"State={self.state}", *reason)


def nodes(printed: bytes) -> list[Node]:
    """Return what `sinfo` with SINFO_ARGUMENTS printed; a node stands there once for each of its partitions."""
    found = {}
    for line in printed.decode(errors="replace").splitlines():
        name, _, rest = line.partition("|")
        state, is_whole, reason = rest.partition("|")
        if is_whole:
            found[name] = Node(name.strip(), state.strip(), reason.strip())
    return list(found.values())


def updates(known: Iterable[Node], under: Callable[[str], Under | None]) -> list[Update]:
    """Return what is to be asked of Slurm; `under` gives what is under a node, None where nobody knows.

    A node is drained while its guest is on a failing host. It is taken back once its guest has left, or its host is
    well again: a host of which nothing is known is neither.
    """
    found = []
    for node in known:
        here = under(node.name)
        if here is None or here.health.state is HealthState.UNKNOWN:
            continue
        is_failing = here.health.state is HealthState.FAILING
        if is_failing and not _OUT.match(node.state):
            text = _UNFIT.sub(" ", f"{REASON}host {here.host_name} is failing: {here.health.text}")
            found.append(Update(node.name, "DRAIN", text[:LONGEST_REASON]))
        elif not is_failing and node.state.startswith("drain") and node.reason.startswith(REASON):
            found.append(Update(node.name, "UNDRAIN"))  # RESUME would also bring back a node that is down
    return found

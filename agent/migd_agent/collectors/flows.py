"""The traffic matrix of this host. The switch is read every few seconds, the more seldom the dearer it is to read.

To read it starts a tool, which costs more than all else in a tick; who talks to whom does not change from one second to
the next.
"""

import resource
import time
from collections.abc import Mapping
from pathlib import Path
from sys import intern
from typing import Final, Literal

import structlog
from msgspec.structs import replace

from migd_agent.flows import FlowsUnreadable, Pair, Switch
from migd_agent.flows.bridge import Bridge
from migd_agent.flows.openvswitch import OpenVSwitch
from migd_core.counters import FlowCounter, HostCounters

NAME: Final = "flows"
# Of one core: what reading may cost, within the two bounds of how often it is done.
READ_AT_RATIO: Final = 0.001
READ_EVERY_S: Final = 5.0
READ_AT_LEAST_EVERY_S: Final = 60.0
_NETWORK: Final = Path("/sys/class/net")
_OPENVSWITCH: Final = (Path("/run/openvswitch/db.sock"), Path("/var/run/openvswitch/db.sock"))


class Flows:
    """Adds who talks to whom to the counters of a tick."""

    supplies = (NAME,)

    def __init__(self, switch: Switch, read_every_s: float = READ_EVERY_S) -> None:
        self._switch, self._read_every_s = switch, read_every_s
        self._counters: tuple[FlowCounter, ...] = ()
        self._counted_s: float | None = None
        self._asked_s = self._due_s = self._cost_s = 0.0
        self._failure: FlowsUnreadable | None = None

    def collect(self, so_far: HostCounters | None) -> HostCounters:
        """Return `so_far` with flows. Raises FlowsUnreadable, until the switch has answered again."""
        if so_far is None:
            raise FlowsUnreadable("the host itself could not be measured")
        try:
            if self._switch.is_reading:
                self._take()
            if not self._switch.is_reading and so_far.at_s >= self._due_s:
                self._begin(so_far.at_s)
        except FlowsUnreadable as failure:
            self._counters, self._counted_s, self._failure = (), None, failure
        if self._failure is not None:
            raise self._failure.with_traceback(None)  # else it holds the frames of every tick
        return replace(so_far, flows=self._counters, flows_at_s=self._counted_s)

    def close(self) -> None:
        """Let the switch be as it was."""
        self._switch.close()

    def _begin(self, now_s: float) -> None:
        self._asked_s, self._due_s = now_s, now_s + self._read_every_s
        before_s = _spent_s()
        self._switch.begin()
        self._cost_s = _spent_s() - before_s

    def _take(self) -> None:
        before_s = _spent_s()
        if (counts := self._switch.take()) is None:
            return
        # One string an address rather than one a pair and reading.
        self._counters = tuple(FlowCounter(intern(a), intern(b), count) for (a, b), count in counts.items())
        self._counted_s, self._failure = self._asked_s, None
        self._cost_s += _spent_s() - before_s
        self._due_s = self._asked_s + read_every_s(self._cost_s, self._read_every_s)


def read_every_s(cost_s: float, at_least_s: float = READ_EVERY_S) -> float:
    """Return how often to read a switch when that takes `cost_s` seconds of CPU, so that it costs READ_AT_RATIO."""
    return max(at_least_s, min(READ_AT_LEAST_EVERY_S, cost_s / READ_AT_RATIO))


def _spent_s() -> float:
    """Return the CPU time of this thread, and of the tools that it ran and that have ended."""
    tools = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.thread_time() + tools.ru_utime + tools.ru_stime


class Unreadable:
    """A switch that cannot be counted on, and says why whenever it is asked."""

    is_reading = False

    def __init__(self, why: str) -> None:
        self._why = why

    def begin(self) -> None:
        raise FlowsUnreadable(self._why)

    def take(self) -> Mapping[Pair, int] | None:
        raise FlowsUnreadable(self._why)

    def close(self) -> None:
        """Nothing was begun."""


def switch_of(
    wanted: Literal["auto", "bridge", "openvswitch", "off"],
    network: Path = _NETWORK,
    openvswitch: tuple[Path, ...] = _OPENVSWITCH,
) -> Switch | None:
    """Return the switch that `wanted` names; with `auto` the one that this host has, None without one.

    Raises FlowsUnreadable where the named one cannot be had; with `auto` the agent runs on, and every sample names it.
    """
    if wanted == "off":
        return None
    if wanted == "openvswitch" or (wanted == "auto" and any(path.exists() for path in openvswitch)):
        return OpenVSwitch()
    if wanted == "auto" and not any(network.glob("*/bridge")):
        structlog.get_logger().info("no flows are measured: this host has neither Open vSwitch nor a Linux bridge")
        return None
    try:
        return Bridge()
    except FlowsUnreadable as error:
        if wanted != "auto":
            raise
        return Unreadable(f'{error} (then start the agent again, or set `flows = "off"`)')

"""The traffic matrix of this host. The switch is read every few seconds, its rates are held in between.

To read it starts a tool, which costs more than all else in a tick; who talks to whom does not change from one second to
the next.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import structlog
from msgspec.structs import replace

from migd_agent.flows import FlowsUnreadable, Pair, Switch, went
from migd_agent.flows.bridge import Bridge
from migd_agent.flows.openvswitch import OpenVSwitch
from migd_core.counters import FlowCounter, HostCounters

NAME: Final = "flows"
READ_EVERY_S: Final = 5.0
_NETWORK: Final = Path("/sys/class/net")
_OPENVSWITCH: Final = (Path("/run/openvswitch/db.sock"), Path("/var/run/openvswitch/db.sock"))


class Flows:
    """Adds who talks to whom to the counters of a tick."""

    supplies = (NAME,)

    def __init__(self, switch: Switch, read_every_s: float = READ_EVERY_S) -> None:
        self._switch, self._read_every_s = switch, read_every_s
        self._held = Held()
        self._due_s = 0.0
        self._failure: FlowsUnreadable | None = None

    def collect(self, so_far: HostCounters | None) -> HostCounters:
        """Return `so_far` with flows. Raises FlowsUnreadable, until the switch has answered again."""
        if so_far is None:
            raise FlowsUnreadable("the host itself could not be measured")
        try:
            if self._switch.is_reading and (counts := self._switch.take()) is not None:
                self._held.take(counts, so_far.at_s)
                self._failure = None
            if not self._switch.is_reading and so_far.at_s >= self._due_s:
                self._due_s = so_far.at_s + self._read_every_s
                self._switch.begin()
        except FlowsUnreadable as failure:
            self._held, self._failure = Held(), failure
        if self._failure is not None:
            raise self._failure
        return replace(so_far, flows=self._held.counters(so_far.at_s))

    def close(self) -> None:
        """Let the switch be as it was."""
        self._switch.close()


class Held:
    """Counts that go on between two readings at the rate of the last two. Pure."""

    def __init__(self) -> None:
        self._counts: Mapping[Pair, int] = {}
        self._rates: dict[Pair, float] = {}
        self._shown: dict[Pair, float] = {}
        self._read_s = self._shown_s = 0.0
        self._is_first = True

    def take(self, counts: Mapping[Pair, int], at_s: float) -> None:
        """Take a new reading in; a pair that is new has sent all of its bytes since the last one."""
        self._grow(at_s)
        went_s = at_s - self._read_s
        has_rates = went_s > 0 and not self._is_first
        self._rates = {
            pair: went(self._counts.get(pair, 0), count) / went_s for pair, count in counts.items() if has_rates
        }
        self._counts, self._read_s, self._is_first = dict(counts), at_s, False
        self._shown = {pair: self._shown.get(pair, 0.0) for pair in counts}

    def counters(self, at_s: float) -> tuple[FlowCounter, ...]:
        """Return bytes by pair as of `at_s`; they only rise."""
        self._grow(at_s)
        return tuple(FlowCounter(*pair, int(count)) for pair, count in self._shown.items())

    def _grow(self, at_s: float) -> None:
        for pair, rate in self._rates.items():
            self._shown[pair] = self._shown.get(pair, 0.0) + rate * (at_s - self._shown_s)
        self._shown_s = at_s


def switch_of(
    wanted: Literal["auto", "bridge", "openvswitch", "off"],
    network: Path = _NETWORK,
    openvswitch: tuple[Path, ...] = _OPENVSWITCH,
) -> Switch | None:
    """Return the switch that `wanted` names; with `auto` the one that this host has, None without one.

    Raises FlowsUnreadable where the named one cannot be had; `auto` does without, and says so.
    """
    log = structlog.get_logger()
    if wanted == "off":
        return None
    if wanted == "openvswitch" or (wanted == "auto" and any(path.exists() for path in openvswitch)):
        return OpenVSwitch()
    if wanted == "auto" and not any(network.glob("*/bridge")):
        log.info("no flows are measured: this host has neither Open vSwitch nor a Linux bridge")
        return None
    try:
        return Bridge()
    except FlowsUnreadable as error:
        if wanted != "auto":
            raise
        log.warning("no flows are measured", why=str(error))
        return None

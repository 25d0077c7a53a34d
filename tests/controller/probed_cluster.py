"""A cluster of events whose agents probe guests on leases, as the test says."""

from typing import Any

from cluster_of_events import CONFIG, Cluster, pool_host
from msgspec.structs import replace

from migd_controller.commands import BeginProbe, EndProbe
from migd_controller.config import ProbeSection
from migd_controller.events import AgentListens
from migd_controller.leases import Lease
from migd_controller.probe_requests import waits_for
from migd_controller.probing import ages_s
from migd_core.messages import DirtyCurve, GuestSample, HostSample, ProbeReport, ProbeState
from migd_core.units import GIB

PROBE = ProbeSection(apart_s=600.0, guest_time_ratio=0.01)
# Of a guest of 4 GiB, which 0.9 × 125 MB/s send in 38.2 s.
WINDOW_S = ages_s(PROBE, 4 * GIB, 0.9 * 125e6)[-1]


class Probed(Cluster):
    """A cluster whose agents listen, and answer as the test says; each has sent samples for `warm_s`."""

    def __init__(self, *guests: Any, hosts: int = 2, warm_s: int = 40, **values: Any) -> None:
        places = [pool_host(name) for name in "abcdef"[:hosts]]
        super().__init__(places, guests, **{"config": replace(CONFIG, probe=PROBE), **values})
        self.reports: dict[str, ProbeReport] = {}
        self.curves: dict[str, DirtyCurve] = {}
        for host in self.hosts:
            self.tell(AgentListens(host=host, listens=True))
        self.measure(warm_s, {})

    def sample(self, host: str, wants: dict[str, float]) -> HostSample:
        sample = super().sample(host, wants)
        guests = tuple(self._with_curve(guest) for guest in sample.guests)
        return replace(sample, probe=self.reports.get(host), guests=guests)

    def _with_curve(self, guest: GuestSample) -> GuestSample:
        return replace(guest, dirty_curve=self.curves.get(guest.uuid))

    @property
    def begun(self) -> list[Lease]:
        return [command.lease for command in self.commands if isinstance(command, BeginProbe)]

    @property
    def ended(self) -> list[tuple[str, str]]:
        return [(command.lease.lease, command.text) for command in self.commands if isinstance(command, EndProbe)]

    def says(self, lease: Lease, state: ProbeState, text: str = "") -> None:
        """Let the agent report; where that is a curve, it goes along."""
        self.reports[lease.host] = ProbeReport(lease=lease.lease, guest_uuid=lease.guest, state=state, text=text)
        if state == "done":
            self.curves[lease.guest] = DirtyCurve((1.0,), (10,), measured_s=self.now_s)

    def waits_for(self, guest: str = "g") -> tuple[str, float]:
        """Return what keeps a guest from being probed, and for how long at least (s)."""
        core = self.core
        return waits_for(guest, self.now_s, core.inventory, core.telemetry, core.memory, core.config)

    def immovable(self, guest: str) -> str | None:
        return self.core.world(self.now_s).guests[guest].immovable_because

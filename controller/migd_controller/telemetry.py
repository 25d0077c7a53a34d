"""What the agents said last, smoothed, and how old it is by the controller's own clock."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from migd_controller.events import Source
from migd_core.messages import DirtyCurve, FlowSample, GuestSample, HostSample

HISTORY_PERIODS: Final = 120


@dataclass(slots=True)
class GuestRates:
    """One guest's rates, smoothed over a control period so that one odd second does not move it."""

    cpu_ratio: float
    rx_bytes_per_s: float
    tx_bytes_per_s: float
    dirty_curve: DirtyCurve | None

    def follow(self, sample: GuestSample, weight: float) -> None:
        """Move towards `sample` by `weight` (0..1). A dirty curve stays until a newer one comes."""
        self.cpu_ratio += weight * (sample.cpu_ratio - self.cpu_ratio)
        self.rx_bytes_per_s += weight * (sample.rx_bytes_per_s - self.rx_bytes_per_s)
        self.tx_bytes_per_s += weight * (sample.tx_bytes_per_s - self.tx_bytes_per_s)
        if sample.dirty_curve is not None:
            self.dirty_curve = sample.dirty_curve


@dataclass(slots=True)
class HostTelemetry:
    """One host's newest sample, when it arrived, and the smoothed rates formed from it and its predecessors.

    `dropped_s` is when the agent's count of dropped samples was last seen to grow, None if it never was.
    """

    newest: HostSample
    source: Source
    arrived_s: float
    cpu_ratio: float
    dom0_cpu_ratio: float
    dropped_s: float | None = None
    guests: dict[str, GuestRates] = field(default_factory=dict)
    flows: dict[tuple[str, str], float] = field(default_factory=dict)
    load_ratios: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY_PERIODS))


class Telemetry:
    """The newest telemetry of every host; part of the core's state, changed by events only."""

    def __init__(self, smoothing_s: float) -> None:
        self._smoothing_s = smoothing_s
        self.hosts: dict[str, HostTelemetry] = {}
        self.problems: dict[str, str] = {}  # by host: why XAPI's measurements of it cannot be had

    def accept(self, sample: HostSample, now_s: float, source: Source = Source.AGENT) -> bool:
        """Take a sample in; False if it is not newer than the one at hand (doubled or out of order)."""
        known = self.hosts.get(sample.host_uuid)
        if known is not None and known.newest.boot_id == sample.boot_id and sample.sequence <= known.newest.sequence:
            if source is not Source.RRD or sample.sequence == known.newest.sequence:
                return False
            known = None  # XAPI's rows come in order, one answer after the other: its clock was set back
        if known is None or known.newest.boot_id != sample.boot_id:
            known = HostTelemetry(sample, source, now_s, sample.cpu_ratio, sample.dom0_cpu_ratio)
            self.hosts[sample.host_uuid] = known
        self.problems.pop(sample.host_uuid, None)
        weight = min(1.0, sample.interval_s / self._smoothing_s)
        if sample.flows_held:
            sample = replace(sample, flows=known.newest.flows)
        if sample.samples_dropped > known.newest.samples_dropped:
            known.dropped_s = now_s
        known.newest, known.arrived_s = sample, now_s
        known.cpu_ratio += weight * (sample.cpu_ratio - known.cpu_ratio)
        known.dom0_cpu_ratio += weight * (sample.dom0_cpu_ratio - known.dom0_cpu_ratio)
        known.guests = {guest.uuid: _followed(known.guests.get(guest.uuid), guest, weight) for guest in sample.guests}
        known.flows = _followed_flows(known.flows, sample.flows, weight)
        return True

    def age_s(self, host: str, now_s: float) -> float | None:
        """Return the seconds since the host's last sample arrived; None if none ever did."""
        known = self.hosts.get(host)
        return None if known is None else max(0.0, now_s - known.arrived_s)


def _followed(known: GuestRates | None, sample: GuestSample, weight: float) -> GuestRates:
    if known is None:
        return GuestRates(sample.cpu_ratio, sample.rx_bytes_per_s, sample.tx_bytes_per_s, sample.dirty_curve)
    known.follow(sample, weight)
    return known


def _followed_flows(
    known: dict[tuple[str, str], float], flows: tuple[FlowSample, ...], weight: float
) -> dict[tuple[str, str], float]:
    """A flow that is new counts at once; one that has ended fades, and is forgotten below a byte a second."""
    faded = {pair: rate * (1.0 - weight) for pair, rate in known.items() if rate >= 1.0}
    for flow in flows:
        pair = (flow.source_mac, flow.target_mac)
        faded[pair] = faded[pair] + weight * flow.bytes_per_s if pair in faded else flow.bytes_per_s
    return faded

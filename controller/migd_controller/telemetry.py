"""What the agents said last, smoothed, and how old it is by the controller's own clock."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from migd_controller.activity import Activity
from migd_controller.events import Source
from migd_core.health import UNKNOWN, HealthState, HostHealth
from migd_core.messages import DirtyCurve, FlowSample, GuestSample, HostSample
from migd_core.progress import Progress
from migd_policies.imbalance import Standing

HISTORY_PERIODS: Final = 120
# For how long it is watched how regularly a host's samples arrive.
TRANSITS_S: Final = 60.0
# Curves of a guest that are kept: sessions at different phases of what it does.
CURVES: Final = 3
# A new run of an agent says nothing of its host's health before it has read the sensors once; what the run before it
# found bad stands for so long.
HEALTH_HELD_S: Final = 60.0


@dataclass(slots=True)
class GuestRates:
    """One guest's rates, smoothed over a control period so that one odd second does not move it."""

    cpu_ratio: float
    rx_bytes_per_s: float
    tx_bytes_per_s: float

    def follow(self, sample: GuestSample, weight: float) -> None:
        """Move towards `sample` by `weight` (0..1)."""
        self.cpu_ratio += weight * (sample.cpu_ratio - self.cpu_ratio)
        self.rx_bytes_per_s += weight * (sample.rx_bytes_per_s - self.rx_bytes_per_s)
        self.tx_bytes_per_s += weight * (sample.tx_bytes_per_s - self.tx_bytes_per_s)


@dataclass(slots=True)
class HostTelemetry:
    """One host's newest sample without its guests, when it arrived, and the smoothed rates of it and its predecessors.

    `dropped_s` is when the agent's count of dropped samples was last seen to grow, None if it never was. `standing` is
    what its load has been about, and since when. `transits_s` are, for each sample of the last minute and one before,
    when it arrived and by how much the controller's clock was ahead of the agent's monotonic one then: only differences
    mean something.
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
    standing: Standing | None = None
    transits_s: deque[tuple[float, float]] = field(default_factory=deque)

    @property
    def jitter_s(self) -> float:
        """By how much samples arrive sooner or later after they were taken, from the least to the most of a minute."""
        ahead_s = [ahead_s for _, ahead_s in self.transits_s]
        return max(ahead_s) - min(ahead_s) if ahead_s else 0.0

    @property
    def watched_s(self) -> float:
        """For how long the samples have arrived that `jitter_s` is of."""
        return self.transits_s[-1][0] - self.transits_s[0][0] if self.transits_s else 0.0

    def arrived(self, sample: HostSample, now_s: float) -> None:
        """Take in when a sample arrived."""
        self.newest, self.arrived_s = replace(sample, guests=()), now_s
        self.transits_s.append((now_s, now_s - sample.monotonic_s))
        while len(self.transits_s) > 1 and self.transits_s[1][0] <= now_s - TRANSITS_S:
            self.transits_s.popleft()


@dataclass(frozen=True, slots=True)
class _Said:
    """What was last said of a host's health, and when."""

    health: HostHealth
    at_s: float


class Telemetry:
    """The newest telemetry of every host; part of the core's state, changed by events only."""

    def __init__(self, smoothing_s: float) -> None:
        self._smoothing_s = smoothing_s
        self.hosts: dict[str, HostTelemetry] = {}
        self._curves: dict[str, tuple[DirtyCurve, ...]] = {}
        self._told_at: dict[str, float] = {}  # by guest: when its newest curve was counted, by its agent's clock
        self.activities: dict[str, Activity] = {}
        self.booted_at: dict[str, float] = {}  # by guest: when it was seen to be booted anew (Unix time)
        self.listening: set[str] = set()  # hosts whose agent can probe, and hears of leases
        self.problems: dict[str, str] = {}  # by host: why XAPI's measurements of it cannot be had
        self._health: dict[str, _Said] = {}
        self._progress: dict[str, Progress] = {}
        self.news: dict[str, tuple[float, Progress]] = {}  # by guest: progress that was new, and when

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
        known.arrived(sample, now_s)
        self._follow_health(sample, now_s)
        known.cpu_ratio += weight * (sample.cpu_ratio - known.cpu_ratio)
        known.dom0_cpu_ratio += weight * (sample.dom0_cpu_ratio - known.dom0_cpu_ratio)
        known.guests = {guest.uuid: _followed(known.guests.get(guest.uuid), guest, weight) for guest in sample.guests}
        known.flows = _followed_flows(known.flows, sample.flows, weight)
        for guest in sample.guests:
            activity = self.activities.get(guest.uuid)
            if activity is None:
                activity = self.activities[guest.uuid] = Activity(now_s - sample.interval_s)
            activity.follow(guest, sample.interval_s, now_s)
            if guest.dirty_curve is not None:
                age_s = max(0.0, sample.monotonic_s - guest.dirty_curve.measured_s)
                if (dated := self._take_curve(guest.uuid, guest.dirty_curve, now_s - age_s)) is not None:
                    activity.count(dated, age_s)
            if guest.progress is not None:
                self._follow_progress(guest.uuid, guest.progress, now_s)
        return True

    def _take_curve(self, guest: str, told: DirtyCurve, at_s: float) -> DirtyCurve | None:
        """Keep the newest few; return it dated, None for one that is known: agents repeat theirs in every sample."""
        known = self._curves.get(guest, ())
        if known and replace(known[-1], measured_s=self._told_at[guest]) == told:
            return None
        dated = replace(told, measured_s=at_s)
        self._curves[guest], self._told_at[guest] = (*known, dated)[-CURVES:], told.measured_s
        return dated

    def listens(self, host: str, listens: bool) -> None:
        """Take in whether the agent of a host listens for leases."""
        (self.listening.add if listens else self.listening.discard)(host)

    def curves(self, guest: str) -> tuple[DirtyCurve, ...]:
        """Return the newest dirty curves of a guest, oldest first, dated in Unix time.

        They go along when the guest migrates; the agents' own clocks differ from host to host.
        """
        return self._curves.get(guest, ())

    def rebooted(self, guest: str, now_s: float) -> None:
        """Take in that a guest was booted anew: what it did before says nothing of it any more."""
        self.booted_at[guest] = now_s
        self.activities.pop(guest, None)

    def measured_at(self, guest: str) -> float:
        """Return when the guest's dirty curve was measured (Unix time); long ago if it has none."""
        known = self._curves.get(guest)
        return known[-1].measured_s if known else -math.inf

    def forget(self, gone: Iterable[str]) -> None:
        """Forget the curves and the progress of guests that no longer run."""
        for guest in gone:
            self.activities.pop(guest, None)
            self.booted_at.pop(guest, None)
            self._curves.pop(guest, None)
            self._told_at.pop(guest, None)
            self._progress.pop(guest, None)
            self.news.pop(guest, None)

    def age_s(self, host: str, now_s: float) -> float | None:
        """Return the seconds since the host's last sample arrived; None if none ever did."""
        known = self.hosts.get(host)
        return None if known is None else max(0.0, now_s - known.arrived_s)

    def health(self, host: str) -> HostHealth:
        """Return what is known of the host's health; unknown where nobody has said anything."""
        said = self._health.get(host)
        return UNKNOWN if said is None else said.health

    def _follow_progress(self, guest: str, told: Progress, now_s: float) -> None:
        """What a guest tells at first may be left over from a job that is long done; it is news once it changes."""
        if self._progress.setdefault(guest, told) != told:
            self._progress[guest] = told
            self.news[guest] = (now_s, told)

    def _follow_health(self, sample: HostSample, now_s: float) -> None:
        said = self._health.get(sample.host_uuid)
        is_silent = sample.health.state is HealthState.UNKNOWN
        if is_silent and said is not None and now_s - said.at_s < HEALTH_HELD_S:
            return
        self._health[sample.host_uuid] = _Said(sample.health, now_s)


def _followed(known: GuestRates | None, sample: GuestSample, weight: float) -> GuestRates:
    if known is None:
        return GuestRates(sample.cpu_ratio, sample.rx_bytes_per_s, sample.tx_bytes_per_s)
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

"""What an agent does with a lease, in virtual time: the curve of a simulated guest, and the report."""

from dataclasses import dataclass, field

from msgspec.structs import replace

from migd_core.messages import DirtyCurve, ProbeLease, ProbeReport, ProbeState
from migd_sim.model import Cluster


@dataclass(slots=True)
class SimAgent:
    """One host's agent as far as probes go: the newest curve of each guest, and what became of the newest lease."""

    curves: dict[str, DirtyCurve] = field(default_factory=dict)
    report: ProbeReport | None = None
    _lease: ProbeLease | None = None
    _done_s: float = 0.0

    @property
    def ends_s(self) -> float | None:
        """When the probe under way has its curve; None without one."""
        return None if self._lease is None else self._done_s

    def begin(self, lease: ProbeLease, now_s: float) -> None:
        """Take a lease at `now_s`, on the agent's clock, unless it is not for this moment."""
        if lease.refusal(now_s):
            self._end(lease, "refused")
            return
        self._lease, self._done_s = lease, now_s + lease.ages_s[-1]
        self._tell(lease, "under-way")

    def revoke(self, lease: str) -> None:
        """Give the probe up."""
        if self._lease is not None and self._lease.lease == lease:
            self._tell(self._lease, "revoked")
            self._lease = None

    def follow(self, cluster: Cluster, host: str, boot_id: str, now_s: float) -> None:
        """Go on to the present moment of `cluster`, `now_s` on its own clock; `boot_id` is this run of the agent."""
        residents = {uuid: guest for uuid, guest in cluster.guests.items() if guest.host == host}
        self.curves = {guest: curve for guest, curve in self.curves.items() if guest in residents}
        lease = self._lease
        if lease is None:
            return
        guest = residents.get(lease.guest_uuid)
        if lease.boot_id != boot_id:
            self._end(lease, "refused")
        elif guest is None or guest.migration is not None:
            self._end(lease, "stood-back")
        elif now_s >= lease.until_s:
            self._end(lease, "expired")
        elif now_s >= self._done_s:
            curve = cluster.counted_curve(lease.guest_uuid, lease.ages_s)
            self.curves[lease.guest_uuid] = replace(curve, measured_s=now_s)
            self._end(lease, "done")

    def _end(self, lease: ProbeLease, state: ProbeState) -> None:
        self._lease = None
        self._tell(lease, state)

    def _tell(self, lease: ProbeLease, state: ProbeState) -> None:
        self.report = ProbeReport(lease=lease.lease, guest_uuid=lease.guest_uuid, state=state)

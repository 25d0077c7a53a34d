"""Probes guests on leases of the controller, and on nothing else, while the ticks go on.

A lease names one guest, this run of the agent, and a time on this agent's clock by which the probe is off. The
controller keeps everybody from migrating the guest for longer than that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Protocol

import structlog
import zmq
from msgspec.structs import replace

from migd_agent.failures import Failures
from migd_agent.guest_source import GuestSource, PendingCurve
from migd_agent.xen.log_dirty import OutOfTime, StoodBack
from migd_core.errors import MigdError
from migd_core.messages import DirtyCurve, ProbeLease, ProbeReport, ProbeRevoked, ProbeState

NAME: Final = "dirty-curve"
_MAX_TEXT: Final = 1024


class Inbox(Protocol):
    """Where leases come in; see LeaseInbox."""

    @property
    def due_s(self) -> float: ...
    @property
    def sockets(self) -> tuple[zmq.Socket[Any], ...]: ...

    def follow(self, now_s: float) -> list[ProbeLease | ProbeRevoked]: ...


@dataclass(frozen=True, slots=True)
class Probed:
    """What a sample says of probes: the newest curve of each guest, and what became of the newest lease."""

    curves: Mapping[str, DirtyCurve] = field(default_factory=lambda: MappingProxyType({}))
    report: ProbeReport | None = None


@dataclass(frozen=True, slots=True)
class _UnderWay:
    lease: ProbeLease
    domid: int
    curve: PendingCurve


class Probing:
    """At most one probe at a time. Poll `readable`, and call `follow` when one is, and at latest at `due_s`."""

    def __init__(self, source: GuestSource, inboxes: Sequence[Inbox], boot_id: str, failures: Failures) -> None:
        """There is an inbox for each controller; leases come from the one that leads."""
        self._source, self._inboxes, self._boot_id, self._failures = source, inboxes, boot_id, failures
        self._curves: dict[str, tuple[int, DirtyCurve]] = {}
        self._report: ProbeReport | None = None
        self._under_way: _UnderWay | None = None

    @property
    def probed(self) -> Probed:
        """What is to be said in the next sample."""
        curves = {guest: curve for guest, (_, curve) in self._curves.items()}
        return Probed(MappingProxyType(curves), self._report)

    @property
    def readable(self) -> tuple[Any, ...]:
        """What to poll for reading."""
        curve = self._under_way.curve if self._under_way is not None else None
        sockets = tuple(each for inbox in self._inboxes for each in inbox.sockets)
        return (*sockets, curve) if curve is not None and curve.fileno() is not None else sockets

    @property
    def due_s(self) -> float:
        """When there is something to do even if nothing turns readable."""
        due_s = min(inbox.due_s for inbox in self._inboxes)
        return due_s if self._under_way is None else min(due_s, self._under_way.curve.due_s)

    def follow(self, guests: Mapping[str, int], now_s: float) -> None:
        """Go on with what is under way, and take leases in; `guests` are the domids by uuid of those running here."""
        for guest in [guest for guest, (domid, _) in self._curves.items() if guests.get(guest) != domid]:
            del self._curves[guest]
        # First what is under way: a peek that is due must not wait for a lease.
        if self._under_way is not None and self._under_way.curve.advance(now_s):
            self._take(self._under_way, now_s)
        for request in [each for inbox in self._inboxes for each in inbox.follow(now_s)]:
            match request:
                case ProbeLease():
                    self._begin(request, guests, now_s)
                case ProbeRevoked(lease=lease):
                    self._revoke(lease)

    def close(self) -> None:
        """Give up what is under way."""
        if self._under_way is not None:
            self._under_way.curve.close()
            self._under_way = None

    def _begin(self, lease: ProbeLease, guests: Mapping[str, int], now_s: float) -> None:
        if self._under_way is not None or (self._report is not None and self._report.lease == lease.lease):
            structlog.get_logger().warning("a lease is left alone: another is under way, or it came twice", lease=lease)
            return
        if why := self._unacceptable(lease, guests, now_s):
            self._tell(lease, "refused", why)
            return
        try:
            curve = self._source.begin_curve(lease.guest_uuid, lease.ages_s, lease.sessions, lease.until_s)
        except MigdError as error:
            self._tell(lease, "refused", str(error))
            return
        self._under_way = _UnderWay(lease, guests[lease.guest_uuid], curve)
        self._tell(lease, "under-way")

    def _unacceptable(self, lease: ProbeLease, guests: Mapping[str, int], now_s: float) -> str:
        if lease.boot_id != self._boot_id:
            return f"the lease is for another run of the agent ({lease.boot_id}), this is {self._boot_id}"
        if lease.guest_uuid not in guests:
            return "the guest is not on this host"
        return lease.refusal(now_s)

    def _revoke(self, lease: str) -> None:
        if self._under_way is not None and self._under_way.lease.lease == lease:
            revoked = self._under_way.lease
            self.close()
            self._tell(revoked, "revoked")

    def _take(self, done: _UnderWay, now_s: float) -> None:
        self._under_way = None
        try:
            curve = done.curve.take()
        except StoodBack as error:
            self._tell(done.lease, "stood-back", str(error))
        except OutOfTime as error:
            self._tell(done.lease, "expired", str(error))
        except MigdError as error:
            self._failures.report(NAME, {NAME: error})
            self._tell(done.lease, "failed", str(error))
        else:
            self._failures.report(NAME, {})
            if curve is None:
                self._tell(done.lease, "failed", "the guest is gone")
                return
            self._curves[done.lease.guest_uuid] = (done.domid, replace(curve, measured_s=now_s))
            self._tell(done.lease, "done")

    def _tell(self, lease: ProbeLease, state: ProbeState, text: str = "") -> None:
        self._report = ProbeReport(lease=lease.lease, guest_uuid=lease.guest_uuid, state=state, text=text[:_MAX_TEXT])
        log = structlog.get_logger().bind(lease=lease.lease, guest=lease.guest_uuid)
        log.info(f"probe {state}", **({"why": text} if text else {}))

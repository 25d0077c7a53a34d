"""The whole host and its guests as Xen counts them. Dom0's own kernel sees Dom0 only, and supplies NICs and clock."""

import math
import random
import time
from typing import Protocol

import structlog
from msgspec.structs import replace

from migd_agent.collectors.dom0 import Dom0
from migd_agent.failures import Failures
from migd_agent.guest_source import PendingCurve
from migd_agent.probing import NAME as DIRTY_CURVE
from migd_agent.xen import library
from migd_agent.xen.libxenctrl import LibXenCtrl
from migd_agent.xen.libxenstat import LibXenStat
from migd_agent.xen.log_dirty import LogDirtyProbes
from migd_agent.xen.probe_records import ProbeRecords
from migd_agent.xen.reading import DOM0, Domain, XenReading, XenUnreadable
from migd_agent.xen.xentop import Xentop
from migd_core.counters import GuestCounters, HostCounters


class Xen(Protocol):
    """What Xen is asked through."""

    def read(self) -> XenReading: ...

    def close(self) -> None: ...


class XenHost:
    """The guest source of a real Dom0.

    It replaces the host's own figures too: when Xen cannot be read, Dom0's alone would pass for those of the host.
    """

    supplies = ("dom0", "guests")

    def __init__(
        self, xen: Xen, host_uuid: str, nics: tuple[str, ...] = (), probes: LogDirtyProbes | None = None
    ) -> None:
        self._xen, self._dom0, self._probes = xen, Dom0(host_uuid, nics), probes
        self._domids: dict[str, int] = {}
        self._cpu_s: dict[int, float] = {}
        self._total_cpu_s = 0.0

    def collect(self, so_far: HostCounters | None) -> HostCounters:
        kernel = self._dom0.collect(so_far)
        reading = self._xen.read()
        # A domain that is gone takes its CPU time along, so the host's is added up from what each domain used.
        self._total_cpu_s += used_s(self._cpu_s, reading.domains)
        self._cpu_s = {domain.domid: domain.cpu_s for domain in reading.domains}
        counters = parse(reading, kernel, self._total_cpu_s)
        self._domids = {guest.uuid: guest.domid for guest in counters.guests}
        return counters

    @property
    def can_probe(self) -> bool:
        return self._probes is not None

    def begin_curve(self, guest_uuid: str, ages_s: tuple[float, ...], sessions: int, until_s: float) -> PendingCurve:
        domid = self._domids.get(guest_uuid)
        if self._probes is None or domid is None:
            raise XenUnreadable(f"guest {guest_uuid}: it is not on this host, or no guest can be probed here")
        return self._probes.begin(domid, ages_s, sessions, until_s)

    def close(self) -> None:
        self._xen.close()
        if self._probes is not None:
            self._probes.close()


def connect() -> Xen:
    """Return Xen through libxenstat, or through xentop where that is not installed. Raises XenUnreadable."""
    library.check_here()
    try:
        return LibXenStat()
    except library.NoLibrary as error:
        structlog.get_logger().warning("xentop is read instead of libxenstat, with less detail", why=str(error))
        return Xentop()


def probes(failures: Failures) -> LogDirtyProbes | None:
    """Return what counts dirty pages, with what a former life of the agent left on switched off.

    None where that cannot be had, which every sample then tells: guests are measured without it.
    """
    try:
        return LogDirtyProbes(LibXenCtrl(), ProbeRecords(), random.Random(), time.monotonic)
    except XenUnreadable as error:
        failures.report("probes", {DIRTY_CURVE: f"no guest is probed: {error}"})
        return None


def used_s(before: dict[int, float], domains: tuple[Domain, ...]) -> float:
    """Return the CPU time of all domains since `before` (by domid); one that is new has used all of its own since."""
    if not before:
        return 0.0
    return math.fsum(max(0.0, domain.cpu_s - before.get(domain.domid, 0.0)) for domain in domains)


def parse(reading: XenReading, kernel: HostCounters, total_cpu_s: float) -> HostCounters:
    """Return the counters of the host and its guests in `reading`; NICs and clock are the Dom0 kernel's.

    A domain without a uuid is being built, one that is ending runs no more; of two with one uuid (a guest that migrates
    to its own host) the one that runs counts, then the newer.
    """
    guests: dict[str, Domain] = {}
    for domain in sorted(reading.domains, key=lambda each: (not each.is_paused, each.domid)):
        if domain.domid != DOM0 and domain.uuid and not domain.is_ending:
            guests[domain.uuid] = domain
    dom0 = next((domain for domain in reading.domains if domain.domid == DOM0), None)
    if dom0 is None:
        raise XenUnreadable("Xen lists no domain 0, so what Dom0 uses is not known")
    return replace(
        kernel,
        cpus=reading.cpus,
        cpu_s=total_cpu_s,
        dom0_cpu_s=dom0.cpu_s,
        memory_bytes=reading.memory_bytes,
        memory_free_bytes=reading.memory_free_bytes,
        guests=tuple(_guest(domain) for domain in sorted(guests.values(), key=lambda each: each.domid)),
    )


def _guest(domain: Domain) -> GuestCounters:
    return GuestCounters(
        uuid=domain.uuid,
        domid=domain.domid,
        vcpus=domain.vcpus,
        cpu_s=domain.cpu_s,
        memory_bytes=domain.memory_bytes,
        rx_bytes=domain.rx_bytes,
        tx_bytes=domain.tx_bytes,
        is_paused=domain.is_paused,
        read_bytes=domain.read_bytes,
        written_bytes=domain.written_bytes,
        progress=domain.progress,
    )

"""Rates from two readings of cumulative counters. Pure: the same two readings give the same sample.

A rate is formed only where both readings count the same thing. A guest seen once, created anew (another domid: it
migrated or restarted), given another number of vCPUs, or whose counters fell has no rate for this interval. Counters
that would give an impossible rate are refused by name. What comes out always passes the bounds of the wire.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from migd_core.counters import FlowCounter, GuestCounters, HostCounters
from migd_core.messages import MAX_FLOWS, MAX_GUESTS, DirtyCurve, FlowSample, GuestSample, HostSample, ProbeReport

# Two readings are not taken at one instant, and the kernel counts CPU time in ticks of 10 ms: a busy CPU may read a
# little above 1. That much is noise and becomes 1; more is a broken counter.
JITTER_RATIO: Final = 0.05
JITTER_S: Final = 0.05
MIN_INTERVAL_S: Final = 0.01
MAX_INTERVAL_S: Final = 86400.0
# No NIC and no bridge comes near a terabyte a second; a counter that says so is broken.
MAX_BYTES_PER_S: Final = 1e12
MAX_CPUS: Final = 65536
MAX_NAME_CHARACTERS: Final = 128
_WRAP: Final = 2**32
_INT64: Final = 2**63


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a sample says about the agent itself and its probes; `dirty_curves` go along by guest uuid."""

    boot_id: str
    sequence: int
    monotonic_s: float
    dirty_curves: Mapping[str, DirtyCurve] = field(default_factory=lambda: MappingProxyType({}))
    probe: ProbeReport | None = None


@dataclass(frozen=True, slots=True)
class Formed:
    """The outcome of one interval.

    `sample` is None where the host itself has no rate: `host_refused` says what was impossible, or is None when the
    counters merely started anew. `guests_refused` gives the reason for each guest left out as impossible, and
    `all_guests_refused` says what is impossible about them together, when that leaves every one of them out.
    """

    sample: HostSample | None
    host_refused: str | None = None
    all_guests_refused: str | None = None
    guests_refused: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


class Impossible(ValueError):
    """Two readings that no working counter gives; the text says why. Stays within this module."""


class NotYet(Exception):
    """Two readings that do not count the same thing; the next interval will. Stays within this module."""


def form(before: HostCounters, now: HostCounters, stamp: Stamp) -> Formed:
    """Return the sample of the interval between two readings of one host, and what had to be left out."""
    try:
        host = _host(before, now, stamp)
    except NotYet:
        return Formed(None)
    except Impossible as error:
        return Formed(None, host_refused=str(error))
    guests, refused = _guests(before, now, host.interval_s, stamp.dirty_curves)
    flows = _flows(before, now)
    sample = replace(host, guests=guests, flows=flows or (), flows_held=flows is None)
    if (why := sample.contradiction()) is not None:
        return Formed(replace(sample, guests=()), all_guests_refused=why)
    return Formed(sample, guests_refused=MappingProxyType(refused))


def counted(before: int, now: int) -> int | None:
    """Return how far a byte counter went, across a wrap at 32 bits; None where it started anew.

    A counter that fell has wrapped if that means less than 2 GiB; otherwise it was reset.
    """
    if now >= before:
        return now - before
    wrapped = now - before + _WRAP
    return wrapped if before < _WRAP and wrapped < _WRAP // 2 else None


def cpu_ratio(used_s: float, cpus: int, elapsed_s: float) -> float:
    """Return CPU time over what `cpus` offer in `elapsed_s`, at most 1. Raises Impossible beyond jitter."""
    offered_s = cpus * elapsed_s
    if not used_s <= offered_s * (1 + JITTER_RATIO) + JITTER_S:
        raise Impossible(f"{used_s:.2f} s of CPU used in {elapsed_s:.2f} s on {cpus} CPUs")
    return min(1.0, used_s / offered_s)


def _host(before: HostCounters, now: HostCounters, stamp: Stamp) -> HostSample:
    _check_host(now)
    if (before.host_uuid, before.boot_id, before.cpus) != (now.host_uuid, now.boot_id, now.cpus):
        raise NotYet
    elapsed_s = now.at_s - before.at_s
    if not MIN_INTERVAL_S <= elapsed_s <= MAX_INTERVAL_S:
        raise Impossible(f"{elapsed_s:.3f} s between two readings (at {before.at_s:.3f} s and {now.at_s:.3f} s)")
    used_s, dom0_used_s = now.cpu_s - before.cpu_s, now.dom0_cpu_s - before.dom0_cpu_s
    if used_s < 0 or dom0_used_s < 0:
        raise NotYet
    ratio = cpu_ratio(used_s, now.cpus, elapsed_s)
    return HostSample(
        host_uuid=now.host_uuid,
        boot_id=stamp.boot_id,
        sequence=stamp.sequence,
        monotonic_s=stamp.monotonic_s,
        interval_s=elapsed_s,
        cpus=now.cpus,
        cpu_ratio=ratio,
        dom0_cpu_ratio=min(ratio, cpu_ratio(dom0_used_s, now.cpus, elapsed_s)),
        memory_bytes=now.memory_bytes,
        memory_free_bytes=now.memory_free_bytes,
        rx_bytes_per_s=_bytes_per_s(before.rx_bytes, now.rx_bytes, elapsed_s),
        tx_bytes_per_s=_bytes_per_s(before.tx_bytes, now.tx_bytes, elapsed_s),
        link_bytes_per_s=now.link_bytes_per_s,
        probe=stamp.probe,
        health=now.health,
    )


def _check_host(now: HostCounters) -> None:
    _check_finite(cpu_s=now.cpu_s, dom0_cpu_s=now.dom0_cpu_s, at_s=now.at_s)
    if not 1 <= now.cpus <= MAX_CPUS:
        raise Impossible(f"{now.cpus} CPUs")
    if not 0 < now.memory_bytes < _INT64 or not 0 <= now.memory_free_bytes <= now.memory_bytes:
        raise Impossible(f"{now.memory_free_bytes} bytes of memory free of {now.memory_bytes}")
    if now.link_bytes_per_s != 0 and not 1 <= now.link_bytes_per_s <= MAX_BYTES_PER_S:
        raise Impossible(f"a link of {now.link_bytes_per_s:g} bytes/s")


def _guests(
    before: HostCounters, now: HostCounters, elapsed_s: float, curves: Mapping[str, DirtyCurve]
) -> tuple[tuple[GuestSample, ...], dict[str, str]]:
    known = {guest.uuid: guest for guest in before.guests}
    listed = Counter(guest.uuid for guest in now.guests)
    samples: list[GuestSample] = []
    refused: dict[str, str] = {}
    for guest in now.guests:
        try:
            if listed[guest.uuid] > 1:
                raise Impossible(f"listed {listed[guest.uuid]} times")
            if len(samples) == MAX_GUESTS:
                raise Impossible(f"more than {MAX_GUESTS} guests on one host")
            samples.append(_guest(known.get(guest.uuid), guest, elapsed_s, curves.get(guest.uuid)))
        except NotYet:
            continue
        except Impossible as error:
            refused[guest.uuid[:MAX_NAME_CHARACTERS]] = str(error)
    return tuple(samples), refused


def _guest(before: GuestCounters | None, now: GuestCounters, elapsed_s: float, curve: DirtyCurve | None) -> GuestSample:
    if not 1 <= len(now.uuid) <= MAX_NAME_CHARACTERS:
        raise Impossible(f"a uuid of {len(now.uuid)} characters")
    _check_finite(cpu_s=now.cpu_s)
    if not 1 <= now.vcpus <= MAX_CPUS or not 0 <= now.memory_bytes < _INT64:
        raise Impossible(f"{now.vcpus} vCPUs, {now.memory_bytes} bytes of memory")
    if before is None or (before.domid, before.vcpus) != (now.domid, now.vcpus) or now.cpu_s < before.cpu_s:
        raise NotYet
    return GuestSample(
        uuid=now.uuid,
        vcpus=now.vcpus,
        cpu_ratio=cpu_ratio(now.cpu_s - before.cpu_s, now.vcpus, elapsed_s),
        memory_bytes=now.memory_bytes,
        rx_bytes_per_s=_bytes_per_s(before.rx_bytes, now.rx_bytes, elapsed_s),
        tx_bytes_per_s=_bytes_per_s(before.tx_bytes, now.tx_bytes, elapsed_s),
        dirty_curve=curve,
        read_bytes_per_s=_bytes_per_s(before.read_bytes, now.read_bytes, elapsed_s),
        written_bytes_per_s=_bytes_per_s(before.written_bytes, now.written_bytes, elapsed_s),
        progress=now.progress,
    )


def _flows(before: HostCounters, now: HostCounters) -> tuple[FlowSample, ...] | None:
    """Return the busiest flows between two readings of the switch; None where there are no two."""
    if now.flows_at_s is None:
        return ()
    went_s = now.flows_at_s - (now.flows_at_s if before.flows_at_s is None else before.flows_at_s)
    if not MIN_INTERVAL_S <= went_s <= MAX_INTERVAL_S:
        return None
    known = {(flow.source_mac, flow.target_mac): flow.bytes for flow in before.flows}
    rates = [
        FlowSample(flow.source_mac, flow.target_mac, rate)
        for flow in now.flows
        if (rate := _flow_rate(known.get((flow.source_mac, flow.target_mac), 0), flow, went_s)) > 0
    ]
    return tuple(sorted(rates, key=lambda flow: -flow.bytes_per_s)[:MAX_FLOWS])


def _flow_rate(before: int, now: FlowCounter, elapsed_s: float) -> float:
    """Return bytes per second, 0 where they cannot be told.

    A switch counts in 64 bits and forgets a pair that is quiet: one that is new, or whose counter fell, began at 0.
    """
    if not all(1 <= len(mac) <= MAX_NAME_CHARACTERS for mac in (now.source_mac, now.target_mac)):
        return 0.0
    try:
        return _bytes_per_s(before if before <= now.bytes else 0, now.bytes, elapsed_s)
    except Impossible:
        return 0.0


def _bytes_per_s(before: int, now: int, elapsed_s: float) -> float:
    if before < 0 or now < 0:
        raise Impossible(f"a byte counter of {min(before, now)}")
    went = counted(before, now)
    if went is None:
        raise NotYet
    if went > MAX_BYTES_PER_S * elapsed_s:
        raise Impossible(f"{went} bytes in {elapsed_s:.2f} s")
    return went / elapsed_s


def _check_finite(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise Impossible(f"{name} of {value:g}")

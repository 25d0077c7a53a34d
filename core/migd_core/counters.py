"""Cumulative counters as a Dom0 has them, before rates are formed.

`migd_agent` reads them from a `GuestSource`; the emulated pool serves the same shape on its control endpoint, so that
an agent beside it measures exactly as it would on Xen.
"""

import msgspec

from migd_core.health import UNKNOWN, HostHealth
from migd_core.progress import Progress


class GuestCounters(msgspec.Struct, frozen=True, kw_only=True):
    """One domain's counters since it was created on this host: `cpu_s` over all vCPUs, rx and tx the guest's.

    What it read and wrote is of its disks; `progress` is no counter of Xen's, but what the guest says of its job.
    """

    uuid: str
    domid: int
    vcpus: int
    cpu_s: float
    memory_bytes: int
    rx_bytes: int
    tx_bytes: int
    is_paused: bool = False
    read_bytes: int = 0
    written_bytes: int = 0
    progress: Progress | None = None


class FlowCounter(msgspec.Struct, frozen=True, array_like=True):
    """Bytes that crossed this host's bridge from one MAC address to another."""

    source_mac: str
    target_mac: str
    bytes: int


class HostCounters(msgspec.Struct, frozen=True, kw_only=True):
    """One host's counters at its own monotonic time `at_s`.

    `cpu_s` sums over all domains, Dom0 included; `link_bytes_per_s` is 0 where the NIC's speed is not known. `flows`
    were counted at `flows_at_s`, which may be a while ago; None: they were not. `health` is no counter, but read at the
    same place.
    """

    host_uuid: str
    boot_id: str
    at_s: float
    cpus: int
    cpu_s: float
    dom0_cpu_s: float
    memory_bytes: int
    memory_free_bytes: int
    rx_bytes: int
    tx_bytes: int
    link_bytes_per_s: float = 0.0
    guests: tuple[GuestCounters, ...] = ()
    flows: tuple[FlowCounter, ...] = ()
    flows_at_s: float | None = None
    health: HostHealth = UNKNOWN

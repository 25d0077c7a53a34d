"""Counters in a line: `host(5.0, guest("a", cpu_s=2.0))` is what a Dom0 shows five seconds after its start."""

from typing import Any

from migd_core.counters import FlowCounter, GuestCounters, HostCounters
from migd_core.units import GIB

HOST = "11111111-2222-3333-4444-555555555555"


def guest(uuid: str, **differs: Any) -> GuestCounters:
    """Return the counters of a guest of one vCPU that has done nothing yet."""
    counters = {
        "domid": 1,
        "vcpus": 1,
        "cpu_s": 0.0,
        "memory_bytes": GIB,
        "rx_bytes": 0,
        "tx_bytes": 0,
    }
    return GuestCounters(uuid=uuid, **(counters | differs))


def host(at_s: float, *guests: GuestCounters, **differs: Any) -> HostCounters:
    """Return the counters of a host of 4 CPUs whose guests' CPU time is all that was used."""
    counters = {
        "host_uuid": HOST,
        "boot_id": "boot",
        "cpus": 4,
        "cpu_s": sum(guest.cpu_s for guest in guests),
        "dom0_cpu_s": 0.0,
        "memory_bytes": 16 * GIB,
        "memory_free_bytes": 8 * GIB,
        "rx_bytes": 0,
        "tx_bytes": 0,
    }
    return HostCounters(at_s=at_s, guests=guests, **(counters | differs))


def busy_host(at_s: float, guests: int = 3) -> HostCounters:
    """Return a host at `at_s` whose guests have used half a vCPU and sent 1000 bytes/s since its start."""
    running = (guest(f"g{number}", cpu_s=0.5 * at_s, tx_bytes=int(1000 * at_s)) for number in range(guests))
    return host(at_s, *running, link_bytes_per_s=125e6)


def flow(source: str, target: str, count: int) -> FlowCounter:
    """Return the bytes seen from one MAC address to another."""
    return FlowCounter(source, target, count)

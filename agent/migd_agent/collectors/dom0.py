"""This host's CPU, memory and NICs, as its own kernel counts them. Works on any Linux.

Under Xen a kernel sees only its own domain: in a Dom0 these are Dom0's vCPUs and Dom0's CPU time, and a guest source
puts the whole host's in their place.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from migd_core.counters import HostCounters
from migd_core.errors import MigdError

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_NETWORK: Final = Path("/sys/class/net")
_BYTES_PER_S_OF_MBIT: Final = 1e6 / 8
_BUSY: Final = ("user", "nice", "system", "irq", "softirq")


@dataclass(frozen=True, slots=True)
class Nic:
    """One network interface. `bus` is what its device hangs on (pci, virtio, xen-backend), empty without a device."""

    rx_bytes: int
    tx_bytes: int
    bus: str = ""
    is_up: bool = True
    speed_mbit_per_s: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What the kernel says, as it says it. `cpu_times_s` since boot, over all CPUs, by mode."""

    at_s: float
    boot_id: str
    cpus: int
    cpu_times_s: Mapping[str, float]
    memory_bytes: int
    memory_available_bytes: int
    nics: Mapping[str, Nic]


class NicMissing(MigdError):
    """The configuration names a NIC that this host does not have."""


class Dom0:
    """The collector of the host's own figures; `nics` empty means all physical ones."""

    supplies = ("dom0",)

    def __init__(self, host_uuid: str, nics: tuple[str, ...] = ()) -> None:
        self._host_uuid, self._nics = host_uuid, nics

    def collect(self, so_far: HostCounters | None) -> HostCounters:
        return parse(read(), self._host_uuid, self._nics)

    def close(self) -> None:
        """Nothing is held open."""


def read() -> Reading:
    """Return what this machine's kernel counts now."""
    cpu_times, at_s = psutil.cpu_times(), time.monotonic()
    memory = psutil.virtual_memory()
    state = psutil.net_if_stats()
    return Reading(
        at_s=at_s,
        boot_id=_BOOT_ID.read_text(encoding="ascii").strip(),
        cpus=psutil.cpu_count() or 1,
        cpu_times_s=cpu_times._asdict(),
        memory_bytes=memory.total,
        memory_available_bytes=memory.available,
        nics={
            name: Nic(count.bytes_recv, count.bytes_sent, _bus(name), state[name].isup, state[name].speed)
            for name, count in psutil.net_io_counters(pernic=True).items()
            if name in state
        },
    )


def parse(reading: Reading, host_uuid: str, nics: tuple[str, ...] = ()) -> HostCounters:
    """Return the counters in `reading`, traffic summed over `nics`. Raises NicMissing."""
    chosen = [reading.nics[name] for name in (_named(nics, reading) if nics else _physical(reading))]
    busy_s = sum(reading.cpu_times_s.get(mode, 0.0) for mode in _BUSY)
    return HostCounters(
        host_uuid=host_uuid,
        boot_id=reading.boot_id,
        at_s=reading.at_s,
        cpus=reading.cpus,
        cpu_s=busy_s,
        dom0_cpu_s=busy_s,
        memory_bytes=reading.memory_bytes,
        memory_free_bytes=min(reading.memory_available_bytes, reading.memory_bytes),
        rx_bytes=sum(nic.rx_bytes for nic in chosen),
        tx_bytes=sum(nic.tx_bytes for nic in chosen),
        link_bytes_per_s=_slowest_mbit_per_s(chosen) * _BYTES_PER_S_OF_MBIT,
    )


def _named(nics: tuple[str, ...], reading: Reading) -> tuple[str, ...]:
    if missing := [name for name in nics if name not in reading.nics]:
        raise NicMissing(
            f"NIC {missing[0]}: named in measure.nics, not on this host; there are {', '.join(sorted(reading.nics))}"
        )
    return nics


def _physical(reading: Reading) -> list[str]:
    """Return the NICs that lead out of this machine: bridges, bonds and guests' interfaces would count bytes twice.

    A machine that has none (a container) is measured by everything but its loopback.
    """
    physical = [name for name, nic in reading.nics.items() if nic.bus not in ("", "xen-backend")]
    return physical or [name for name in reading.nics if name != "lo"]


def _slowest_mbit_per_s(nics: list[Nic]) -> int:
    # Which NIC will carry a migration is XAPI's choice; the slowest never promises too much. 0: none tells its speed.
    return min((nic.speed_mbit_per_s for nic in nics if nic.is_up and nic.speed_mbit_per_s > 0), default=0)


def _bus(nic: str) -> str:
    subsystem = _NETWORK / nic / "device" / "subsystem"
    return subsystem.readlink().name if subsystem.is_symlink() else ""

"""What a Dom0 measures: the data sources of a host and of its guests, and their readings from counters and records.

Names, units and bounds are those of rrdp-cpu, rrdp-netdev, rrdp-squeezed and rrdp-iostat. The counters of a host know
no single CPU: each cpuN of a host or guest has an even share of what all of its CPUs did.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import exp
from typing import Final

from migd_core.counters import GuestCounters, HostCounters
from migd_xapi.rrd.source import Kind, Source

Reading = tuple[Source, float]
LOAD_AVERAGE_S: Final = 60.0
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """What records say of a guest: its memory, network interfaces and disks by their devices (`0`, `xvda`)."""

    memory_bytes: int
    memory_target_bytes: int
    vifs: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What records and the scheduler say of a host. `wanted_vcpus` of its domains run or would run."""

    pif: str
    wanted_vcpus: float
    running_domains: int
    memory_reclaimed_bytes: int
    memory_reclaimable_bytes: int


def host_readings(counters: HostCounters, facts: HostFacts, load_average: float) -> Iterator[Reading]:
    """Yield what is read of a host."""
    for number in range(counters.cpus):
        yield _cpu(number, "Physical cpu usage for cpu "), counters.cpu_s / counters.cpus
    yield _CPU_AVERAGE, counters.cpu_s / counters.cpus
    yield _LOAD_AVERAGE, load_average
    yield _HOST_LOAD, facts.wanted_vcpus / counters.cpus
    yield _RUNNING_VCPUS, round(facts.wanted_vcpus)
    yield _RUNNING_DOMAINS, facts.running_domains
    yield _MEMORY_TOTAL, counters.memory_bytes // _KIB
    yield _MEMORY_FREE, counters.memory_free_bytes // _KIB
    yield _MEMORY_RECLAIMED, facts.memory_reclaimed_bytes
    yield _MEMORY_RECLAIMABLE, facts.memory_reclaimable_bytes
    for name, where in (("aggr", "all physical interfaces"), (facts.pif, f"physical interface {facts.pif}")):
        yield _traffic(f"pif_{name}_rx", f"Bytes per second received on {where}"), counters.rx_bytes
        yield _traffic(f"pif_{name}_tx", f"Bytes per second sent on {where}"), counters.tx_bytes
    yield _errors(f"pif_{facts.pif}_rx_errors", f"Receive errors per second on physical interface {facts.pif}"), 0
    yield _errors(f"pif_{facts.pif}_tx_errors", f"Transmit errors per second on physical interface {facts.pif}"), 0


def guest_readings(counters: GuestCounters, facts: GuestFacts) -> Iterator[Reading]:
    """Yield what is read of a guest. All its traffic is the first network interface's; its disks rest."""
    for number in range(counters.vcpus):
        yield _cpu(number, "CPU"), counters.cpu_s / counters.vcpus
    yield _CPU_USAGE, counters.cpu_s / counters.vcpus
    yield _MEMORY, facts.memory_bytes
    yield _MEMORY_TARGET, facts.memory_target_bytes
    for number, vif in enumerate(facts.vifs):
        where = f"virtual interface number '{vif}'"
        yield _traffic(f"vif_{vif}_rx", f"Bytes per second received on {where}"), 0 if number else counters.rx_bytes
        yield _traffic(f"vif_{vif}_tx", f"Bytes per second transmitted on {where}"), 0 if number else counters.tx_bytes
        yield _errors(f"vif_{vif}_rx_errors", f"Receive errors per second on {where}"), 0
        yield _errors(f"vif_{vif}_tx_errors", f"Transmit errors per second on {where}"), 0
    for disk in facts.disks:
        for source in _disk(disk):
            yield source, 0


def dom0_counters(counters: HostCounters, uuid: str, vcpus: int) -> GuestCounters:
    """Return the counters of a host's Dom0, as a guest's."""
    return GuestCounters(
        uuid=uuid, domid=0, vcpus=vcpus, cpu_s=counters.dom0_cpu_s, memory_bytes=0, rx_bytes=0, tx_bytes=0
    )


def load_average(before: float, busy_vcpus: float, interval_s: float) -> float:
    """Return the load average a while after it was `before`, as Linux forms it over a minute."""
    return busy_vcpus + (before - busy_vcpus) * exp(-interval_s / LOAD_AVERAGE_S)


def _gauge(name: str, description: str, units: str, *, lowest: float = 0.0) -> Source:
    return Source(name, description, units, Kind.GAUGE, lowest)


_CPU_AVERAGE: Final = Source("cpu_avg", "Average physical cpu usage", "(fraction)", Kind.DERIVE, 0.0, 1.0)
_CPU_USAGE: Final = Source("cpu_usage", "Domain CPU usage", "(fraction)", Kind.DERIVE, 0.0, 1.0)
_LOAD_AVERAGE: Final = _gauge("loadavg", "Domain0 loadavg", "(fraction)", lowest=float("-inf"))
_HOST_LOAD: Final = _gauge(
    "hostload",
    "Host load per physical cpu, where load refers to the number of vCPU(s) in running or runnable status.",
    "(fraction)",
)
_RUNNING_VCPUS: Final = _gauge("running_vcpus", "The total number of running vCPUs per host", "count")
_RUNNING_DOMAINS: Final = _gauge("running_domains", "The total number of running domains per host", "count")
_MEMORY_TOTAL: Final = _gauge("memory_total_kib", "Total amount of memory in the host", "KiB")
_MEMORY_FREE: Final = _gauge("memory_free_kib", "Total amount of free memory", "KiB")
_MEMORY_RECLAIMED: Final = _gauge("memory_reclaimed", "Host memory reclaimed by squeezed", "B", lowest=float("-inf"))
_MEMORY_RECLAIMABLE: Final = _gauge(
    "memory_reclaimed_max", "Host memory that could be reclaimed by squeezed", "B", lowest=float("-inf")
)
_MEMORY: Final = _gauge("memory", "Memory currently allocated to VM", "B")
_MEMORY_TARGET: Final = _gauge("memory_target", "Target of VM balloon driver", "B")


@cache
def _cpu(number: int, of: str) -> Source:
    description = f"{of}{number}" + (" usage" if of == "CPU" else "")
    return Source(f"cpu{number}", description, "(fraction)", Kind.DERIVE, 0.0, 1.0)


@cache
def _traffic(name: str, description: str) -> Source:
    return Source(name, description, "B/s", Kind.DERIVE, 0.0)


@cache
def _errors(name: str, description: str) -> Source:
    return Source(name, description, "err/s", Kind.DERIVE, 0.0, is_standard=False)


@cache
def _disk(device: str) -> tuple[Source, ...]:
    sources = (
        ("read", f"Reads from device {device}, in B/s", "B/s", Kind.DERIVE),
        ("write", f"Writes from device {device}, in B/s", "B/s", Kind.DERIVE),
        ("read_latency", f"Read latency from device {device}, in microseconds", "μs", Kind.GAUGE),
        ("write_latency", f"Write latency from device {device}, in microseconds", "μs", Kind.GAUGE),
        ("io_throughput_read", f"Data read from the {device}, in MiB/s", "MiB/s", Kind.ABSOLUTE),
        ("io_throughput_write", f"Data written to the {device}, in MiB/s", "MiB/s", Kind.ABSOLUTE),
        ("io_throughput_total", f"All {device} I/O, in MiB/s", "MiB/s", Kind.ABSOLUTE),
        ("iops_read", "Read requests per second", "requests/s", Kind.ABSOLUTE),
        ("iops_write", "Write requests per second", "requests/s", Kind.ABSOLUTE),
        ("iops_total", "I/O Requests per second", "requests/s", Kind.ABSOLUTE),
        ("iowait", "Total I/O wait time (all requests) per second", "s/s", Kind.ABSOLUTE),
        ("inflight", "Number of I/O requests currently in flight", "requests", Kind.GAUGE),
        ("latency", "Average I/O latency", "μs", Kind.GAUGE),
        ("avgqu_sz", "Average I/O queue size", "requests", Kind.GAUGE),
    )
    return tuple(
        Source(f"vbd_{device}_{name}", description, units, kind, 0.0) for name, description, units, kind in sources
    )

"""This host's own figures: which NICs count, what is busy, and what the link carries."""

from dataclasses import replace

import psutil
import pytest

from migd_agent.collectors import dom0
from migd_agent.collectors.dom0 import Dom0, Nic, NicMissing, Reading
from migd_core.counters import HostCounters
from migd_core.units import GIB

# A Dom0 with one bonded pair, the bridge on it, a second bridge, and two guests.
XEN_DOM0 = Reading(
    at_s=1000.5,
    boot_id="d1f2",
    cpus=4,
    cpu_times_s={
        "user": 10.0,
        "nice": 1.0,
        "system": 5.0,
        "idle": 900.0,
        "iowait": 7.0,
        "irq": 0.5,
        "softirq": 1.5,
        "steal": 3.0,
    },
    memory_bytes=4 * GIB,
    memory_available_bytes=3 * GIB,
    nics={
        "lo": Nic(999, 999),
        "eth0": Nic(1000, 100, bus="pci", speed_mbit_per_s=10_000),
        "eth1": Nic(2000, 200, bus="pci", speed_mbit_per_s=1_000),
        "eth2": Nic(0, 0, bus="pci", is_up=False, speed_mbit_per_s=100),
        "bond0": Nic(3000, 300, speed_mbit_per_s=11_000),
        "xenbr0": Nic(2900, 290),
        "vif1.0": Nic(500, 50, bus="xen-backend"),
        "vif2.0": Nic(500, 50, bus="xen-backend"),
    },
)


def test_physical_nics_count_once_and_the_slowest_that_is_up_is_the_link() -> None:
    assert dom0.parse(XEN_DOM0, "h") == HostCounters(
        host_uuid="h",
        boot_id="d1f2",
        at_s=1000.5,
        cpus=4,
        cpu_s=18.0,
        dom0_cpu_s=18.0,
        memory_bytes=4 * GIB,
        memory_free_bytes=3 * GIB,
        rx_bytes=3000,
        tx_bytes=300,
        link_bytes_per_s=125e6,
    )


def test_nics_that_are_named_count_alone() -> None:
    named = dom0.parse(XEN_DOM0, "h", ("eth0",))
    assert (named.rx_bytes, named.tx_bytes, named.link_bytes_per_s) == (1000, 100, 1.25e9)


def test_a_nic_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(
        NicMissing, match=r"NIC eth7: named in measure.nics, not on this host; there are bond0, eth0, .*"
    ):
        dom0.parse(XEN_DOM0, "h", ("eth7",))


def test_a_machine_without_physical_nics_is_measured_by_the_others() -> None:
    container = replace(XEN_DOM0, nics={"lo": Nic(999, 999), "eth0": Nic(10, 20)})
    counters = dom0.parse(container, "h")
    assert (counters.rx_bytes, counters.tx_bytes, counters.link_bytes_per_s) == (10, 20, 0.0)


def test_a_link_whose_speed_is_not_known_is_zero() -> None:
    assert (
        dom0.parse(replace(XEN_DOM0, nics={"eth0": Nic(1, 1, bus="virtio", speed_mbit_per_s=-1)}), "h").link_bytes_per_s
        == 0
    )


def test_the_machine_at_hand_can_be_read_and_its_counters_do_not_fall() -> None:
    collector = Dom0("h")
    first, second = collector.collect(None), collector.collect(None)
    assert first.cpus == psutil.cpu_count()
    assert first.memory_bytes == psutil.virtual_memory().total
    assert 0 < first.cpu_s <= second.cpu_s
    assert first.at_s < second.at_s
    assert first.boot_id == second.boot_id

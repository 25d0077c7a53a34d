"""Where guests may run, of what a pool file can say about hosts and guests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from migd_core.errors import ConfigError
from migd_core.units import GIB, MIB
from migd_xapi import cpu, ha, memory, placement, vm_operations
from migd_xapi.database import Row
from migd_xapi.failure import Failure
from migd_xapi.pool import Pool
from migd_xapi.server import Server
from migd_xapi.settings import GuestSettings, HighAvailability, HostSettings, Network, Storage

NULL = "OpaqueRef:NULL"


@dataclass
class Parts:
    """A pool's hosts and guests by number."""

    pool: Pool
    hosts: list[Row]
    vms: list[Row]

    def obstacle(self, vm: int, host: int, **checks: bool) -> list[str] | None:
        try:
            placement.check(self.pool, self.vms[vm], self.hosts[host], **checks)
        except Failure as failure:
            return list(failure.description)
        return None


@pytest.fixture
def parts(unserved: Callable[..., Server]) -> Callable[..., Parts]:
    def make(**settings: Any) -> Parts:
        pool = unserved(**settings).pool
        hosts = list(pool.db.rows("host"))
        return Parts(pool, hosts, [pool.db.by_uuid("VM", f"guest-{number}") for number in range(4)])

    return make


def test_local_storage_ties_a_guest_to_its_host(parts: Callable[..., Parts]) -> None:
    a = parts(
        storage=(Storage(name="shared"), Storage(name="local", is_shared=False, type="ext")),
        guests={"rank0": GuestSettings(storage=("shared", "local"))},
    )
    local = [row for row in a.pool.db.rows("SR") if not row["shared"]]
    assert len(local) == len(a.hosts)
    assert a.obstacle(0, 0) is None
    assert a.obstacle(0, 1) == ["VM_REQUIRES_SR", a.vms[0].ref, local[0].ref]
    assert a.obstacle(1, 2) is None
    assert a.pool.row["default_SR"] != local[0].ref


def test_storage_and_networks_may_reach_some_hosts_only(parts: Callable[..., Parts]) -> None:
    a = parts(
        storage=(Storage(name="shared", hosts=("xen0", "xen1")),),
        networks=(Network(name="fabric", hosts=("xen0", "xen2")),),
        guests={"rank0": GuestSettings(networks=("fabric",)), "rank2": GuestSettings(networks=("fabric",))},
    )
    fabric = next(row for row in a.pool.db.rows("network") if row["name_label"] == "fabric")
    assert a.obstacle(0, 1) == ["VM_REQUIRES_NETWORK", a.vms[0].ref, fabric.ref]
    assert [a.obstacle(0, 2), a.obstacle(1, 2)] == [
        ["VM_REQUIRES_SR", a.vms[number].ref, next(iter(a.pool.db.rows("SR"))).ref] for number in (0, 1)
    ]


def test_an_internal_network_is_where_its_guests_run(parts: Callable[..., Parts]) -> None:
    inside = GuestSettings(networks=("inside",))
    a = parts(networks=(Network(name="inside", hosts=()),), guests={"rank0": inside, "rank3": inside})
    (network,) = (row for row in a.pool.db.rows("network") if row["name_label"] == "inside")
    assert a.obstacle(0, 0) is None
    assert a.obstacle(0, 1) == ["VM_REQUIRES_NETWORK", a.vms[0].ref, network.ref]
    a.pool.db.update(network, other_config={"assume_network_is_shared": "true"})
    assert a.obstacle(0, 1) is None


def test_a_guest_keeps_the_features_of_the_host_that_started_it(parts: Callable[..., Parts]) -> None:
    old = HostSettings(cpu_features="0fcbfbff-80b82221")
    a = parts(hosts={"xen1": old, "xen2": HostSettings(cpu_vendor="AuthenticAMD", cpu_features="0fcbfbff-80b82221")})
    from_new, from_old = a.vms[0], a.vms[1]
    with pytest.raises(Failure) as caught:
        cpu.check(a.pool, from_new, a.hosts[1])
    assert caught.value.description[:3] == ("VM_INCOMPATIBLE_WITH_THIS_HOST", from_new.ref, a.hosts[1].ref)
    cpu.check(a.pool, from_old, a.hosts[0])
    with pytest.raises(Failure, match="different vendor"):
        cpu.check(a.pool, from_old, a.hosts[2])
    assert a.pool.row["cpu_info"]["features_hvm"] == "0fcbfbff-80b82221"
    # Started anew it has what all hosts have in common, and may go to any of the same make.
    a.pool.db.update(from_new, last_boot_CPU_flags=cpu.flags_of_pool(a.pool))
    cpu.check(a.pool, from_new, a.hosts[1])


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (GuestSettings(pci_devices=1), "VM_HAS_PCI_ATTACHED"),
        (GuestSettings(vgpus=1), "VM_HAS_VGPU"),
        (GuestSettings(has_tools=False), "VM_LACKS_FEATURE"),
        (GuestSettings(cannot_suspend_because="busy"), "VM_NON_SUSPENDABLE"),
        (GuestSettings(platform={"nomigrate": "true"}), "VM_IS_IMMOBILE"),
        (GuestSettings(platform={"nested-virt": "true"}), "VM_IS_IMMOBILE"),
        (GuestSettings(blocked_operations={"pool_migrate": "pinned"}), "OPERATION_BLOCKED"),
        (GuestSettings(has_tools=False, domain_type="pv"), None),
    ],
)
def test_what_keeps_a_guest_from_migrating_stands_in_the_pool_file(
    parts: Callable[..., Parts], settings: GuestSettings, code: str | None
) -> None:
    a = parts(guests={"rank0": settings})
    failure = vm_operations.failure_of(a.pool, a.vms[0], "pool_migrate")
    assert (failure.code if failure is not None else None) == code
    assert ("pool_migrate" in a.vms[0]["allowed_operations"]) is (code is None)
    assert "pool_migrate" in a.vms[1]["allowed_operations"]


def test_a_disk_that_forgets_ties_a_guest_only_with_a_cache(parts: Callable[..., Parts]) -> None:
    a = parts()
    disk = next(vm_operations.disks_of(a.pool, a.vms[0]))
    for config, operations in (
        ({"on_boot": "reset"}, {"pool_migrate"}),
        ({"on_boot": "reset", "caching": "true"}, set()),
        ({"on_boot": "persist", "caching": "true"}, {"pool_migrate", "suspend", "snapshot"}),
    ):
        a.pool.db.update(disk, sm_config=config)
        vm_operations.refresh(a.pool, a.vms[0])
        assert {"pool_migrate", "suspend", "snapshot"} & set(a.vms[0]["allowed_operations"]) == operations


def test_memory_is_counted_by_what_guests_may_be_ballooned_down_to(parts: Callable[..., Parts]) -> None:
    a = parts(guests={"rank0": GuestSettings(memory_dynamic_min_bytes=GIB, memory_static_max_bytes=4 * GIB)})
    vm = a.vms[0]
    assert [vm[f"memory_{name}"] for name in ("static_min", "dynamic_min", "dynamic_max", "static_max")] == [
        GIB // 2,
        GIB,
        2 * GIB,
        4 * GIB,
    ]
    assert memory.needed_bytes(vm) == GIB + vm["memory_overhead"]
    assert vm["memory_overhead"] > a.vms[1]["memory_overhead"]


@pytest.mark.parametrize(
    ("vcpus", "memory_bytes", "shadow_multiplier", "overhead_mib"),
    [
        (1, 4 * GIB, 1.0, 36),  # 2 + 33 (256 × 1 + 2 × 4096 pages) + 1 (38 pages)
        (8, 4 * GIB, 1.0, 44),  # 2 + 40 (256 × 8 + 2 × 4096 pages) + 2 (304 pages)
        (1, 4 * GIB, 1.5, 53),  # 2 + 1.5 × 33 + 1, rounded up
    ],
)
def test_the_overhead_of_a_guest_is_shadow_memory_and_38_pages_a_vcpu(
    vcpus: int, memory_bytes: int, shadow_multiplier: float, overhead_mib: int
) -> None:
    # 256 pages are 1 MiB; each term is rounded up to whole ones.
    assert memory.overhead_bytes(vcpus, memory_bytes, shadow_multiplier) == overhead_mib * MIB


def test_a_guest_has_as_many_vcpus_as_its_host_at_most(parts: Callable[..., Parts]) -> None:
    a = parts()
    a.pool.db.update(a.vms[0], VCPUs_max=5)
    assert a.obstacle(0, 1) == ["HOST_NOT_ENOUGH_PCPUS", "5", "4"]
    a.pool.db.update(a.vms[0], platform={"vcpu-unrestricted": "true"})
    assert a.obstacle(0, 1) is None


def test_parameters_are_looked_at_first(parts: Callable[..., Parts]) -> None:
    a = parts()
    a.pool.db.update(a.vms[0], VCPUs_at_startup=3)
    a.pool.db.update(a.pool.db.get("host_metrics", a.hosts[1]["metrics"]), live=False)
    assert a.obstacle(0, 1) == ["INVALID_VALUE", "VCPUs-at-startup", "3"]
    a.pool.db.update(a.vms[0], VCPUs_at_startup=2, memory_dynamic_min=3 * GIB)
    assert (a.obstacle(0, 1) or [])[0] == "MEMORY_CONSTRAINT_VIOLATION"
    a.pool.db.update(a.vms[0], memory_dynamic_min=GIB)
    assert a.obstacle(0, 1) == ["HOST_NOT_LIVE"]


def test_a_guest_on_its_way_has_one_possible_host(parts: Callable[..., Parts]) -> None:
    a = parts()
    assert placement.possible_hosts(a.pool, a.vms[0]) == a.hosts
    a.pool.db.update(a.vms[0], scheduled_to_be_resident_on=a.hosts[2].ref)
    assert placement.possible_hosts(a.pool, a.vms[0]) == [a.hosts[2]]


def protected(**settings: Any) -> dict[str, Any]:
    guests = {f"rank{number}": GuestSettings(ha_restart_priority="restart") for number in range(4)}
    return {"guests": guests, "ha": HighAvailability(**settings)}


def test_a_move_that_leaves_no_room_for_a_failed_host_is_refused(parts: Callable[..., Parts]) -> None:
    a = parts(**protected())
    assert (a.pool.row["ha_enabled"], a.pool.row["ha_plan_exists_for"], a.pool.row["ha_overcommitted"]) == (
        True,
        1,
        False,
    )
    for host, room in ((a.hosts[1], 5 * GIB), (a.hosts[2], GIB)):  # two guests more fit on one, none on the other
        a.pool.db.update(host, memory_overhead=host["memory_overhead"] + memory.free_bytes(a.pool, host) - room)
    ha.check_arrival(a.pool, a.vms[2], a.hosts[2])
    with pytest.raises(Failure, match="HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN"):
        ha.check_arrival(a.pool, a.vms[2], a.hosts[1])
    ha.check_disable(a.pool, a.hosts[2])
    with pytest.raises(Failure, match="HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN"):
        ha.check_disable(a.pool, a.hosts[1])
    a.pool.db.update(a.pool.row, ha_allow_overcommit=True)
    ha.check_arrival(a.pool, a.vms[2], a.hosts[1])


def test_a_pool_that_cannot_keep_its_promise_says_so(parts: Callable[..., Parts]) -> None:
    a = parts(**protected(host_failures_to_tolerate=3))
    assert (a.pool.row["ha_plan_exists_for"], a.pool.row["ha_overcommitted"]) == (2, True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guests": {"rank9": GuestSettings()}}, "xapi.guests: there is no guest 'rank9'; there is rank0, rank1"),
        ({"hosts": {"xen9": HostSettings()}}, "xapi.hosts: there is no host 'xen9'"),
        ({"coordinator": "xen9"}, "xapi.coordinator: there is no host 'xen9'"),
        ({"storage": (Storage(name="s", hosts=("xen9",)),)}, "xapi: s: hosts: there is no host 'xen9'"),
        ({"guests": {"rank0": GuestSettings(storage=("x",))}}, "xapi.guests.rank0.storage: there is no storage 'x'"),
        ({"guests": {"rank0": GuestSettings(networks=("x",))}}, "there is no network 'x'; there is none"),
        ({"guests": {"rank0": GuestSettings(blocked_operations={"fly": ""})}}, "there is no operation 'fly'"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(parts: Callable[..., Parts], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parts(**settings)


def test_a_template_is_no_guest(parts: Callable[..., Parts]) -> None:
    a = parts(templates=("Debian 12",))
    (template,) = (row for row in a.pool.db.rows("VM") if row["is_a_template"])
    assert (template["power_state"], template["is_default_template"]) == ("Halted", True)
    assert {"clone", "copy"} <= set(template["allowed_operations"])
    assert not {"start", "destroy", "pool_migrate"} & set(template["allowed_operations"])

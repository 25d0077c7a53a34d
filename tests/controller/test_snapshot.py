"""Inventory and telemetry as a world: where memory is taken, who may not move and why, who talks with whom."""

from collections.abc import Iterable

import pytest
from cluster_of_events import CONFIG, pool_guest, pool_host
from msgspec.structs import replace

from migd_controller.config import ControllerConfig, TopologySection
from migd_controller.events import InventoryChanged, PoolGuest, PoolHost, Resource
from migd_controller.holds import Hold
from migd_controller.inventory import Inventory
from migd_controller.memory import Memory, RememberedJob
from migd_controller.migration import Migration
from migd_controller.pool_failures import Scope, Then
from migd_controller.snapshot import build_world
from migd_controller.telemetry import Telemetry
from migd_core.messages import FlowSample, GuestSample, HostSample
from migd_core.units import GIB
from migd_core.world import Flow, Level, World

NOW_S = 1_000_000.0
HOSTS = (pool_host("a"), pool_host("b"), pool_host("c"))
REMEMBERED = Memory(policy="observe")


def sample(host: str, *guests: str, flows: Iterable[FlowSample] = (), dom0_cpu_ratio: float = 0.0) -> HostSample:
    """What the agent of `host` reports: its guests, each at half of its one vCPU."""
    return HostSample(
        host_uuid=host,
        boot_id="boot",
        sequence=1,
        monotonic_s=1.0,
        interval_s=1.0,
        cpus=4,
        cpu_ratio=0.5,
        dom0_cpu_ratio=dom0_cpu_ratio,
        memory_bytes=64 * GIB,
        memory_free_bytes=0,
        rx_bytes_per_s=0.0,
        tx_bytes_per_s=0.0,
        link_bytes_per_s=125e6,
        guests=tuple(
            GuestSample(
                uuid=guest, vcpus=1, cpu_ratio=0.5, memory_bytes=4 * GIB, rx_bytes_per_s=1.0, tx_bytes_per_s=2.0
            )
            for guest in guests
        ),
        flows=tuple(flows),
    )


def seen(
    *guests: PoolGuest,
    hosts: Iterable[PoolHost] = HOSTS,
    samples: Iterable[HostSample] | None = None,
    memory: Memory = REMEMBERED,
    config: ControllerConfig = CONFIG,
) -> World:
    """Build the world of these guests; without `samples` the agent of each host reports all of its guests."""
    inventory, telemetry = Inventory(), Telemetry(smoothing_s=config.period_s)
    inventory.apply(InventoryChanged(hosts=tuple(hosts), guests=guests, is_complete=True))
    if samples is None:
        samples = [sample(host.uuid, *(one.uuid for one in guests if one.host == host.uuid)) for host in hosts]
    for one in samples:
        telemetry.accept(one, NOW_S - 1.0)
    return build_world(NOW_S, inventory, telemetry, memory, config)


def free_gib(found: World) -> dict[str, float]:
    return {uuid: host.memory_free_bytes / GIB for uuid, host in found.hosts.items()}


def in_flight(guest: str, source: str, target: str) -> Memory:
    migration = Migration(
        cause="D1.1", guest=guest, source=source, target=target, requested_by="by hand", asked_at=NOW_S - 5.0
    )
    return replace(REMEMBERED, in_flight={migration.cause: migration})


# Hosts have 64 GiB, guests 4.


def test_a_guest_takes_memory_where_it_is() -> None:
    assert free_gib(seen(pool_guest("g", "a"), pool_guest("h", "a"))) == {"a": 56.0, "b": 64.0, "c": 64.0}


def test_a_guest_that_somebody_migrates_takes_memory_on_both_hosts() -> None:
    assert free_gib(seen(pool_guest("g", "a", arriving_at="b"))) == {"a": 60.0, "b": 60.0, "c": 64.0}


def test_a_migration_that_the_pool_does_not_show_yet_has_its_memory_taken_already() -> None:
    found = seen(pool_guest("g", "a"), memory=in_flight("g", "a", "b"))
    assert free_gib(found) == {"a": 60.0, "b": 60.0, "c": 64.0}
    assert [(one.guest, one.source, one.target) for one in found.moves_in_flight] == [("g", "a", "b")]


def test_a_migration_that_pool_and_controller_both_know_takes_its_memory_once() -> None:
    found = seen(pool_guest("g", "a", arriving_at="b"), memory=in_flight("g", "a", "b"))
    assert free_gib(found) == {"a": 60.0, "b": 60.0, "c": 64.0}


def test_a_guest_that_is_gone_takes_no_memory_though_its_migration_is_under_way() -> None:
    assert free_gib(seen(memory=in_flight("g", "a", "b"))) == {"a": 64.0, "b": 64.0, "c": 64.0}


def test_an_overfull_host_has_nothing_free() -> None:
    assert free_gib(seen(pool_guest("g", "a", memory_bytes=65 * GIB)))["a"] == 0.0


def hold(then: Then, until: float | None) -> Memory:
    one = Hold(
        guest="g",
        guest_name="g",
        target="b",
        target_name="b",
        then=then,
        scope=Scope.GUEST,
        code="VM_LACKS_FEATURE",
        text="the guest has no tools",
        cause="D1.1",
        at=NOW_S - 100.0,
        until=until,
    )
    return replace(REMEMBERED, holds={"g": one})


def test_a_guest_that_is_reported_and_in_nobodys_way_may_move() -> None:
    guest = seen(pool_guest("g", "a")).guests["g"]
    assert (guest.immovable_because, guest.cooldown_s) == (None, 0.0)
    assert (guest.cpu_used_vcpus, guest.rx_bytes_per_s, guest.tx_bytes_per_s) == (0.5, 1.0, 2.0)


@pytest.mark.parametrize(
    ("guest", "why"),
    [
        (pool_guest("g", "a", arriving_at="b"), "it is being migrated"),
        (pool_guest("g", "a", busy_with="snapshot"), "snapshot is under way"),
        (pool_guest("g", "a", blocked_because="backup"), "the pool does not allow it: backup"),
        (pool_guest("g", "a", tags=("migd:never",)), "it is tagged migd:never"),
    ],
)
def test_what_the_pool_says_keeps_a_guest_where_it_is(guest: PoolGuest, why: str) -> None:
    assert seen(guest).guests["g"].immovable_because == why


def test_a_guest_that_its_live_hosts_agent_does_not_report_may_not_move() -> None:
    found = seen(pool_guest("g", "a"), pool_guest("h", "a"), samples=[sample(name, "h") for name in ("a", "b", "c")])
    assert found.hosts["a"].frozen_because is None
    assert found.guests["g"].immovable_because == "it is not measured on its host yet"
    assert found.guests["h"].immovable_because is None


def test_a_guest_of_a_silent_host_may_not_move() -> None:
    found = seen(pool_guest("g", "a"), samples=[sample("b"), sample("c")])
    assert found.guests["g"].immovable_because == "its host is frozen: no agent has reported from it yet"


def test_a_guest_that_no_other_host_could_run_may_not_move() -> None:
    disk = Resource("sr", "local disk")
    found = seen(pool_guest("g", "a", storages=(disk,)), hosts=[pool_host("a", storages=("sr",)), pool_host("b")])
    assert str(found.guests["g"].immovable_because).startswith("no other host could run it: ")


def test_a_guest_in_quarantine_may_not_move() -> None:
    because = seen(pool_guest("g", "a"), memory=hold(Then.NEVER, None)).guests["g"].immovable_because
    assert "the guest has no tools" in str(because)


def test_a_guest_rests_for_the_longer_of_its_cooldown_and_what_its_failure_asks() -> None:
    # The cooldown is 600 s, of which 500 are left; the failure asks for 900, of which 700 are.
    moved = replace(REMEMBERED, last_moved_at={"g": NOW_S - 100.0})
    assert seen(pool_guest("g", "a"), memory=moved).guests["g"].cooldown_s == 500.0
    for until, rest_s in ((NOW_S + 700.0, 700.0), (NOW_S + 50.0, 500.0)):
        both = replace(hold(Then.RETRY_LATER, until), last_moved_at=moved.last_moved_at)
        assert seen(pool_guest("g", "a"), memory=both).guests["g"].cooldown_s == rest_s


def test_a_hosts_load_is_what_its_guests_want_and_what_dom0_uses() -> None:
    guests = [pool_guest("g", "a"), pool_guest("h", "a")]
    found = seen(*guests, samples=[sample("a", "g", "h", dom0_cpu_ratio=0.125)])
    # two half vCPUs over 4 CPUs, and an eighth
    assert found.hosts["a"].load_ratio == 0.25 + 0.125


def talking(*samples: HostSample) -> tuple[Flow, ...]:
    guests = [pool_guest("g", "a", macs=("mg",)), pool_guest("h", "b", macs=("mh",))]
    return seen(*guests, samples=samples).flows


def test_a_flow_that_two_hosts_see_counts_once_by_the_greater_reading() -> None:
    a = sample("a", "g", flows=[FlowSample("mg", "mh", 1000.0)])
    b = sample("b", "h", flows=[FlowSample("mg", "mh", 900.0)])
    assert talking(a, b) == talking(b, a) == (Flow("g", "h", 1000.0),)


def test_the_two_directions_of_a_pair_are_added() -> None:
    flows = [FlowSample("mg", "mh", 1000.0), FlowSample("mh", "mg", 200.0)]
    assert talking(sample("a", "g", flows=flows)) == (Flow("g", "h", 1200.0),)


def test_traffic_with_what_is_no_guest_or_with_itself_is_no_flow() -> None:
    flows = [FlowSample("mg", "router", 1000.0), FlowSample("router", "mh", 1000.0), FlowSample("mg", "mg", 1000.0)]
    assert talking(sample("a", "g", flows=flows)) == ()


def test_a_jobs_remaining_time_runs_down_and_its_guests_bear_its_name() -> None:
    jobs = {
        "brams": RememberedJob(name="brams", guests=("g", "gone"), ends_at=NOW_S + 60.0),
        "late": RememberedJob(name="late", guests=(), ends_at=NOW_S - 60.0),
        "open": RememberedJob(name="open", guests=()),
    }
    found = seen(pool_guest("g", "a"), pool_guest("h", "a"), memory=replace(REMEMBERED, jobs=jobs))
    assert {name: job.remaining_s for name, job in found.jobs.items()} == {"brams": 60.0, "late": 0.0, "open": None}
    assert found.jobs["brams"].guests == ("g",)
    assert (found.guests["g"].job, found.guests["h"].job) == ("brams", None)


def test_switches_name_hosts_by_name_or_uuid() -> None:
    config = replace(CONFIG, topology=TopologySection(switches={"rack1": ["xen01", "b"], "rack2": ["c"]}))
    hosts = [replace(pool_host("a"), name="xen01"), pool_host("b"), pool_host("c")]
    topology = seen(hosts=hosts, config=config).topology
    assert topology.level("a", "b") is Level.SAME_SWITCH
    assert topology.level("a", "c") is Level.WIDE_AREA

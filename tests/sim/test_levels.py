"""What a level of the topology carries, for messages and for migrations, and what traffic costs Dom0."""

import pytest
from msgspec.structs import replace
from pools import LEVELS, guest, host, migrate, pool, uuid_of

from migd_core.units import GIB
from migd_core.world import Level
from migd_sim.model import Cluster, MigrationEnd
from migd_sim.model.precopy import RESUME_S, SETUP_S, SUSPEND_S
from migd_sim.model.rates import DOM0_IDLE_VCPUS
from migd_sim.model.spec import DOM0_BYTES_PER_VCPU_S, GuestSpec, HostSpec, JobSpec, LevelSpec, PoolSpec

WAN_BYTES_PER_S = LEVELS[Level.WIDE_AREA].bandwidth_bytes_per_s
FIXED_S = SETUP_S + SUSPEND_S + RESUME_S


def cluster_of(*parts: HostSpec | GuestSpec | JobSpec) -> Cluster:
    return Cluster(replace(pool(*parts), levels=LEVELS))


def sites(*, pairs: int, job: bool = True) -> Cluster:
    """Two switches with as many hosts of one guest each; each guest's job has its other rank at the other switch."""
    names = range(pairs)
    return cluster_of(
        *(host(f"{site}{n}", switch=site) for site in ("here", "there") for n in names),
        *(guest(f"{site}-rank{n}", f"{site}{n}") for site in ("here", "there") for n in names),
        *(
            JobSpec(name=f"job{n}", ranks=(f"here-rank{n}", f"there-rank{n}"), work_s=0.01, exchange_bytes=1e6)
            for n in names
            if job
        ),
    )


@pytest.mark.parametrize(
    ("level", "ranks"),
    [
        (Level.SAME_GUEST, ("g", "g")),
        (Level.SAME_HOST, ("g", "beside")),
        (Level.SAME_SWITCH, ("g", "across")),
        (Level.WIDE_AREA, ("g", "far")),
    ],
)
def test_a_message_costs_what_its_level_takes(level: Level, ranks: tuple[str, str]) -> None:
    cluster = cluster_of(
        host("a"), host("b"), host("c", switch="other"),
        guest("g", "a", vcpus=2), guest("beside", "a"), guest("across", "b"), guest("far", "c"),
        JobSpec(name="pair", ranks=ranks, work_s=0.5, exchange_bytes=1e6),
    )  # fmt: skip
    cluster.run_until(1.0)
    step_s = 0.5 + LEVELS[level].latency_s + 1e6 / LEVELS[level].bandwidth_bytes_per_s
    assert 1 / cluster.jobs["pair"].steps_per_s == pytest.approx(step_s)


def test_a_migration_across_the_wide_area_takes_as_long_as_that_needs() -> None:
    """4 GiB at 10 MB/s: 430 s, however fast the NICs at both ends are."""
    cluster = cluster_of(host("a"), host("b", switch="other"), guest("g", "a", memory_bytes=4 * GIB))
    end = migrate(cluster)
    assert end.ended_s - end.started_s == pytest.approx(4 * GIB / WAN_BYTES_PER_S + FIXED_S)


def test_a_nic_slower_than_the_wide_area_still_sets_the_pace() -> None:
    cluster = cluster_of(host("a", link=5e6), host("b", switch="other"), guest("g", "a"))
    end = migrate(cluster)
    assert end.ended_s - end.started_s == pytest.approx(GIB / 5e6 + FIXED_S)


def test_two_migrations_share_the_link_between_two_switches_though_no_nic() -> None:
    """In opposite directions they do not: the link carries its bandwidth each way."""
    for source, target, sharing in (("here1", "there1", 2), ("there1", "here1", 1)):
        cluster = sites(pairs=2, job=False)
        ends: list[MigrationEnd] = []
        for moved, to in (("here-rank0", "there0"), (f"{source[:-1]}-rank1", target)):
            cluster.start_migration(uuid_of(cluster, moved), uuid_of(cluster, to), ends.append)
        cluster.run_until(1000.0)
        for end in ends:
            assert end.ended_s - end.started_s == pytest.approx(sharing * GIB / WAN_BYTES_PER_S + FIXED_S)


def test_migrations_between_different_switches_do_not_share() -> None:
    cluster = cluster_of(
        *(host(name, switch=name) for name in "abcd"), guest("g", "a"), guest("h", "c"),
    )  # fmt: skip
    ends: list[MigrationEnd] = []
    for moved, to in (("g", "b"), ("h", "d")):
        cluster.start_migration(uuid_of(cluster, moved), uuid_of(cluster, to), ends.append)
    cluster.run_until(1000.0)
    for end in ends:
        assert end.ended_s - end.started_s == pytest.approx(GIB / WAN_BYTES_PER_S + FIXED_S)


def test_eight_pairs_that_talk_across_the_wide_area_share_it() -> None:
    """Each message gets an eighth of 10 MB/s: a step takes 10 ms of work, 50 ms of latency and 800 ms on the link."""
    cluster = sites(pairs=8)
    cluster.run_until(100.0)
    for job in cluster.jobs.values():
        assert 1 / job.steps_per_s == pytest.approx(0.01 + 0.05 + 8 * 1e6 / WAN_BYTES_PER_S, rel=1e-6)
    sent = sum(cluster.counters(uuid_of(cluster, f"here{n}")).tx_bytes for n in range(8))
    assert 0.9 * WAN_BYTES_PER_S < sent / 100.0 <= WAN_BYTES_PER_S


def test_ranks_of_one_guest_share_the_link_too() -> None:
    """Four ranks in two guests, in a ring: four messages each way at once, not one for the pair of guests."""
    ranks = ("g", "far", "g", "far")
    cluster = cluster_of(
        host("a"), host("b", switch="other"), guest("g", "a", vcpus=2), guest("far", "b", vcpus=2),
        JobSpec(name="ring", ranks=ranks, work_s=0.01, exchange_bytes=1e6),
    )  # fmt: skip
    cluster.run_until(100.0)
    assert cluster.counters(uuid_of(cluster, "a")).tx_bytes / 100.0 <= WAN_BYTES_PER_S


def test_a_migration_across_the_wide_area_halves_what_talk_across_it_gets_though_it_uses_other_nics() -> None:
    cluster = cluster_of(
        host("a"), host("b"), host("c", switch="other"), host("d", switch="other"),
        guest("g", "a"), guest("far", "c"), guest("moving", "b"),
        JobSpec(name="pair", ranks=("g", "far"), work_s=0.01, exchange_bytes=1e6),
    )  # fmt: skip
    cluster.start_migration(uuid_of(cluster, "moving"), uuid_of(cluster, "d"), lambda end: None)
    cluster.run_until(30.0)
    assert 1 / cluster.jobs["pair"].steps_per_s == pytest.approx(0.01 + 0.05 + 2 * 1e6 / WAN_BYTES_PER_S)


def test_netback_copies_each_byte_between_guests_of_one_host_twice() -> None:
    """Out of one guest and into the other, in both directions of a pair; a byte that leaves the host only once."""

    def dom0_vcpus(ranks: tuple[str, str], uuid: str) -> tuple[float, float]:
        cluster = cluster_of(
            host("a"), host("b"), guest("g", "a"), guest("beside", "a"), guest("across", "b"),
            JobSpec(name="pair", ranks=ranks, work_s=0.01, exchange_bytes=1e6),
        )  # fmt: skip
        cluster.run_until(10.0)
        one_way = 1e6 * cluster.jobs["pair"].steps_done / 10.0
        return cluster.counters(uuid_of(cluster, uuid)).dom0_cpu_s / 10.0 - DOM0_IDLE_VCPUS, one_way

    within, one_way = dom0_vcpus(("g", "beside"), "a")
    assert within == pytest.approx(4 * one_way / DOM0_BYTES_PER_VCPU_S, rel=0.01)
    for end in ("a", "b"):
        across, one_way = dom0_vcpus(("g", "across"), end)
        assert across == pytest.approx(2 * one_way / DOM0_BYTES_PER_VCPU_S, rel=0.01)


def test_dom0_pays_for_what_it_moves_now_not_for_a_migration_that_is_over() -> None:
    cluster = cluster_of(host("a"), host("b"), guest("g", "a"))
    migrate(cluster)
    assert [state.dom0_cpu_rate for state in cluster.hosts.values()] == [DOM0_IDLE_VCPUS] * 2


def test_a_pool_that_names_one_level_has_the_others_as_they_usually_are() -> None:
    slow = LevelSpec(bandwidth_bytes_per_s=1e6, latency_s=1e-3)
    usual = PoolSpec(name="p", hosts=(HostSpec(name="a", cpus=1, memory_bytes=1),)).levels
    one = PoolSpec(name="p", hosts=(HostSpec(name="a", cpus=1, memory_bytes=1),), levels={Level.SAME_HOST: slow}).levels
    assert one == {**usual, Level.SAME_HOST: slow}


def test_messages_wait_in_the_queue_that_a_migration_keeps_at_the_nic_it_leaves_by() -> None:
    """Those from there and those to there, whose answers wait; TCP's window lets so many bytes under way meanwhile.

    What goes between others, and what leaves the migration's target, does not wait.
    """
    ranks = {"out": ("g", "far"), "in": ("far", "g"), "of-others": ("far", "beyond"), "at-the-target": ("there", "far")}
    slowed = {}
    for name, pair in ranks.items():
        for queue_bytes in (0.0, 1e6):
            spec = pool(
                *(host(each) for each in "abcd"),
                guest("g", "a"), guest("moving", "a"), guest("there", "b"), guest("far", "c"), guest("beyond", "d"),
                JobSpec(name="pair", ranks=pair, work_s=1e-6, exchange_bytes=1e6),
            )  # fmt: skip
            cluster = Cluster(replace(spec, levels=LEVELS, queue_bytes=queue_bytes, window_bytes=50_000.0))
            cluster.start_migration(uuid_of(cluster, "moving"), uuid_of(cluster, "b"), lambda _: None)
            cluster.run_until(3.0)
            slowed[name, queue_bytes] = 1.0 / cluster.jobs["pair"].steps_per_s
    queue_s = 1e6 / 100e6  # what the NIC of 100 MB/s takes for it
    waiting = LEVELS[Level.SAME_SWITCH].latency_s + queue_s + 1e6 / (50_000.0 / queue_s)
    # One neighbour, so a step is one exchange.
    assert slowed["out", 1e6] == slowed["in", 1e6] == pytest.approx(waiting, rel=0.01)
    assert slowed["of-others", 1e6] == slowed["of-others", 0.0]
    assert slowed["at-the-target", 1e6] == slowed["at-the-target", 0.0]
    assert slowed["out", 0.0] < 0.3 * slowed["out", 1e6]

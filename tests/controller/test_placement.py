"""What a guest needs of a host, and what the controller does about a host that lacks it."""

import pytest
from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host

from migd_controller.decision import Gate
from migd_controller.events import InventoryChanged, MigrationRequested, Resource
from migd_controller.placement import why_not

NFS, LAN, GROUP = Resource("nfs", "NFS"), Resource("lan", "LAN"), Resource("g", "databases")
HOG = {"hog": 4.0}


@pytest.mark.parametrize(
    ("needs", "has", "reason"),
    [
        ({}, {}, None),
        ({"storages": (NFS,)}, {"storages": ("nfs", "local")}, None),
        (
            {"storages": (NFS,)},
            {"storages": ("local",)},
            "host b has no storage NFS attached, which the guest's disks are on",
        ),
        ({"networks": (LAN,)}, {"networks": ("lan",)}, None),
        ({"networks": (LAN,)}, {}, "host b is not on the network LAN, which the guest is on"),
        ({"hardware_version": 2}, {"hardware_versions": (0, 1, 2)}, None),
        (
            {"hardware_version": 3},
            {"hardware_versions": (0, 1)},
            "host b does not offer version 3 of the virtual hardware",
        ),
        ({"hardware_version": 3}, {}, None),  # the host does not tell
        ({"cpu_vendor": "Intel"}, {"cpu_vendor": "Intel"}, None),
        (
            {"cpu_vendor": "Intel"},
            {"cpu_vendor": "AMD"},
            "the guest was started on a CPU by Intel, host b has one by AMD",
        ),
        ({"cpu_features": "0f-01"}, {"cpu_features_hvm": "ff-03"}, None),
        ({"cpu_features": "0f-00"}, {"cpu_features_hvm": "0f"}, None),  # missing words are zero
        (
            {"cpu_features": "0f-01"},
            {"cpu_features_hvm": "0f"},
            "the guest was started on a CPU with features that the CPU of host b does not have",
        ),
        ({"cpu_features": "1", "is_paravirtual": True}, {"cpu_features_hvm": "0", "cpu_features_pv": "1"}, None),
        ({"cpu_features": "what"}, {"cpu_features_hvm": "1"}, None),
    ],
)
def test_a_host_suits_a_guest_or_lacks_something(
    needs: dict[str, object], has: dict[str, object], reason: str | None
) -> None:
    assert why_not(pool_guest("g", "a", **needs), pool_host("b", **has)) == reason


def asked(cluster: Cluster, guest: str, target: str) -> dict[str, Gate]:
    """Return the gates that a request by hand did not pass."""
    cluster.run(1)
    cluster.tell(MigrationRequested(guest=guest, target=target))
    assert cluster.core.last_decision is not None
    (candidate,) = cluster.core.last_decision.candidates
    return {gate.name: gate for gate in candidate.gates if not gate.passed}


def test_a_host_without_the_guests_storage_is_refused_with_the_reason() -> None:
    hosts = [pool_host("a", storages=("nfs",)), pool_host("b", storages=("nfs",)), pool_host("c")]
    cluster = Cluster(hosts, [pool_guest("g", "a", storages=(NFS,))])
    refused = asked(cluster, "g", "c")
    assert refused["placement"].text == "host c has no storage NFS attached, which the guest's disks are on"
    assert asked(cluster, "g", "b") == {}


def test_a_guest_that_no_other_host_could_run_is_immovable_with_the_reason() -> None:
    hosts = [pool_host("a", storages=("local",)), pool_host("b"), pool_host("c")]
    cluster = Cluster(hosts, [pool_guest("g", "a", storages=(Resource("local", "local disk"),)), pool_guest("h", "a")])
    cluster.run(1)
    world = cluster.core.world(cluster.now_s)
    assert world.guests["g"].immovable_because == (
        "no other host could run it: host b has no storage local disk attached, which the guest's disks are on"
    )
    assert world.guests["h"].immovable_because is None


def test_a_storage_that_is_attached_later_opens_the_host() -> None:
    cluster = Cluster([pool_host("a", storages=("nfs",)), pool_host("b")], [pool_guest("g", "a", storages=(NFS,))])
    assert set(asked(cluster, "g", "b")) == {"movable", "placement"}
    cluster.tell(InventoryChanged(hosts=(pool_host("b", storages=("nfs",)),)))
    assert asked(cluster, "g", "b") == {}


def test_a_policy_passes_over_a_host_that_cannot_take_the_guest() -> None:
    """Host `b` is emptier than `c`, but the ranks' storage is not attached there."""
    hosts = [pool_host("a", storages=("nfs",)), pool_host("b"), pool_host("c", storages=("nfs",))]
    guests = [pool_guest("hog", "a", vcpus=4, storages=(NFS,)), pool_guest("rank0", "a", storages=(NFS,))]
    cluster = Cluster(hosts, [*guests, pool_guest("other", "c")])
    cluster.set_policy("least-loaded")
    cluster.run(10, {**HOG, "other": 0.5})
    assert [start.target for start in cluster.started] == ["c"]


def grouped(*places: str) -> Cluster:
    """Guests of one anti-affinity group: g0 on the first place, g1 on the second, and so on."""
    guests = [pool_guest(f"g{number}", place, group=GROUP) for number, place in enumerate(places)]
    return Cluster([pool_host(name) for name in "abc"], guests)


@pytest.mark.parametrize(
    ("places", "target", "is_apart"),
    [
        ("ab", "c", True),
        ("ab", "b", False),  # 1, 1 would become 0, 2
        ("aab", "b", True),  # 2, 1 would become 1, 2: as much apart as before
        ("aab", "c", True),
        ("aabb", "b", False),
        ("aaab", "b", True),
    ],
)
def test_a_move_does_not_bring_an_anti_affinity_group_closer_together(places: str, target: str, is_apart: bool) -> None:
    refused = asked(grouped(*places), "g0", target)
    assert set(refused) == (set() if is_apart else {"anti-affinity"})
    if not is_apart:
        assert "anti-affinity group databases" in refused["anti-affinity"].text


def test_a_guest_on_its_way_counts_where_it_goes() -> None:
    cluster = grouped("a", "b")
    assert asked(cluster, "g1", "c") == {}
    assert set(asked(cluster, "g0", "c")) == {"anti-affinity", "target-limit"}
    others = Cluster(
        [pool_host(name) for name in "abc"],
        [pool_guest("g0", "a", group=GROUP), pool_guest("g1", "b", group=GROUP, arriving_at="c")],
    )
    assert set(asked(others, "g0", "c")) == {"anti-affinity"}
    assert asked(others, "g0", "b") == {}


def test_a_policy_keeps_an_anti_affinity_group_apart() -> None:
    guests = [
        pool_guest("hog", "a", vcpus=4),
        pool_guest("rank0", "a", group=GROUP),
        pool_guest("rank1", "b", group=GROUP),
    ]
    cluster = Cluster([pool_host("a"), pool_host("b")], guests)
    cluster.set_policy("least-loaded")
    cluster.run(10, {"hog": 4.0, "rank1": 0.1})
    assert "rank0" not in {start.guest for start in cluster.started}


def test_needs_are_looked_up_fast_where_many_guests_share_them() -> None:
    """A thousand guests of one kind on 64 hosts: each host is compared once, not once a guest."""
    hosts = [pool_host(f"h{number}", storages=("nfs",)) for number in range(64)]
    guests = [pool_guest(f"g{number}", f"h{number % 64}", storages=(NFS,)) for number in range(1000)]
    cluster = Cluster(hosts, guests, CONFIG)
    inventory = cluster.core.inventory
    assert len({id(inventory.barred(guest)) for guest in inventory.guests.values()}) == 1

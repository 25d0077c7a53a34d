"""Hosts out of service: they receive nothing, and are emptied beside any policy when an operator asks for it."""

from pathlib import Path

import pytest
from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host
from msgspec.structs import replace

from migd_controller.commands import RecordMigration, StartMigration
from migd_controller.evacuation_view import evacuation_view
from migd_controller.events import (
    AutomationSet,
    EvacuationAsked,
    EvacuationStopped,
    MaintenanceBegun,
    MaintenanceEnded,
    MigrationAccepted,
    MigrationEnded,
    MigrationRequested,
    Paused,
)
from migd_controller.journal import Journal
from migd_controller.views import hosts_view
from migd_core.automation import Automation

HOG = {"hog": 4.0}


def cluster_of_three(**of_c: object) -> Cluster:
    """Host `a` has three guests, of which `stuck` may not be moved; `b` and `c` have none."""
    guests = [pool_guest("rank0", "a"), pool_guest("rank1", "a"), pool_guest("stuck", "a", tags=("migd:never",))]
    cluster = Cluster([pool_host("a"), pool_host("b"), pool_host("c", **of_c)], guests)
    cluster.run(2)
    return cluster


def arrive(cluster: Cluster) -> None:
    """Let every migration under way end well."""
    for migration in tuple(cluster.core.memory.in_flight.values()):
        cluster.guests[migration.guest] = replace(cluster.guests[migration.guest], host=migration.target)
        cluster.tell(MigrationAccepted(cause=migration.cause, task="task"))
        cluster.tell(MigrationEnded(cause=migration.cause, host_now=migration.target))


def left(cluster: Cluster, host: str = "a") -> list[tuple[str, str, str]]:
    view = evacuation_view(cluster.core, host, cluster.now_s)
    return [(each.guest_name, each.state, each.target_name) for each in view.guests]


def service(cluster: Cluster) -> dict[str, str]:
    return {view.name: view.maintenance for view in hosts_view(cluster.core, cluster.now_s)}


def test_a_host_in_maintenance_receives_nothing_and_keeps_its_guests() -> None:
    guests = [pool_guest("hog", "a", vcpus=4), pool_guest("rank0", "a"), pool_guest("rank1", "b")]
    cluster = Cluster([pool_host("a"), pool_host("b")], guests)
    cluster.set_policy("least-loaded")
    cluster.tell(MaintenanceBegun(host="b"))
    cluster.run(10, HOG)
    cluster.tell(MigrationRequested(guest="rank0", target="b"))
    assert cluster.started == []
    assert service(cluster) == {"a": "", "b": "it is in maintenance"}
    cluster.tell(MaintenanceEnded(host="b"))
    cluster.run(10, HOG)
    assert [start.target for start in cluster.started] == ["b"]


def test_maintenance_ends_by_itself_when_its_time_is_over() -> None:
    cluster = cluster_of_three()
    cluster.tell(MaintenanceBegun(host="b", until=cluster.now_s + 12.0))
    assert service(cluster)["b"] == "it is in maintenance for another 12 s"
    cluster.run(2)
    assert "b" in cluster.core.memory.maintenance
    cluster.run(1)
    assert cluster.core.memory.maintenance == {}


def test_what_is_asked_for_right_after_the_end_of_a_maintenance_does_not_end_with_it() -> None:
    cluster = cluster_of_three()
    for host in ("a", "b"):
        cluster.tell(MaintenanceBegun(host=host, until=cluster.now_s + 1.0))
    cluster.now_s += 2.0
    began_at = cluster.now_s
    cluster.tell(EvacuationAsked(host="a"))
    cluster.tell(MaintenanceBegun(host="b"))
    cluster.run(1)
    known = cluster.core.memory.maintenance
    assert {host: (each.since, each.until, each.is_emptied) for host, each in known.items()} == {
        "a": (began_at, None, True),
        "b": (began_at, None, False),
    }


def test_a_host_that_is_disabled_in_the_pool_is_out_of_service() -> None:
    assert service(cluster_of_three(is_enabled=False))["c"] == "it is disabled in the pool"
    assert service(cluster_of_three(is_evacuating=True))["c"] == "the pool is emptying it"


@pytest.mark.parametrize("automation", Automation)
def test_a_host_is_emptied_while_the_policy_observes_at_any_level(automation: Automation) -> None:
    cluster = cluster_of_three()
    cluster.tell(AutomationSet(level=automation))
    cluster.tell(EvacuationAsked(host="a"))
    assert left(cluster)[1:] == [("rank1", "waiting", left(cluster)[1][2]), ("stuck", "stays", "")]
    for _ in range(3):
        cluster.run(1)
        arrive(cluster)
    assert {start.guest for start in cluster.started} == {"rank0", "rank1"}
    assert {start.target for start in cluster.started} <= {"b", "c"}
    view = evacuation_view(cluster.core, "a", cluster.now_s)
    assert [(each.guest_name, each.state, each.text) for each in view.guests] == [
        ("stuck", "stays", "it is tagged migd:never")
    ]
    assert view.is_under_way


def test_a_host_that_is_empty_stays_out_of_service_and_is_not_emptied_again() -> None:
    cluster = cluster_of_three()
    del cluster.guests["stuck"]
    cluster.tell_inventory()
    cluster.tell(EvacuationAsked(host="a"))
    for _ in range(3):
        cluster.run(1)
        arrive(cluster)
    cluster.run(1)
    assert left(cluster) == []
    assert service(cluster)["a"] == "it is in maintenance"
    cluster.guests["new"] = pool_guest("new", "a")
    cluster.tell_inventory()
    cluster.run(3)
    assert "new" not in {start.guest for start in cluster.started}


def test_once_it_is_stopped_no_more_guests_leave() -> None:
    cluster = cluster_of_three()
    cluster.tell(EvacuationAsked(host="a"))
    cluster.run(1)
    cluster.tell(EvacuationStopped(host="a"))
    arrive(cluster)
    cluster.run(3)
    assert len(cluster.started) == 1
    assert service(cluster)["a"] == "it is in maintenance"


def test_a_guest_that_a_gate_keeps_is_shown_to_stay_and_why() -> None:
    cluster = cluster_of_three()
    cluster.tell(Paused())
    cluster.tell(EvacuationAsked(host="a"))
    cluster.run(1)
    view = evacuation_view(cluster.core, "a", cluster.now_s)
    texts = {each.guest_name: each.text for each in view.guests if each.target}
    assert texts == {
        "rank0": "migd is paused; `migctl resume` allows migrations again",
        "rank1": "waits for its turn",
    }


def test_the_policy_goes_on_beside_an_evacuation() -> None:
    guests = [pool_guest("rank0", "c"), pool_guest("hog", "a", vcpus=4, tags=("migd:never",))]
    guests += [pool_guest("rank1", "a"), pool_guest("rank2", "a")]
    cluster = Cluster([pool_host("a"), pool_host("b"), pool_host("c")], guests)
    cluster.set_policy("least-loaded")
    cluster.tell(EvacuationAsked(host="c"))
    for _ in range(15):
        cluster.run(1, HOG)
        arrive(cluster)
    migrations = [c.migration for c in cluster.commands if isinstance(c, RecordMigration) and c.migration.is_over]
    by = {each.guest: (each.requested_by, each.target) for each in migrations}
    assert by.pop("rank0")[0] == "by hand"
    assert {(policy, target) for policy, target in by.values()} == {("least-loaded", "b")}


def test_maintenance_survives_a_restart(tmp_path: Path) -> None:
    cluster = cluster_of_three()
    cluster.tell(EvacuationAsked(host="a"))
    journal = Journal(tmp_path / "journal.sqlite")
    journal.write(cluster.now_s, None, [], cluster.core.memory)
    memory = journal.memory()
    journal.close()
    again = Cluster(cluster.hosts.values(), cluster.guests.values(), CONFIG, memory)
    assert [c for c in again.commands if isinstance(c, StartMigration)] == []
    again.run(2)
    assert len(again.started) == 1

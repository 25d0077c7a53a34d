"""Leases through the whole loop: controller, agents and pool as processes, and a pool asked apart from them."""

import contextlib
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import XenAPI
from live_cluster import LiveCluster, LiveController, until

from migd_cli.demo.children import brood
from migd_cli.failures import Failure
from migd_controller.commands import BeginProbe, EndProbe
from migd_core import api


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with brood(folder) as children:
        cluster = LiveCluster(folder, children, probes=True)
        first = cluster.controller()  # from now on the addresses stay
        first.start()
        cluster.start_agents(first)
        first.sees_everything()
        first.end()
        yield cluster


@pytest.fixture(scope="module")
def controller(cluster: LiveCluster) -> LiveController:
    controller = cluster.controller()
    controller.start()
    controller.sees_everything()
    return controller


@contextlib.contextmanager
def pool_of(cluster: LiveCluster) -> Iterator[XenAPI.Session]:
    session = XenAPI.Session(cluster.pool.url)
    session.xenapi.login_with_password("root", "migd", "1.0", "test")
    try:
        yield session
    finally:
        session.xenapi.session.logout()
        session("close")()


def blocks(cluster: LiveCluster) -> dict[str, str]:
    """What keeps guests from being migrated, by name."""
    with pool_of(cluster) as session:
        records = session.xenapi.VM.get_all_records().values()
    found = {record["name_label"]: record["blocked_operations"].get("pool_migrate") for record in records}
    return {name: text for name, text in found.items() if text is not None}


def probed(controller: LiveController) -> list[api.GuestView] | None:
    """Return all guests once each has a curve."""
    guests: list[api.GuestView] = controller.ask("GET", "/v1/guests")
    return guests if guests and all(guest.dirty_pages_per_s is not None for guest in guests) else None


def moved(controller: LiveController, guest: str) -> api.MigrationView | None:
    """Ask for a move, which is refused while a probe is under way; return it once it is accepted."""
    views: list[api.GuestView] = controller.ask("GET", "/v1/guests")
    here = next(view.host_name for view in views if view.name == guest)
    target = "xen2" if here == "xen1" else "xen1"
    try:
        view: api.MigrationView = controller.ask("POST", "/v1/migrations", guest=guest, host=target)
    except Failure:
        return None
    return view


def test_every_guest_is_probed_and_its_curve_goes_along_when_it_moves(
    cluster: LiveCluster, controller: LiveController
) -> None:
    assert controller.child is not None
    until(lambda: probed(controller), controller.child)
    migration = until(lambda: moved(controller, "rank0"), controller.child)
    controller.history(lambda views: [view for view in views if view.cause == migration.cause and view.ok])
    assert probed(controller)


def test_a_controller_that_is_killed_in_mid_lease_takes_its_block_away_in_its_next_life(
    cluster: LiveCluster, controller: LiveController
) -> None:
    assert controller.child is not None
    left = next(iter(until(lambda: blocks(cluster), controller.child).values()))
    controller.end(signal.SIGKILL)
    assert left.startswith("migd counts its dirty pages: lease ")
    child = controller.start()
    controller.sees_everything()
    until(lambda: left not in blocks(cluster).values(), child)
    until(lambda: probed(controller), child)


def test_a_pause_lets_the_pool_migrate_every_guest_again(cluster: LiveCluster, controller: LiveController) -> None:
    assert controller.child is not None
    controller.post("/v1/pause")
    until(lambda: not blocks(cluster), controller.child)
    before = controller.journaled("BeginProbe")
    controller.status(lambda status: status.is_paused)
    assert controller.journaled("BeginProbe") == before
    controller.post("/v1/resume")
    until(lambda: controller.journaled("BeginProbe") > before, controller.child)


def test_a_block_of_somebody_else_stays_and_its_guest_is_not_probed(
    cluster: LiveCluster, controller: LiveController
) -> None:
    assert controller.child is not None
    controller.post("/v1/pause")
    until(lambda: not blocks(cluster), controller.child)
    with pool_of(cluster) as session:
        (big,) = session.xenapi.VM.get_by_name_label("big")
        session.xenapi.VM.add_to_blocked_operations(big, "pool_migrate", "backup")
        controller.post("/v1/resume")
        before = controller.journaled("ProbeEnded")
        until(lambda: controller.journaled("ProbeEnded") > before + 1, controller.child)
        assert blocks(cluster)["big"] == "backup"
        session.xenapi.VM.remove_from_blocked_operations(big, "pool_migrate")
    controller.end()


def test_the_journal_keeps_leases_before_they_are_given(controller: LiveController) -> None:
    """One that was ending when its controller was killed is ended again by the next life."""
    ended = leases_on_record(controller.journal, EndProbe)
    assert ended <= leases_on_record(controller.journal, BeginProbe)
    assert ended


def leases_on_record(journal: Path, kind: type[BeginProbe | EndProbe]) -> set[str]:
    """Return the leases of the commands of a kind that are on record."""
    with closing(sqlite3.connect(journal)) as database:
        rows = database.execute("SELECT body FROM log WHERE kind = ?", (kind.__name__,)).fetchall()
    return {msgspec.msgpack.decode(body, type=kind).lease.lease for (body,) in rows}

"""Processes that are killed (SIGKILL) at the worst moments: their next lives do nothing twice, and forget nothing.

That a controller dies at any of its commands is tried in virtual time (`test_killed_after_every_command`); here it is the
process itself, at the moments that sockets and threads lie between. A pool that dies is in `test_loop` and
`test_faults_under_migd`, an agent that dies with Xen's dirty log switched on in `test_log_dirty`.
"""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import XenAPI
from live_cluster import LIMIT_S, LiveCluster, LiveController, until

from migd_cli.demo.children import ChildDied, brood
from migd_cli.failures import Unreachable

pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with brood(folder) as children:
        cluster = LiveCluster(folder, children, probes=True)
        first = cluster.controller()
        first.start()
        cluster.start_agents(first)
        first.sees_everything()
        first.end()
        yield cluster


@pytest.fixture
def controller(cluster: LiveCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveController]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    controller = cluster.controller()
    yield controller
    controller.end(signal.SIGKILL)


def start_dying(controller: LiveController, kind: str, when: str) -> None:
    """Start a controller that dies at its first command of a kind."""
    name = f"{controller.folder.name}-dying"
    controller.child = controller.brood.start(name, "dying_controller", kind, when, "--config", str(controller.config))


def has_died(controller: LiveController) -> None:
    assert controller.child is not None
    assert controller.child.wait(LIMIT_S), controller.child.last_words()
    with pytest.raises(ChildDied, match="was ended by SIGKILL"):
        controller.child.check()


def blocks(cluster: LiveCluster) -> dict[str, str]:
    """The guests (by name) that the pool is kept from migrating, and why."""
    session = XenAPI.Session(cluster.pool.url)
    session.xenapi.login_with_password("root", "migd", "1.0", "test")
    try:
        records = session.xenapi.VM.get_all_records().values()
    finally:
        session.xenapi.session.logout()
        session("close")()
    found = {record["name_label"]: record["blocked_operations"].get("pool_migrate") for record in records}
    return {name: text for name, text in found.items() if text is not None}


def ask_to_move_big(controller: LiveController) -> str:
    """Ask for a move, which the controller may not live to answer; return where to."""
    views = controller.ask("GET", "/v1/guests")
    here = next(view.host_name for view in views if view.name == "big")
    target = "xen2" if here == "xen1" else "xen1"
    with contextlib.suppress(Unreachable):
        controller.ask("POST", "/v1/migrations", guest="big", host=target)
    return target


@pytest.mark.parametrize(("when", "begun"), [("before", 0), ("after", 1)])
def test_a_controller_that_dies_at_a_request_to_migrate_asks_for_it_no_second_time(
    cluster: LiveCluster, controller: LiveController, when: str, begun: int
) -> None:
    controller.config.write_text(
        controller.config.read_text().replace("guest_time_ratio = 1.0", "guest_time_ratio = 0.0")
    )
    start_dying(controller, "StartMigration", when)
    controller.sees_everything()
    before = len(cluster.pool.migrations())
    target = ask_to_move_big(controller)
    has_died(controller)
    assert controller.journaled("StartMigration") == 1
    controller.start()
    (ended,) = controller.history(lambda views: views[0].ok is not None)
    guests = controller.ask("GET", "/v1/guests")
    (big,) = [view for view in guests if view.name == "big"]
    if begun:
        assert (ended.state, big.host_name) == ("moved", target)
    else:
        assert (ended.state, ended.text) == ("stayed", "migd restarted before the pool had answered")
        assert big.host_name != target
    controller.end()
    assert [(each["guest"], each["ok"]) for each in cluster.pool.migrations()[before:]] == [("big", True)] * begun
    assert controller.journaled("StartMigration") == 1
    assert controller.journaled("MigrationEnded") == 1


def test_a_controller_that_dies_with_a_block_in_the_pool_leaves_it_to_the_next_which_takes_it_away(
    cluster: LiveCluster, controller: LiveController
) -> None:
    start_dying(controller, "BeginProbe", "after")
    has_died(controller)
    left = blocks(cluster)
    assert len(left) > 0
    child = controller.start()
    controller.sees_everything()
    until(lambda: not left.items() & blocks(cluster).items(), child)
    controller.end()


def probed_on(cluster: LiveCluster, controller: LiveController, host: str) -> str | None:
    """The guest (by name) of a host (uuid) that is being probed, None without one."""
    here = {view.name for view in controller.ask("GET", "/v1/guests") if view.host == host}
    return next(iter(here & blocks(cluster).keys()), None)


def test_a_guest_whose_agent_dies_in_mid_probe_may_be_migrated_once_its_lease_is_over(
    cluster: LiveCluster, controller: LiveController
) -> None:
    """Nobody says what became of the probe; the agent's next life knows nothing of it, and probes others."""
    child = controller.start()
    controller.sees_everything()
    host = next(view.host for view in controller.ask("GET", "/v1/guests") if view.name == "rank0")
    guest = until(lambda: probed_on(cluster, controller, host), child)
    left = blocks(cluster)[guest]
    agent = cluster.agents[host]
    agent.send(signal.SIGKILL)
    assert agent.wait(LIMIT_S)
    controller.status(lambda status: status.hosts_frozen == 1)
    until(lambda: blocks(cluster).get(guest) != left, child)
    assert blocks(cluster).get(guest) is None
    cluster.start_agent(host)
    controller.sees_everything()
    until(lambda: probed_on(cluster, controller, host), child)
    controller.end()

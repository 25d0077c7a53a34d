"""Two controllers of one pool as processes: one leads, the other takes over within two leases, and no guest moves twice."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from live_cluster import LIMIT_S, LiveCluster, LiveController, until

from migd_cli.client import Client
from migd_cli.demo.children import brood
from migd_cli.failures import Failure
from migd_controller.commands import AnyCommand, RecordDecision
from migd_controller.core import Core
from migd_controller.record.format import Frame
from migd_core import api
from migd_core.progress import Progress
from migd_sim.run.replay.replaying import replay

LEASE_S = 2.0
Pair = tuple[LiveController, LiveController]


@pytest.fixture(scope="module")
def notices() -> Iterator[tuple[str, list[Any]]]:
    """A webhook's URL, and what it was told."""
    told: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", told
        server.shutdown()
        thread.join(LIMIT_S)


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, notices: tuple[str, list[Any]]
) -> Iterator[tuple[LiveCluster, Pair]]:
    folder = tmp_path_factory.mktemp("pair")
    with brood(folder) as children:
        cluster = LiveCluster(folder, children)
        pair = cluster.contender("ctl1", LEASE_S), cluster.contender("ctl2", LEASE_S)
        for each in pair:
            with each.config.open("a") as config:
                config.write(f'[[webhooks]]\nname = "ops"\nurl = "{notices[0]}"\nevents = ["leader-changed"]\n')
                config.write("[record]\non = true\n")
            each.start()
        cluster.start_agents(*pair)
        yield cluster, pair


@pytest.fixture
def pool(cluster: tuple[LiveCluster, Pair]) -> LiveCluster:
    return cluster[0]


@pytest.fixture
def pair(cluster: tuple[LiveCluster, Pair]) -> Iterator[Pair]:
    """The one that leads and the one that stands by, both seeing everything; whatever a test did to one is undone."""
    one, other = cluster[1]
    yield leading(one, other)
    for each in (one, other):
        assert each.child is not None
        each.child.send(signal.SIGCONT)
        if each.child.wait(0.0):
            each.start()


def leading(one: LiveController, other: LiveController) -> Pair:
    """Return both, who leads first, once both see everything and know who does."""

    def look() -> Pair | None:
        for leader, standby in ((one, other), (other, one)):
            if leader_of(leader).leads and leader_of(standby).leader == leader_of(leader).name:
                return leader, standby
        return None

    for each in (one, other):
        each.sees_everything()
    return until(look)


def leader_of(controller: LiveController) -> api.LeaderView:
    view = controller.status().leader
    assert view is not None
    return view


def taken_over(standby: LiveController, since_s: float) -> float:
    """Return how many seconds after `since_s` a standby leads."""
    standby.status(lambda status: status.leader is not None and status.leader.leads)
    return time.monotonic() - since_s


def idle_host(controller: LiveController, guest: str) -> str:
    """Return a host that a guest is not on."""
    guests: list[api.GuestView] = controller.ask("GET", "/v1/guests")
    return next("xen2" if view.host_name == "xen1" else "xen1" for view in guests if view.name == guest)


def test_one_leads_and_the_other_says_who(pair: Pair) -> None:
    leader, standby = pair
    view, other = leader_of(leader), leader_of(standby)
    assert (view.leads, view.leader, view.problem) == (True, view.name, "")
    assert (other.leads, other.leader, other.problem) == (False, view.name, "")
    told = [Client(str(each.socket)).ask("GET", "/metrics") for each in pair]
    assert [b"\nmigd_leading 1.0\n" in text for text in told] == [True, False]
    assert b"\nmigd_leading 0.0\n" in told[1]
    standbys = until(lambda: leader_of(leader).standbys)
    assert [each.name for each in standbys] == [other.name]
    with pytest.raises(Failure, match=f"controller {other.name} stands by, and {view.name} leads: ask that one"):
        standby.post("/v1/pause")


def test_a_leader_that_is_killed_in_mid_migration_is_followed_and_nothing_is_forgotten(
    pool: LiveCluster, pair: Pair
) -> None:
    leader, standby = pair
    before = len(pool.pool.migrations())
    asked = leader.ask("POST", "/v1/migrations", guest="big", host=idle_host(leader, "big"))
    leader.history(lambda views: views[0].state == "running")
    leader.ask("PUT", "/v1/automation", level="recommend")
    leader.ask("POST", "/v1/jobs", name="weather", guests=["rank0", "rank1"])
    killed_s = time.monotonic()
    leader.end(signal.SIGKILL)
    took_s = taken_over(standby, killed_s)
    assert took_s <= 2 * LEASE_S
    (moved,) = standby.history(lambda views: views and views[0].ok is not None)[:1]
    assert (moved.cause, moved.state, moved.target_name) == (asked.cause, "moved", asked.target_name)
    assert [(m["guest"], m["ok"]) for m in pool.pool.migrations()[before:]] == [("big", True)]
    assert standby.status().automation == "recommend"
    jobs: list[api.JobView] = standby.ask("GET", "/v1/jobs")
    assert [job.name for job in jobs] == ["weather"]
    standby.ask("PUT", "/v1/automation", level=None)


def test_who_stands_by_knows_all_that_the_leader_does(pair: Pair) -> None:
    """Also what no claim has room for: how far a job is."""
    leader, standby = pair
    leader.ask("POST", "/v1/jobs", name="tides", guests=["big"])
    progress = Progress(done=5, total=100)
    Client(str(leader.socket)).ask("POST", "/v1/jobs/tides/progress", progress)

    def known() -> bool:
        jobs: list[api.JobView] = standby.ask("GET", "/v1/jobs")
        return any((job.name, job.progress) == ("tides", progress) for job in jobs)

    assert until(known)
    assert (memory_s := leader_of(standby).memory_s) is not None
    assert memory_s < LIMIT_S


def test_who_stands_by_records_nothing_and_what_a_leader_decides_is_decided_again(pair: Pair) -> None:
    """A leader's memory comes to a standby beside all events, so what that made of them could not be made again."""
    leader, standby = pair
    records: list[api.RecordView] = [each.ask("GET", "/v1/record") for each in (leader, standby)]
    assert [(each.is_on, each.problem) for each in records] == [(True, ""), (False, "")]
    cause = leader.ask("POST", "/v1/migrations", guest="big", host=idle_host(leader, "big")).cause
    leader.history(lambda views: views[0].ok is not None)
    decided: list[str] = []

    def watch(_core: Core, _frame: Frame, commands: Sequence[AnyCommand]) -> None:
        decided.extend(each.decision.cause for each in commands if isinstance(each, RecordDecision))

    def found() -> bool:
        assert replay(Path(records[0].folder), watch).difference is None
        return cause.rpartition(".")[0] in decided

    assert until(found)


def test_a_leader_that_was_stopped_wakes_up_and_moves_nobody(pool: LiveCluster, pair: Pair) -> None:
    leader, standby = pair
    assert leader.child is not None
    before = len(pool.pool.migrations())
    target = idle_host(leader, "big")
    leader.child.send(signal.SIGSTOP)
    stopped_s = time.monotonic()
    # What it is asked for now it hears only when it goes on.
    request = os.fork()
    if request == 0:
        try:
            leader.ask("POST", "/v1/migrations", guest="big", host=target)
        except Failure:
            os._exit(3)
        os._exit(0)
    took_s = taken_over(standby, stopped_s)
    assert took_s <= 2 * LEASE_S
    leader.child.send(signal.SIGCONT)
    _, status = os.waitpid(request, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    leader.status(lambda status: status.leader is not None and status.leader.leader == leader_of(standby).name)
    assert leader_of(standby).leads
    assert pool.pool.migrations()[before:] == []


def test_a_leader_that_ends_hands_over_without_a_wait_and_a_webhook_is_told(
    pair: Pair, notices: tuple[str, list[Any]]
) -> None:
    leader, standby = pair
    _, told = notices
    gone, name = leader_of(leader).name, leader_of(standby).name
    before = len(told)
    ended_s = time.monotonic()
    leader.end()
    took_s = taken_over(standby, ended_s)
    assert took_s < LEASE_S
    until(lambda: len(told) > before)
    text = f"migd: controller {name} leads now in place of {gone}; `migctl doctor` says whether anybody stands by"
    assert [(each["kind"], each["text"]) for each in told[before:]] == [("leader-changed", text)]

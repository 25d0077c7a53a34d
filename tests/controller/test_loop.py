"""The loop as it runs: real processes, real sockets, a pool whose truth is asked apart from what the controller says."""

import json
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from live_cluster import LIMIT_S, LiveCluster, LiveController, until

from migd_cli.demo.children import ChildDied, brood
from migd_cli.failures import Failure
from migd_controller.commands import AnyCommand, RecordDecision
from migd_controller.core import Core
from migd_controller.decision import Decision
from migd_controller.journal import Journal
from migd_controller.record.format import Frame
from migd_core import api
from migd_core.health import HostHealth
from migd_sim.run.replay.replaying import replay


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with brood(folder) as children:
        cluster = LiveCluster(folder, children)
        first = cluster.controller()
        first.start()
        cluster.start_agents(first)
        first.sees_everything()
        first.end()
        yield cluster


@pytest.fixture
def controller(cluster: LiveCluster) -> Iterator[LiveController]:
    """A controller that has never run, and that does not outlive its test."""
    controller = cluster.controller()
    yield controller
    controller.end(signal.SIGKILL)


def host_of(controller: LiveController, guest: str) -> str:
    guests: list[api.GuestView] = controller.ask("GET", "/v1/guests")
    return next(view.host_name for view in guests if view.name == guest)


def move_big(controller: LiveController) -> api.MigrationView:
    """Ask for the migration that takes longest; return it."""
    target = "xen2" if host_of(controller, "big") == "xen1" else "xen1"
    view: api.MigrationView = controller.ask("POST", "/v1/migrations", guest="big", host=target)
    return view


def test_the_loop_relieves_a_host_and_tells_why(cluster: LiveCluster, controller: LiveController) -> None:
    controller.start()
    assert controller.sees_everything().policy == "observe"
    before = len(cluster.pool.migrations())
    controller.ask("PUT", "/v1/policy", name="least-loaded", config={"sustained_periods": 3})
    (moved,) = controller.history(lambda views: [view for view in views if view.ok])[:1]
    assert (moved.source_name, moved.target_name, moved.state, moved.requested_by) == (
        "xen1",
        "xen2",
        "moved",
        "least-loaded",
    )
    (truth,) = cluster.pool.migrations()[before : before + 1]
    assert (truth["guest"], truth["target"], truth["ok"]) == (moved.guest_name, "xen2", True)
    assert moved.actual_s is not None
    assert moved.actual_s >= truth["ended_s"] - truth["started_s"]
    explained = controller.explain(moved.cause)
    (candidate,) = [c for c in explained.decisions[0].candidates if c.guest == moved.guest]
    assert all(gate.passed for gate in candidate.gates)
    assert "xen1" in candidate.why
    assert [view.cause for view in explained.migrations] == [moved.cause]
    controller.end()
    assert controller.journaled("StartMigration") == len(cluster.pool.migrations()) - before


def test_what_a_controller_recorded_until_it_was_killed_replays_to_the_decisions_of_its_journal(
    controller: LiveController,
) -> None:
    controller.start()
    controller.sees_everything()
    assert controller.ask("PUT", "/v1/record", on=True).is_on
    move_big(controller)
    controller.history(lambda views: [view for view in views if view.ok])
    record: api.RecordView = controller.ask("GET", "/v1/record")
    controller.end(signal.SIGKILL)
    controller.start()
    controller.sees_everything()
    controller.ask("PUT", "/v1/record", on=True)
    off: api.RecordView = controller.ask("PUT", "/v1/record", on=False)
    assert (off.is_on, off.since, off.problem, off.folder) == (False, None, "", record.folder)
    controller.end()
    replayed: list[Decision] = []

    def watch(core: Core, frame: Frame, commands: Sequence[AnyCommand]) -> None:
        replayed.extend(each.decision for each in commands if isinstance(each, RecordDecision))

    found = replay(Path(record.folder), watch)
    assert found.difference is None
    assert [note.partition("; ")[0] for note in found.notes] == [
        f"{record.folder}/000001.record: was cut off, or is being written"
    ]
    journal = Journal(controller.journal)
    assert replayed == [journal.decision(each.cause) for each in replayed]
    journal.close()
    assert "by hand" in {each.policy for each in replayed}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_migration_is_taken_up_by_the_next_life_and_not_begun_again(
    cluster: LiveCluster, controller: LiveController, number: signal.Signals
) -> None:
    controller.start()
    controller.sees_everything()
    before = len(cluster.pool.migrations())
    asked = move_big(controller)
    controller.history(lambda views: views[0].state == "running")
    controller.end(number)
    assert cluster.pool.migrations()[before]["ended_s"] is None
    controller.start()
    (moved,) = controller.history(lambda views: views[0].ok is not None)
    assert (moved.cause, moved.state, moved.text) == (asked.cause, "moved", "")
    assert host_of(controller, "big") == asked.target_name
    controller.end()
    assert [(m["guest"], m["ok"]) for m in cluster.pool.migrations()[before:]] == [("big", True)]
    assert (controller.journaled("StartMigration"), controller.journaled("MigrationEnded")) == (1, 1)


def test_a_migration_is_cancelled_and_the_guest_stays(cluster: LiveCluster, controller: LiveController) -> None:
    controller.start()
    controller.sees_everything()
    before = len(cluster.pool.migrations())
    asked = move_big(controller)
    controller.history(lambda views: views[0].progress_ratio)
    controller.post(f"/v1/migrations/{asked.cause}/cancel")
    (ended,) = controller.history(lambda views: views[0].ok is not None)
    assert (ended.state, ended.text) == ("stayed", "the migration was cancelled")
    assert host_of(controller, "big") == asked.source_name
    assert [(m["guest"], m["ok"]) for m in cluster.pool.migrations()[before:]] == [("big", False)]
    assert controller.status().holds == []


def health_of(controller: LiveController, host: str) -> HostHealth:
    hosts: list[api.HostView] = controller.ask("GET", "/v1/hosts")
    return next(view.health for view in hosts if view.name == host)


def test_a_host_that_degrades_and_fails_is_told_of_and_receives_no_guest_until_it_is_well(
    cluster: LiveCluster, controller: LiveController
) -> None:
    child = controller.start()
    controller.sees_everything()
    target = "xen2" if host_of(controller, "big") == "xen1" else "xen1"
    for state, reasons in (("degraded", ("fan 3 stands still",)), ("failing", ("memory A1 had 2 uncorrected errors",))):
        cluster.pool.fault("health-changes", host=target, state=state, reasons=reasons)
        until(lambda: health_of(controller, target).state == state, child)  # noqa: B023 - called within this turn
        assert health_of(controller, target).reasons == reasons
        status = controller.status()
        assert (status.hosts_degraded, status.hosts_failing) == (state == "degraded", state == "failing")
    with pytest.raises(Failure, match=f"host {target} is failing: memory A1 had 2 uncorrected errors"):
        move_big(controller)
    cluster.pool.fault("health-changes", host=target, state="ok")
    until(lambda: health_of(controller, target).state == "ok", child)
    lines = [json.loads(line) for line in child.log().splitlines() if '"host health"' in line]
    assert [(line["host"], line["before"], line["state"], line["why"]) for line in lines] == [
        (target, "unknown", "degraded", "fan 3 stands still"),
        (target, "degraded", "failing", "memory A1 had 2 uncorrected errors"),
        (target, "failing", "ok", None),
    ]
    move_big(controller)
    controller.history(lambda views: views[0].ok)
    cluster.pool.fault("health-changes", host=target, state="unknown")
    controller.end()
    assert controller.journaled("RecordHealth") == 3


@pytest.mark.parametrize("sender", ["the pool", "an operator"])
def test_a_journal_that_cannot_be_written_ends_the_controller_at_the_next_event_whoever_sends_it(
    cluster: LiveCluster, controller: LiveController, sender: str
) -> None:
    configured = controller.config.read_text()
    controller.config.write_text(configured.replace("period_s = 0.5", "period_s = 3600.0"))  # no tick comes first
    child = controller.start()
    controller.sees_everything()
    with closing(sqlite3.connect(controller.journal)) as journal:
        journal.execute("DROP TABLE log")
    if sender == "the pool":
        cluster.pool.die()
    else:
        with pytest.raises(Failure, match="cannot be written: no such table: log"):
            controller.post("/v1/pause")
    has_ended = child.wait(LIMIT_S)
    if sender == "the pool":
        cluster.pool.start()
    assert has_ended, child.last_words()
    with pytest.raises(ChildDied, match="ended with exit code 1"):
        child.check()
    assert f"journal {controller.journal}: cannot be written: no such table: log" in child.log()
    assert "Traceback" not in child.log()


def test_a_pool_that_is_down_at_start_is_told_and_waited_for(cluster: LiveCluster, controller: LiveController) -> None:
    cluster.pool.die()
    controller.start()
    status = controller.status(lambda status: status.xapi_problem != "the pool has not answered yet")
    assert not status.xapi_connected
    refused = f"{cluster.pool.url} does not answer: connection refused; is the toolstack running?"
    assert status.xapi_problem.startswith(refused)
    cluster.pool.start()
    assert controller.sees_everything().xapi_problem == ""


def test_a_pool_that_dies_in_mid_migration_and_comes_back_has_the_last_word(
    cluster: LiveCluster, controller: LiveController
) -> None:
    controller.start()
    controller.sees_everything()
    asked = move_big(controller)
    controller.history(lambda views: views[0].state == "running")
    cluster.pool.die()
    status = controller.status(lambda status: not status.xapi_connected)
    assert [view.cause for view in status.migrations] == [asked.cause]
    cluster.pool.start()  # as it was at first: the migration was lost with it
    (ended,) = controller.history(lambda views: views[0].ok is not None)
    assert (ended.state, ended.text) == ("stayed", "the pool no longer has the task")
    assert cluster.pool.migrations() == []
    assert controller.explain("big").migrations == [ended]
    controller.sees_everything()


def test_a_pool_that_never_comes_back_does_not_keep_the_controller_from_ending_and_starting(
    cluster: LiveCluster, controller: LiveController
) -> None:
    controller.start()
    controller.sees_everything()
    asked = move_big(controller)
    controller.history(lambda views: views[0].state == "running")
    cluster.pool.die()
    controller.status(lambda status: not status.xapi_connected)
    controller.end()
    controller.start()
    status = controller.status(lambda status: "connection refused" in status.xapi_problem)
    assert [(view.cause, view.state) for view in status.migrations] == [(asked.cause, "running")]
    assert controller.journaled("StartMigration") == 1
    cluster.pool.start()
    controller.history(lambda views: views[0].ok is not None)


def test_a_wrong_password_is_told_in_the_status_until_its_file_is_right(
    cluster: LiveCluster, controller: LiveController
) -> None:
    cluster.password_file.write_text("wrong")
    controller.start()
    status = controller.status(lambda status: "let root in" in status.xapi_problem)
    assert f"the password in {cluster.password_file} is not root's" in status.xapi_problem
    cluster.password_file.write_text("migd")
    controller.sees_everything()


@pytest.mark.parametrize(
    ("shared", "why"),
    [
        ("state_dir", "another controller is running on {folder}/state (process {pid}); stop it first"),
        ("socket", "socket {folder}/controller.sock: another controller answers on it; give this one its own socket"),
        ("listen", "cannot be bound: Address already in use"),
    ],
)
def test_a_second_controller_is_refused_and_the_first_goes_on(
    cluster: LiveCluster, controller: LiveController, shared: str, why: str
) -> None:
    first = controller.start()
    controller.sees_everything()
    changes = {
        "state_dir": {"state_dir": str(controller.folder / "state")},
        "socket": {"socket": str(controller.socket), "listen": "tcp://127.0.0.1:*", "leases": "tcp://127.0.0.1:*"},
        "listen": {},
    }
    second = cluster.controller(**changes[shared]).start()
    assert second.wait(LIMIT_S)
    with pytest.raises(ChildDied, match="ended with exit code 1"):
        second.check()
    assert why.format(folder=controller.folder, pid=first.pid) in second.log()
    assert "Traceback" not in second.log()
    controller.sees_everything()
    controller.end()

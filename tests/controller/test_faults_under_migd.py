"""Each fault of the emulated pool under a controller that migrates: nobody is lost or moved twice, and it tells why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from live_cluster import LiveCluster, LiveController, until

from migd_cli.demo.children import brood
from migd_cli.failures import Failure
from migd_core import api
from migd_core.units import GIB, MIB

GUESTS = {f"rank{n}": f"xen{n % 3 + 1}" for n in range(6)}
HOSTS = ("xen1", "xen2", "xen3")
SLOW = 0.001  # of a link: a migration takes minutes
TIMEOUT_S, SETTLE_S = 1.5, 2.0

POOL = (
    'name = "faulty"\nfaster = 30\nxapi = { refusal_delay_s = 0.0 }\n'
    + "".join(f'[[hosts]]\nname = "xen{n}"\nuuid = "host-{n}"\ncpus = 4\nmemory_bytes = {8 * GIB}\n' for n in (1, 2, 3))
    + "".join(
        f'[[guests]]\nname = "{guest}"\nuuid = "{guest}"\nhost = "{host}"\nvcpus = 1\nmemory_bytes = {256 * MIB}\n'
        for guest, host in GUESTS.items()
    )
)


@dataclass
class Stage:
    """A cluster with a controller that runs all the time, and how many migrations there were before a test."""

    cluster: LiveCluster
    controller: LiveController
    began: int

    def fault(self, kind: str, **fields: object) -> None:
        self.cluster.pool.fault(kind, **fields)

    def migrate(self, guest: str, to: str) -> api.MigrationView:
        """Let migd migrate a guest, once its agent reports it."""
        until(lambda: self.guest(guest).immovable_because is None)
        view: api.MigrationView = self.controller.ask("POST", "/v1/migrations", guest=guest, host=to)
        return view

    def copying(self, guest: str, to: str, planned_with: float = SLOW) -> api.MigrationView:
        """Return a migration that has begun, and that goes on for as long as the target's link is slow.

        `planned_with` is what the link carries, as a part of its speed, until the migration has begun.
        """
        self.fault("link-slows", host=to, factor=planned_with)
        view = self.migrate(guest, to)
        until(lambda: self.migrations() and self.view(view.cause).state == "running")
        self.fault("link-slows", host=to, factor=SLOW)
        return view

    def view(self, cause: str) -> api.MigrationView:
        """Return a migration as the controller tells it."""
        views: list[api.MigrationView] = self.controller.ask("GET", "/v1/migrations")
        return next(view for view in views if view.cause == cause)

    def ended(self, asked: api.MigrationView) -> api.MigrationView:
        """Return a migration once the controller says that it is over."""
        until(lambda: self.view(asked.cause).ok is not None)
        return self.view(asked.cause)

    def migrations(self) -> list[Mapping[str, Any]]:
        """Return the migrations that really began in this test."""
        return self.cluster.pool.migrations()[self.began :]

    def host_of(self, guest: str) -> str:
        """Return where a guest really runs."""
        return next(each["host"] for each in self.cluster.pool.truth()["guests"] if each["name"] == guest)

    def away(self, guest: str, *besides: str) -> str:
        """Return a host that a guest is not on."""
        return next(host for host in HOSTS if host not in (self.host_of(guest), *besides))

    def guest(self, uuid: str) -> api.GuestView:
        return next(guest for guest in self.controller.ask("GET", "/v1/guests") if guest.uuid == uuid)

    def host(self, name: str) -> api.HostView:
        return next(host for host in self.controller.ask("GET", "/v1/hosts") if host.name == name)

    def refusal(self, guest: str, to: str) -> str:
        """Return why the controller refuses to migrate a guest."""
        with pytest.raises(Failure) as caught:
            self.controller.ask("POST", "/v1/migrations", guest=guest, host=to)
        return str(caught.value)

    def goes_on(self, *moved: str) -> None:
        """Check that only `moved` were migrated, that all guests run, healed, where the controller says, and migd works."""
        assert [each["guest"] for each in self.migrations()] == list(moved)
        self.heal()
        self.controller.status(
            lambda status: status.xapi_connected and (status.hosts_frozen, status.guests) == (0, len(GUESTS))
        )
        until(lambda: self._said() == self.really())
        guest = next(iter(GUESTS))
        target = self.away(guest)
        assert self.ended(self.migrate(guest, target)).state == "moved"
        assert self.host_of(guest) == target

    def heal(self) -> None:
        """Let every link carry what it should, dead hosts return, and guests run that were lost or shut down."""
        for host in self.cluster.pool.truth()["hosts"]:
            self.fault("link-recovers", host=host["name"])
            if not host["is_up"]:
                self.fault("host-returns", host=host["name"])
        for guest in GUESTS.keys() - self.really().keys():
            self.fault("human-starts", guest=guest, host=GUESTS[guest])
            until(lambda guest=guest: guest in self.really())

    def really(self) -> dict[str, str]:
        """Return the host of each guest that really runs."""
        truth = self.cluster.pool.truth()["guests"]
        return {guest["name"]: guest["host"] for guest in truth if guest["host"] is not None}

    def _said(self) -> dict[str, str]:
        return {guest.uuid: guest.host_name for guest in self.controller.ask("GET", "/v1/guests")}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveCluster, LiveController]]:
    folder = tmp_path_factory.mktemp("faults")
    with brood(folder) as children:
        cluster = LiveCluster(folder, children, POOL)
        controller = cluster.controller(timeout_s=TIMEOUT_S, settle_s=SETTLE_S, settle_ratio=2.0)
        controller.start()
        cluster.start_agents(controller)
        controller.sees_everything()
        yield cluster, controller
        controller.end()
        assert controller.journaled("MigrationEnded") == controller.journaled("StartMigration") > 0


@pytest.fixture
def stage(running: tuple[LiveCluster, LiveController]) -> Iterator[Stage]:
    cluster, controller = running
    stage = Stage(cluster, controller, len(cluster.pool.migrations()))
    yield stage
    stage.heal()


def test_a_slow_link_is_waited_for(stage: Stage) -> None:
    target = stage.away("rank0")
    asked = stage.copying("rank0", target)
    stage.fault("link-recovers", host=target)
    assert stage.ended(asked).state == "moved"
    stage.goes_on("rank0")


def test_a_guest_that_does_not_suspend_stays_and_the_reason_is_told(stage: Stage) -> None:
    source = stage.host_of("rank1")
    stage.fault("suspend-hangs", guest="rank1", lasts_s=1.0)
    ended = stage.ended(stage.migrate("rank1", stage.away("rank1")))
    assert (ended.state, ended.text.partition("(")[0]) == ("stayed", "VM_FAILED_SUSPEND_ACKNOWLEDGMENT")
    assert stage.host_of("rank1") == source
    assert stage.controller.explain("rank1").migrations[0] == ended
    stage.goes_on("rank1")


def test_a_request_that_took_effect_although_its_answer_was_lost_is_followed(stage: Stage) -> None:
    target = stage.away("rank2")
    stage.fault("connection-dropped", method="VM.pool_migrate", takes_effect=True)
    assert stage.ended(stage.migrate("rank2", target)).state == "moved"
    assert stage.host_of("rank2") == target
    stage.goes_on("rank2")


def test_a_request_that_was_lost_is_not_made_again(stage: Stage) -> None:
    stage.fault("connection-dropped", method="VM.pool_migrate", takes_effect=False)
    ended = stage.ended(stage.migrate("rank2", stage.away("rank2")))
    assert (ended.state, "does not answer" in ended.text) == ("stayed", True)
    stage.goes_on()


def test_a_request_whose_answer_comes_too_late_is_followed_all_the_same(stage: Stage) -> None:
    target = stage.away("rank3")
    stage.fault("answers-delayed", method="VM.pool_migrate", by_s=TIMEOUT_S + 0.5, lasts_s=TIMEOUT_S / 2)
    assert stage.ended(stage.migrate("rank3", target)).state == "moved"
    assert stage.host_of("rank3") == target
    stage.goes_on("rank3")


def test_lost_connections_of_the_event_stream_cost_no_event(stage: Stage) -> None:
    stage.fault("connection-dropped", method="event.from", takes_effect=True, times=2)
    target = stage.away("rank3")
    assert stage.ended(stage.migrate("rank3", target)).state == "moved"
    stage.goes_on("rank3")


def test_a_migration_that_goes_on_when_the_toolstack_restarts_is_followed_to_its_end(stage: Stage) -> None:
    target = stage.away("rank4", "xen1")
    asked = stage.copying("rank4", target)
    stage.fault("toolstack-restarts", down_s=0.2)
    stage.controller.status(lambda status: not status.xapi_connected)
    stage.controller.status(lambda status: status.xapi_connected)
    assert "being migrated" in stage.refusal("rank4", stage.away("rank4", target))
    stage.fault("link-recovers", host=target)
    ended = stage.ended(asked)
    assert (ended.state, stage.host_of("rank4")) == ("moved", target)
    stage.goes_on("rank4")


def test_a_migration_that_fails_when_the_toolstack_restarts_has_its_guest_where_it_was(stage: Stage) -> None:
    source, target = stage.host_of("rank4"), stage.away("rank4")
    asked = stage.copying("rank4", target, planned_with=0.1)
    stage.fault("toolstack-restarts", down_s=0.2, migrations="fail")
    until(lambda: "the pool has lost its task" in stage.view(asked.cause).text)
    with pytest.raises(Failure, match=r"D\d+\.1 cannot be cancelled: the pool has lost its task"):
        stage.controller.ask("POST", "/v1/migrations/rank4/cancel")
    ended = stage.ended(asked)
    assert (ended.state, ended.text) == ("stayed", "the pool no longer has the task")
    assert stage.host_of("rank4") == source
    stage.goes_on("rank4")


@pytest.mark.parametrize("coordinator", ["xen2", "xen1"])
def test_a_coordinator_that_changes_is_followed_and_so_is_the_migration(stage: Stage, coordinator: str) -> None:
    target = stage.away("rank5")
    asked = stage.copying("rank5", target)
    stage.fault("coordinator-changes", host=coordinator, down_s=0.2)
    stage.controller.status(lambda status: not status.xapi_connected)
    stage.controller.status(lambda status: status.xapi_connected)
    assert "being migrated" in stage.refusal("rank5", stage.away("rank5", target))
    stage.fault("link-recovers", host=target)
    ended = stage.ended(asked)
    assert (ended.state, stage.host_of("rank5")) == ("moved", target)
    stage.goes_on("rank5")


@pytest.mark.parametrize("by_s", [3 * 86400.0, -3 * 86400.0])
def test_a_clock_that_jumps_changes_nothing(stage: Stage, by_s: float) -> None:
    target = stage.away("rank0")
    asked = stage.copying("rank0", target)
    stage.fault("clock-jumps", by_s=by_s)
    stage.fault("link-recovers", host=target)
    ended = stage.ended(asked)
    assert ended.state == "moved"
    assert 0 < (ended.actual_s or 0.0) < 60
    stage.goes_on("rank0")


def test_a_guest_that_a_human_migrates_is_seen_where_it_is_and_not_touched_meanwhile(stage: Stage) -> None:
    target = stage.away("rank1")
    stage.fault("link-slows", host=target, factor=SLOW)
    stage.fault("human-migrates", guest="rank1", host=target)
    until(lambda: "it is being migrated" in (stage.guest("rank1").immovable_because or ""))
    assert "being migrated" in stage.refusal("rank1", stage.away("rank1", target))
    stage.fault("link-recovers", host=target)
    until(lambda: stage.guest("rank1").host_name == target)
    stage.goes_on("rank1")


def test_a_guest_that_a_human_migrates_on_is_told_to_be_where_it_is_in_the_end(stage: Stage) -> None:
    source, target = stage.host_of("rank1"), stage.away("rank1")
    elsewhere = stage.away("rank1", target)
    asked = stage.copying("rank1", target)
    stage.fault("human-migrates", guest="rank1", host=elsewhere)
    stage.fault("link-recovers", host=target)
    until(lambda: len(stage.migrations()) == 2)
    ended = stage.ended(asked)
    assert (ended.source_name, stage.host_of("rank1")) == (source, elsewhere)
    assert (ended.state, ended.text) == ("elsewhere", f"somebody else has moved the guest to host {elsewhere}")
    stage.goes_on("rank1", "rank1")


def test_what_a_human_names_tags_and_disables_counts_at_once(stage: Stage) -> None:
    target = stage.away("rank2")
    stage.fault("human-renames", guest="rank2", name="renamed")
    stage.fault("human-tags", guest="rank2", tag="migd:never")
    until(lambda: (stage.guest("rank2").name, stage.guest("rank2").tags) == ("renamed", ["migd:never"]))
    assert "it is tagged migd:never" in stage.refusal("renamed", target)
    stage.fault("human-disables", host=target)
    until(lambda: not stage.host(target).is_enabled)
    assert f"host {target} receives nothing: it is disabled" in stage.refusal(
        "rank0" if stage.host_of("rank0") != target else "rank3", target
    )
    stage.fault("human-enables", host=target)
    stage.fault("human-renames", guest="rank2", name="rank2")
    until(lambda: stage.host(target).is_enabled and stage.guest("rank2").name == "rank2")
    stage.goes_on()


def test_a_guest_that_a_human_shuts_down_while_it_moves_is_gone(stage: Stage) -> None:
    asked = stage.copying("rank3", stage.away("rank3"))
    stage.fault("human-shuts-down", guest="rank3")
    ended = stage.ended(asked)
    assert (ended.state, ended.text) == ("gone", "the migration was cancelled")
    until(lambda: stage.controller.explain("rank3").text == "guest rank3 is not running in this pool")
    assert stage.controller.explain("rank3").migrations[0] == ended
    stage.goes_on("rank3")


def test_a_guest_that_a_human_reboots_while_it_moves_has_stayed(stage: Stage) -> None:
    source = stage.host_of("rank3")
    asked = stage.copying("rank3", stage.away("rank3"))
    stage.fault("human-reboots", guest="rank3")
    ended = stage.ended(asked)
    assert (ended.state, ended.text) == ("stayed", "the migration was cancelled")
    assert stage.host_of("rank3") == source
    stage.goes_on("rank3")


def test_a_target_that_dies_leaves_the_guest_and_receives_nothing_until_it_is_back(stage: Stage) -> None:
    source, target = stage.host_of("rank0"), stage.away("rank0", "xen1")
    asked = stage.copying("rank0", target)
    stage.fault("host-dies", host=target, noticed_after_s=0.2)
    ended = stage.ended(asked)
    assert (ended.state, ended.text) == ("stayed", f"INTERNAL_ERROR(host {target} died)")
    assert stage.host_of("rank0") == source
    until(lambda: stage.host(target).frozen_because == "the pool reports it dead")
    assert f"host {target} receives nothing: the pool reports it dead" in stage.refusal("rank0", target)
    stage.goes_on("rank0")


def test_a_source_that_dies_takes_its_guest_with_it_and_that_is_told(stage: Stage) -> None:
    guest, source = next((guest, host) for guest, host in stage.really().items() if host != "xen1")
    asked = stage.copying(guest, stage.away(guest))
    stage.fault("host-dies", host=source, noticed_after_s=0.0)
    ended = stage.ended(asked)
    assert (ended.state, ended.text.partition("(")[0]) == ("gone", "CANNOT_CONTACT_HOST")
    until(lambda: stage.controller.explain(guest).text.startswith(f"guest {guest} is not running in this pool; "))
    assert stage.controller.explain(guest).migrations[0] == ended
    stage.goes_on(guest)


def test_a_coordinator_that_dies_is_succeeded_and_the_migration_is_followed_to_its_end(stage: Stage) -> None:
    guest = next(guest for guest, host in stage.really().items() if host == "xen2")
    asked = stage.copying(guest, "xen3")
    stage.fault("host-dies", host="xen1", noticed_after_s=0.1)
    status = stage.controller.status(lambda status: not status.xapi_connected)
    assert "does not answer" in status.xapi_problem
    assert [view.cause for view in status.migrations] == [asked.cause]
    stage.fault("coordinator-changes", host="xen2", down_s=0.2)
    stage.controller.status(lambda status: status.xapi_connected)
    assert "being migrated" in stage.refusal(guest, "xen3")
    stage.fault("link-recovers", host="xen3")
    assert (stage.ended(asked).state, stage.host_of(guest)) == ("moved", "xen3")
    stage.goes_on(guest)

"""Input that is wrong, old or impossible: nothing moves because of it, and the gates say why."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host
from msgspec.structs import replace

from migd_controller.config import ControllerConfig
from migd_controller.decision import Candidate
from migd_controller.events import (
    InventoryChanged,
    JobAdded,
    JobProgressed,
    MigrationAccepted,
    MigrationEnded,
    MigrationRequested,
    SampleArrived,
)
from migd_controller.views import guest_text
from migd_core.messages import DirtyCurve
from migd_core.progress import Progress
from migd_core.world import Move, Plan, Reason, World

CALM = DirtyCurve((1.0, 10.0), (100, 400))
FALLING = DirtyCurve((1.0, 10.0), (400, 100))


@dataclass
class Proposes:
    """A policy that wants one move, whatever it sees."""

    move: Move
    name: str = "told"

    def propose(self, world: World) -> Plan:
        return Plan((self.move,), Reason("told", "told"))


class Crowded(Cluster):
    """A rank beside a hog on host a, wanted on b."""

    def __init__(self, config: ControllerConfig = CONFIG) -> None:
        hog = pool_guest("hog", "a", vcpus=4, tags=("migd:never",))
        super().__init__([pool_host("a"), pool_host("b")], [hog, pool_guest("rank", "a", domid=3)], config)
        self.core.policy = Proposes(Move("rank", "a", "b", Reason("told", "told")))
        self.tell(JobAdded(name="brams", guests=("rank",), remaining_s=3600.0))

    def count(self, curve: DirtyCurve) -> None:
        """The agent of a tells of a curve that it has just counted."""
        self.now_s += 1.0
        self.sequence += 1
        sample = self.sample("a", {})
        counted = tuple(
            replace(guest, dirty_curve=replace(curve, measured_s=self.now_s)) if guest.uuid == "rank" else guest
            for guest in sample.guests
        )
        self.tell(SampleArrived(sample=replace(sample, guests=counted)))

    def becomes(self, **values: object) -> None:
        """The pool tells that the rank is otherwise."""
        self.now_s += 1.0
        self.guests["rank"] = replace(self.guests["rank"], **values)
        self.tell(InventoryChanged(guests=(self.guests["rank"],)))

    def judged(self, wants: Mapping[str, float] = {"hog": 4.0}) -> Candidate:
        self.core.memory = replace(self.core.memory, is_paused=True)  # judged, and not begun
        (candidate,) = self.run(1, dict(wants)).candidates
        return candidate

    def gate(self, name: str) -> str:
        return next(gate.text for gate in self.judged().gates if gate.name == name)


def basis(cluster: Crowded) -> str:
    price = cluster.judged().price
    assert price is not None
    assert (price.most is None) is not price.basis.startswith("no dirty curve"), "bounded where nothing is known"
    return price.basis


NOTHING = "50 % of memory taken as rewritten every 5.0 s"


def test_a_curve_that_was_counted_is_believed() -> None:
    cluster = Crowded()
    cluster.count(CALM)
    assert basis(cluster) == "dirty curve of 2 points up to 10 s"


def test_without_a_curve_the_move_is_judged_by_the_dearest_it_may_be() -> None:
    cluster = Crowded()
    assert basis(cluster) == f"no dirty curve: {NOTHING}"
    assert f"(no dirty curve: {NOTHING})" in cluster.gate("gain")


def test_a_curve_that_falls_is_left_out_and_the_gate_says_why() -> None:
    cluster = Crowded()
    cluster.count(FALLING)
    why = f"no dirty curve (the measured one is impossible: unique pages fall with age): {NOTHING}"
    assert basis(cluster) == why
    assert "loses up to " in cluster.gate("gain")
    assert f"({why})" in cluster.gate("gain")
    cluster.count(CALM)
    assert basis(cluster) == "dirty curve of 2 points up to 10 s"


def test_what_was_counted_before_a_guest_was_booted_anew_says_nothing_of_it() -> None:
    cluster = Crowded()
    cluster.count(CALM)
    cluster.now_s += 300.0
    cluster.becomes(domid=4)
    why = f"no dirty curve (the measured one is from 301 s before the guest was booted): {NOTHING}"
    assert basis(cluster) == why
    assert f"({why})" in cluster.gate("gain")
    cluster.count(CALM)
    assert basis(cluster) == "dirty curve of 2 points up to 10 s"


def test_a_reboot_while_the_pool_was_not_heard_is_noticed_too() -> None:
    cluster = Crowded()
    cluster.count(CALM)
    cluster.now_s += 10.0
    cluster.guests["rank"] = replace(cluster.guests["rank"], domid=9)
    cluster.tell_inventory()
    assert "before the guest was booted" in basis(cluster)


@pytest.mark.parametrize("is_told_at_once", [True, False])
def test_the_new_domain_of_a_migrated_guest_is_no_reboot(is_told_at_once: bool) -> None:
    """XAPI tells of the new host first and of the new domain after; what came between may be lost."""
    cluster = Crowded()
    cluster.count(CALM)
    if is_told_at_once:
        cluster.becomes(host="b", domid=11)
    else:
        cluster.becomes(host="b")
        cluster.becomes(domid=11)
    assert cluster.core.world(cluster.now_s).guests["rank"].booted_at == 0.0
    cluster.becomes(domid=12)
    assert cluster.core.world(cluster.now_s).guests["rank"].booted_at == cluster.now_s


def test_a_guest_that_migd_moved_is_not_taken_for_booted_anew() -> None:
    cluster = Crowded()
    cluster.run(1)
    cluster.tell(MigrationRequested(guest="rank", target="b"))
    (migration,) = cluster.core.memory.in_flight.values()
    cluster.tell(MigrationAccepted(cause=migration.cause, task="t"))
    cluster.tell(MigrationEnded(cause=migration.cause, host_now="b"))
    cluster.becomes(host="b", domid=11)
    assert cluster.core.world(cluster.now_s).guests["rank"].booted_at == 0.0


def test_a_link_that_carries_nothing_is_the_reason_why_a_move_is_not_priced() -> None:
    ledger = replace(CONFIG.ledger, bandwidth_bytes_per_s=0.0)
    cluster = Crowded(replace(CONFIG, ledger=ledger))
    plain = cluster.sample
    cluster.sample = lambda host, wants: replace(plain(host, wants), link_bytes_per_s=0.0)  # type: ignore[method-assign]
    cluster.count(CALM)
    text = "bandwidth is 0.0 bytes/s; a migration needs more than 0"
    assert cluster.gate("gain") == f"the move could not be priced: ValueError: {text}"
    assert cluster.judged().price is None


def told(cluster: Crowded) -> str:
    cluster.run(1)
    return guest_text(cluster.core, "rank", "rank", cluster.now_s)


def test_explain_says_that_the_remaining_time_was_put_off() -> None:
    cluster = Crowded()
    cluster.tell(JobAdded(name="brams", guests=("rank",), remaining_s=7200.0))
    assert "put off by 1 h so far" in told(cluster)


def test_explain_says_that_progress_went_back() -> None:
    cluster = Crowded()
    for done in (100.0, 110.0, 120.0, 3.0):
        cluster.now_s += 100.0
        cluster.tell(JobProgressed(name="brams", progress=Progress(done, 1000.0)))
    assert "progress went back from 120 to 3" in told(cluster)


def test_explain_says_that_guests_of_the_job_are_gone() -> None:
    cluster = Crowded()
    cluster.tell(JobAdded(name="brams", guests=("rank", "lost"), remaining_s=3600.0))
    assert "1 of its 2 guests no longer run" in told(cluster)


def test_a_policy_that_proposes_the_impossible_is_told_so_by_the_first_gate() -> None:
    cluster = Crowded()
    cluster.core.policy = Proposes(Move("rank", "b", "a", Reason("told", "told")))
    assert [gate.text for gate in cluster.judged().gates] == ["guest rank is on a, not on b"]


def test_explain_names_the_rules_that_contradict_each_other() -> None:
    cluster = Crowded()
    cluster.becomes(tags=("migd:pin=a", "migd:pin=b"))
    assert "its rules contradict each other: migd:pin=a and migd:pin=b leave no host for rank" in told(cluster)


class Speechless:
    """A policy whose answer is no plan."""

    name = "speechless"

    def propose(self, world: World) -> Plan:
        return None  # type: ignore[return-value]


def test_explain_says_that_a_policy_answered_with_no_plan() -> None:
    cluster = Crowded()
    cluster.core.policy = Speechless()
    why = "policy speechless failed with TypeError: propose returned NoneType, not a Plan; nothing moves because of it"
    assert why in told(cluster)

"""Claims as they stand in the pool, what they keep from others, and what they leave to the next leader."""

from pathlib import Path

import msgspec
import pytest
from cluster_of_events import Cluster, pool_guest, pool_host
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from migd_controller.commands import FollowMigration, StartMigration
from migd_controller.events import MeasuredLink, Tick, TookOver
from migd_controller.holds import Hold
from migd_controller.inheritance import Heard, inherited, succeeding, weight, will
from migd_controller.leader_claims import PREFIX, Seal, claims_in, key_of, text_of
from migd_controller.leadership import Claim, Told
from migd_controller.leases import Lease
from migd_controller.maintenance import Maintenance
from migd_controller.memory import Memory, RememberedJob, RememberedLink
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet, SetStep
from migd_controller.pool_failures import Scope, Then
from migd_controller.recommendations import TurnedDown
from migd_core import keys
from migd_core.automation import Automation
from migd_core.causes import CauseCounter
from migd_core.errors import MigdError
from migd_core.levels import Level
from migd_core.progress import Progress
from migd_core.world import Reason
from migd_policies.job_progress import Track, following

CLAIM = Claim(number=7, seat="s", life="l", attempt=3, lease_s=15.0, base="6 l 2", sessions=("a", "b"))


def test_a_claim_is_read_as_it_was_written() -> None:
    told = Told(name="ctl1", api="https://ctl1:7280", stream="tcp://ctl1:7202", at=1e9, revision=4, memory="x")
    claim = replace(CLAIM, told=told)
    assert claims_in({key_of(7): text_of(claim), "wlb_timeout": "30"}) == (claim,)


@given(st.text() | st.builds(text_of, st.just(CLAIM)), st.integers(0, 10**12))
def test_whatever_stands_under_a_number_is_somebodys_claim(text: str, number: int) -> None:
    """It is waited for and passed, rather than taken for nothing."""
    (claim,) = claims_in({f"{PREFIX}{number}": text})
    assert claim.number == number


@pytest.mark.parametrize("key", ["migd:leader:", "migd:leader:-1", "migd:leader:x", "migd:leader:١", "migd:leaders:1"])
def test_a_key_without_a_number_is_no_claim(key: str) -> None:
    assert claims_in({key: text_of(CLAIM)}) == ()


def test_what_is_sealed_opens_with_the_same_key_only(tmp_path: Path) -> None:
    one, other = (Seal(keys.create(tmp_path, name)[1]) for name in ("one", "other"))
    closed = one.closed(b"OpaqueRef:1")
    assert (one.opened(closed), other.opened(closed)) == (b"OpaqueRef:1", None)
    assert [one.opened(text) for text in ("", "OpaqueRef:1", closed[:-4], "ü")] == [None] * 4


TRACK = following(Track(), Progress(done=5, total=100), 1.0)
JOB = RememberedJob(name="weather", guests=("g1",), track=TRACK)
HOLD = Hold(
    guest="g2",
    guest_name="rank2",
    target="b",
    target_name="xen2",
    then=Then.NEEDS_A_HUMAN,
    scope=Scope.GUEST,
    code="VM_CRASHED",
    text="it crashed",
    cause="D4.1",
    at=5.0,
)
STEP = SetStep(
    number=0,
    guest="g1",
    source="a",
    target="b",
    reason=Reason("load", "a is overloaded"),
    guest_name="rank1",
    source_name="xen1",
    target_name="xen2",
)
# With something in each field that must not be lost.
LEFT = Memory(
    policy="balance",
    policy_config={"max_moves": 2},
    is_paused=True,
    automation=Automation.OFF,
    causes=CauseCounter(25),
    jobs={"weather": JOB},
    last_moved_at={"g1": 100.0},
    holds={HOLD.key: HOLD},
    in_flight={
        "D25.1": Migration(cause="D25.1", guest="g1", source="a", target="b", requested_by="balance", asked_at=100.0)
    },
    leases={"D24.p1": Lease(lease="D24.p1", guest="g3", host="a", asked_at=90.0, over_at=120.0)},
    sets={"D25.s1": MoveSet(name="D25.s1", policy="balance", at=100.0, steps=(STEP,))},
    links={Level.SAME_SWITCH: RememberedLink(link=MeasuredLink(bandwidth_bytes_per_s=1e8, latency_s=1e-4), at=50.0)},
    maintenance={"b": Maintenance(since=80.0, is_emptied=True)},
    turned_down={"g2": TurnedDown(name="D20.r1", at=70.0, is_for_safety=False)},
    finished_s={"tides": (60.0,)},
)
# What fills pages, is measured or made anew, or costs a probe too many at most.
LEARNED_AGAIN = {
    "last_probed_at",
    "probe_refused_at",
    "probe_rests",
    "probe_asked",
    "pool_addresses",
    "learned",
    "accounts",
    "finished_s",
    "speeds",
    "contest",
    "quiet_waits",
    "recommendations",
}


def test_whatever_cannot_be_learned_again_is_left_to_the_next_leader() -> None:
    kept = inherited(Memory(policy="observe"), will(LEFT))
    fresh = Memory(policy="observe")
    found = {each for each in Memory.__struct_fields__ if getattr(kept, each) != getattr(fresh, each)}
    assert found == set(Memory.__struct_fields__) - LEARNED_AGAIN


@pytest.mark.parametrize("field", sorted(set(Memory.__struct_fields__) - LEARNED_AGAIN - {"causes"}))
def test_the_next_leader_is_to_know_at_once_of_whatever_changes_in_it(field: str) -> None:
    fresh = Memory(policy="observe")
    assert weight(replace(fresh, **{field: getattr(LEFT, field)})) != weight(fresh)


def test_no_cooldown_quarantine_or_migration_is_lost_to_who_heard_nothing() -> None:
    own = Memory(policy="observe", finished_s={"waves": (30.0,)})
    assert inherited(own, will(LEFT)) == replace(
        LEFT, jobs={"weather": replace(JOB, track=Track())}, finished_s={"waves": (30.0,)}
    )


def test_the_progress_of_a_job_that_one_has_followed_is_kept() -> None:
    assert inherited(Memory(policy="observe", jobs={"weather": JOB}), will(LEFT)).jobs == {"weather": JOB}


def test_a_takeover_that_was_cut_short_loses_nothing_of_the_leader_before() -> None:
    """Who claims the lease passes on what it has found, until it goes on with that; its next life takes it from there."""
    own, left = Memory(policy="observe"), will(LEFT)
    begun = replace(CLAIM, told=Told(revision=3))
    passed_on = replace(CLAIM, told=Told(revision=0))
    heard = Heard(CLAIM.life, 3, 1.0, replace(LEFT, policy="colocate"))
    assert succeeding(own, None, False, None, None) == own
    assert succeeding(own, begun, True, left, None) == own
    assert succeeding(own, passed_on, True, left, None).in_flight == LEFT.in_flight
    assert succeeding(own, begun, False, left, None).policy == "balance"
    assert succeeding(own, begun, False, left, heard).policy == "colocate"
    assert succeeding(own, begun, False, left, replace(heard, revision=2)).policy == "balance"
    assert succeeding(own, begun, False, left, replace(heard, life="another")).policy == "balance"


def test_what_another_release_has_left_is_told() -> None:
    with pytest.raises(MigdError, match="what the last leader has left in the pool cannot be read"):
        inherited(Memory(policy="observe"), b"nonsense")


def test_progress_waits_for_the_next_renewal_and_a_pause_does_not() -> None:
    further = {"weather": replace(JOB, track=following(TRACK, Progress(done=6, total=100), 2.0))}
    assert weight(replace(LEFT, jobs=further, causes=CauseCounter(26))) == weight(LEFT)
    assert weight(replace(LEFT, is_paused=False)) != weight(LEFT)
    assert weight(replace(LEFT, in_flight={})) != weight(LEFT)


def test_who_takes_over_follows_what_is_under_way_and_begins_nothing_again() -> None:
    made = Cluster([pool_host("a"), pool_host("b")], [pool_guest("g1", on="a")])
    left = replace(LEFT, is_paused=False, last_moved_at={"g1": made.now_s})
    taken = TookOver(name="ctl2", number=8, predecessor="ctl1", memory=msgspec.msgpack.encode(left))
    assert [each for each in made.core.handle(taken, made.now_s) if isinstance(each, FollowMigration)] == [
        FollowMigration(cause="D25.1", guest="g1", target="b", task=None)
    ]
    assert not [each for each in made.core.handle(Tick(), made.now_s) if isinstance(each, StartMigration)]
    assert (made.core.policy.name, made.core.memory.causes) == ("balance", CauseCounter(26))

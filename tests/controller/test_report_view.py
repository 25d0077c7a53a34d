"""A report's figures: those of the journal, and of each policy's course."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from cluster_of_events import Cluster, pool_guest, pool_host
from msgspec.structs import replace
from served import WANTS, OverTcp

from builders import host, world
from migd_controller.comparison import comparison_view
from migd_controller.contest import Contender, Contest, Tally
from migd_controller.events import (
    JobAdded,
    MigrationAccepted,
    MigrationEnded,
    MigrationRequested,
    Paused,
    PolicySet,
    ShadowAdded,
)
from migd_controller.report_view import courses
from migd_controller.timeline import ContestMoment, Moment, Timeline, moment
from migd_controller.views import migration_view
from migd_core.api import ReportView, Role


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[OverTcp]:
    served = OverTcp(tmp_path)
    async with served.answering():
        yield served


def moved(served: OverTcp, guest: str, *, ok: bool) -> None:
    """Let an operator move a guest from a to b: 12 s later it is on b, or still on a."""
    commands = served.control.dispatch(MigrationRequested(guest=guest, target="b"))
    cause = next(command.cause for command in commands if hasattr(command, "source"))
    served.control.dispatch(MigrationAccepted(cause=cause, task="task"))
    served.cluster.now_s += 12.0
    served.control.dispatch(MigrationEnded(cause=cause, host_now="b" if ok else "a", text="" if ok else "it is full"))
    if ok:
        served.cluster.guests[guest] = replace(served.cluster.guests[guest], host="b")
    served.cluster.run(1, WANTS)


async def report(served: OverTcp, query: str = "") -> ReportView:
    status, body = await served.ask("GET", f"/v1/report{query}", served.token(Role.VIEWER, f"reader{len(query)}"))
    assert status == 200, body
    return msgspec.convert(body, ReportView)


async def test_a_report_has_each_migration_of_the_journal_and_what_was_said_of_it(served: OverTcp) -> None:
    served.control.dispatch(JobAdded(name="brams", guests=("rank0", "rank1")))
    moved(served, "rank0", ok=True)
    moved(served, "rank1", ok=False)
    served.control.dispatch(PolicySet(name="least-loaded", config={}))
    served.control.dispatch(Paused())
    view = await report(served, "?hours=2")
    journaled = served.journal.migrations(10)[::-1]
    assert [each.migration for each in view.moves] == [migration_view(each) for each in journaled]
    assert [(each.job, each.cost_s, each.gain_s, each.memory_bytes) for each in view.moves] == [
        ("brams", each.cost_s, each.gain_s, each.memory_bytes) for each in journaled
    ]
    prices = [served.journal.decision(each.cause.partition(".")[0]).candidates[0].price for each in journaled]
    assert [each.predicted for each in view.moves if each.predicted is not None] != []
    for each, price in zip(view.moves, prices, strict=True):
        assert each.predicted is not None
        assert (each.predicted.low, each.predicted.high) == (price.total.low, price.total.high)
    assert (view.policies, view.are_moves_left_out, view.courses) == (["least-loaded"], False, [])
    assert (sum(view.history.moved), sum(view.history.failed)) == (1, 1)
    assert [each.kind for each in view.history.happenings] == ["paused", "policy", "job"]
    assert view.comparison == comparison_view(served.control.core)


async def test_a_report_of_a_shorter_time_has_what_happened_in_it(served: OverTcp) -> None:
    moved(served, "rank0", ok=True)
    served.cluster.now_s += 3600.0
    served.cluster.run(1, WANTS)
    moved(served, "rank1", ok=True)
    assert [each.migration.guest_name for each in (await report(served, "?hours=0.5")).moves] == ["rank1"]
    assert [each.migration.guest_name for each in (await report(served)).moves] == ["rank0", "rank1"]
    status, body = await served.ask("GET", "/v1/report?hours=1000", served.token(Role.VIEWER))
    assert (status, body["text"]) == (409, "hours: expected a number from 0.01 to 744, found '1000'")


def at(time_s: float, since: float, policy: str, net_s: float, **nets_s: float) -> Moment:
    return Moment(time_s, None, None, None, 0, {}, ContestMoment(since, policy, net_s, nets_s))


def test_a_course_begins_with_the_period_and_goes_on_when_another_policy_is_set() -> None:
    told = [
        at(10.0, 0.0, "observe", 5.0, other=7.0),
        at(20.0, 0.0, "observe", 6.0, other=10.0),
        at(30.0, 25.0, "balance", 1.0, other=-2.0),
        at(40.0, 25.0, "balance", 3.0, other=-2.0),
    ]
    in_use, other = courses([Moment(5.0, None, None, None, 0), *told])
    assert (in_use.label, in_use.at, in_use.net_s) == ("observe, then balance", [10.0, 20.0, 30.0, 40.0], [0, 1, 2, 4])
    assert (other.label, other.net_s) == ("other", [0, 3, 1, 1])


def test_a_shadow_that_was_added_later_shares_what_was_gained_before() -> None:
    in_use, late = courses(
        [at(10.0, 0.0, "observe", 5.0), at(20.0, 0.0, "observe", 6.0), at(30.0, 0.0, "observe", 6.0, late=9.0)]
    )
    assert in_use.net_s == [0, 1, 1]
    assert late.net_s == [0, 1, 4]


def test_no_course_is_told_where_nothing_ran_beside() -> None:
    assert courses([Moment(5.0, None, None, None, 0)]) == []


def test_the_timeline_keeps_what_policies_come_to() -> None:
    cluster = Cluster([pool_host("a"), pool_host("b")], [pool_guest("g", "a")])
    cluster.run(3)
    assert moment(cluster.core.world(cluster.now_s), {}, cluster.core.memory.contest).contest is None
    cluster.tell(ShadowAdded(label="mine", name="balance", config={}))
    cluster.run(3)
    contest = cluster.core.memory.contest
    assert contest.active is not None
    kept = moment(cluster.core.world(cluster.now_s), {}, contest)
    assert kept.contest == ContestMoment(contest.active.since, "observe", 0.0, {"mine": 0.0})
    timeline = Timeline()
    timeline.add(kept)
    body = msgspec.msgpack.encode(timeline.since(0.0)[0])
    assert msgspec.msgpack.decode(body, type=Moment) == kept
    before = msgspec.msgpack.encode(msgspec.msgpack.decode(body)[:-1])  # as an earlier release kept it
    assert msgspec.msgpack.decode(before, type=Moment).contest is None


def test_a_shadows_net_is_over_the_time_of_the_policy_in_use() -> None:
    active = Contender(policy="observe", config={}, since=0.0, tally=Tally(gained_s=9.0, cost_s=2.0))
    shadow = Contender(policy="balance", config={}, since=50.0, ahead_s=3.0)
    contest = Contest(active=active, shadows={"mine": shadow}, settled_at=60.0)
    assert moment(world(host("a")), {}, contest).contest == ContestMoment(0.0, "observe", 7.0, {"mine": 10.0})

"""How much migd does by itself: what is recommended, what becomes of it, and what counts when levels differ."""

from pathlib import Path

import pytest
from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host
from msgspec.structs import replace
from sets_of_moves import FREE, Wanting

from migd_controller.automation import level
from migd_controller.commands import RecordDecision, RecordRecommendation
from migd_controller.config import AutomationSection, ControllerConfig
from migd_controller.core import Core
from migd_controller.decision import Decision
from migd_controller.events import (
    AnyEvent,
    AutomationSet,
    EvacuationAsked,
    JobAdded,
    JobLimited,
    MaintenanceBegun,
    MaintenanceEnded,
    MigrationEnded,
    MigrationRequested,
    Paused,
    PolicySet,
    RecommendationApproved,
    RecommendationRefused,
    Resumed,
)
from migd_controller.journal import Journal
from migd_controller.recommendations import (
    OPEN_AT_MOST,
    Proposal,
    Recommendation,
    Standing,
    TurnedDown,
    after_tick,
)
from migd_core.automation import Automation
from migd_core.health import HealthState, HostHealth
from migd_core.job_limits import JobLimitsChange
from migd_core.units import GIB
from migd_core.world import EVACUATION, Move, Reason

HOG = {"hog": 4.0}


def recommending(config: ControllerConfig = CONFIG) -> Cluster:
    """Host `a`: a hog that cannot be moved, and two ranks. Host `b`: empty. What would help is recommended."""
    guests = [pool_guest("hog", "a", vcpus=4, tags=("migd:never",)), pool_guest("rank0", "a"), pool_guest("rank1", "a")]
    cluster = Cluster([pool_host("a"), pool_host("b")], guests, config)
    cluster.set_policy("least-loaded")
    cluster.tell(AutomationSet(level=Automation.RECOMMEND))
    return cluster


def names(cluster: Cluster) -> list[str]:
    return list(cluster.core.memory.recommendations)


def records(cluster: Cluster) -> list[tuple[str, Standing]]:
    """Every change of a recommendation that was recorded."""
    found = [c.recommendation for c in cluster.commands if isinstance(c, RecordRecommendation)]
    return [(each.name, each.standing) for each in found]


def decided(cluster: Cluster) -> Decision:
    return [command.decision for command in cluster.commands if isinstance(command, RecordDecision)][-1]


def test_a_recommended_move_is_not_made_and_keeps_its_price_and_its_gates() -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    (found,) = cluster.core.memory.recommendations.values()
    (candidate,) = found.candidates
    assert cluster.started == []
    assert candidate.price is not None
    assert [gate.name for gate in candidate.gates if not gate.passed] == ["automation"]
    assert (found.policy, found.standing, found.is_for_safety) == ("least-loaded", Standing.OPEN, False)


def test_what_is_proposed_again_stays_one_recommendation_and_is_recorded_once() -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    (before,) = cluster.core.memory.recommendations.values()
    cluster.run(10, HOG)
    (after,) = cluster.core.memory.recommendations.values()
    assert (after.name, after.at, after.proposed_at) == (before.name, before.at, before.proposed_at + 50.0)
    assert records(cluster) == [(before.name, Standing.OPEN)]


def test_an_approved_recommendation_is_made_once() -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    (name,) = names(cluster)
    cluster.tell(RecommendationApproved(name=name))
    assert cluster.tell(RecommendationApproved(name=name)) == []
    (start,) = cluster.started
    assert start.target == "b"
    assert names(cluster) == []
    assert records(cluster) == [(name, Standing.OPEN), (name, Standing.APPROVED)]
    assert {gate.text for each in decided(cluster).candidates for gate in each.gates if gate.name == "automation"} == {
        f"an operator has approved {name}"
    }


def test_whose_word_it_was_is_told_by_the_record_the_decision_and_the_gate() -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    (name,) = names(cluster)
    cluster.tell(RecommendationApproved(name=name, by="anna"))
    last = [c.recommendation for c in cluster.commands if isinstance(c, RecordRecommendation)][-1]
    decision = decided(cluster)
    words = f"anna has approved {name}"
    assert (last.standing, last.by, last.text, last.decision) == (Standing.APPROVED, "anna", words, decision.cause)
    assert decision.reason.text == words
    assert [gate.text for each in decision.candidates for gate in each.gates if gate.name == "automation"] == [words]


def test_who_refused_is_told_by_the_record_and_by_the_gate_as_long_as_that_counts() -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    (name,) = names(cluster)
    (guest,) = cluster.core.memory.recommendations[name].guests
    cluster.tell(RecommendationRefused(name=name, by="bert"))
    last = [c.recommendation for c in cluster.commands if isinstance(c, RecordRecommendation)][-1]
    assert (last.standing, last.by, last.text) == (Standing.REFUSED, "bert", "bert has refused it")
    found = cluster.run(1, HOG)
    (gate,) = [gate for each in found.candidates if each.guest == guest for gate in each.gates if not gate.passed]
    assert f"and bert refused {name} " in gate.text


def test_one_word_lets_every_guest_leave_a_failing_host() -> None:
    guests = [pool_guest(f"vm{n}", "a") for n in range(4)]
    cluster = Cluster([pool_host("a"), pool_host("b")], guests, CONFIG)
    cluster.set_policy("evacuate")
    cluster.tell(AutomationSet(level=Automation.RECOMMEND))
    cluster.health["a"] = HostHealth(state=HealthState.FAILING, reasons=("a fan stands still",))
    cluster.run(3)
    assert (len(names(cluster)), cluster.started) == (1, [])
    cluster.tell(EvacuationAsked(host="a"))
    for _ in guests:
        cluster.run(1)
        (start,) = [each for each in cluster.started if each.cause in cluster.core.memory.in_flight]
        cluster.guests[start.guest] = replace(cluster.guests[start.guest], host=start.target)
        cluster.tell(MigrationEnded(cause=start.cause, host_now=start.target))
    assert {each.guest: each.target for each in cluster.started} == {guest.uuid: "b" for guest in guests}
    lapsed = [c.recommendation for c in cluster.commands if isinstance(c, RecordRecommendation)][-1]
    assert (lapsed.standing, lapsed.text) == (Standing.LAPSED, "an operator has its host emptied")


@pytest.mark.parametrize(
    ("happens", "gate"),
    [
        (lambda cluster: cluster.tell(Paused()), "pause"),
        (lambda cluster: cluster.tell(AutomationSet(level=Automation.OFF)), "automation"),
        (lambda cluster: cluster.silent.add("b") or cluster.run(2, {"hog": 0.1, "rank0": 0.1, "rank1": 0.1}), "target"),
        (lambda cluster: cluster.run(4, {"hog": 0.1, "rank0": 0.1, "rank1": 0.1}), "gain"),
    ],
)
def test_an_approval_is_judged_by_the_cluster_as_it_is_then(happens, gate: str) -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    (name,) = names(cluster)
    happens(cluster)
    cluster.tell(RecommendationApproved(name=name))
    assert cluster.started == []
    assert gate in {g.name for each in decided(cluster).candidates for g in each.gates if not g.passed}
    assert names(cluster) == [name]


def test_a_recommendation_that_could_not_be_made_can_be_approved_later() -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    (name,) = names(cluster)
    cluster.tell(Paused())
    cluster.tell(RecommendationApproved(name=name))
    cluster.tell(Resumed())
    cluster.tell(RecommendationApproved(name=name))
    assert len(cluster.started) == 1


def test_a_refused_guest_is_not_recommended_for_a_while_and_then_again() -> None:
    config = replace(CONFIG, automation=AutomationSection(refused_for_s=60.0))
    cluster = recommending(config)
    cluster.run(10, HOG)
    (name,) = names(cluster)
    (guest,) = cluster.core.memory.recommendations[name].guests
    cluster.tell(RecommendationRefused(name=name))
    cluster.run(11, HOG)
    assert all(guest not in each.guests for each in cluster.core.memory.recommendations.values())
    cluster.core.memory = replace(cluster.core.memory, recommendations={})
    cluster.run(4, HOG)
    assert any(guest in each.guests for each in cluster.core.memory.recommendations.values())


def test_a_clock_set_back_across_a_restart_prolongs_no_recommendation_and_no_refusal() -> None:
    section = AutomationSection(lapse_s=60.0, refused_for_s=60.0)
    cluster = recommending(replace(CONFIG, automation=section))
    cluster.run(10, HOG)
    (name,) = names(cluster)
    (guest,) = cluster.core.memory.recommendations[name].guests
    refused = {"rank9": TurnedDown(name="D1.r1", at=cluster.now_s, is_for_safety=False)}
    memory = replace(cluster.core.memory, turned_down=refused)
    again = Cluster(cluster.hosts.values(), cluster.guests.values(), cluster.core.config, memory)
    again.now_s = cluster.now_s - 86400.0
    calm = dict.fromkeys(("hog", "rank0", "rank1"), 0.1)
    again.run(1, calm)
    assert again.core.memory.recommendations[name].proposed_at == again.now_s
    assert again.core.memory.turned_down["rank9"].at == again.now_s
    again.run(12, calm)
    assert guest not in {each for found in again.core.memory.recommendations.values() for each in found.guests}


def test_what_the_policy_proposes_no_more_lapses() -> None:
    cluster = recommending(replace(CONFIG, automation=AutomationSection(lapse_s=60.0)))
    cluster.run(10, HOG)
    (name,) = names(cluster)
    cluster.run(20, {"hog": 0.1, "rank0": 0.1, "rank1": 0.1})
    assert names(cluster) == []
    assert records(cluster) == [(name, Standing.OPEN), (name, Standing.LAPSED)]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (PolicySet(name="observe", config={}), "policy observe was set meanwhile"),
        (AutomationSet(level=Automation.OFF), "automation is off; `migctl automation set` changes that"),
        (AutomationSet(level=None), "automation is automatic"),
    ],
)
def test_what_can_no_longer_be_meant_lapses_at_once(event: AnyEvent, text: str) -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    cluster.tell(event)
    cluster.run(1, dict.fromkeys(("hog", "rank0", "rank1"), 0.1))
    assert names(cluster) == []
    assert records(cluster)[-1][1] is Standing.LAPSED
    last = [c.recommendation for c in cluster.commands if isinstance(c, RecordRecommendation)][-1]
    assert last.text == text


def test_a_guest_that_has_moved_otherwise_is_not_recommended_any_more() -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    ((guest,),) = [each.guests for each in cluster.core.memory.recommendations.values()]
    cluster.guests[guest] = replace(cluster.guests[guest], host="b")
    cluster.tell_inventory()
    cluster.run(1, HOG)
    lapsed = [c.recommendation for c in cluster.commands if isinstance(c, RecordRecommendation)][1]
    assert (lapsed.standing, lapsed.text) == (Standing.LAPSED, f"guest {guest} is on host b now")


def test_recommendations_and_levels_survive_a_restart(tmp_path: Path) -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    (name,) = names(cluster)
    journal = Journal(tmp_path / "journal.sqlite")
    journal.write(cluster.now_s, None, cluster.commands, cluster.core.memory)
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    memory = again.memory()
    assert memory == cluster.core.memory
    assert again.recommendation(name) is not None
    again.close()
    assert memory is not None
    assert list(Core(CONFIG, memory).memory.recommendations) == [name]


def test_a_job_of_its_own_level_follows_it_but_off_is_off_for_all() -> None:
    cluster = recommending()
    cluster.tell(JobAdded(name="brams", guests=("rank0",)))
    found = []
    for everybodys in Automation:
        for own in (None, *Automation):
            cluster.tell(AutomationSet(level=everybodys))
            cluster.tell(JobLimited(name="brams", change=JobLimitsChange(automation=own)))
            found.append(level(cluster.core.memory, CONFIG.automation, "brams").value)
    off, recommend, automatic = "off", "recommend", "automatic"
    assert found == [off, off, off, off, recommend, off, recommend, automatic, automatic, off, recommend, automatic]


def test_by_hand_a_guest_is_moved_at_any_level() -> None:
    cluster = recommending()
    cluster.run(2, HOG)
    cluster.tell(AutomationSet(level=Automation.OFF))
    cluster.tell(MigrationRequested(guest="rank0", target="b"))
    assert [start.guest for start in cluster.started] == ["rank0"]


def test_guests_of_a_failing_host_are_recommended_though_their_other_move_was_refused() -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    (name,) = names(cluster)
    cluster.tell(RecommendationRefused(name=name))
    cluster.set_policy("evacuate")
    cluster.health["a"] = HostHealth(state=HealthState.FAILING, reasons=("a fan stands still",))
    cluster.run(2, HOG)
    (found,) = cluster.core.memory.recommendations.values()
    assert found.is_for_safety
    assert cluster.started == []


def exchanging(automation: Automation) -> Wanting:
    """Two guests that are to change places over a spare host, as one set."""
    hosts = [pool_host(name, memory_for_guests_bytes=4 * GIB) for name in ("a", "b", "c")]
    cluster = Wanting(hosts, [pool_guest("one", "a"), pool_guest("two", "b")], {"one": "b", "two": "a"}, FREE)
    cluster.tell(AutomationSet(level=automation))
    return cluster


def test_a_set_is_recommended_and_approved_as_a_set() -> None:
    cluster = exchanging(Automation.RECOMMEND)
    assert cluster.goes(5) == []
    (name,) = names(cluster)
    found = cluster.core.memory.recommendations[name]
    assert found.guests == {"one", "two"}
    assert len(found.candidates) == 3  # a detour over the spare host among them
    cluster.tell(RecommendationApproved(name=name))
    assert [len(each.steps) for each in cluster.sets] == [3]
    assert len(cluster.started) == 1
    cluster.end(cluster.started[0].guest)
    assert len(cluster.goes()) == 1  # the rest of the set needs no word of its own


def test_a_set_with_one_job_to_be_asked_about_is_asked_about_as_a_whole() -> None:
    cluster = exchanging(Automation.AUTOMATIC)
    cluster.tell(JobAdded(name="brams", guests=("two",)))
    cluster.tell(JobLimited(name="brams", change=JobLimitsChange(automation=Automation.RECOMMEND)))
    assert cluster.goes(5) == []
    (found,) = cluster.core.memory.recommendations.values()
    assert found.guests == {"one", "two"}


def test_a_set_under_way_is_not_gone_on_with_once_automation_is_off() -> None:
    cluster = exchanging(Automation.AUTOMATIC)
    ((first, _, _),) = cluster.goes(5)
    cluster.tell(AutomationSet(level=Automation.OFF))
    cluster.end(first)
    assert cluster.goes() == []
    assert cluster.sets == []


def decision_at(number: int) -> Decision:
    return Decision(cause=f"D{number}", at=5.0 * number, policy="p", reason=Reason("p", "it proposes"))


def proposal(guest: str, target: str, code: str = "p") -> Proposal:
    return Proposal([Move(guest, "a", target, Reason(code, ""))], [])


def standing(found: list[Recommendation]) -> list[tuple[str, str, Standing]]:
    return [(each.name, each.moves[0].target, each.standing) for each in found]


def test_a_guest_that_a_policy_names_twice_is_recommended_once_and_stays_so() -> None:
    twice = [proposal("rank0", "b"), proposal("rank0", "c")]
    first = after_tick({}, twice, {}, decision_at(1), 900.0)
    again = after_tick({each.name: each for each in first}, twice[::-1], {}, decision_at(2), 900.0)
    assert standing(first) == standing(again) == [("D1.r1", "b", Standing.OPEN)]


def test_another_target_takes_the_place_only_once_the_first_was_not_proposed_for_a_minute() -> None:
    known = {each.name: each for each in after_tick({}, [proposal("rank0", "b")], {}, decision_at(1), 900.0)}
    soon = after_tick(known, [proposal("rank0", "c")], {}, decision_at(12), 900.0)
    later = after_tick(known, [proposal("rank0", "c")], {}, decision_at(13), 900.0)
    assert standing(soon) == [("D1.r1", "b", Standing.OPEN)]
    assert standing(later) == [("D1.r1", "b", Standing.LAPSED), ("D13.r1", "c", Standing.OPEN)]


def test_a_guest_that_must_leave_takes_the_place_of_its_other_move_at_once() -> None:
    known = {each.name: each for each in after_tick({}, [proposal("rank0", "b")], {}, decision_at(1), 900.0)}
    found = after_tick(known, [proposal("rank0", "c", EVACUATION)], {}, decision_at(2), 900.0)
    assert standing(found) == [("D1.r1", "b", Standing.LAPSED), ("D2.r1", "c", Standing.OPEN)]


def test_no_more_is_recommended_than_an_operator_may_look_through() -> None:
    many = [proposal(f"rank{number}", "b") for number in range(OPEN_AT_MOST + 3)]
    first = after_tick({}, many, {}, decision_at(1), 900.0)
    again = after_tick({each.name: each for each in first}, many, {}, decision_at(2), 900.0)
    assert len(first) == len(again) == OPEN_AT_MOST


def leaving(lasts_s: float = 3600.0) -> tuple[Cluster, str]:
    """Host `a` is in maintenance for a while, and it is recommended that its guest leave it."""
    cluster = Cluster([pool_host("a"), pool_host("b")], [pool_guest("rank0", "a")])
    cluster.set_policy("evacuate")
    cluster.tell(AutomationSet(level=Automation.RECOMMEND))
    cluster.tell(MaintenanceBegun(host="a", until=cluster.now_s + lasts_s))
    cluster.run(3)
    (name,) = names(cluster)
    return cluster, name


def test_what_was_to_leave_a_host_that_is_open_again_lapses() -> None:
    cluster, name = leaving()
    cluster.tell(MaintenanceEnded(host="a"))
    cluster.run(1)
    assert (names(cluster), records(cluster)) == ([], [(name, Standing.OPEN), (name, Standing.LAPSED)])


@pytest.mark.parametrize("lasts_s", [17.0, 3600.0])
def test_who_approves_before_the_next_period_that_guests_leave_a_host_that_is_open_again_moves_nobody(
    lasts_s: float,
) -> None:
    cluster, name = leaving(lasts_s)
    cluster.now_s += 3.0
    if lasts_s > 18.0:
        cluster.tell(MaintenanceEnded(host="a"))
    (told,) = cluster.tell(RecommendationApproved(name=name))
    assert isinstance(told, RecordRecommendation)
    lapsed = told.recommendation
    text = "host a is neither failing nor closed any more"
    assert (lapsed.name, lapsed.standing, lapsed.text) == (name, Standing.LAPSED, text)
    assert (names(cluster), cluster.started) == ([], [])


def test_what_a_policy_wants_to_leave_a_host_that_nothing_is_wrong_with_stays_recommended() -> None:
    cluster = Cluster([pool_host("a"), pool_host("b")], [pool_guest("rank0", "a")])
    cluster.set_policy("evacuate", hosts="a")
    cluster.tell(AutomationSet(level=Automation.RECOMMEND))
    cluster.run(6)
    (name,) = names(cluster)
    assert records(cluster) == [(name, Standing.OPEN)]
    cluster.tell(RecommendationApproved(name=name))
    assert [(start.guest, start.target) for start in cluster.started] == [("rank0", "b")]


def test_what_would_go_to_a_host_in_maintenance_lapses() -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    cluster.tell(MaintenanceBegun(host="b"))
    cluster.run(1, HOG)
    assert names(cluster) == []

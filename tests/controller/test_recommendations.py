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
    AutomationSet,
    JobAdded,
    JobLimited,
    MigrationRequested,
    Paused,
    PolicySet,
    RecommendationApproved,
    RecommendationRefused,
    Resumed,
)
from migd_controller.journal import Journal
from migd_controller.recommendations import Standing
from migd_core.automation import Automation
from migd_core.health import HealthState, HostHealth
from migd_core.job_limits import JobLimitsChange
from migd_core.units import GIB

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


def test_what_the_policy_proposes_no_more_lapses() -> None:
    cluster = recommending(replace(CONFIG, automation=AutomationSection(lapse_s=60.0)))
    cluster.run(10, HOG)
    (name,) = names(cluster)
    cluster.run(20, {"hog": 0.1, "rank0": 0.1, "rank1": 0.1})
    assert names(cluster) == []
    assert records(cluster) == [(name, Standing.OPEN), (name, Standing.LAPSED)]


@pytest.mark.parametrize(
    "happens",
    [
        lambda cluster: cluster.tell(PolicySet(name="observe", config={})),
        lambda cluster: cluster.tell(AutomationSet(level=Automation.OFF)),
        lambda cluster: cluster.tell(MigrationRequested(guest="rank0", target="b")),
    ],
)
def test_what_can_no_longer_be_meant_lapses_at_once(happens) -> None:
    cluster = recommending()
    cluster.run(10, HOG)
    (each,) = cluster.core.memory.recommendations.values()
    happens(cluster)
    if cluster.started:
        cluster.guests["rank0"] = replace(cluster.guests["rank0"], host="b")
        cluster.tell_inventory()
    cluster.run(1, {"hog": 0.1, "rank0": 0.1, "rank1": 0.1})
    is_elsewhere = bool(cluster.started) and each.guests != {"rank0"}
    assert (names(cluster) == []) is not is_elsewhere


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

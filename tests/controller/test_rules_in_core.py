"""Tags and [rules] hold for whatever policy is active, and for an operator's own requests."""

from cluster_of_events import CONFIG, Cluster, pool_guest, pool_host
from msgspec.structs import replace

from migd_controller.config import ControllerConfig
from migd_controller.decision import Decision
from migd_controller.events import MigrationRequested
from migd_controller.views import rules_problem
from migd_policies.rules import RuleSettings

HOG = {"hog": 4.0}
HOSTS = [pool_host("a"), pool_host("b"), pool_host("c")]


def crowded(*tags: str, config: ControllerConfig = CONFIG, beside: tuple[str, ...] = ()) -> Cluster:
    """Host `a` has a hog that is pinned there and a rank with `tags`; b has a guest tagged as `beside`; c is empty."""
    hog = pool_guest("hog", "a", vcpus=4, tags=("migd:never",))
    guests = [hog, pool_guest("rank", "a", tags=tags), pool_guest("mate", "b", tags=beside)]
    cluster = Cluster(HOSTS, guests, config)
    cluster.set_policy("least-loaded")
    return cluster


def targets(cluster: Cluster) -> list[tuple[str, str]]:
    cluster.run(10, HOG)
    return [(start.guest, start.target) for start in cluster.started]


def refusals(decision: Decision) -> list[str]:
    return [gate.text for candidate in decision.candidates for gate in candidate.gates if not gate.passed]


def by_hand(cluster: Cluster, guest: str, target: str) -> list[str]:
    cluster.run(1, HOG)
    cluster.tell(MigrationRequested(guest=guest, target=target))
    assert cluster.core.last_decision is not None
    return refusals(cluster.core.last_decision)


def test_without_rules_the_emptiest_host_takes_the_rank() -> None:
    assert targets(crowded()) == [("rank", "c")]


def test_a_pin_sends_the_rank_where_it_belongs_and_nowhere_else() -> None:
    assert targets(crowded("migd:pin=b")) == [("rank", "b")]
    assert targets(crowded("migd:pin=a")) == []
    assert by_hand(crowded("migd:pin=b"), "rank", "c") == [
        "it is tagged migd:pin=b",
        "guest rank: it is tagged migd:pin=b",
    ]


def test_a_host_group_of_the_configuration_holds() -> None:
    rules = RuleSettings(host_groups={"fast": ["a", "b"]})
    assert targets(crowded("migd:hosts=fast", config=replace(CONFIG, rules=rules))) == [("rank", "b")]


def test_companions_and_those_kept_apart_decide_where_a_guest_goes() -> None:
    assert targets(crowded("migd:with=x", beside=("migd:with=x",))) == [("rank", "c")]  # they were not together anyway
    cluster = crowded("migd:apart=x", beside=("migd:apart=x",))
    assert "guest rank: 1 of the guests tagged migd:apart=x would be with it" in by_hand(cluster, "rank", "b")


def test_an_ignored_host_receives_nothing() -> None:
    assert targets(crowded(config=replace(CONFIG, rules=RuleSettings(ignored_hosts=["c"])))) == [("rank", "b")]


def test_a_reserve_is_kept_free() -> None:
    rules = RuleSettings(reserve_bytes={"c": 62 * 2**30})
    assert targets(crowded(config=replace(CONFIG, rules=rules))) == [("rank", "b")]


def test_rules_that_contradict_each_other_are_named_and_move_nothing() -> None:
    cluster = crowded("migd:pin=b", "migd:pin=c")
    assert targets(cluster) == []
    text = "migd:pin=b and migd:pin=c leave no host for rank"
    assert rules_problem(cluster.core, cluster.core.world(cluster.now_s)) == text
    assert (
        cluster.core.world(cluster.now_s).guests["rank"].immovable_because == f"its rules contradict each other: {text}"
    )


def test_outside_the_allowed_hours_a_policy_moves_nothing_and_an_operator_may() -> None:
    """The cluster's clock begins at 13:46 on a Monday, UTC."""
    closed = replace(CONFIG, rules=RuleSettings(allowed_hours=["Mon 20:00-06:00"]))
    cluster = crowded(config=closed)
    assert targets(cluster) == []
    assert "no guest is moved at this hour ([rules] allowed_hours)" in refusals(cluster.run(1, HOG))
    assert by_hand(cluster, "rank", "c") == []
    assert targets(crowded(config=replace(CONFIG, rules=RuleSettings(allowed_hours=["Mon 13:00-15:00"])))) == [
        ("rank", "c")
    ]

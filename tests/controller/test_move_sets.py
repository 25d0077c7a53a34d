"""Sets of moves are made step by step: ordered, re-checked, and given up only as far as they must be."""

from dataclasses import dataclass

import msgspec
import pytest
from cluster_of_events import pool_guest, pool_host
from msgspec.structs import replace
from sets_of_moves import FREE, WANTED, Wanting

from migd_controller.commands import RecordSet
from migd_controller.config import TopologySection
from migd_controller.decision import Decision
from migd_controller.events import (
    CancelRequested,
    InventoryChanged,
    JobAdded,
    MigrationRequested,
    Paused,
    PolicySet,
    Resource,
    Resumed,
)
from migd_controller.ledger import price
from migd_controller.memory import Memory
from migd_controller.move_sets import MoveSet, StepState
from migd_core.units import GIB
from migd_core.world import Move, Plan, World
from migd_policies.rules import RuleSettings

FOUR = 4 * GIB


def full(*names: str) -> list[object]:
    """Hosts that hold one guest of 4 GiB each."""
    return [pool_host(name, memory_for_guests_bytes=FOUR) for name in names]


def swap(**values: object) -> Wanting:
    """Guests x and y are to change the hosts a and b; c is empty."""
    guests = [pool_guest("x", "a"), pool_guest("y", "b", **values)]
    return Wanting(full("a", "b", "c"), guests, {"x": "b", "y": "a"})


def chain(**values: object) -> Wanting:
    """x is to go to b, which y is to leave for c; z is to go from d to e."""
    guests = [pool_guest("x", "a"), pool_guest("y", "b"), pool_guest("z", "d")]
    return Wanting(full(*"abcde"), guests, {"x": "b", "y": "c", "z": "e"}, **values)


def last_set(cluster: Wanting) -> MoveSet:
    return [command.move_set for command in cluster.commands if isinstance(command, RecordSet)][-1]


def fates(move_set: MoveSet) -> list[tuple[str, str, str]]:
    return [(step.label, step.state, step.text) for step in move_set.steps]


def refused(decision: Decision | None) -> dict[str, list[str]]:
    assert decision is not None
    return {
        candidate.guest: [f"{gate.name}: {gate.text}" for gate in candidate.gates if not gate.passed]
        for candidate in decision.candidates
    }


def test_two_guests_change_places_over_a_spare_host() -> None:
    cluster = swap()
    assert cluster.goes() == [("x", "a", "c")]
    cluster.end("x")
    assert cluster.goes() == [("y", "b", "a")]
    cluster.end("y")
    assert cluster.goes() == [("x", "c", "b")]
    cluster.end("x")
    assert cluster.goes() == []
    assert {guest.uuid: guest.host for guest in cluster.guests.values()} == {"x": "b", "y": "a"}
    assert cluster.core.memory.sets == {}


def test_the_waiting_say_whom_they_wait_for() -> None:
    cluster = swap()
    decision = cluster.run(1)
    assert [
        [f"{gate.name}: {gate.text}" for gate in each.gates if not gate.passed] for each in decision.candidates
    ] == [
        [],
        ["turn: waits for x to c (step 1)"],
        ["turn: waits for x to c (step 1) and y to a (step 2)"],
    ]


def test_without_a_spare_host_nothing_moves_and_both_say_why() -> None:
    guests = [pool_guest("x", "a"), pool_guest("y", "b")]
    cluster = Wanting(full("a", "b"), guests, {"x": "b", "y": "a"})
    decision = cluster.run(3)
    assert cluster.started == []
    assert refused(decision) == {
        "x": [
            "capacity: guest x needs 4 GiB, host b has 0 B free after moves in flight",
            "order: guest x: no order of moves finds 4 GiB free for it",
        ],
        "y": [
            "capacity: guest y needs 4 GiB, host a has 0 B free after moves in flight",
            "order: guest y: no order of moves finds 4 GiB free for it",
        ],
    }


def test_a_set_of_which_one_has_no_room_in_the_end_moves_nothing_though_its_turn_would_not_have_come() -> None:
    """What waits for the target's limit is judged with the first guest there only, beside which it has room."""
    guests = [pool_guest(name, "a", memory_bytes=2 * GIB) for name in "xyz"]
    limits = replace(FREE.guards, max_concurrent=4, max_concurrent_per_source=4, max_concurrent_per_target=1)
    cluster = Wanting([pool_host("a"), *full("b")], guests, dict.fromkeys("xyz", "b"), replace(FREE, guards=limits))
    decision = cluster.run(3)
    assert cluster.started == []
    assert refused(decision)["z"] == [
        "target-limit: 1 of at most 1 migrations under way to b",
        "order: guest z: no order of moves finds 2 GiB free for it",
    ]


def test_a_set_of_which_one_move_is_impossible_moves_nothing() -> None:
    cluster = chain()
    cluster.want({"x": "b", "y": "c", "ghost": "e"})
    decision = cluster.run(1)
    assert cluster.started == []
    assert refused(decision)["ghost"] == ["known: guest ghost is not running in this pool"]
    assert refused(decision)["y"] == ["gain: the move could not be priced: guest ghost is not running in this pool"]


def test_a_step_that_fails_takes_only_those_with_it_that_need_it() -> None:
    cluster = chain()
    assert cluster.goes(1) == [("y", "b", "c"), ("z", "d", "e")]
    cluster.want({})
    cluster.end("y", moves=False)
    assert fates(last_set(cluster)) == [
        ("y to c", StepState.FAILED, "y stayed: the guest did not move"),
        ("x to b", StepState.DROPPED, "it needs y to c (step 1), which failed"),
        ("z to e", StepState.RUNNING, ""),
    ]
    cluster.end("z")
    assert cluster.goes() == []
    assert cluster.core.memory.sets == {}


def test_a_migration_is_worth_what_it_gains_alone_once_its_partner_has_failed() -> None:
    """Two equally slow ranks: without the other, one that leaves its hog relieves only the hog."""
    guests = [pool_guest("hog0", "a", vcpus=4), pool_guest("hog1", "b", vcpus=4)]
    guests += [pool_guest("rank0", "a"), pool_guest("rank1", "b")]
    cluster = Wanting([pool_host(name) for name in "abcd"], guests, {"rank0": "c", "rank1": "d"})
    cluster.tell(JobAdded(name="brams", guests=("rank0", "rank1"), remaining_s=36000.0))
    cluster.run(1, {"hog0": 4.0, "hog1": 4.0})
    together_s = {m.guest: m.gain_s for m in cluster.core.memory.in_flight.values()}
    cluster.end("rank0", moves=False)
    (left,) = cluster.core.memory.in_flight.values()
    alone = replace(cluster.core.memory, in_flight={}, sets={})
    cluster.core.memory, memory = alone, cluster.core.memory
    priced = price(cluster.core.world(cluster.now_s), Move("rank1", "b", "d", WANTED))
    cluster.core.memory = memory
    assert left.gain_s == pytest.approx(priced.gain_s)
    assert left.gain_s < 0.8 * together_s["rank1"]


def test_a_cancelled_step_is_a_failed_one() -> None:
    cluster = chain()
    cluster.run(1)
    cluster.want({})
    (cause,) = (m.cause for m in cluster.core.memory.in_flight.values() if m.guest == "y")
    cluster.tell(CancelRequested(cause=cause))
    cluster.end("y", moves=False, code="CANCELLED")
    assert last_set(cluster).steps[1].text == "it needs y to c (step 1), which failed"


def test_a_refused_step_is_dropped_with_those_that_need_it_and_the_others_go_on() -> None:
    """The guest that was to go to a spare host and on is taken elsewhere by hand."""
    limits = replace(FREE.guards, max_concurrent=1)
    cluster = chain(config=replace(FREE, guards=limits))
    assert cluster.goes(1) == [("y", "b", "c")]
    cluster.want({})
    del cluster.guests["x"]
    cluster.tell(InventoryChanged(gone=("x",)))
    cluster.end("y")
    assert cluster.goes() == [("z", "d", "e")]
    assert fates(last_set(cluster)) == [
        ("y to c", StepState.DONE, ""),
        ("x to b", StepState.DROPPED, "refused by known: guest x is not running in this pool"),
        ("z to e", StepState.RUNNING, ""),
    ]


def test_what_is_left_is_dropped_when_it_does_not_pay_any_more() -> None:
    cluster = swap()
    cluster.run(1)
    cluster.want({})
    cluster.end("x")
    cluster.core.config = replace(FREE, guards=replace(FREE.guards, min_gain_s=10.0))
    assert cluster.goes(12) == []
    assert [step.state for step in cluster.sets[0].steps] == [StepState.DONE, StepState.WAITING, StepState.WAITING]
    assert cluster.goes(3) == []
    states = fates(last_set(cluster))
    assert states[0] == ("x to c", StepState.DONE, "")
    for label, state, text in states[1:]:
        assert label in ("y to a", "x to b")
        assert state is StepState.DROPPED
        assert text.startswith("what is left of the set does not pay any more: together with ")


def test_a_gain_that_comes_back_in_time_lets_the_set_go_on() -> None:
    cluster = swap()
    cluster.run(1)
    cluster.end("x")
    cluster.core.config = replace(FREE, guards=replace(FREE.guards, min_gain_s=10.0))
    assert cluster.goes(6) == []
    cluster.core.config = FREE
    assert cluster.goes() == [("y", "b", "a")]


def test_a_host_that_falls_silent_is_waited_for_and_then_given_up() -> None:
    cluster = chain()
    cluster.run(1)
    cluster.want({})
    cluster.silent = {"b"}
    cluster.now_s += 10.0
    cluster.end("y")
    cluster.end("z")
    assert cluster.goes(5) == []
    (waiting,) = cluster.sets[0].waiting
    assert waiting.text.startswith("host b is frozen: last sample is ")
    assert cluster.goes(9) == []
    assert last_set(cluster).steps[1].state is StepState.DROPPED
    assert last_set(cluster).steps[1].text.startswith("host b is frozen: last sample is ")


def test_a_pause_stops_the_next_step_and_resume_lets_it_start() -> None:
    cluster = swap()
    cluster.run(1)
    cluster.tell(Paused())
    cluster.end("x")
    assert cluster.goes(20) == []
    assert cluster.sets[0].steps[1].text == "pause: migd is paused; `migctl resume` allows migrations again"
    cluster.tell(Resumed())
    assert cluster.goes() == [("y", "b", "a")]


def test_another_policy_drops_what_has_not_begun() -> None:
    cluster = swap()
    cluster.run(1)
    cluster.tell(PolicySet(name="observe", config={}))
    assert [step.state for step in last_set(cluster).steps] == [
        StepState.RUNNING,
        StepState.DROPPED,
        StepState.DROPPED,
    ]
    assert last_set(cluster).steps[1].text == "policy observe was set meanwhile"
    cluster.end("x")
    assert cluster.goes() == []
    assert cluster.core.memory.sets == {}


def restarted(cluster: Wanting) -> Wanting:
    """Return what another process knows with the memory of this one's journal."""
    memory = msgspec.msgpack.decode(msgspec.msgpack.encode(cluster.core.memory), type=Memory)
    again = Wanting(list(cluster.hosts.values()), list(cluster.guests.values()), {}, cluster.core.config, memory)
    again.commands += again.core.adopt(again.now_s)
    return again


def test_after_a_restart_a_set_goes_on() -> None:
    cluster = swap()
    cluster.run(1)
    again = restarted(cluster)
    again.end("x")
    assert again.goes() == [("y", "b", "a")]
    again.end("y")
    again = restarted(again)
    assert again.goes() == [("x", "c", "b")]


def test_after_a_restart_without_its_policy_a_set_is_dropped_and_says_so() -> None:
    cluster = swap()
    cluster.run(1)
    cluster.core.memory = replace(cluster.core.memory, policy="uninstalled")
    again = restarted(cluster)
    assert again.core.policy_problem.startswith("policy uninstalled cannot be used")
    assert last_set(again).steps[1].text == again.core.policy_problem
    again.end("x")
    assert again.goes() == []


def test_an_operator_may_take_a_guest_of_a_set_elsewhere() -> None:
    cluster = chain()
    cluster.hosts["f"] = pool_host("f")
    cluster.tell_inventory()
    cluster.run(1)
    cluster.want({})
    cluster.tell(MigrationRequested(guest="x", target="f"))
    assert [start.target for start in cluster.started if start.guest == "x"] == ["f"]
    cluster.end("y")
    assert cluster.goes() == []
    assert last_set(cluster).steps[1].text == "refused by one-at-a-time: the guest is being migrated already"


@dataclass(frozen=True)
class Proposes:
    """Proposes the same moves whatever the world."""

    moves: tuple[Move, ...]
    name = "proposes"

    def propose(self, world: World) -> Plan:
        return Plan(self.moves, WANTED)


def test_what_is_promised_to_a_set_is_given_to_nobody_else() -> None:
    """w would fit on b once y has left, but that is for x, which a pause holds up."""
    guests = [pool_guest("x", "a"), pool_guest("y", "b"), pool_guest("w", "d", memory_bytes=2 * GIB)]
    cluster = Wanting(full(*"abcde"), guests, {"x": "b", "y": "c"})
    cluster.run(1)
    cluster.end("y")
    cluster.tell(Paused())
    cluster.core.policy = Proposes((Move("w", "d", "b", WANTED), Move("x", "a", "e", WANTED)))  # type: ignore[assignment]
    decision = cluster.run(2)
    paused = "pause: migd is paused; `migctl resume` allows migrations again"
    candidates = [[f"{gate.name}: {gate.text}" for gate in c.gates if not gate.passed] for c in decision.candidates]
    assert candidates == [
        [paused],
        [paused, "capacity: guest w needs 2 GiB, host b has 0 B free after moves in flight"],
        [
            paused,
            "movable: guest x may not be migrated: its move to b is step 2 of D1.s1, which is under way",
        ],
    ]


@pytest.mark.parametrize(
    ("apart", "why"),
    [
        ({"tags": ("migd:apart=web",)}, "rules: guest w: 1 of the guests tagged migd:apart=web would be with it"),
        (
            {"group": Resource(uuid="group", name="spread")},
            "anti-affinity: host b has 1 of the anti-affinity group spread, d no more than 1 with this guest: they would "
            "be less apart",
        ),
    ],
)
def test_a_guest_that_a_set_will_bring_keeps_others_away_already(apart: dict[str, object], why: str) -> None:
    """x waits for its turn to go to b, where w, from which it is kept apart, would otherwise go meanwhile."""
    guests = [pool_guest("x", "a", **apart), pool_guest("y", "b"), pool_guest("w", "d", **apart)]
    hosts = [pool_host(name, memory_for_guests_bytes=2 * FOUR) for name in "abcd"]
    hosts[1] = pool_host("b", memory_for_guests_bytes=FOUR)
    cluster = Wanting(hosts, guests, {"x": "b", "y": "c"})
    cluster.run(1)
    cluster.core.policy = Proposes((Move("w", "d", "b", WANTED),))  # type: ignore[assignment]
    assert why in refused(cluster.run(1))["w"]


@pytest.mark.parametrize("apart", [{"tags": ("migd:apart=web",)}, {"group": Resource(uuid="group", name="spread")}])
def test_a_step_of_one_set_is_judged_by_what_another_set_has_promised(apart: dict[str, object]) -> None:
    """x goes to b with the first set, as soon as y has left. While its second step waits, w may not go there."""
    guests = [pool_guest("x", "a", **apart), pool_guest("y", "b"), pool_guest("w", "d", **apart), pool_guest("v", "e")]
    hosts = [pool_host(name, memory_for_guests_bytes=3 * FOUR) for name in "acdef"]
    cluster = Wanting([*hosts, pool_host("b", memory_for_guests_bytes=FOUR)], guests, {"x": "b", "y": "c"})
    cluster.run(1)
    (first,) = cluster.core.memory.sets.values()
    steps = [replace(first.steps[0], guest="v", source="e", target="f", state=StepState.DONE, migration="")]
    steps += [replace(first.steps[1], guest="w", source="d", target="b", after=(0,))]
    second = replace(first, name="D0.s1", steps=tuple(steps))
    cluster.core.memory = replace(cluster.core.memory, sets={"D0.s1": second, **cluster.core.memory.sets})
    decision = cluster.run(1)
    gates = {gate.name for each in decision.candidates for gate in each.gates if each.guest == "w" and not gate.passed}
    assert ("rules" if "tags" in apart else "anti-affinity") in gates


def test_guests_kept_apart_meet_at_no_step() -> None:
    tags = ("migd:apart=web",)
    guests = [pool_guest("x", "a", tags=tags), pool_guest("y", "b", tags=tags)]
    hosts = [pool_host(name) for name in "abc"]
    cluster = Wanting(hosts, guests, {"x": "b", "y": "a"})
    assert cluster.goes() == [("x", "a", "c")]
    cluster.end("x")
    assert cluster.goes() == [("y", "b", "a")]
    cluster.end("y")
    assert cluster.goes() == [("x", "c", "b")]


def test_guests_of_an_anti_affinity_group_of_xapi_meet_at_no_step() -> None:
    group = Resource(uuid="group", name="spread")
    guests = [pool_guest("x", "a", group=group), pool_guest("y", "b", group=group)]
    cluster = Wanting([pool_host(name) for name in "abc"], guests, {"x": "b", "y": "a"})
    assert cluster.goes() == [("x", "a", "c")]


def test_over_the_link_between_two_switches_one_goes_at_a_time() -> None:
    switches = TopologySection(switches={"rack1": ["a", "b"], "rack2": ["c", "d"]})
    guests = [pool_guest("x", "a"), pool_guest("y", "b")]
    hosts = [pool_host(name) for name in "abcd"]
    cluster = Wanting(hosts, guests, {"x": "c", "y": "d"}, replace(FREE, topology=switches))
    decision = cluster.run(1)
    assert refused(decision) == {"x": [], "y": ["turn: waits for the link between two switches that x takes"]}
    cluster.end("x")
    assert cluster.goes() == [("y", "b", "d")]


def test_companions_move_all_or_none_and_never_over_a_spare_host() -> None:
    tags = ("migd:with=pair",)
    guests = [pool_guest("x", "a", tags=tags), pool_guest("y", "a", tags=tags)]
    cluster = Wanting([pool_host("a"), pool_host("b")], guests, {"x": "b", "y": "b"})
    assert cluster.goes() == [("x", "a", "b")]
    cluster.end("x")
    assert cluster.goes() == [("y", "a", "b")]
    apart = Wanting([pool_host("a"), pool_host("b")], guests, {"x": "b"})
    assert apart.goes() == []
    hosts = [pool_host(name, memory_for_guests_bytes=2 * FOUR) for name in "abc"]
    others = [pool_guest("u", "b"), pool_guest("v", "b")]
    crowded = Wanting(hosts, [*guests, *others], {"x": "b", "y": "b", "u": "a", "v": "a"})
    assert {guest for guest, *_ in crowded.goes()} <= {"u", "v"}


@pytest.mark.parametrize(
    ("rules", "tags"),
    [
        (RuleSettings(ignored_hosts=["c"]), ()),
        (RuleSettings(reserve_bytes={"c": GIB}), ()),
        (RuleSettings(host_groups={"fast": ["a", "b"]}), ("migd:hosts=fast",)),
        (RuleSettings(host_groups={"fast": ["a", "b"]}), ("migd:hosts?=fast",)),
    ],
)
def test_no_detour_leads_where_rules_forbid_or_do_not_wish_it(rules: RuleSettings, tags: tuple[str, ...]) -> None:
    guests = [pool_guest("x", "a", tags=tags), pool_guest("y", "b", tags=tags)]
    cluster = Wanting(full("a", "b", "c"), guests, {"x": "b", "y": "a"}, replace(FREE, rules=rules))
    assert cluster.goes() == []


def test_contradictory_rules_are_named_and_the_set_stays() -> None:
    cluster = swap(tags=("migd:pin=b", "migd:pin=a"))
    decision = cluster.run(2)
    assert cluster.started == []
    assert refused(decision)["y"][0] == (
        "movable: guest y may not be migrated: its rules contradict each other: "
        "migd:pin=a and migd:pin=b leave no host for y"
    )

"""Wanted moves become steps that can be made, in any order and whatever fails, whenever there is a way at all."""

import random
from collections import deque
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import guest, host, move, world
from migd_core.units import GIB
from migd_core.world import World
from migd_policies.move_order import Step, Steps, order_moves
from migd_policies.move_schedule import Parallel, schedule, starting
from migd_policies.rules import APART, Rules, RuleSettings, resolve

MANY = settings(max_examples=200, deadline=None)
NO_RULES = RuleSettings()


def ordered(before: World, wanted: Mapping[str, str]) -> Steps:
    rules = resolve(before, NO_RULES)
    return order_moves(rules.applied(before), rules, wanted)


def test_what_fits_at_once_depends_on_nothing():
    before = world(host("a"), host("b"), host("c"), guest("g0", on="a"), guest("g1", on="a"))
    assert ordered(before, {"g0": "b", "g1": "c"}).steps == (Step(0, "g0", "a", "b"), Step(1, "g1", "a", "c"))


def test_a_guest_waits_until_the_one_that_is_in_its_place_has_gone():
    tight = host("b", memory_bytes=4 * GIB)
    before = world(host("a"), tight, host("c"), guest("g0", on="a"), guest("g1", on="b"))
    plan = ordered(before, {"g0": "b", "g1": "c"})
    assert plan.steps == (Step(0, "g1", "b", "c"), Step(1, "g0", "a", "b", after=frozenset({0})))


def test_two_guests_that_wait_for_each_other_exchange_hosts_over_a_spare_one():
    four = 4 * GIB
    before = world(
        host("a", memory_bytes=four),
        host("b", memory_bytes=four),
        host("spare", memory_bytes=four),
        guest("g0", on="a"),
        guest("g1", on="b"),
    )
    assert ordered(before, {"g0": "b", "g1": "a"}).steps == (
        Step(0, "g0", "a", "spare", is_detour=True),
        Step(1, "g1", "b", "a", after=frozenset({0})),
        Step(2, "g0", "spare", "b", after=frozenset({0, 1})),
    )


def test_without_a_spare_host_a_circle_is_left_out_and_says_so():
    four = 4 * GIB
    before = world(host("a", memory_bytes=four), host("b", memory_bytes=four), guest("g0", on="a"), guest("g1", on="b"))
    plan = ordered(before, {"g0": "b", "g1": "a"})
    assert plan.steps == ()
    assert plan.left_out == dict.fromkeys(("g0", "g1"), "no order of moves finds 4 GiB free for it")


def test_what_may_not_be_is_left_out_with_the_reason_and_the_rest_is_planned():
    before = world(
        host("a"),
        host("b"),
        host("off", is_enabled=False),
        guest("never", on="a", immovable_because="it is tagged migd:never"),
        guest("moving", on="a"),
        guest("g0", on="a"),
        guest("g1", on="a"),
        in_flight=[move("moving", "a", "b")],
    )
    plan = ordered(before, {"never": "b", "moving": "b", "g0": "off", "g1": "b", "nobody": "b"})
    assert [(step.guest, step.target) for step in plan.steps] == [("g1", "b")]
    assert plan.left_out == {
        "never": "it is tagged migd:never",
        "moving": "it is being migrated",
        "g0": "host off receives nothing: it is disabled",
        "nobody": "the guest or the host is not known",
    }


def test_a_guest_kept_apart_waits_for_the_other_to_leave():
    tags = ["migd:apart=web"]
    before = world(host("a"), host("b"), host("c"), guest("g0", on="a", tags=tags), guest("g1", on="b", tags=tags))
    assert ordered(before, {"g0": "b", "g1": "c"}).steps == (
        Step(0, "g1", "b", "c"),
        Step(1, "g0", "a", "b", after=frozenset({0})),
    )


def test_companions_move_only_all_of_them_and_after_the_first():
    tags = ["migd:with=pair"]
    before = world(host("a"), host("b"), guest("g0", on="a", tags=tags), guest("g1", on="a", tags=tags))
    assert ordered(before, {"g0": "b", "g1": "b"}).steps == (
        Step(0, "g0", "a", "b"),
        Step(1, "g1", "a", "b", after=frozenset({0})),
    )
    assert ordered(before, {"g0": "b"}).left_out == {
        "g0": "1 of the guests tagged migd:with=pair would stay behind, 0 would be with it"
    }


def test_a_failure_loses_only_what_depends_on_it():
    plan = Steps(
        (
            Step(0, "g0", "a", "b"),
            Step(1, "g1", "c", "a", after=frozenset({0})),
            Step(2, "g2", "c", "d"),
            Step(3, "g3", "e", "c", after=frozenset({1, 2})),
        )
    )
    assert plan.lost_with([0]) == {0, 1, 3}
    assert plan.lost_with([2]) == {2, 3}
    assert [step.number for step in plan.ready(succeeded=(), failed=(0,))] == [2]


def test_steps_run_side_by_side_where_links_and_limits_allow():
    plan = Steps(
        (
            Step(0, "g0", "a", "b"),
            Step(1, "g1", "a", "c"),
            Step(2, "g2", "d", "e"),
            Step(3, "g3", "e", "d", after=frozenset({2})),
        )
    )
    duration_s = dict.fromkeys(range(4), 10.0)
    slots = schedule(plan, duration_s, Parallel(max_concurrent=2))
    assert {number: slot.start_s for number, slot in slots.items()} == {2: 0.0, 0: 0.0, 1: 10.0, 3: 10.0}
    alone = schedule(plan, duration_s, Parallel(max_concurrent=1))
    assert sorted(slot.start_s for slot in alone.values()) == [0.0, 10.0, 20.0, 30.0]


@st.composite
def problems(draw: st.DrawFn) -> tuple[World, dict[str, str]]:
    """Return a small tight cluster and a placement that is wanted of some of its guests."""
    some = draw(st.randoms(use_true_random=False))
    names = [f"h{n}" for n in range(draw(st.integers(2, 4)))]
    guests, taken = [], dict.fromkeys(names, 0)
    for n in range(draw(st.integers(1, 6))):
        on, size = some.choice(names), some.choice((1, 2, 3))
        taken[on] += size
        tags = some.choice(([], [], [], ["migd:apart=x"]))
        guests.append(guest(f"g{n}", on=on, memory_bytes=size * GIB, tags=tags))
    hosts = [host(name, memory_bytes=max(1, taken[name] + some.choice((0, 0, 1, 2))) * GIB) for name in names]
    wanted = {one.uuid: some.choice(names) for one in guests if some.random() < 0.8}
    return world(*hosts, *guests), wanted


def reachable(before: World, rules: Rules, wanted: Mapping[str, str], detours: int) -> bool:
    """Whether any order of single moves, with so many that lead elsewhere, brings all there: every one is tried."""
    going = [uuid for uuid, target in wanted.items() if before.guests[uuid].host != target]
    size = {uuid: one.memory_bytes for uuid, one in before.guests.items()}
    start = tuple(before.guests[uuid].host for uuid in going)
    goal = tuple(wanted[uuid] for uuid in going)
    queue, seen = deque([(start, detours)]), {(start, detours)}
    while queue:
        state, left = queue.popleft()
        if state == goal:
            return True
        place = {uuid: one.host for uuid, one in before.guests.items()} | dict(zip(going, state, strict=True))
        for at, uuid in enumerate(going):
            for target in before.hosts:
                spent = left - (target != goal[at])
                if target == state[at] or spent < 0 or not fits(before, rules, place, size, uuid, target):
                    continue
                following = (*state[:at], target, *state[at + 1 :])
                if (following, spent) not in seen:
                    seen.add((following, spent))
                    queue.append((following, spent))
    return False


def fits(
    before: World, rules: Rules, place: Mapping[str, str], size: Mapping[str, int], uuid: str, target: str
) -> bool:
    taken = sum(size[other] for other, on in place.items() if on == target)
    apart = any(
        rule.kind == APART and uuid in rule.guests and any(place[o] == target for o in rule.guests - {uuid})
        for rule in rules.rules
    )
    return taken + size[uuid] <= before.hosts[target].memory_bytes and not apart


@MANY
@given(problem=problems())
def test_every_guest_arrives_whenever_some_order_with_one_detour_at_most_brings_it_there(
    problem: tuple[World, dict[str, str]],
):
    before, wanted = problem
    rules = resolve(before, NO_RULES)
    if rules.contradictions:
        return
    plan = order_moves(rules.applied(before), rules, wanted)
    if reachable(before, rules, wanted, detours=1):
        assert plan.left_out == {}
        arrived = {uuid: one.host for uuid, one in before.guests.items()} | {s.guest: s.target for s in plan.steps}
        assert {uuid: arrived[uuid] for uuid in wanted} == wanted
        assert sum(step.is_detour for step in plan.steps) <= 1
        if reachable(before, rules, wanted, detours=0):
            assert not any(step.is_detour for step in plan.steps)


@MANY
@given(problem=problems(), seed=st.integers(0, 2**32))
def test_whatever_order_and_whatever_fails_memory_is_there_and_guests_stay_apart(
    problem: tuple[World, dict[str, str]], seed: int
):
    """Steps run several at a time in any order that their dependencies allow; some fail."""
    before, wanted = problem
    rules = resolve(before, NO_RULES)
    plan = order_moves(rules.applied(before), rules, wanted)
    some = random.Random(seed)
    place = {uuid: {one.host} for uuid, one in before.guests.items()}  # on both hosts while it moves
    succeeded: set[int] = set()
    failed: set[int] = set()
    running: dict[int, Step] = {}
    while True:
        ready = plan.ready(succeeded, failed, running)
        if not ready and not running:
            break
        if ready and (not running or some.random() < 0.6):
            step = some.choice(ready)
            assert place[step.guest] == {step.source}
            running[step.number] = step
            place[step.guest] = {step.source, step.target}
        else:
            step = running.pop(some.choice(list(running)))
            fails = some.random() < 0.25
            (failed if fails else succeeded).add(step.number)
            place[step.guest] = {step.source if fails else step.target}
        for name, one in before.hosts.items():
            there = [uuid for uuid, on in place.items() if name in on]
            assert sum(before.guests[uuid].memory_bytes for uuid in there) <= one.memory_bytes
            for rule in rules.rules:
                were = {uuid for uuid in rule.guests if before.guests[uuid].host == name}
                assert len(rule.guests & set(there)) <= max(1, len(were))
    assert succeeded | plan.lost_with(failed) == {step.number for step in plan.steps}


@MANY
@given(problem=problems())
def test_a_schedule_breaks_no_limit_and_no_dependency(problem: tuple[World, dict[str, str]]):
    before, wanted = problem
    plan = ordered(before, wanted)
    duration_s = {step.number: 1.0 + step.number % 3 for step in plan.steps}
    slots = schedule(plan, duration_s, Parallel(max_concurrent=3, max_per_source=2))
    assert slots.keys() == duration_s.keys()
    for step in plan.steps:
        assert all(slots[earlier].end_s <= slots[step.number].start_s for earlier in step.after)
        beside = [
            other
            for other in plan.steps
            if slots[other.number].start_s <= slots[step.number].start_s < slots[other.number].end_s
        ]
        assert len(beside) <= 3
        assert sum(bool({step.source, step.target} & {other.source, other.target}) for other in beside) == 1


def test_of_two_steps_on_one_link_that_of_the_longer_chain_starts():
    plan = Steps((Step(0, "g0", "a", "b"), Step(1, "g1", "a", "c"), Step(2, "g2", "d", "a", after=frozenset({1}))))
    (first, *_) = starting(plan, {0: 5.0, 1: 5.0, 2: 5.0}, Parallel(), succeeded=())
    assert first.number == 1


@pytest.mark.parametrize("pairs", [4, 40])
def test_many_exchanges_share_one_spare_host(pairs: int):
    """Each pair of full hosts waits for the spare one in turn."""
    four = 4 * GIB
    hosts = [host(f"{side}{n:02}", memory_bytes=four) for n in range(pairs) for side in "ab"]
    guests = [guest(f"g{side}{n:02}", on=f"{side}{n:02}") for n in range(pairs) for side in "ab"]
    before = world(host("spare", memory_bytes=four), *hosts, *guests)
    wanted = {f"g{one}{n:02}": f"{other}{n:02}" for n in range(pairs) for one, other in ("ab", "ba")}
    plan = ordered(before, wanted)
    assert plan.left_out == {}
    assert len(plan.steps) == 3 * pairs

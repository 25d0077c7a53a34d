"""However many moves a policy proposes, a control cycle judges so many, whole sets only, and each set has its turn."""

import sys
from typing import ClassVar

import msgspec
import pytest
from cluster_of_events import Cluster, pool_guest, pool_host
from hypothesis import given
from hypothesis import strategies as st

from migd_controller.core import Core
from migd_controller.decision import Decision
from migd_controller.events import Tick
from migd_controller.plan_turns import JUDGED_AT_MOST, in_sets, in_turn
from migd_core.world import EVACUATION, Move, Plan, Reason, World

TOLD = Reason("told", "it was told to")
PROPOSED = 20_000
GUESTS = 300


class ProposesAll(msgspec.Struct, frozen=True):
    """A policy that would move every guest, again and again, all in one plan, or all `together`."""

    name: ClassVar[str] = "proposes-all"
    summary: ClassVar[str] = "proposes"
    moves: int = PROPOSED
    together: str = ""

    def propose(self, world: World) -> Plan:
        uuids = sorted(world.guests)
        chosen = (world.guests[uuids[n % len(uuids)]] for n in range(self.moves))
        return Plan(tuple(Move(guest.uuid, guest.host, "free", TOLD, self.together) for guest in chosen), TOLD)


def cluster_of(policy: ProposesAll) -> Cluster:
    hosts = [f"h{n}" for n in range(GUESTS // 12)]
    guests = [pool_guest(f"g{n:03}", hosts[n // 12]) for n in range(GUESTS)]
    cluster = Cluster([pool_host(name) for name in (*hosts, "free")], guests)
    cluster.core.policy = policy
    return cluster


def calls_of_a_tick(core: Core, now_s: float) -> int:
    """Return how many calls of Python functions a tick makes."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        core.handle(Tick(), now_s)
    finally:
        sys.setprofile(None)
    return calls


def judged(decision: Decision) -> set[str]:
    return {candidate.guest for candidate in decision.candidates}


def test_a_plan_of_20000_moves_takes_a_cycle_hardly_longer_than_one_of_100() -> None:
    calls = []
    for moves in (JUDGED_AT_MOST, PROPOSED):
        cluster = cluster_of(ProposesAll(moves))
        cluster.run(1)
        calls.append(calls_of_a_tick(cluster.core, cluster.now_s + 5.0))
    few, many = calls
    assert many < 1.5 * few + 3 * PROPOSED  # nothing but sorting them out


def test_the_log_says_how_many_moves_were_not_judged() -> None:
    decision = cluster_of(ProposesAll()).run(1)
    assert len(decision.candidates) == JUDGED_AT_MOST
    assert decision.reason.text.endswith(
        "; 19,900 of 20,000 proposed moves were not judged this time (at most 100, a set as a whole)"
    )
    assert "not judged" not in cluster_of(ProposesAll(JUDGED_AT_MOST)).run(1).reason.text


def test_all_have_their_turn_while_a_policy_repeats_itself() -> None:
    cluster = cluster_of(ProposesAll(GUESTS))
    seen: set[str] = set()
    for _ in range(GUESTS // (JUDGED_AT_MOST // 2) + 1):
        seen |= judged(cluster.run(1))
    assert seen == cluster.guests.keys()


def test_a_set_of_more_moves_than_a_cycle_judges_is_never_judged() -> None:
    decision = cluster_of(ProposesAll(JUDGED_AT_MOST + 1, together="all")).run(1)
    assert decision.candidates == ()
    assert "101 of 101 proposed moves were not judged" in decision.reason.text


def moves_of(size: int, number: int, code: str = "told") -> list[Move]:
    return [Move(f"g{number}.{n}", "a", "b", Reason(code, code), f"set {number}") for n in range(size)]


@given(sizes=st.lists(st.integers(1, JUDGED_AT_MOST + 20), max_size=12))
def test_each_set_is_judged_whole_and_in_its_turn(sizes: list[int]) -> None:
    sets = [moves_of(size, number) for number, size in enumerate(sizes)]
    assert in_sets([move for moves in sets for move in moves]) == sets
    turns = [in_turn(sets, turn) for turn in range(len(sets) + 1)]
    is_small = sum(sizes) <= JUDGED_AT_MOST
    for chosen in turns:
        assert all(moves in sets for moves in chosen)
        assert sum(map(len, chosen)) <= JUDGED_AT_MOST
        assert chosen == sets or not is_small
    had_theirs = [moves for moves in sets if any(moves in chosen for chosen in turns)]
    assert had_theirs == [moves for moves in sets if len(moves) <= JUDGED_AT_MOST]


@pytest.mark.parametrize("turn", range(5))
def test_moves_for_safety_are_judged_in_every_cycle(turn: int) -> None:
    leaving = moves_of(1, 199, EVACUATION)
    assert leaving in in_turn([*(moves_of(1, number) for number in range(199)), leaving], turn)


def test_a_guest_that_a_set_names_twice_keeps_its_first_move_for_it() -> None:
    first, second, again = (Move(guest, "a", "b", TOLD, "both") for guest in ("g0", "g1", "g0"))
    assert in_sets([first, again, second]) == [[first, second], [again]]

"""What holds for every plan of every built-in policy, whatever the cluster looks like."""

from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import move
from migd_core.world import Move, Plan, World
from migd_policies.balance import Balance
from migd_policies.colocate import Colocate
from migd_policies.evacuate import Evacuate
from migd_policies.job_time import JobTime
from migd_policies.least_loaded import LeastLoaded
from migd_policies.move_order import Step, order_moves
from migd_policies.observe import Observe
from migd_policies.policy import Policy
from migd_policies.potential import Potential
from migd_policies.registry import available
from migd_policies.rules import RuleSettings, resolve
from migd_policies.scoring import job_step_ratios
from random_worlds import worlds

# The second of each is as eager as its configuration allows.
POLICIES: list[Policy] = [
    Observe(),
    LeastLoaded(),
    LeastLoaded(load_threshold_ratio=0.2, sustained_periods=1, margin_ratio=0.001, max_moves_per_host=8),
    Colocate(),
    Colocate(min_gain_ratio=0.001, max_load_ratio=3.0, sustained_periods=1, max_moves=8),
    Balance(),
    Balance(spread_threshold_ratio=0.0, min_gain_ratio=0.001, sustained_periods=1, max_moves=16),
    JobTime(),
    Evacuate(),
    Evacuate(hosts="host0", degraded=True, max_concurrent=8, max_per_host=8),
    Potential(),
    Potential(min_potential_s=0.0, near_best_ratio=0.01, sustained_periods=1, max_moves=8),
    JobTime(min_gain_s=0.01, certainty_sds=0.0, sustained_periods=1, max_moves=8),
]
FEW = settings(max_examples=40, deadline=None)  # for each of thirteen policies; a busy machine has slow moments
EVERY_POLICY = pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)


def applied(before: World, plan: Plan) -> World:
    """Return the world once the plan is done and has been for so long that the loads are steady again."""
    after = before
    for one in plan.moves:
        after = after.after(one)
    steady = {uuid: replace(h, recent_load_ratios=(h.load_ratio,) * 3) for uuid, h in after.hosts.items()}
    return replace(after, hosts=MappingProxyType(steady))


def placement(of: World) -> tuple[tuple[str, str], ...]:
    return tuple((uuid, one.host) for uuid, one in of.guests.items())


def test_every_built_in_policy_is_tried():
    assert {policy.name for policy in POLICIES} == set(available())


@EVERY_POLICY
@FEW
@given(before=worlds())
def test_a_plan_always_says_why(policy: Policy, before: World):
    plan = policy.propose(before)
    for reason in (plan.reason, *(one.reason for one in plan.moves)):
        assert reason.code
        assert reason.text
        assert reason.threshold is None or (reason.value is not None and reason.unit)


@EVERY_POLICY
@FEW
@given(before=worlds())
def test_only_movable_guests_leave_live_hosts_for_enabled_live_ones(policy: Policy, before: World):
    plan = policy.propose(before)
    moving = [one.guest for one in plan.moves]
    assert len(set(moving)) == len(moving)
    assert not set(moving) & {one.guest for one in before.moves_in_flight}
    for one in plan.moves:
        assert before.guests[one.guest].immovable_because is None
        assert before.guests[one.guest].host == one.source
        assert one.source != one.target
        if not isinstance(policy, Evacuate):  # what is wrong with a host must not keep its guests there
            assert before.hosts[one.source].frozen_because is None
        assert before.hosts[one.target].may_receive


@EVERY_POLICY
@FEW
@given(before=worlds())
def test_a_plan_never_promises_memory_twice(policy: Policy, before: World):
    """Moves that belong together may need an order, and no other."""
    sets: dict[str, list[Move]] = {}
    for one in policy.propose(before).moves:
        sets.setdefault(one.together or one.guest, []).append(one)
    now = before
    for moves in sets.values():
        ordered = order_moves(now, resolve(before, RuleSettings()), {one.guest: one.target for one in moves})
        assert ordered.left_out == {}
        assert len(moves) > 1 or ordered.steps == (Step(0, moves[0].guest, moves[0].source, moves[0].target),)
        for one in moves:
            now = now.with_in_flight(one)


@EVERY_POLICY
@FEW
@given(before=worlds(may_be_moving=False))
def test_plans_carried_out_one_after_the_other_come_to_rest(policy: Policy, before: World):
    seen = {placement(before)}
    plan = policy.propose(before)
    while plan.moves:
        before = applied(before, plan)
        assert placement(before) not in seen, "guests are sent back and forth"
        seen.add(placement(before))
        plan = policy.propose(before)


@EVERY_POLICY
@FEW
@given(before=worlds())
def test_the_order_in_which_things_are_listed_does_not_matter(policy: Policy, before: World):
    reversed_ = replace(
        before,
        hosts=MappingProxyType(dict(reversed(before.hosts.items()))),
        guests=MappingProxyType(dict(reversed(before.guests.items()))),
    )
    assert policy.propose(reversed_) == policy.propose(before) == policy.propose(before)


@EVERY_POLICY
@FEW
@given(before=worlds())
def test_what_things_are_called_does_not_matter(policy: Policy, before: World):
    renamed = replace(
        before,
        hosts=MappingProxyType({uuid: replace(h, name=f"n{hash(uuid)}") for uuid, h in before.hosts.items()}),
        guests=MappingProxyType({uuid: replace(g, name=f"n{hash(uuid)}") for uuid, g in before.guests.items()}),
    )
    moves = [(one.guest, one.source, one.target) for one in policy.propose(before).moves]
    assert [(one.guest, one.source, one.target) for one in policy.propose(renamed).moves] == moves


@FEW
@given(before=worlds(), data=st.data())
def test_any_move_scores_every_job_it_touches_finite_and_positive(before: World, data: st.DataObject):
    if not before.guests:
        return
    one = data.draw(st.sampled_from(list(before.guests.values())))
    target = data.draw(st.sampled_from(list(before.hosts)))
    ratios = job_step_ratios(before, move(one.uuid, one.host, target))
    assert (one.job or one.uuid) in ratios
    assert all(0 < ratio < float("inf") for ratio in ratios.values())

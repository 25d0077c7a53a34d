"""How a set of moves is begun, and which of its steps go on: each is judged again before it starts. Pure.

Theory of operation. A policy's moves that belong together are ordered (`migd_policies.move_order`): over a spare host
where guests wait for each other's memory in a circle. The set is begun if every step would pass the gates when its turn
comes, with what it waits for done, and if all of it together pays; otherwise nothing of it is. From then on it is the
set's own steps that are judged, whenever what they come after is done: against the world as it is then, and with what
is left of the set priced anew. What only means that its turn has not come lets a step wait. What may pass (a host that
has not reported, a gain that is not there just now) does so for `PATIENCE_S`. Anything else drops the step and those
that need it; and if what is left does not pay any more, all that has not begun.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import msgspec

from migd_controller.config import GuardsSection
from migd_controller.decision import Candidate, Gate, Price
from migd_controller.guards import TURNS, Situation, objection, refused_with
from migd_controller.move_sets import MoveSet, SetStep, StepState
from migd_controller.quiet import PHASE
from migd_controller.residents import UNMEASURED
from migd_core.world import Move, World
from migd_policies.move_order import Step, Steps, kept_apart, order_moves
from migd_policies.move_schedule import Parallel, starting
from migd_policies.rules import Rules, places

# As long as agents may need to report again after a restart, or of a guest that has just arrived.
PATIENCE_S: Final = 60.0
# Gates that say nothing about the move: it waits until they open.
CLOSED: Final = frozenset({"pause", "pool", PHASE})
# Gates that may open by themselves within a while.
PASSING: Final = frozenset({"gain", "movable", "target"})

Judged = tuple[Move, Candidate]
# Prices moves as one set, its detours last: a price or None for each, and why there are none.
Prices = Callable[[World, Sequence[Move], Sequence[Move]], tuple[Sequence[Price | None], str]]


@dataclass(frozen=True, slots=True)
class Bench:
    """How moves are priced and judged, and how the migrations of them are numbered."""

    prices: Prices
    judged: Callable[[Move, Situation], Candidate]
    cause: str
    first: int

    def migration(self, judged: Sequence[Judged]) -> str:
        """Return the id of the migration that the last of `judged` becomes."""
        return f"{self.cause}.{self.first + len(judged)}"


def begin(
    name: str, policy: str, moves: Sequence[Move], situation: Situation, bench: Bench
) -> tuple[list[Judged], MoveSet | None]:
    """Judge moves that belong together; return them, detours among them, and the set that they are once it is begun."""
    assert situation.rules is not None
    wanted = {move.guest: move.target for move in moves}
    world = _with_reserve(situation.world, situation.rules, situation.limits)
    ordered = order_moves(world, situation.rules, wanted)
    if ordered.left_out or {step.guest for step in ordered.steps} != wanted.keys():
        return _together(_out_of_order(moves, ordered, situation, bench), situation), None
    reasons = {move.guest: move for move in moves}
    steps = {
        step.number: replace(reasons[step.guest], source=step.source, target=step.target) for step in ordered.steps
    }
    detours = [steps[step.number] for step in ordered.steps if step.is_detour]
    prices, unpriced_because = bench.prices(situation.world, moves, detours)
    price_of = dict(zip([*(move.guest for move in moves), *detours], prices, strict=True))
    prices_by = {s.number: price_of[steps[s.number] if s.is_detour else s.guest] for s in ordered.steps}
    move_set = MoveSet(
        name=name,
        policy=policy,
        at=situation.world.now_s,
        steps=tuple(_remembered(step, steps[step.number], prices_by[step.number], situation) for step in ordered.steps),
    )
    judged: list[Judged] = []
    for step in _in_turn(move_set, ordered.steps):
        priced = replace(situation, price=prices_by[step.number], unpriced_because=unpriced_because)
        world = _at_its_turn(move_set, step, situation.world)
        candidate = bench.judged(steps[step.number], replace(priced, world=world))
        candidate = _with_gates(candidate, _turn(move_set, move_set.steps[step.number], world, situation.rules))
        judged.append((steps[step.number], candidate))
        if candidate.is_accepted:
            move_set = move_set.started(step.number, bench.migration(judged))
    together = _together(judged, situation)
    is_begun = all(objection(candidate.gates) is None for _, candidate in together)
    return together, move_set if is_begun else None


def go_on(move_set: MoveSet, situation: Situation, bench: Bench) -> tuple[list[Judged], MoveSet]:
    """Judge the steps whose turn has come; return them, and the set as it is with those begun that passed.

    `situation.world` is the world as it is; `bench` numbers the migrations.
    """
    assert situation.rules is not None
    judged: list[Judged] = []
    ready = [step.number for step in move_set.ordered.ready(move_set.numbers(StepState.DONE), running=_begun(move_set))]
    for number in [step.number for step in _in_turn(move_set, move_set.ordered.steps) if step.number in ready]:
        step, world = move_set.steps[number], situation.world
        if step.state is not StepState.WAITING:  # another step has dropped it
            continue
        if text := _unsettled(move_set, world):
            move_set = _refused(move_set, step, "", text, world.now_s)
            continue
        candidate = _judged_again(move_set, step, situation, bench)
        judged.append((step.move, candidate))
        gate = objection(candidate.gates)
        if candidate.is_accepted:
            move_set = move_set.started(number, bench.migration(judged))
            situation = replace(situation, world=world.with_in_flight(step.move))
        elif gate is None or gate.name in CLOSED:
            waits = next(each for each in candidate.gates if not each.passed)
            move_set = move_set.waits(number, f"{waits.name}: {waits.text}", None)
        else:
            move_set = _refused(move_set, step, gate.name, gate.text, world.now_s)
    return judged, move_set


def gains_left(move_set: MoveSet, world: World, prices: Prices) -> dict[str, float]:
    """Return what each migration of the set that is under way is worth now, by id: its share of what the rest gains.

    For when a step has failed: what was begun to gain something together may gain nothing without it.
    """
    running = [step for step in move_set.steps if step.state is StepState.RUNNING and step.guest in world.guests]
    guests = {step.guest for step in running}
    before = replace(world, moves_in_flight=tuple(m for m in world.moves_in_flight if m.guest not in guests))
    moves = [
        replace(goal.move, source=world.guests[uuid].host)
        for uuid, goal in _goals(move_set).items()
        if uuid in world.guests
    ]
    goals = {move.guest: move.target for move in moves}
    detours = [s.move for s in (*running, *move_set.waiting) if s.guest in goals and s.target != goals[s.guest]]
    found, _ = prices(before, moves, detours)
    price_of = {move.guest: price for move, price in zip(moves, found, strict=False) if price is not None}
    return {step.migration: price_of[step.guest].gain_s for step in running if step.guest in price_of}


def _judged_again(move_set: MoveSet, step: SetStep, situation: Situation, bench: Bench) -> Candidate:
    """Judge one step against the world as it is, with what is left of the set as its price."""
    world, rules = situation.world, situation.rules
    assert rules is not None
    goals = _goals(move_set)
    left = [
        replace(goals[uuid].move, source=world.guests[uuid].host)
        for uuid in goals
        if goals[uuid].state is StepState.WAITING and uuid in world.guests
    ]
    detours = [each.move for each in move_set.waiting if each.is_detour]
    prices, unpriced_because = bench.prices(world, left, detours)
    price_of = dict(zip([*(move.guest for move in left), *detours], prices, strict=True))
    ends = dict(situation.promised) | {uuid: goal.target for uuid, goal in goals.items()}
    now = replace(
        situation,
        price=price_of.get(step.move if step.is_detour else step.guest),
        unpriced_because=unpriced_because,
        place=places(world) | {uuid: host for uuid, host in ends.items() if uuid in world.guests},
        brought=frozenset(each.guest for each in move_set.steps if each.state is StepState.DONE),
    )
    return _with_gates(bench.judged(step.move, now), _turn(move_set, step, world, rules))


def _refused(move_set: MoveSet, step: SetStep, gate: str, text: str, now_s: float) -> MoveSet:
    """Return the set with a step that a gate (empty: what is not known of its hosts and guests) has refused."""
    since = now_s if step.refused_at is None else min(step.refused_at, now_s)
    said = f"{gate}: {text}" if gate else text
    if gate in PASSING | {""} and now_s - since < PATIENCE_S:
        return move_set.waits(step.number, said, since)
    if gate == "gain":
        return move_set.rest_dropped(f"what is left of the set does not pay any more: {text}")
    return move_set.dropped(step, f"refused by {said}" if gate else said)


def _out_of_order(moves: Sequence[Move], ordered: Steps, situation: Situation, bench: Bench) -> list[Judged]:
    """Judge moves for which no order was found, each beside those before it."""
    prices, unpriced_because = bench.prices(situation.world, moves, ())
    judged: list[Judged] = []
    world = situation.world
    for move, price in zip(moves, prices, strict=True):
        candidate = bench.judged(move, replace(situation, world=world, price=price, unpriced_because=unpriced_because))
        refused = {gate.name for gate in candidate.gates if not gate.passed} - TURNS
        if move.guest in ordered.left_out and refused <= {"capacity"}:
            text = f"guest {world.guests[move.guest].name}: {ordered.left_out[move.guest]}"
            candidate = _with_gates(candidate, Gate(name="order", passed=False, text=text))
        judged.append((move, candidate))
        if candidate.is_accepted:
            world = world.with_in_flight(move)
    return judged


def _together(judged: Sequence[Judged], situation: Situation) -> list[Judged]:
    """Return the candidates of one set: what refuses one of them for good refuses them all."""
    names = {uuid: guest.name for uuid, guest in situation.world.guests.items()}
    refusals = [
        (candidate, refused_with(names.get(move.guest, move.guest), gate))
        for move, candidate in judged
        if (gate := objection(candidate.gates)) is not None
    ]
    if not refusals:
        return list(judged)
    return [
        (move, _with_gates(one, next(gate for each, gate in refusals if each is not one)))
        if objection(one.gates) is None
        else (move, one)
        for move, one in judged
    ]


def _remembered(step: Step, move: Move, price: Price | None, situation: Situation) -> SetStep:
    world = situation.world
    return SetStep(
        number=step.number,
        guest=step.guest,
        source=step.source,
        target=step.target,
        reason=move.reason,
        guest_name=world.guests[step.guest].name,
        source_name=world.hosts[step.source].name,
        target_name=world.hosts[step.target].name,
        after=tuple(sorted(step.after)),
        is_detour=step.is_detour,
        predicted_s=price.total_s if price is not None else None,
    )


def _in_turn(move_set: MoveSet, steps: Sequence[Step]) -> list[Step]:
    """Return the steps so that those on which most depends, by predicted time, are first; none before what it needs."""
    duration_s = {step.number: step.predicted_s or 1.0 for step in move_set.steps}
    everywhere = Parallel(len(steps), len(steps), len(steps), 2 * len(steps))
    found: list[Step] = []
    while len(found) < len(steps):
        found += starting(Steps(tuple(steps)), duration_s, everywhere, {step.number for step in found})
    return found


def _at_its_turn(move_set: MoveSet, step: Step, world: World) -> World:
    """Return the world in which the step starts: what it comes after is done, others that have begun are under way."""
    needed, wanted = set(step.after), list(step.after)
    while wanted:
        new = set(move_set.steps[wanted.pop()].after) - needed
        needed |= new
        wanted += new
    for each in move_set.steps:
        if each.number in needed:
            world = world.after(each.move)
    for each in move_set.steps:
        if each.number not in needed and each.state is StepState.RUNNING:
            world = world.with_in_flight(each.move)
    return world


def _begun(move_set: MoveSet) -> frozenset[int]:
    return move_set.numbers(StepState.RUNNING, StepState.FAILED, StepState.DROPPED)


def _goals(move_set: MoveSet) -> Mapping[str, SetStep]:
    """Return the last step of each guest that still is to come or under way."""
    open_ = (StepState.WAITING, StepState.RUNNING)
    return {step.guest: step for step in move_set.steps if step.state in open_}


def _turn(move_set: MoveSet, step: SetStep, world: World, rules: Rules) -> Gate | None:
    """Return what lets a step wait for others: those of its set, guests that have to leave first, a link in use."""
    text = move_set.waits_for(step) or _leaves_first(step, world, rules) or _uses_its_link(step, world)
    return Gate(name="turn", passed=False, text=text) if text else None


def _leaves_first(step: SetStep, world: World, rules: Rules) -> str:
    """Say who is on its way off the target, that the guest must be apart from; empty if nobody."""
    for rule in kept_apart(world, rules):
        for other in world.moves_in_flight:
            if rule.must and {step.guest, other.guest} <= rule.guests and other.source == step.target:
                return f"waits until {_name(world, other)} has left, from which {rule.tag} keeps it apart"
    return ""


def _uses_its_link(step: SetStep, world: World) -> str:
    """Say who is on its way over the link between two switches that the step crosses; empty if nobody, or none."""
    switches = {world.topology.switch_of.get(host) for host in (step.source, step.target)}
    for other in world.moves_in_flight:
        ends = {world.topology.switch_of.get(host) for host in (other.source, other.target)}
        if len(switches) > 1 and ends == switches:
            return f"waits for the link between two switches that {_name(world, other)} takes"
    return ""


def _name(world: World, move: Move) -> str:
    return world.guests[move.guest].name if move.guest in world.guests else move.guest


def _unsettled(move_set: MoveSet, world: World) -> str:
    """Say what is not known yet of the set's guests, and of the hosts that it goes on with; empty if all is."""
    for step in move_set.steps:
        guest = world.guests.get(step.guest)
        if guest is not None and guest.immovable_because == UNMEASURED:
            return f"guest {guest.name} is not measured on its host yet"
    for step in move_set.waiting:
        for uuid in (step.source, step.target):
            host = world.hosts.get(uuid)
            if host is not None and host.frozen_because is not None:
                return f"host {host.name} is frozen: {host.frozen_because}"
    return ""


def _with_gates(candidate: Candidate, gate: Gate | None) -> Candidate:
    return candidate if gate is None else msgspec.structs.replace(candidate, gates=(*candidate.gates, gate))


def _with_reserve(world: World, rules: Rules, limits: GuardsSection) -> World:
    """Return the world without the memory that stays free, and with what is taken beyond it as less than nothing.

    A guest that leaves a host which has not kept its reserve makes no room there for another of its size.
    """
    homes = {(guest.uuid, home) for guest in world.guests.values() for home in (guest.host, guest.arriving_at)}
    homes |= {(move.guest, move.target) for move in world.moves_in_flight}
    taken: dict[str | None, int] = {}
    for uuid, home in homes:
        if uuid in world.guests:
            taken[home] = taken.get(home, 0) + world.guests[uuid].memory_bytes
    hosts = {}
    for uuid, host in world.hosts.items():
        beyond = min(0, host.memory_bytes - rules.reserve_bytes.get(uuid, 0) - taken.get(uuid, 0))
        free_bytes = host.memory_free_bytes + beyond - int(limits.memory_reserve_ratio * host.memory_bytes)
        hosts[uuid] = replace(host, memory_free_bytes=free_bytes)
    return replace(world, hosts=MappingProxyType(hosts))

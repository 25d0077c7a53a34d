"""Which moves of a plan are made now, and why the others are not: prices, gates, sets, and who must be asked first.

A `Judge` knows what the controller knows at one moment and changes nothing, so whoever would like to know what would be
decided may ask: shadows, `migctl plan`, and an operator who looks at where a guest could go.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from msgspec.structs import replace

from migd_controller import automation, jobs, maintenance, quiet, recommending
from migd_controller.activity import Activity
from migd_controller.automation import Stance
from migd_controller.config import ControllerConfig
from migd_controller.decision import Candidate, Decision, Gate, Price
from migd_controller.events import MigrationRequested
from migd_controller.guards import Situation, judge
from migd_controller.holds import resting
from migd_controller.inventory import Inventory
from migd_controller.ledger import prices
from migd_controller.memory import Memory
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet
from migd_controller.plan_turns import JUDGED_AT_MOST, in_sets, in_turn
from migd_controller.recommendations import Proposal
from migd_controller.seen import Seen
from migd_controller.set_course import Bench, Judged, begin, go_on
from migd_controller.set_promises import as_promised, promised, without_promised
from migd_core.world import EVACUATION, Move, Plan, Reason, World
from migd_policies.quiet_start import Outlook, Unknown
from migd_policies.rules import places

BY_HAND: Final = "by hand"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, the moves of it that passed every gate, with the migration each becomes, and the sets after it.

    `proposals` are the moves of it that wait for an operator's word.
    """

    decision: Decision
    migrations: tuple[Migration, ...]
    sets: Mapping[str, MoveSet]
    proposals: tuple[Proposal, ...] = ()


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges moves by what is known at one moment. `activities` are by guest (uuid)."""

    config: ControllerConfig
    memory: Memory
    inventory: Inventory
    activities: Mapping[str, Activity]
    is_pool_reachable: bool

    def request(self, asked: MigrationRequested, seen: Seen) -> Verdict:
        """Judge the move that an operator asks for."""
        reason = Reason("by-hand", f"asked for by {asked.by or 'an operator'}")
        move = _from_where_it_is(seen, asked.guest, asked.target, reason)
        verdict = self.verdict(BY_HAND, Plan((move,), reason), seen)
        if not asked.by:
            return verdict
        named = tuple(replace(each, requested_by=f"{BY_HAND}, {asked.by}") for each in verdict.migrations)
        return dataclasses.replace(verdict, migrations=named)

    def by_hand(self, guest: str, seen: Seen) -> list[Candidate]:
        """Return how a request to move a guest (uuid) to each other host would be judged."""
        reason = Reason("by-hand", "to be asked for by an operator")
        moves = [_from_where_it_is(seen, guest, host, reason) for host in seen.world.hosts]
        elsewhere = [move for move in moves if move.target != move.source]
        verdicts = [self.verdict(BY_HAND, Plan((move,), reason), seen) for move in elsewhere]
        return [candidate for verdict in verdicts for candidate in verdict.decision.candidates]

    def verdict(self, policy: str, plan: Plan, seen: Seen, *, approved: str = "") -> Verdict:
        """Judge the steps of sets under way that come next, then the sets of moves of the plan whose turn it is.

        Each is judged against the world in which what was accepted before is under way. What an operator asks for, or
        has `approved` (in words), is judged alone.
        """
        cause, now_s = self.memory.causes.following()[0], seen.bare.now_s
        judged: list[Judged] = []
        proposals: list[Proposal] = []
        sets = dict(self.memory.sets)
        is_alone = policy == BY_HAND or approved != ""
        place = places(as_promised(seen.world, sets if policy != BY_HAND else {}))
        turns = in_turn(in_sets(plan.moves), self.memory.causes.last)
        place |= {move.guest: move.target for moves in turns for move in moves if move.guest in place}
        situation = Situation(
            world=seen.world,
            limits=self.config.guards,
            last_moved_at=None,
            price=None,
            is_paused=self.memory.is_paused,
            is_pool_reachable=self.is_pool_reachable,
            rules=seen.rules,
            place=place,
            is_allowed_hour=self.config.rules.may_move(now_s),
        )

        def now(world: World, own_set: str = "") -> Situation:
            """What is judged in `world`, with what was accepted until now under way, beside what other sets promise."""
            for move, candidate in judged:
                world = world.with_in_flight(move) if candidate.is_accepted else world
            others = promised(sets, besides=own_set) if policy != BY_HAND else {}
            return dataclasses.replace(situation, world=world, promised=others)

        may_wait = self.config.phases.wait_at_most_s > 0 and not is_alone
        phases = quiet.Phases(self.activities) if may_wait else None

        def bench(stance: Stance) -> Bench:
            return Bench(partial(self.prices, phases), partial(self._judged, phases, stance), cause, len(judged))

        for name, each in self.memory.sets.items() if not is_alone else ():
            under_way = self._stance([step.move for step in each.steps], now_s, f"its set {name} is under way")
            steps, sets[name] = go_on(each, now(seen.world, name), bench(under_way))
            judged += steps
        steps_judged = len(judged)
        for moves in turns:
            stance = self._stance(moves, now_s, approved)
            if len(moves) > 1:
                name = f"{cause}.s{len(sets) + 1}"
                found, begun = begin(name, policy, moves, now(without_promised(seen.world, sets)), bench(stance))
                judged += found
                if begun is not None:
                    sets[name] = begun
                proposals += recommending.proposed(moves, [each for _, each in found], stance, seen.world)
                continue
            (move,) = moves
            single = now(without_promised(seen.singly, sets) if policy != BY_HAND else seen.singly)
            known_prices, unpriced_because = self.prices(phases, single.world, moves)
            single = dataclasses.replace(single, price=known_prices[0], unpriced_because=unpriced_because)
            candidate = self._judged(phases, None if policy == BY_HAND else stance, move, single)
            judged.append((move, candidate))
            proposals += recommending.proposed(moves, [candidate], stance, seen.world)
        proposed = [candidate for _, candidate in judged[steps_judged:]]
        decision = Decision(
            cause=cause,
            at=now_s,
            policy=policy,
            reason=_outcome(plan, proposed, len(plan.moves) - sum(map(len, turns))),
            candidates=tuple(candidate for _, candidate in judged),
            sets=tuple(sets.values()),
        )
        return Verdict(decision, self._migrations(policy, decision, judged), sets, tuple(proposals))

    def _stance(self, moves: Sequence[Move], now_s: float, approved: str = "") -> Stance:
        return automation.stance(self.memory, self.config.automation, moves, now_s, approved)

    def _judged(
        self, phases: quiet.Phases | None, stance: Stance | None, move: Move, situation: Situation
    ) -> Candidate:
        """Judge one move, with the price that the situation has for it; with `phases`, it may wait for a quiet one.

        What is asked for by hand has no `stance`.
        """
        now_s, job = situation.world.now_s, jobs.job_of(self.memory, move.guest)
        own = jobs.limits(self.memory, job)
        situation = dataclasses.replace(
            situation,
            last_moved_at=self.memory.last_moved_at.get(move.guest),
            rest=resting(self.memory.holds, move.guest, now_s),
            job=job,
            accounts=self.memory.accounts,
            own=own,
            is_jobs_hour=self.config.rules.may_move(now_s, own.allowed_hours),
        )
        gates = judge(move, situation, by_hand=stance is None)
        if stance is not None and gates[0].passed:  # what is not there has but one gate
            gates = (*gates, stance.gate)
        if phases is not None and all(gate.passed for gate in gates):
            outlook = phases.outlooks(situation.world, [move]).get(move.guest)
            gates = (*gates, self._phase_gate(move, outlook, situation.price, now_s))
        return Candidate(
            guest=move.guest,
            source=move.source,
            target=move.target,
            why=move.reason.text,
            gates=gates,
            price=situation.price,
        )

    def _phase_gate(self, move: Move, seen: Outlook | Unknown | None, price: Price | None, now_s: float) -> Gate:
        return quiet.gate(
            move,
            seen,
            price,
            self.memory.quiet_waits.get(move.guest),
            now_s,
            self.config.phases.wait_at_most_s,
            self.config.rules.time_zone,
        )

    def prices(
        self, phases: quiet.Phases | None, world: World, moves: Sequence[Move], detours: Sequence[Move] = ()
    ) -> tuple[Sequence[Price | None], str]:
        """Return the prices of moves that belong together, detours last, or None for each and why they have none."""
        made = (*moves, *detours)
        unpriced = (None,) * len(made)
        for move in made:
            if move.guest not in world.guests:
                return unpriced, f"guest {move.guest} is not running in this pool"
            if unknown := sorted({move.source, move.target} - world.hosts.keys()):
                return unpriced, f"host {unknown[0]} is not in this pool"
        try:
            if phases is not None:
                world = quiet.as_of_now(world, phases.outlooks(world, made))
            return prices(world, moves, self.config.guards.certainty_sds, detours), ""
        except Exception as error:  # noqa: BLE001 - one move that cannot be priced must not stop every other for good
            return unpriced, f"{type(error).__name__}: {error}"

    def _migrations(self, policy: str, decision: Decision, judged: Sequence[Judged]) -> tuple[Migration, ...]:
        """Return what the accepted moves become, each with its place in the decision in its name."""
        made = []
        for number, (move, candidate) in enumerate(judged, start=1):
            if candidate.is_accepted:
                asker = BY_HAND if maintenance.is_asked_for(self.memory.maintenance, move) else policy
                migration = self._migration(f"{decision.cause}.{number}", candidate, asker, decision.at)
                is_for_gain = policy != BY_HAND and move.reason.code != EVACUATION
                made.append(replace(migration, is_for_gain=is_for_gain))
        return tuple(made)

    def _migration(self, cause: str, candidate: Candidate, policy: str, now_s: float) -> Migration:
        migration = Migration(
            cause=cause,
            guest=candidate.guest,
            source=candidate.source,
            target=candidate.target,
            requested_by=policy,
            asked_at=now_s,
            guest_name=self.inventory.guest_name(candidate.guest),
            source_name=self.inventory.host_name(candidate.source),
            target_name=self.inventory.host_name(candidate.target),
            memory_bytes=self.inventory.guests[candidate.guest].memory_bytes,
            job=jobs.job_of(self.memory, candidate.guest),
            toolstacks=self.inventory.toolstacks,
        )
        if (price := candidate.price) is None:
            return migration
        return replace(
            migration,
            predicted_s=price.total_s,
            predicted_pause_s=price.pause_s,
            predicted_at_most_s=price.total_at_most_s,
            expected=price.expected,
            cost_s=price.cost_s,
            gain_s=price.gain_s,
            gain_rate=price.gain_rate,
            lasts_s=price.lasts_s or 0.0,
        )


def _from_where_it_is(seen: Seen, guest: str, target: str, reason: Reason) -> Move:
    """Return the move of a guest (uuid) to a host; one that is not known comes from nowhere, as its gate will say."""
    known = seen.world.guests.get(guest)
    return Move(guest, known.host if known is not None else "", target, reason)


def _outcome(plan: Plan, proposed: Sequence[Candidate], unjudged: int) -> Reason:
    accepted, reason = sum(candidate.is_accepted for candidate in proposed), plan.reason
    if accepted < len(proposed):
        text = f"{reason.text}; {accepted} of {len(proposed)} proposed moves passed the gates"
        reason = Reason("partly-refused" if accepted else "refused", text)
    if unjudged:
        text = f"{reason.text}; {unjudged:,} of {len(plan.moves):,} proposed moves were not judged this time"
        reason = dataclasses.replace(reason, text=f"{text} (at most {JUDGED_AT_MOST}, a set as a whole)")
    return reason

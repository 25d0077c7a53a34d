"""Minimises the time until jobs are done: sets of moves that make the slowest ranks faster, priced by the ledger.

For each job that could step faster, `set_search` finds sets of moves; the ledger prices the best of them, with what
every other job that they touch gains or loses, and moves that a set does better without are dropped. A set is proposed
if its net gain, `certainty_sds` standard deviations below what is expected, reaches `min_gain_s`: at the loads of the
moment, and also if the hosts that guests leave count with the lowest load of the last `sustained_periods` and those
they go to with the highest. The moves of a set belong together: the gates price and pass them as one. As soon as one
job is named, guests of no job count with what they lose only: no rank makes way for a guest that nobody waits for.

No job ends early on a host that dies under it: guests of a failing host leave it first, as under `evacuate`, whatever
that costs, and nothing else is taken off it meanwhile (`leaves_failing`).

The wrong choice where nobody has named the jobs (each guest then counts as one), where jobs wait for disks, for many
small messages, or on levels that were not measured (none is seen), and where clocks do not tell how fast hosts are. Of
guests whose dirty pages nobody counts it moves only those that pay even if they write all of their memory all the time.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from migd_core.health import HealthState
from migd_core.units import format_duration, format_ratio
from migd_core.world import Host, Move, Plan, Reason, World
from migd_policies.evacuate import Evacuate, emptying
from migd_policies.ledger import PlanPrice, price
from migd_policies.move_order import order_moves
from migd_policies.rules import Rules
from migd_policies.set_search import Found, SetSearch, moves_of
from migd_policies.trend import highest_load_ratio, lowest_load_ratio

# Jobs are searched, those first that could gain most, until enough moves are found or so many sets were looked at.
MOST_SCORED: Final = 600
# Sets of each that the ledger prices; its prices in all.
SETS_A_JOB: Final = 2
MOST_PRICED: Final = 24
UNASKED: Final = Reason("candidate", "to be priced")
# What rules forbid of a guest is barred in the world already, and only one of those kept apart is moved at a time.
NO_RULES: Final = Rules(rules=(), contradictions=(), ignored_hosts=frozenset(), reserve_bytes={})


class JobTime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Towards the earliest end of jobs.

    `min_gain_s` and `certainty_sds` are what a set must gain and how sure that must be; the guards ask for theirs
    besides. `max_moves` bounds the guests on their way at a time, those under way included. With `leaves_failing`,
    guests leave failing hosts.
    """

    name: ClassVar[str] = "job-time"
    summary: ClassVar[str] = "moves sets of guests where jobs end earlier for it, priced by the ledger"

    min_gain_s: Annotated[float, Meta(gt=0, le=1e6)] = 10.0
    certainty_sds: Annotated[float, Meta(ge=0, le=5)] = 1.0
    sustained_periods: Annotated[int, Meta(ge=1, le=120)] = 3
    max_moves: Annotated[int, Meta(ge=1, le=64)] = 4
    leaves_failing: bool = True

    def propose(self, world: World) -> Plan:
        failing = {uuid: f"host {host.name} is failing: {host.health.text}" for uuid, host in self._failing(world)}
        if not failing:
            return self._faster(world)
        leaving = emptying(world, failing, Evacuate())
        return leaving.beside(self._faster(leaving.begun_in(world), frozenset(failing)))

    def _failing(self, world: World) -> Iterator[tuple[str, Host]]:
        """Yield the hosts that are to be left, as long as anybody is on them."""
        for uuid, host in world.hosts.items():
            if self.leaves_failing and host.health.state is HealthState.FAILING and world.guests_on[uuid]:
                yield uuid, host

    def _faster(self, world: World, left: Set[str] = frozenset()) -> Plan:
        """Return what makes jobs faster, without the guests of the hosts that are being `left` (uuids)."""
        room = self.max_moves - len(world.moves_in_flight)
        if room <= 0:
            text = "guests are being moved already"
            under_way = float(len(world.moves_in_flight))
            return Plan((), Reason("already-moving", text, under_way, float(self.max_moves), "migrations"))
        seen = [host for host in world.hosts.values() if highest_load_ratio(host, self.sustained_periods) is not None]
        takes = [host for host in seen if host.may_receive]
        leaves = frozenset(host.uuid for host in seen if host.frozen_because is None and host.uuid not in left)
        if not takes or len(leaves) < 2:
            text = f"{len(leaves)} of {len(world.hosts)} hosts were seen for {self.sustained_periods} periods"
            return Plan((), Reason("no-hosts", text, float(len(leaves)), 2.0, "hosts"))
        return _Planning(self, world, SetSearch(world, takes, leaves, room)).plan(room)


@dataclass(frozen=True, slots=True)
class _Offer:
    """A set of moves and its price. `sure_s` is the net gain that is sure, at the loads of the moment."""

    job: str
    moves: tuple[Move, ...]
    price: PlanPrice
    sure_s: float

    @property
    def rank(self) -> tuple[float, int, float, tuple[str, ...]]:
        """The lowest is best: gains alike to the second are told apart by moves and by pauses."""
        pause_s = sum(each.migration.pause_s.median for each in self.price.moves)
        return -round(self.sure_s), len(self.moves), pause_s, tuple(move.guest for move in self.moves)


class _Planning:
    """One run of the policy over one world."""

    def __init__(self, settings: JobTime, world: World, search: SetSearch) -> None:
        self._settings = settings
        self._world = world
        self._search = search
        self._priced = 0
        self._best_refused: _Offer | None = None

    def plan(self, room: int) -> Plan:
        least = self._settings.min_gain_s
        potential_s = {job: self._search.potential_s(job) for job in self._search.times.jobs}
        most = min(potential_s, key=lambda job: (-potential_s[job], job), default=None)
        if most is None or potential_s[most] < least:
            could_s = potential_s[most] if most is not None else 0.0
            text = (
                f"no job could gain more than {format_duration(max(0.0, could_s))} wherever its guests were (at least "
                f"{format_duration(least)} wanted)"
            )
            return Plan((), Reason("no-gain", text, could_s, least, "s"))
        jobs = sorted((job for job in potential_s if potential_s[job] >= least), key=lambda j: (-potential_s[j], j))
        offers = self._accepted(jobs, room)
        if not offers:
            return Plan((), self._why_not(most, potential_s[most]))
        moves = tuple(move for offer in offers for move in self._explained(offer))
        sure_s = sum(offer.sure_s for offer in offers)
        text = (
            f"jobs that end earlier for it: {len(offers)}, by {format_duration(sure_s)} in all for sure; guests to "
            f"move: {len(moves)}"
        )
        return Plan(moves, Reason("job-time", text, sure_s, least, "s"))

    def _sets(self, job: str) -> list[Found]:
        """Return the job's sets that seem to gain, the best first."""
        gaining = [found for found in self._search.sets_for(job) if found.net_s > 0]
        return sorted(gaining, key=lambda found: (-found.net_s, len(found.places)))[:SETS_A_JOB]

    def _accepted(self, jobs: Sequence[str], room: int) -> list[_Offer]:
        """Return the sets to be made, each priced in the world in which those before it are under way.

        Jobs have their turn in order. One that nothing helps, or not for sure, takes nobody else's.
        """
        now, accepted, free = self._world, list[_Offer](), room
        for job in jobs:
            if free <= 0 or self._search.scored >= MOST_SCORED:
                break
            moving = {move.guest for offer in accepted for move in offer.moves}
            offers = [
                offer
                for each in self._sets(job)
                if len(each.places) <= free and not moving & each.places.keys()
                if (offer := self._offer(now, job, each)) is not None
            ]
            for offer in sorted(offers, key=lambda offer: offer.rank):
                if self._is_sure(now, offer):
                    accepted.append(offer)
                    free -= len(offer.moves)
                    for move in offer.moves:
                        now = now.with_in_flight(move)
                    break
                if self._best_refused is None or offer.rank < self._best_refused.rank:
                    self._best_refused = offer
        return accepted

    def _detours(self, now: World, moves: Sequence[Move]) -> tuple[Move, ...] | None:
        """Return the moves to spare hosts that the set needs besides; None where memory allows it in no order."""
        arriving: dict[str, int] = {}
        for move in moves:
            arriving[move.target] = arriving.get(move.target, 0) + now.guests[move.guest].memory_bytes
        if all(size <= now.hosts[target].memory_free_bytes for target, size in arriving.items()):
            return ()
        ordered = order_moves(now, NO_RULES, {move.guest: move.target for move in moves})
        if ordered.left_out:
            return None
        return tuple(Move(s.guest, s.source, s.target, UNASKED) for s in ordered.steps if s.is_detour)

    def _offer(self, now: World, job: str, found: Found) -> _Offer | None:
        """Return the set, without the moves that it gains more without; None where it cannot be priced."""
        offer = self._price(now, job, moves_of(now, found, UNASKED))
        while offer is not None and len(offer.moves) > 1:
            lesser = [
                self._price(now, job, rest)
                for move in offer.moves
                if (rest := tuple(other for other in offer.moves if other is not move)) and self._may_gain(rest)
            ]
            best = min((each for each in lesser if each is not None), key=lambda each: each.rank, default=None)
            if best is None or best.rank >= offer.rank:
                break
            offer = best
        return offer

    def _may_gain(self, moves: Sequence[Move]) -> bool:
        return self._search.net_s({move.guest: move.target for move in moves}) > 0

    def _price(self, now: World, job: str, moves: tuple[Move, ...]) -> _Offer | None:
        if self._priced >= MOST_PRICED:
            return None
        if (detours := self._detours(now, moves)) is None:
            return None
        self._priced += 1
        try:
            found = price(now, moves, for_jobs_only=True, detours=detours)
        except ValueError:  # no bandwidth: what cannot be priced is not proposed
            return None
        return _Offer(job, moves, found, found.sure_s(self._settings.certainty_sds))

    def _is_sure(self, now: World, offer: _Offer) -> bool:
        """Whether the set gains enough now, and would have at any of the loads of the last periods."""
        if offer.sure_s < self._settings.min_gain_s:
            return False
        detours = [each.move for each in offer.price.moves[len(offer.moves) :]]
        worst = price(self._at_worst(now, offer.moves), offer.moves, for_jobs_only=True, detours=detours)
        return worst.sure_s(self._settings.certainty_sds) >= self._settings.min_gain_s

    def _at_worst(self, now: World, moves: Sequence[Move]) -> World:
        """Return the world with the loads of the last periods at which the moves pay least."""
        periods, hosts = self._settings.sustained_periods, dict(now.hosts)
        for uuid in {move.source for move in moves}:
            lowest = lowest_load_ratio(hosts[uuid], periods)
            hosts[uuid] = replace(hosts[uuid], load_ratio=hosts[uuid].load_ratio if lowest is None else lowest)
        for uuid in {move.target for move in moves}:
            highest = highest_load_ratio(hosts[uuid], periods)
            hosts[uuid] = replace(hosts[uuid], load_ratio=hosts[uuid].load_ratio if highest is None else highest)
        return replace(now, hosts=MappingProxyType(hosts))

    def _explained(self, offer: _Offer) -> tuple[Move, ...]:
        """Return the moves of a set with what they do together."""
        reason = self._reason("job-time", offer)
        together = offer.job if len(offer.moves) > 1 else ""
        return tuple(replace(move, reason=reason, together=together) for move in offer.moves)

    def _why_not(self, most: str, potential_s: float) -> Reason:
        if (refused := self._best_refused) is not None:
            reason = self._reason("not-worth-it", refused)
            if refused.sure_s >= self._settings.min_gain_s:
                text = f"{reason.text}; but not at the loads of each of {self._settings.sustained_periods} periods"
                return replace(reason, code="not-sustained", text=text)
            return reason
        text = (
            f"job {self._name(most)} could gain up to {format_duration(potential_s)}, but no move that memory and "
            "rules allow makes its slowest rank faster at a gain"
        )
        return Reason("no-move", text, potential_s, self._settings.min_gain_s, "s")

    def _reason(self, code: str, offer: _Offer) -> Reason:
        world, least = self._world, self._settings.min_gain_s
        ratio = next((job.step_ratio for job in offer.price.jobs if job.job == offer.job), 1.0)
        names = ", ".join(f"{world.guests[m.guest].name} to {world.hosts[m.target].name}" for m in offer.moves)
        text = (
            f"{names}: job {self._name(offer.job)} would step in {format_ratio(ratio)} of the time; gains "
            f"{format_duration(offer.price.gain_s)} over all jobs, costs {format_duration(offer.price.cost_s.median)}, "
            f"{format_duration(offer.sure_s)} net for sure (at least {format_duration(least)})"
        )
        return Reason(code, text, offer.sure_s, least, "s")

    def _name(self, job: str) -> str:
        return self._world.guests[job].name if job in self._world.guests else job

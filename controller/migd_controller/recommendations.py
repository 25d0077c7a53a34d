"""Moves that wait for an operator's word: what is recommended, for how long, and what became of it. Pure.

In each control period the policy is asked anew. What it proposes, and every gate but `automation` lets through, is a
recommendation: one set of moves each, which is approved or refused as a whole. It stays the same one while the policy
proposes the same guests for the same hosts, and lapses once that has not been so for `[automation] lapse_s`. A policy
that wavers between targets must not make it impossible to approve one: another proposal for a guest takes its place
only after SETTLED_S. What is approved is judged again, against the world as it is then; what was to leave a host that
is in order again lapses at once, for no gate looks at that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
from msgspec.structs import replace

from migd_controller.decision import Candidate, Decision
from migd_core.units import format_duration
from migd_core.world import EVACUATION, Move

SETTLED_S: Final = 60.0
# As many as an operator may look through; the journal keeps the memory of each period.
OPEN_AT_MOST: Final = 64


class Standing(StrEnum):
    """What became of a recommendation; all but the first are final."""

    OPEN = "open"
    APPROVED = "approved"
    REFUSED = "refused"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Proposal:
    """Moves that belong together and wait for nothing but an operator's word, as they were judged, detours included.

    `left` are the hosts (uuids) that are failing or closed, and that guests are to leave because of that.
    """

    moves: Sequence[Move]
    candidates: Sequence[Candidate]
    left: tuple[str, ...] = ()


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """Moves recommended since `at` and last proposed at `proposed_at` (Unix time), as they were judged then.

    `name` is its decision's, with `.r1`. `text` says why it ended, `by` whose word that was, if it was anybody's and is
    known; `decision` is what an approval led to. `left` are the hosts that it empties as they were failing or closed.
    """

    name: str
    policy: str
    at: float
    proposed_at: float
    moves: tuple[Move, ...]
    candidates: tuple[Candidate, ...]
    left: tuple[str, ...] = ()
    standing: Standing = Standing.OPEN
    ended_at: float | None = None
    text: str = ""
    by: str = ""
    decision: str = ""

    @property
    def guests(self) -> frozenset[str]:
        return frozenset(move.guest for move in self.moves)

    @property
    def is_for_safety(self) -> bool:
        return _is_for_safety(self.moves)

    def ended(
        self, standing: Standing, now_s: float, text: str, *, by: str = "", decision: str = ""
    ) -> "Recommendation":
        """Return the recommendation once it is over."""
        return replace(self, standing=standing, ended_at=now_s, text=text, by=by, decision=decision)


class TurnedDown(msgspec.Struct, frozen=True, kw_only=True):
    """An operator (`by`, if known) has refused to move a guest, for its safety or not, at `at` (Unix time)."""

    name: str
    at: float
    is_for_safety: bool
    by: str = ""


Open = Mapping[str, Recommendation]


def after_tick(
    known: Open, proposals: Iterable[Proposal], withdrawn: Mapping[str, str], decision: Decision, lapse_s: float
) -> list[Recommendation]:
    """Return the recommendations after a control period: those that were open, as they are now, and new ones.

    `withdrawn` says of some (by name) why they can no longer be approved.
    """
    now_s = decision.at
    fresh = {_places(proposal.moves): proposal for proposal in proposals}
    wanted = {move.guest for each in fresh.values() for move in each.moves}
    urgent = {move.guest for each in fresh.values() if _is_for_safety(each.moves) for move in each.moves}
    found: list[Recommendation] = []
    for each in known.values():
        since_s = max(0.0, now_s - each.proposed_at)
        must_leave = not each.is_for_safety and not urgent.isdisjoint(each.guests)
        if why := withdrawn.get(each.name):
            found.append(each.ended(Standing.LAPSED, now_s, why))
        elif (same := fresh.pop(_places(each.moves), None)) is not None:
            moves, candidates = tuple(same.moves), tuple(same.candidates)
            found.append(replace(each, proposed_at=now_s, moves=moves, candidates=candidates, left=same.left))
        elif must_leave or (since_s >= SETTLED_S and not wanted.isdisjoint(each.guests)):
            found.append(each.ended(Standing.LAPSED, now_s, "another move of its guests is recommended instead"))
        elif since_s >= lapse_s:
            text = f"policy {each.policy} has not proposed it for {format_duration(since_s)}"
            found.append(each.ended(Standing.LAPSED, now_s, text))
        else:
            found.append(each)
    return [*found, *_new(fresh.values(), [each for each in found if each.standing is Standing.OPEN], decision)]


def _new(fresh: Iterable[Proposal], known: Sequence[Recommendation], decision: Decision) -> list[Recommendation]:
    """Return what is recommended besides those that are open: none of a guest that one of them is about."""
    found: list[Recommendation] = []
    taken = {guest for each in known for guest in each.guests}
    for proposal in fresh:
        guests = {move.guest for move in proposal.moves}
        if guests & taken or len(known) + len(found) >= OPEN_AT_MOST:
            continue
        taken |= guests
        found.append(
            Recommendation(
                name=f"{decision.cause}.r{len(found) + 1}",
                policy=decision.policy,
                at=decision.at,
                proposed_at=decision.at,
                moves=tuple(proposal.moves),
                candidates=tuple(proposal.candidates),
                left=proposal.left,
            )
        )
    return found


def turned_down(
    moves: Iterable[Move], known: Mapping[str, TurnedDown], now_s: float, for_s: float
) -> TurnedDown | None:
    """Return what an operator has refused within `for_s` that keeps moves from being recommended again.

    A guest that is to leave for its safety is recommended although another move of it was refused.
    """
    for move in moves:
        found = known.get(move.guest)
        is_held = found is not None and now_s - min(found.at, now_s) < for_s
        if found is not None and is_held and (found.is_for_safety or move.reason.code != EVACUATION):
            return found
    return None


def who(by: str) -> str:
    """Return who gave their word, in words."""
    return by or "an operator"


def _is_for_safety(moves: Iterable[Move]) -> bool:
    return any(move.reason.code == EVACUATION for move in moves)


def _places(moves: Iterable[Move]) -> frozenset[tuple[str, str]]:
    return frozenset((move.guest, move.target) for move in moves)

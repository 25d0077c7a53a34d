"""The life of recommendations in the controller's memory: made, withdrawn, approved, refused, forgotten.

Pure: memory in, memory and what is to be recorded out.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from migd_controller.automation import AUTOMATION, Stance, stance
from migd_controller.commands import RecordRecommendation
from migd_controller.config import AutomationSection
from migd_controller.decision import Candidate, Decision
from migd_controller.guards import TURNS
from migd_controller.inventory import Inventory
from migd_controller.memory import Memory
from migd_controller.recommendations import Proposal, Recommendation, Standing, TurnedDown, after_tick, who
from migd_core.world import EVACUATION, Move, World

Told = tuple[Memory, list[RecordRecommendation]]


def proposed(moves: Sequence[Move], candidates: Sequence[Candidate], stance: Stance, world: World) -> list[Proposal]:
    """Return moves as one proposal, if an operator is asked about them and nothing else refuses one for good."""
    refusals = {gate.name for candidate in candidates for gate in candidate.gates if not gate.passed}
    if not stance.asks or not refusals <= {AUTOMATION, *TURNS}:
        return []
    emptied = {move.source for move in moves if move.reason.code == EVACUATION}
    left = sorted(uuid for uuid in emptied if uuid in world.hosts and world.hosts[uuid].is_to_be_left)
    return [Proposal(moves, candidates, tuple(left))]


def on_tick(
    memory: Memory,
    decision: Decision,
    proposals: Sequence[Proposal],
    inventory: Inventory,
    section: AutomationSection,
    world: World,
) -> Told:
    """Return the memory with what is recommended after a control period, and the records of what is new or over."""
    memory = _by_this_clock(memory, decision.at)
    known = memory.recommendations
    if not known and not proposals:
        return memory, []
    withdrawn = {
        name: why
        for name, each in known.items()
        if (why := _why_withdrawn(each, memory, inventory, section, decision.at) or pointless(each, world))
    }
    found = after_tick(known, proposals, withdrawn, decision, section.lapse_s)
    open_ = {each.name: each for each in found if each.standing is Standing.OPEN}
    records = [RecordRecommendation(recommendation=each) for each in found if each.name not in known.keys() & open_]
    return replace(memory, recommendations=open_), records


def _by_this_clock(memory: Memory, now_s: float) -> Memory:
    """Return the memory in which nothing is of a time to come: that is from before the clock was set back."""
    early = {name: each for name, each in memory.recommendations.items() if each.proposed_at > now_s}
    refused = {guest: each for guest, each in memory.turned_down.items() if each.at > now_s}
    if not early and not refused:
        return memory
    open_ = {name: replace(each, at=min(each.at, now_s), proposed_at=now_s) for name, each in early.items()}
    return replace(
        memory,
        recommendations=memory.recommendations | open_,
        turned_down=memory.turned_down | {guest: replace(each, at=now_s) for guest, each in refused.items()},
    )


def _why_withdrawn(
    recommendation: Recommendation, memory: Memory, inventory: Inventory, section: AutomationSection, now_s: float
) -> str:
    """Say why a recommendation cannot be approved any more; empty if it may be."""
    for move in recommendation.moves:
        guest = inventory.guests.get(move.guest)
        if guest is None:
            return f"guest {move.guest} is not running any more"
        if guest.host != move.source:
            return f"guest {guest.name} is on host {inventory.host_name(guest.host)} now"
        target = inventory.hosts.get(move.target)
        is_closed = move.target in memory.maintenance
        if target is None or is_closed or not target.is_live or not target.is_enabled:
            return f"host {inventory.host_name(move.target)} takes no guests any more"
    found = stance(memory, section, recommendation.moves, now_s)
    return "" if found.asks else found.gate.text


def pointless(recommendation: Recommendation, world: World) -> str:
    """Say which host need not be left any more that a recommendation empties; empty if there is none."""
    for uuid in recommendation.left:
        host = world.hosts.get(uuid)
        if host is not None and host.frozen_because is None and not host.is_to_be_left:
            return f"host {host.name} is neither failing nor closed any more"
    return ""


def on_pointless(memory: Memory, recommendation: Recommendation, why: str, now_s: float) -> Told:
    """Return the memory once a recommendation has lapsed that somebody has just approved."""
    return _without(memory, [recommendation.ended(Standing.LAPSED, now_s, why)])


def on_approved(memory: Memory, recommendation: Recommendation, decision: Decision, by: str) -> Told:
    """Return the memory once the moves of a recommendation have begun, as somebody wants."""
    text = f"{who(by)} has approved {recommendation.name}"
    ended = recommendation.ended(Standing.APPROVED, decision.at, text, by=by, decision=decision.cause)
    return _without(memory, [ended])


def on_refused(
    memory: Memory, recommendation: Recommendation, section: AutomationSection, now_s: float, by: str
) -> Told:
    """Return the memory once somebody has refused a recommendation: its guests are not recommended for a while."""
    refused = TurnedDown(name=recommendation.name, at=now_s, is_for_safety=recommendation.is_for_safety, by=by)
    known = {guest: each for guest, each in memory.turned_down.items() if now_s - each.at < section.refused_for_s}
    memory = replace(memory, turned_down=known | dict.fromkeys(sorted(recommendation.guests), refused))
    return _without(memory, [recommendation.ended(Standing.REFUSED, now_s, f"{who(by)} has refused it", by=by)])


def on_policy_set(memory: Memory, why: str, now_s: float) -> Told:
    """Return the memory once another policy counts: what the one before it recommends cannot be meant any more."""
    return _without(memory, [each.ended(Standing.LAPSED, now_s, why) for each in memory.recommendations.values()])


def _without(memory: Memory, ended: Sequence[Recommendation]) -> Told:
    gone = {each.name for each in ended}
    open_ = {name: each for name, each in memory.recommendations.items() if name not in gone}
    return replace(memory, recommendations=open_), [RecordRecommendation(recommendation=each) for each in ended]

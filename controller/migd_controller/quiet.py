"""Moves that wait for a quiet phase of their guest: what is looked at, the gate that says so, what is remembered.

A move that every other gate lets through may wait; it is judged anew in each control period, so what has changed
meanwhile (loads, limits, its own worth) counts. No wait is longer than `[phases] wait_at_most_s` from when it began;
after that the move is judged as if the guest had no phases. For their safety guests leave at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from migd_controller.activity import Activity
from migd_controller.decision import Decision, Gate, Price
from migd_core.world import EVACUATION, Move, World
from migd_policies.quiet_start import Outlook, Unknown, outlook, start

PHASE: Final = "phase"
Outlooks = Mapping[str, Outlook | Unknown]


class QuietWait(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a guest's move waits, and when it was proposed last (Unix time)."""

    since: float
    proposed_at: float


Waits = Mapping[str, QuietWait]


class Phases:
    """What the phases of guests promise: found once for each move, while one plan is judged."""

    def __init__(self, activities: Mapping[str, Activity]) -> None:
        self._activities = activities
        self._found: dict[tuple[str, str], Outlook | Unknown] = {}

    def outlooks(self, world: World, moves: Sequence[Move]) -> Outlooks:
        """Return them by guest; nothing of guests that are not known or leave for their safety."""
        found: dict[str, Outlook | Unknown] = {}
        for move in moves:
            is_known = move.guest in world.guests and {move.source, move.target} <= world.hosts.keys()
            activity = self._activities.get(move.guest)
            if is_known and activity is not None and move.reason.code != EVACUATION:
                key = move.guest, move.target
                if key not in self._found:
                    self._found[key] = _outlook(world, move, activity)
                found[move.guest] = self._found[key]
        return found


def _outlook(world: World, move: Move, activity: Activity) -> Outlook | Unknown:
    try:
        return outlook(world, move, activity.watched)
    except ValueError as error:
        return Unknown(f"its phases could not be priced: {error}")


def as_of_now(world: World, seen: Outlooks) -> World:
    """Return the world in which guests write what they write in the phase that they are in, where that is known."""
    guests = {
        uuid: replace(world.guests[uuid], dirty_curves=each.curves)
        for uuid, each in seen.items()
        if isinstance(each, Outlook)
    }
    return replace(world, guests=MappingProxyType({**world.guests, **guests})) if guests else world


def gate(
    move: Move,
    seen: Outlook | Unknown | None,
    price: Price | None,
    wait: QuietWait | None,
    now_s: float,
    at_most_s: float,
    time_zone: str,
) -> Gate:
    """Return the gate of a move that nothing else stops: it does not pass while waiting is worth more than moving."""
    if move.reason.code == EVACUATION:
        return Gate(name=PHASE, passed=True, text="the guest leaves for its safety, and waits for no quiet phase")
    if seen is None or isinstance(seen, Unknown) or price is None:
        text = seen.text if isinstance(seen, Unknown) else "nothing of what it does was watched yet"
        value, needed = (seen.value, seen.needed) if isinstance(seen, Unknown) else (None, None)
        return Gate(name=PHASE, passed=True, text=f"no quiet phase is known: {text}", value=value, threshold=needed)
    since_s = now_s if wait is None else min(wait.since, now_s)
    found = start(seen, _gain_rate(price), now_s - since_s, at_most_s)
    if not found.waits:
        return Gate(name=PHASE, passed=True, text=found.text, value=found.loses_s, threshold=found.saves_s, unit="s")
    zone = ZoneInfo(time_zone)
    begins, latest = (
        datetime.fromtimestamp(at_s, zone).strftime("%H:%M:%S")
        for at_s in (now_s + seen.begins_in_s, since_s + at_most_s)
    )
    text = f"waits until {begins}, and no longer than until {latest}, for {found.text}"
    return Gate(name=PHASE, passed=False, text=text, value=found.loses_s, threshold=found.saves_s, unit="s")


def waiting(gates: Sequence[Gate]) -> Gate | None:
    """Return the gate of a move that only waits for a quiet phase."""
    failed = [each for each in gates if not each.passed]
    return failed[0] if [each.name for each in failed] == [PHASE] else None


def remembered(waits: Waits, decision: Decision, at_most_s: float) -> dict[str, QuietWait]:
    """Return who waits after a control period, and since when.

    A move that is not proposed for a while and then again is the same wish, and has the same deadline.
    """
    now_s = decision.at
    kept = {guest: each for guest, each in waits.items() if now_s - each.proposed_at < at_most_s}
    for candidate in decision.candidates:
        known = kept.get(candidate.guest)
        if candidate.is_accepted:
            kept.pop(candidate.guest, None)
        elif known is not None or waiting(candidate.gates) is not None:
            since_s = now_s if known is None else min(known.since, now_s)
            kept[candidate.guest] = QuietWait(since=since_s, proposed_at=now_s)
    return kept


def _gain_rate(price: Price) -> float:
    """Job-seconds that the move, or the set that it belongs to, gains a second once it is made."""
    gain_s = price.gain_s if price.together is None else price.together.gain_s
    return gain_s / price.lasts_s if price.lasts_s else 0.0

"""What holds a guest back after a failed migration: a rest that doubles, or a quarantine. Pure: values in, values out.

A hold ends when the guest is migrated after all, when an operator releases the guest, or when what caused it has
changed: the guest itself (power-cycled, its tools installed, its operations unblocked ...), the target where only that
was wrong, or, where every guest was concerned, when the pool answers anew. What counts as the guest itself is all that
the inventory says of it, but for where it is and what is being done with it at the moment.
"""

import hashlib
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from migd_controller.config import GuardsSection
from migd_controller.inventory import Inventory
from migd_controller.migration import Migration, State
from migd_controller.pool_failures import CANCELLED, Meaning, Scope, Then, meaning_of
from migd_core.units import format_duration

ABSENT = "absent"


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """One guest held back (uuids; times are Unix seconds).

    `failures` counts those in a row, `until` ends a rest. `seen` stands for guest and target as they were once the
    failure was over; None until that was looked at.
    """

    guest: str
    guest_name: str
    target: str
    target_name: str
    then: Then
    scope: Scope
    code: str
    text: str
    cause: str
    at: float
    failures: int = 1
    until: float | None = None
    seen: str | None = None

    @property
    def key(self) -> str:
        return f"{self.guest} {self.target}" if self.scope is Scope.TARGET else self.guest


Holds = Mapping[str, Hold]


def after(holds: Holds, migration: Migration, limits: GuardsSection, now_s: float) -> Holds:
    """Return the holds once `migration` has ended as it says."""
    if migration.state is State.MOVED:
        done = {migration.guest, f"{migration.guest} {migration.target}"}
        return {key: hold for key, hold in holds.items() if key not in done}
    if migration.code == CANCELLED or migration.state is State.ELSEWHERE:
        return holds  # somebody else has decided about the guest
    if migration.state is State.GONE and not migration.code:
        return holds  # it was moved, and then shut down
    meaning = _meaning(migration)
    hold = Hold(
        guest=migration.guest,
        guest_name=migration.guest_name,
        target=migration.target,
        target_name=migration.target_name,
        then=meaning.then,
        scope=meaning.scope,
        code=migration.code,
        text=f"{migration.text or 'the guest did not move'}: {meaning.advice}",
        cause=migration.cause,
        at=now_s,
        seen=ABSENT if migration.state is State.GONE else None,
    )
    if hold.then is Then.RETRY_LATER:
        before = holds.get(hold.key)
        failures = before.failures + 1 if before is not None and before.then is Then.RETRY_LATER else 1
        # Beyond 2^32 there is no rest that is not the longest.
        rest_s = min(limits.retry_at_most_s, limits.retry_after_s * 2.0 ** min(32, failures - 1))
        hold = replace(hold, failures=failures, until=now_s + rest_s)
    return {**holds, hold.key: hold}


def _meaning(migration: Migration) -> Meaning:
    if migration.state is State.GONE:
        advice = f"it no longer runs since its migration {migration.cause}; see the logs of both hosts, and start it"
        return Meaning(Then.NEEDS_A_HUMAN, Scope.GUEST, advice)
    return meaning_of(migration.code)


def revised(holds: Holds, inventory: Inventory, limits: GuardsSection, now_s: float) -> Holds:
    """Return the holds without those whose cause has changed, and without rests that were over long ago.

    To be called once a period rather than at every event: a record in mid-change is no change of the cause.
    """
    kept: dict[str, Hold] = {}
    for key, hold in holds.items():
        if hold.until is not None:
            if now_s < hold.until + limits.retry_at_most_s:
                # A clock set back across a restart must not prolong a rest.
                kept[key] = replace(hold, until=min(hold.until, now_s + limits.retry_at_most_s))
            continue
        seen = _seen(hold, inventory)
        if hold.scope is Scope.POOL or seen is None or seen == hold.seen:
            kept[key] = hold
        elif hold.seen is None:
            kept[key] = replace(hold, seen=seen)
    return kept if kept != holds else holds


def _seen(hold: Hold, inventory: Inventory) -> str | None:
    """Return what stands for guest and target as they are, None while something is being done with the guest."""
    guest, target = inventory.guests.get(hold.guest), inventory.hosts.get(hold.target)
    if guest is None:
        return ABSENT
    if guest.busy_with or guest.arriving_at is not None:
        return None
    what: list[object] = [replace(guest, name="", host="", tags=(), probed_by="")]
    if hold.scope is Scope.TARGET and target is not None:
        what.append(replace(target, name="", address="", is_evacuating=False))
    return hashlib.sha256(msgspec.msgpack.encode(what)).hexdigest()


def without_pool(holds: Holds) -> Holds:
    """Return the holds once the pool answers anew: what concerned every guest may have been mended."""
    kept = {key: hold for key, hold in holds.items() if hold.scope is not Scope.POOL}
    return kept if len(kept) != len(holds) else holds


def without_guest(holds: Holds, guest: str) -> Holds:
    """Return the holds once an operator has released a guest."""
    return {key: hold for key, hold in holds.items() if hold.guest != guest}


def resting(holds: Holds, guest: str, now_s: float) -> Hold | None:
    """Return the hold that lets this guest rest now, None if it has rested."""
    hold = holds.get(guest)
    return hold if hold is not None and hold.until is not None and hold.until > now_s else None


def quarantine(holds: Holds, guest: str) -> Hold | None:
    """Return the hold that keeps this guest where it is, whatever the target."""
    own = holds.get(guest)
    if own is not None and own.until is None:
        return own
    return next((hold for hold in holds.values() if hold.scope is Scope.POOL), None)


def barred_targets(holds: Holds) -> Mapping[str, Mapping[str, str]]:
    """Return why guests may not go to a target that refused them: reasons by guest and target (uuids)."""
    found: dict[str, dict[str, str]] = {}
    for hold in holds.values():
        if hold.scope is Scope.TARGET and hold.until is None:
            found.setdefault(hold.guest, {})[hold.target] = quarantine_text(hold)
    return found


def quarantine_text(hold: Hold) -> str:
    """Say why a guest is in quarantine, and how it gets out."""
    return f"in quarantine since {hold.cause}: {hold.text}; `migctl release {hold.guest_name}` lifts it"


def rest_text(hold: Hold, now_s: float) -> str:
    """Say how long a guest rests, and after what."""
    assert hold.until is not None
    times = "its last migration" if hold.failures == 1 else f"{hold.failures} migrations in a row"
    return f"rests for {format_duration(max(0.0, hold.until - now_s))}: {times} failed, {hold.text}"

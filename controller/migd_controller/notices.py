"""What somebody should hear of at once, in words. Pure: an event and what it led to in, notices out."""

from collections.abc import Collection, Sequence

import msgspec

from migd_controller.commands import AnyCommand, RecordHealth, RecordMigration
from migd_controller.config import NoticeKind
from migd_controller.events import AnyEvent, MigrationEnded, PoolReachability, Tick, TookOver
from migd_controller.holds import Hold
from migd_controller.judging import BY_HAND
from migd_controller.migration import Migration, State
from migd_controller.pool_failures import CANCELLED, Then
from migd_core.health import HealthState


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, at Unix time `at`. `cause` is the id to follow with `migctl explain`, or empty."""

    kind: NoticeKind
    text: str
    at: float
    cause: str = ""


def notices(event: AnyEvent, commands: Sequence[AnyCommand], holds: Collection[Hold], now_s: float) -> list[Notice]:
    """Return what an event gives notice of; `holds` are those that hold guests back once it was handled."""
    found: list[Notice] = []
    if isinstance(event, PoolReachability) and not event.is_reachable:
        found.append(Notice(kind=NoticeKind.POOL_LOST, text=f"the pool cannot be reached: {event.problem}", at=now_s))
    if isinstance(event, TookOver) and event.predecessor not in ("", event.name):
        text = (
            f"controller {event.name} leads now in place of {event.predecessor}; "
            "`migctl doctor` says whether anybody stands by"
        )
        found.append(Notice(kind=NoticeKind.LEADER_CHANGED, text=text, at=now_s))
    leaving: list[Migration] = []
    for command in commands:
        if isinstance(command, RecordHealth) and command.health.state in (HealthState.DEGRADED, HealthState.FAILING):
            text = f"host {command.host_name} is {command.health.state.value}: {command.health.text}"
            found.append(Notice(kind=NoticeKind.HOST_HEALTH, text=text, at=now_s))
        elif isinstance(command, RecordMigration) and isinstance(event, MigrationEnded):
            found += _ended(command.migration, holds, now_s)
        elif isinstance(command, RecordMigration) and isinstance(event, Tick) and _is_evacuation(command.migration):
            leaving.append(command.migration)
    if leaving:
        moves = ", ".join(f"{each.guest_name} ({each.source_name} to {each.target_name})" for each in leaving)
        cause = leaving[0].cause.partition(".")[0]
        found.append(Notice(kind=NoticeKind.EVACUATION, text=f"evacuation: {moves}", at=now_s, cause=cause))
    return found


def _ended(migration: Migration, holds: Collection[Hold], now_s: float) -> list[Notice]:
    if migration.state is State.MOVED or migration.code == CANCELLED:
        return []
    what = f"{migration.guest_name} from {migration.source_name} to {migration.target_name}"
    text = f"migration of {what} failed, the guest {_WHERE[migration.state]}: {migration.text or migration.code}"
    found = [Notice(kind=NoticeKind.MIGRATION_FAILED, text=text, at=now_s, cause=migration.cause)]
    for hold in holds:
        if hold.cause == migration.cause and hold.then is not Then.RETRY_LATER:
            text = f"{hold.guest_name} is held back: {hold.text}; `migctl release {hold.guest_name}` lifts it"
            found.append(Notice(kind=NoticeKind.QUARANTINE, text=text, at=now_s, cause=migration.cause))
    return found


_WHERE = {
    State.STAYED: "stayed where it was",
    State.ELSEWHERE: "is on another host",
    State.GONE: "no longer runs",
}


def _is_evacuation(migration: Migration) -> bool:
    """True of one that a policy has just begun for its guest's safety."""
    is_new = migration.state is State.ASKED and not migration.is_cancelling
    return is_new and not migration.is_for_gain and not migration.requested_by.startswith(BY_HAND)

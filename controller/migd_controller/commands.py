"""Everything the core can ask for. Each is journaled before it is carried out."""

import msgspec

from migd_controller.decision import Decision
from migd_controller.leases import Lease
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet
from migd_controller.recommendations import Recommendation
from migd_core.health import HealthState, HostHealth


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=True):
    """The common base gives every command its kind, which is the tag in the journal."""


class StartMigration(Command, frozen=True, kw_only=True):
    """Ask the pool to live-migrate a guest (uuids), if it is idle on its source still and the target can take it.

    `predicted_at_most_s` is how long it may take, 0 where that is not known. `toolstacks` are those that the pool was
    seen to have (`Inventory.toolstacks`).
    """

    cause: str
    guest: str
    source: str
    target: str
    predicted_at_most_s: float = 0.0
    toolstacks: str = ""


class FollowMigration(Command, frozen=True, kw_only=True):
    """Take up a migration of an earlier life of this process. It is never started a second time.

    Without a task the answer to the request was lost: look for the guest's migration in the pool, and ask where it is.
    """

    cause: str
    guest: str
    target: str
    task: str | None
    predicted_at_most_s: float = 0.0
    toolstacks: str = ""


class CancelMigration(Command, frozen=True, kw_only=True):
    """Ask the pool to cancel a migration's task. It is too late once the guest is being handed over."""

    cause: str
    task: str


class BeginProbe(Command, frozen=True, kw_only=True):
    """Keep the pool from migrating a guest, if it is idle on its host still, and hand the lease to the host's agent."""

    lease: Lease


class RevokeProbe(Command, frozen=True, kw_only=True):
    """Ask the agent to give a probe up. The lease goes on until the agent reports, or its time is over."""

    lease: Lease


class EndProbe(Command, frozen=True, kw_only=True):
    """Let the pool migrate a guest again: its lease is over."""

    lease: Lease
    text: str = ""


class RecordDecision(Command, frozen=True, kw_only=True):
    """Keep a decision for `explain`."""

    decision: Decision


class RecordMigration(Command, frozen=True, kw_only=True):
    """Keep the state of a migration for `history`; the newest of one cause counts."""

    migration: Migration


class RecordSet(Command, frozen=True, kw_only=True):
    """Keep the state of a set of moves for `explain`; the newest of one name counts."""

    move_set: MoveSet


class RecordHealth(Command, frozen=True, kw_only=True):
    """Keep that a host's health has changed, and from what."""

    host: str
    host_name: str
    before: HealthState
    health: HostHealth


class RecordJobOver(Command, frozen=True, kw_only=True):
    """Keep that a job is over without anybody having said so, after how long, and why that is taken to be so."""

    name: str
    ran_s: float
    text: str


class RecordShadow(Command, frozen=True, kw_only=True):
    """Keep what a shadow policy would have begun, or why it is not asked any more."""

    shadow: str
    decision: Decision
    problem: str = ""


class RecordRecommendation(Command, frozen=True, kw_only=True):
    """Keep that something is recommended, or what became of it; the newest of one name counts."""

    recommendation: Recommendation


# What is asked of the pool; the rest is for the journal.
ProbeCommand = BeginProbe | RevokeProbe | EndProbe
PoolCommand = StartMigration | FollowMigration | CancelMigration
AnyCommand = (
    PoolCommand
    | ProbeCommand
    | RecordDecision
    | RecordMigration
    | RecordSet
    | RecordHealth
    | RecordJobOver
    | RecordShadow
    | RecordRecommendation
)

"""A run told in plain lines, for people who look for what went wrong."""

from collections.abc import Iterator, Sequence

from migd_controller.commands import (
    AnyCommand,
    BeginProbe,
    CancelMigration,
    EndProbe,
    FollowMigration,
    RecordDecision,
    RecordMigration,
    RecordRecommendation,
    RecordSet,
    StartMigration,
)
from migd_controller.events import (
    AnyEvent,
    MigrationAccepted,
    MigrationEnded,
    MigrationTaskLost,
    PoolReachability,
    ProbeEnded,
)


def lines(event: AnyEvent, commands: Sequence[AnyCommand]) -> Iterator[str]:
    """Yield what is worth telling of an event and of what the core has made of it."""
    match event:
        case MigrationEnded() | MigrationAccepted() | MigrationTaskLost() | ProbeEnded() | PoolReachability():
            yield f"  told: {event}"
        case _:
            pass
    for command in commands:
        match command:
            case RecordDecision(decision=decision):
                for candidate in decision.candidates:
                    refused = ", ".join(gate.name for gate in candidate.gates if not gate.passed)
                    where = f"{candidate.guest[:8]} to {candidate.target[:8]}"
                    outcome = f"refused by {refused}" if refused else "accepted"
                    yield f"  {decision.cause} {decision.policy}: {where} {outcome}"
            case RecordMigration(migration=each):
                names = f"{each.guest_name} from {each.source_name} to {each.target_name}"
                yield f"  {each.cause} {names}: {each.state} {each.code} {each.text}".rstrip()
            case RecordSet(move_set=move_set):
                yield f"  {move_set.name}: {', '.join(f'{step.label} {step.state}' for step in move_set.steps)}"
            case RecordRecommendation(recommendation=found):
                yield f"  {found.name} {found.standing} {found.text}".rstrip()
            case StartMigration() | FollowMigration() | CancelMigration():
                yield f"  asks: {command}"
            case BeginProbe(lease=lease) | EndProbe(lease=lease):
                yield f"  asks: {type(command).__name__} {lease.lease} of {lease.guest_name} on {lease.host_name}"
            case _:
                pass

"""What a finished migration teaches, if it says anything of the next one."""

from collections.abc import Mapping

from migd_controller.migration import Migration, State
from migd_core.learned import Learned, Outcome


def after_migration(learned: Learned, migration: Migration, in_flight: Mapping[str, Migration]) -> Learned:
    """Return what is known once `migration` is over; `in_flight` has those that were under way until then, by cause.

    Its time says nothing where it did not arrive, where the pool lost its task or somebody wanted it to end, and where
    another still runs on one of its hosts: then the link was shared, and for how long nobody knows.
    """
    if migration.expected is None or migration.started_at is None or migration.ended_at is None:
        return learned
    ends = {migration.source, migration.target}
    is_shared = any(ends & {m.source, m.target} for cause, m in in_flight.items() if cause != migration.cause)
    is_clean = migration.state is State.MOVED and not migration.code
    return learned.after(
        Outcome(
            guest=migration.guest,
            source=migration.source,
            target=migration.target,
            expected=migration.expected,
            total_s=migration.ended_at - migration.started_at,
            is_undisturbed=is_clean and not (is_shared or migration.is_cancelling or migration.is_task_lost),
        )
    )

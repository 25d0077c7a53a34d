"""What migrations have cost each job so far, what they have gained it since, and how long it stood still. Pure.

A job that past moves have left behind where it would be had it stayed is not moved again before it has caught up: plans
that are each worth it on paper may together harm a job whose load keeps changing.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from migd_controller.migration import Migration, State

HOUR_S: Final = 3600.0
MAX_ENTRIES: Final = 32


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One migration that is over: what it cost its job, and what it gains it a second for as long as `lasts_s`.

    `ended_at` is Unix time; the rest is job-seconds, but for `pause_s`, which is how long the guest stood still.
    """

    cause: str
    ended_at: float
    cost_s: float
    pause_s: float
    gain_rate: float = 0.0
    lasts_s: float = 0.0

    def behind_s(self, now_s: float) -> float:
        """Return how far the migration has left the job behind until now; less than nothing once it has paid."""
        return self.cost_s - self.gain_rate * min(self.lasts_s, max(0.0, now_s - self.ended_at))


Accounts = Mapping[str, tuple[Entry, ...]]


def after(accounts: Accounts, migration: Migration) -> Accounts:
    """Return the accounts once `migration` is over. One that took longer than predicted cost more in proportion.

    One that failed or was cancelled has slowed the job down and gains nothing.
    """
    if not migration.job or migration.ended_at is None or migration.predicted_s is None:
        return accounts
    took_s = migration.ended_at - (migration.started_at or migration.asked_at)
    longer = took_s / migration.predicted_s if migration.predicted_s > 0 else 1.0
    is_moved = migration.state is State.MOVED
    entry = Entry(
        cause=migration.cause,
        ended_at=migration.ended_at,
        cost_s=migration.cost_s * longer,
        pause_s=(migration.predicted_pause_s or 0.0) * longer if is_moved else 0.0,
        gain_rate=migration.gain_rate if is_moved else 0.0,
        lasts_s=migration.lasts_s,
    )
    return {**accounts, migration.job: (*accounts.get(migration.job, ()), entry)[-MAX_ENTRIES:]}


def current(accounts: Accounts, now_s: float) -> Accounts:
    """Return the accounts without what is of no account any more; a clock set back makes an entry no older than new."""
    kept = {
        job: tuple(entry for entry in entries if now_s - entry.ended_at < max(HOUR_S, entry.lasts_s))
        for job, entries in accounts.items()
    }
    kept = {job: entries for job, entries in kept.items() if entries}
    return kept if kept != accounts else accounts


def behind_s(accounts: Accounts, job: str, now_s: float) -> float:
    """Return how far behind where it would be had it stayed past moves have left the job, at least 0."""
    return max(0.0, sum(entry.behind_s(now_s) for entry in accounts.get(job, ())))


def stalled_s(accounts: Accounts, job: str, now_s: float) -> float:
    """Return how long migrations have made the job stand still within the last hour."""
    return sum(entry.pause_s for entry in accounts.get(job, ()) if now_s - entry.ended_at < HOUR_S)


def since_s(accounts: Accounts, job: str, now_s: float) -> float:
    """Return how long ago the first move of the job that is of account ended."""
    return max((now_s - entry.ended_at for entry in accounts.get(job, ())), default=0.0)

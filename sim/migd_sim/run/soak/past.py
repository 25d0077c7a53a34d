"""What past migrations and probes mean for the next, by the journal's records alone: rests, cooldowns, debts."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from migd_controller.commands import AnyCommand, BeginProbe, EndProbe
from migd_controller.config import GuardsSection
from migd_controller.events import AnyEvent, GuestReleased, InventoryChanged, PoolGuest, ProbeEnded, SampleArrived, Tick
from migd_controller.leases import Lease
from migd_controller.migration import Migration, State
from migd_core.messages import HostSample, ProbeReport

HOUR_S = 3600.0
# How the end of a lease is told for which no page was counted: its guest is due again.
NOT_BEGUN = ("not begun", "refused")
# What the pool of a soak answers to migrations that must not be tried again before something has changed.
FOR_GOOD = frozenset({"OPERATION_BLOCKED", "VM_LACKS_FEATURE", "VM_HAS_PCI_ATTACHED", "VM_CRASHED"})
FOR_GOOD_THERE = frozenset({"VM_REQUIRES_SR", "VM_INCOMPATIBLE_WITH_THIS_HOST"})


@dataclass(slots=True)
class Past:
    """Times are the controller's. `leases` are the probes of which it has not heard that they are over."""

    limits: GuardsSection
    leases: dict[str, Lease] = field(default_factory=dict)
    probed_at: dict[str, float] = field(default_factory=dict)
    _ended: list[Migration] = field(default_factory=list)
    _at: dict[str, float] = field(default_factory=dict)  # by guest: its last migration or attempt
    _rests: dict[str, tuple[int, float]] = field(default_factory=dict)  # failures in a row, and rests until
    _quarantine: set[str] = field(default_factory=set)
    _barred: set[tuple[str, str]] = field(default_factory=set)

    def heard(self, event: AnyEvent, now_s: float) -> None:
        """Take in what lifts holds and ends leases."""
        match event:
            case GuestReleased(guest=guest):
                self._lift(guest)
            case InventoryChanged(gone=gone):  # what starts again is another run, of which nothing was counted
                running = {guest.uuid for guest in event.guests} if event.is_complete else self.probed_at.keys() - gone
                self.probed_at = {guest: at for guest, at in self.probed_at.items() if guest in running}
            case Tick():  # what counts no more is forgotten, also where the clock is set back later
                self._at = {guest: at for guest, at in self._at.items() if now_s - at < self.limits.cooldown_s}
                self._ended = [each for each in self._ended if _is_of_account(each, now_s)]
                since_s = now_s - self.limits.retry_at_most_s
                self._rests = {guest: (n, until) for guest, (n, until) in self._rests.items() if since_s < until}
            case SampleArrived(sample=HostSample(probe=ProbeReport(lease=lease, state="refused"))):
                self._not_begun(self.leases.get(lease))
            case ProbeEnded(lease=lease, text=text):
                over = self.leases.pop(lease, None)
                if text.startswith(NOT_BEGUN):
                    self._not_begun(over)
            case _:
                pass

    def _not_begun(self, lease: Lease | None) -> None:
        if lease is not None:
            self.probed_at.pop(lease.guest, None)

    def changed(self, before: PoolGuest | None, now: PoolGuest) -> None:
        """Take in that the pool tells of a guest anew: whatever is different may have been what was wrong."""
        if before is None or _itself(before) != _itself(now):
            self._quarantine.discard(now.uuid)
            self._barred = {each for each in self._barred if each[0] != now.uuid}

    def host_changed(self, host: str) -> None:
        """Take in that the pool tells of a host anew."""
        self._barred = {each for each in self._barred if each[1] != host}

    def begun(self, migration: Migration, now_s: float) -> None:
        """Take in that a migration was begun."""
        self._at[migration.guest] = now_s

    def ended(self, migration: Migration, now_s: float) -> None:
        """Take in that a migration is over."""
        self._ended.append(migration)
        self._at[migration.guest] = now_s
        guest = migration.guest
        if migration.state is State.MOVED:
            self._rests.pop(guest, None)
            self._quarantine.discard(guest)
            self._barred.discard((guest, migration.target))
            return
        is_nobodys = migration.state is State.GONE and not migration.code
        if migration.code == "CANCELLED" or migration.state is State.ELSEWHERE or is_nobodys:
            return
        if migration.state is State.GONE or migration.code in FOR_GOOD:
            self._rests.pop(guest, None)
            self._quarantine.add(guest)
        elif migration.code in FOR_GOOD_THERE:
            self._barred.add((guest, migration.target))
        else:
            self._quarantine.discard(guest)
            failures, _ = self._rests.get(guest, (0, 0.0))
            rest_s = min(self.limits.retry_at_most_s, self.limits.retry_after_s * 2.0 ** min(32, failures))
            self._rests[guest] = failures + 1, now_s + rest_s

    def probes(self, commands: Sequence[AnyCommand]) -> None:
        """Take in the leases that were given."""
        for command in commands:
            if isinstance(command, BeginProbe):
                self.leases[command.lease.lease] = command.lease
            elif isinstance(command, EndProbe):
                self.leases.setdefault(command.lease.lease, command.lease)

    def restarted(self, now_s: float) -> None:
        """Take in that a clock may have been set back: what is in the future by it is now."""
        self._at = {guest: min(at, now_s) for guest, at in self._at.items()}
        longest_s = self.limits.retry_at_most_s
        self._rests = {guest: (n, min(until, now_s + longest_s)) for guest, (n, until) in self._rests.items()}
        self.probed_at = {guest: at for guest, at in self.probed_at.items() if at <= now_s}

    def _lift(self, guest: str) -> None:
        self._rests.pop(guest, None)
        self._quarantine.discard(guest)
        self._barred = {each for each in self._barred if each[0] != guest}

    def is_quarantined(self, guest: str) -> bool:
        return guest in self._quarantine

    def is_barred(self, guest: str, target: str) -> bool:
        return (guest, target) in self._barred

    def rests_until(self, guest: str) -> float:
        return self._rests.get(guest, (0, 0.0))[1]

    def rested_s(self, guest: str, now_s: float) -> float:
        """Return how long ago a guest was last migrated, or that was tried."""
        return max(0.0, now_s - self._at[guest]) if guest in self._at else float("inf")

    def behind_s(self, job: str, now_s: float) -> tuple[float, float]:
        """Return by how much past moves have left a job behind, and how long ago the first of them was."""
        behind_s, since_s = 0.0, 0.0
        for each in self._of(job, now_s)[-32:]:
            ago_s = now_s - (each.ended_at or now_s)
            gain_rate = each.gain_rate if each.state is State.MOVED else 0.0
            behind_s += each.cost_s * _longer(each) - gain_rate * min(each.lasts_s, max(0.0, ago_s))
            since_s = max(since_s, ago_s)
        return max(0.0, behind_s), since_s

    def stalled_s(self, job: str, now_s: float) -> float:
        """Return for how long migrations have made a job stand still within the last hour."""
        moved = [each for each in self._of(job, now_s)[-32:] if each.state is State.MOVED]
        recent = [each for each in moved if now_s - (each.ended_at or now_s) < HOUR_S]
        return sum((each.predicted_pause_s or 0.0) * _longer(each) for each in recent)

    def _of(self, job: str, now_s: float) -> list[Migration]:
        """Return the migrations of a job that are of account still."""
        return [each for each in self._ended if each.job == job and _is_of_account(each, now_s)]


def _is_of_account(migration: Migration, now_s: float) -> bool:
    """Return whether a migration that is over may still be owed for: for an hour, or as long as it was to pay."""
    if migration.predicted_s is None or migration.ended_at is None:
        return False
    return now_s - migration.ended_at < max(HOUR_S, migration.lasts_s)


def _longer(migration: Migration) -> float:
    """Return how much longer a migration took than predicted."""
    took_s = (migration.ended_at or 0.0) - (migration.started_at or migration.asked_at)
    return took_s / migration.predicted_s if migration.predicted_s else 1.0


def _itself(guest: PoolGuest) -> tuple[object, ...]:
    """Return what a guest is, but for where it is and what is being done with it."""
    return guest.vcpus, guest.memory_bytes, guest.blocked_because, guest.busy_with, guest.domid, guest.storages

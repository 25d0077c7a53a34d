"""What the controller has been told, kept by somebody else than the controller: events in, facts out.

What it loses when it restarts is lost here, too; what operators have told it is not, for it must remember that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from migd_controller.config import TelemetrySection
from migd_controller.events import (
    AgentListens,
    AnyEvent,
    AutomationSet,
    EvacuationAsked,
    EvacuationStopped,
    InventoryChanged,
    JobAdded,
    JobLimited,
    JobRemoved,
    MaintenanceBegun,
    MaintenanceEnded,
    Paused,
    PolicySet,
    PoolGuest,
    PoolHost,
    PoolReachability,
    ProbeEnded,
    Resumed,
    SampleArrived,
    Source,
    Tick,
)
from migd_core.automation import Automation
from migd_core.health import HealthState
from migd_core.job_limits import NO_LIMITS, JobLimits
from migd_core.messages import HostSample
from migd_core.progress import Progress
from migd_sim.run.soak.case import Case

# For so long the bad that a run of an agent has told of its host counts, while the next has told nothing.
HELD_S: Final = 60.0


@dataclass(slots=True)
class Heard:
    """The newest sample of a host that is newer than those before it, and when it arrived."""

    sample: HostSample
    arrived_s: float
    source: Source


@dataclass(slots=True)
class KnownJob:
    """A job as operators have named it; `ends_at` is Unix time where somebody said so once."""

    guests: tuple[str, ...]
    limits: JobLimits
    ends_at: float | None


@dataclass(slots=True)
class Told:
    """What a guest tells of its job: how far it was at `at_s`, and its slowest iteration yet (s; 0: none was seen)."""

    progress: Progress
    at_s: float
    slowest_s: float = 0.0

    def follow(self, progress: Progress, now_s: float) -> None:
        """Take in what it tells now; what falls is another run."""
        done = progress.done - self.progress.done
        if done < 0:
            self.progress, self.at_s, self.slowest_s = progress, now_s, 0.0
        elif done > 0:
            self.slowest_s = max(self.slowest_s, (now_s - self.at_s) / done)
            self.progress, self.at_s = progress, now_s

    def left_s(self, now_s: float) -> float:
        """Return how long its job goes on if it stays as slow as it ever was; 0 where that is not known."""
        total = self.progress.total
        return 0.0 if total is None else (total - self.progress.done) * self.slowest_s - (now_s - self.at_s)


@dataclass(slots=True)
class Known:
    """The pool, the hosts' samples, and what operators want. Times are the controller's."""

    case: Case
    policy: str
    hosts: dict[str, PoolHost] = field(default_factory=dict)
    guests: dict[str, PoolGuest] = field(default_factory=dict)
    heard: dict[str, Heard] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)  # by guest; jobs are remembered, and so is how far they are
    health: dict[str, tuple[HealthState, float]] = field(default_factory=dict)
    listening: set[str] = field(default_factory=set)
    is_reachable: bool = False
    is_paused: bool = False
    automation: Automation | None = None
    jobs: dict[str, KnownJob] = field(default_factory=dict)
    maintenance: dict[str, float | None] = field(default_factory=dict)
    emptied: set[str] = field(default_factory=set)
    guest_changed: Callable[[PoolGuest | None, PoolGuest], None] = lambda before, now: None
    host_changed: Callable[[str], None] = lambda host: None

    def forget(self) -> None:
        """Lose what a controller loses with its life."""
        self.hosts, self.guests, self.heard, self.health = {}, {}, {}, {}
        self.listening, self.is_reachable = set(), False

    def take(self, event: AnyEvent, now_s: float) -> None:
        """Take in one event."""
        match event:
            case SampleArrived(sample=sample, source=source):
                self._sampled(sample, source, now_s)
            case InventoryChanged():
                self._inventory(event)
            case PoolReachability(is_reachable=is_reachable):
                self.is_reachable = is_reachable
            case AgentListens(host=host, listens=listens):
                (self.listening.add if listens else self.listening.discard)(host)
            case ProbeEnded(lease=lease):  # before the pool's next event says so
                for guest in self.guests.values():
                    if guest.probed_by == lease:
                        self.guests[guest.uuid] = replace(guest, probed_by="")
                        break
            case Tick():  # what is over is over, also where the clock is set back later
                self.maintenance = {
                    host: until for host, until in self.maintenance.items() if not _is_past(until, now_s)
                }
            case Paused():
                self.is_paused = True
            case Resumed():
                self.is_paused = False
            case PolicySet(name=name):
                self.policy = name
            case AutomationSet(level=level):
                self.automation = level
            case MaintenanceBegun(host=host, until=until):
                self.maintenance[host] = until
            case MaintenanceEnded(host=host):
                self.maintenance.pop(host, None)
                self.emptied.discard(host)
            case EvacuationAsked(host=host):
                if not self.is_in_maintenance(host, now_s):
                    self.maintenance[host] = None
                self.emptied.add(host)
            case EvacuationStopped(host=host):
                self.emptied.discard(host)
            case JobAdded() | JobLimited() | JobRemoved():
                self._jobs(event, now_s)
            case _:
                pass

    def _sampled(self, sample: HostSample, source: Source, now_s: float) -> None:
        before = self.heard.get(sample.host_uuid)
        if before is not None and before.sample.boot_id == sample.boot_id and before.sample.sequence >= sample.sequence:
            return
        self.heard[sample.host_uuid] = Heard(sample, now_s, source)
        for guest in sample.guests:
            if guest.progress is not None:
                self.told.setdefault(guest.uuid, Told(guest.progress, now_s)).follow(guest.progress, now_s)
        state, at_s = self.health.get(sample.host_uuid, (HealthState.UNKNOWN, now_s))
        if sample.health.state is not HealthState.UNKNOWN or now_s - at_s >= HELD_S or state is HealthState.UNKNOWN:
            self.health[sample.host_uuid] = sample.health.state, now_s

    def _inventory(self, event: InventoryChanged) -> None:
        if event.is_complete:
            self.hosts, self.guests = {}, {}
        for host in event.hosts:
            self.host_changed(host.uuid)
            self.hosts[host.uuid] = host
        for guest in event.guests:
            self.guest_changed(self.guests.get(guest.uuid), guest)
            self.guests[guest.uuid] = guest
        for uuid in event.gone:
            self.hosts.pop(uuid, None)
            self.guests.pop(uuid, None)

    def _jobs(self, event: JobAdded | JobLimited | JobRemoved, now_s: float) -> None:
        job = self.jobs.get(event.name)
        match event:
            case JobAdded():
                is_same = job is not None and set(job.guests) == set(event.guests)
                limits = event.limits.of(job.limits if job is not None and is_same else NO_LIMITS)
                ends_at = None if event.remaining_s is None or is_same else now_s + event.remaining_s
                self.jobs[event.name] = KnownJob(job.guests if job and is_same else event.guests, limits, ends_at)
            case JobLimited(change=change) if job is not None:
                job.limits = change.of(job.limits)
            case JobRemoved():
                self.jobs.pop(event.name, None)
            case _:
                pass

    def job_of(self, guest: str) -> str:
        """Return the job of a guest; one that is of none is a job of its own."""
        return next((name for name, job in self.jobs.items() if guest in job.guests), guest)

    def limits_of(self, job: str) -> JobLimits:
        return self.jobs[job].limits if job in self.jobs else NO_LIMITS

    def ends_in_s(self, job: str, now_s: float) -> float | None:
        """Return in how long a job ends at the latest, or ended, by what was said of it; None where nobody said so.

        A job that tells how far it is knows better than whoever has named it.
        """
        known = self.jobs.get(job)
        if known is None or known.ends_at is None:
            return None
        told = (self.told[each].left_s(now_s) for each in known.guests if each in self.told)
        return max([known.ends_at - now_s, *told])

    def level_of(self, guest: str) -> Automation:
        """Return how much migd may do by itself with a guest."""
        everybodys = self.automation or self.case.automation.level
        own = self.limits_of(self.job_of(guest)).automation
        return everybodys if own is None or everybodys is Automation.OFF else own

    def silent(self, host: str, now_s: float, limits: TelemetrySection) -> str:
        """Say why nothing is known of a host now; empty if it is."""
        heard = self.heard.get(host)
        if not self.hosts[host].is_live:
            return "the pool reports it dead"
        if heard is None:
            return "nobody has reported from it"
        age_s, limit_s = now_s - heard.arrived_s, limits.stale_after(heard.source)
        return f"its last sample is {age_s:.1f} s old, of {limit_s:g}" if age_s > limit_s else ""

    def doubtful(self, host: str) -> str:
        """Say why what a host says of itself cannot be believed; empty if it can."""
        sample = self.heard[host].sample
        if "dom0" in sample.failed_collectors:
            return "its agent cannot read its own figures"
        return "" if sample.cpus == self.hosts[host].cpus else f"it tells of {sample.cpus} CPUs"

    def is_in_maintenance(self, host: str, now_s: float) -> bool:
        until = self.maintenance.get(host, 0.0)
        return until is None or until > now_s

    def is_to_be_left(self, host: str, now_s: float) -> bool:
        """Return whether guests may leave a host for their safety: it is failing, closed, or to be emptied."""
        told = self.hosts[host]
        is_failing = self.health.get(host, (HealthState.UNKNOWN, 0.0))[0] is HealthState.FAILING
        return is_failing or not told.is_enabled or told.is_evacuating or self.is_in_maintenance(host, now_s)


def _is_past(until: float | None, now_s: float) -> bool:
    return until is not None and until <= now_s

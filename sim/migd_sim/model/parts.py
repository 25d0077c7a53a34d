"""What a cluster is made of while it runs: hosts, guests, migrations, each with its present rates and its counters."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from migd_core.health import UNKNOWN, HostHealth
from migd_core.units import PAGE_BYTES
from migd_sim.model.job import JobState
from migd_sim.model.precopy import Phase, PreCopy
from migd_sim.model.spec import TRACKED_SPEED_RATIO, GuestSpec, HostSpec


@dataclass(slots=True)
class HostState:
    """One host as it stands. Counters start anew when it boots. `bridged_rate` is between guests here, past no NIC."""

    spec: HostSpec
    link_bytes_per_s: float
    link_recovers_s: float = inf
    is_up: bool = True
    boots: int = 1
    last_domid: int = 0
    cpu_s: float = 0.0
    dom0_cpu_s: float = 0.0
    rx_bytes: float = 0.0
    tx_bytes: float = 0.0
    cpu_rate: float = 0.0
    dom0_cpu_rate: float = 0.0
    rx_rate: float = 0.0
    tx_rate: float = 0.0
    bridged_rate: float = 0.0
    health: HostHealth = UNKNOWN


@dataclass(slots=True)
class GuestState:
    """One guest as it stands. `host` is None while it does not run; counters start anew with each domid.

    `core_share` is how much of a core each of its busy vCPUs gets. It acknowledges no
    request to suspend before `suspend_hangs_until_s`: then it runs on, and the migration fails. `counting` says, while
    its dirty pages are counted, at which times it had gone on by how many seconds of plain steps.
    """

    spec: GuestSpec
    tracked_speed_ratio: float = TRACKED_SPEED_RATIO
    host: str | None = None
    job: JobState | None = None
    is_paused: bool = False
    suspend_hangs_until_s: float = 0.0
    domid: int = 0
    hog_vcpus: int = 0
    cpu_s: float = 0.0
    rx_bytes: float = 0.0
    tx_bytes: float = 0.0
    cpu_rate: float = 0.0
    rx_rate: float = 0.0
    tx_rate: float = 0.0
    core_share: float = 1.0
    counting: list[tuple[float, float]] | None = None
    migration: "Migration | None" = None

    @property
    def is_running(self) -> bool:
        """True if it has a domain, paused or not."""
        return self.host is not None

    @property
    def stands_still(self) -> bool:
        """True while it gets no CPU: halted, paused, or stopped for its final copy."""
        is_stopped = self.migration is not None and self.migration.copy.phase is Phase.FINAL
        return self.host is None or self.is_paused or is_stopped

    @property
    def busy_vcpus(self) -> int:
        """vCPUs that want a whole core: ranks, which spin while they wait, and hogs."""
        ranks = self.job.ranks_of[self.spec.uuid] if self.job is not None and self.job.runs else 0
        return min(self.spec.vcpus, ranks + self.hog_vcpus)

    @property
    def activity_ratio(self) -> float:
        """How fast it runs against running alone, 0..1: its share of a core, slowed while its pages are tracked."""
        if self.stands_still:
            return 0.0
        phase = self.migration.copy.phase if self.migration is not None else None
        return self.core_share * (self.tracked_speed_ratio if phase in (Phase.LIVE, Phase.UNANSWERED) else 1.0)

    @property
    def writes_ratio(self) -> float:
        """How fast it writes by what its job does at the moment, against a plain step."""
        return self.job.writes_ratio if self.job is not None else 1.0


@dataclass(frozen=True, slots=True)
class MigrationEnd:
    """What a migration really did: uuids, times by the cluster's clock, pages sent in each round, final copy last.

    `stood_still` says that the guest was suspended when it ended.
    """

    guest: str
    source: str
    target: str
    ok: bool
    reason: str
    started_s: float
    ended_s: float
    pause_s: float
    pages_by_round: tuple[int, ...]
    stood_still: bool

    @property
    def sent_bytes(self) -> int:
        """Bytes sent, pages only."""
        return sum(self.pages_by_round) * PAGE_BYTES


@dataclass(slots=True, eq=False)
class Migration:
    """One migration under way."""

    guest: GuestState
    source: str
    target: str
    copy: PreCopy
    started_s: float
    on_end: Callable[[MigrationEnd], None]
    bytes_per_s: float = 0.0
    phase_ends_s: float = inf

    @property
    def progress_ratio(self) -> float:
        """How much of it is done, 0..1."""
        return self.copy.progress_ratio

    @property
    def is_copying(self) -> bool:
        """True while pages are copied."""
        return self.copy.phase in (Phase.LIVE, Phase.FINAL)

    def end(self, ended_s: float, *, ok: bool, reason: str) -> MigrationEnd:
        """Return what it did."""
        return MigrationEnd(
            guest=self.guest.spec.uuid,
            source=self.source,
            target=self.target,
            ok=ok,
            reason=reason,
            started_s=self.started_s,
            ended_s=ended_s,
            pause_s=self.copy.pause_s,
            pages_by_round=tuple(round(pages) for pages in self.copy.pages_by_round),
            stood_still=self.copy.phase in (Phase.FINAL, Phase.DONE),
        )

"""What must survive a restart, and nothing else: the rest is rebuilt from agents and the pool.

It is saved in the same transaction as the event that changed it, before any command of that event is carried out.
"""

from typing import Any

import msgspec

from migd_controller.accounts import Entry
from migd_controller.contest import NO_CONTEST, Contest
from migd_controller.events import MeasuredLink
from migd_controller.holds import Hold
from migd_controller.leases import Lease
from migd_controller.maintenance import Maintenance
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet
from migd_controller.quiet import QuietWait
from migd_controller.recommendations import Recommendation, TurnedDown
from migd_core.automation import Automation
from migd_core.causes import CauseCounter
from migd_core.job_limits import JobLimits
from migd_core.learned import NOTHING_LEARNED, Learned
from migd_core.world import Level
from migd_policies.job_progress import Track
from migd_policies.learned_speed import LearnedSpeed


class RememberedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the operator named it, and what it has told since.

    `ends_at` is Unix time, None when nobody said; `postponed_s` is by how much that was put off in all. `gone_at` is
    since when none of its guests runs (Unix time), None while one does. `limits` are its own. `slurm_job` is its number
    where Slurm named it; what it leaves behind is kept for the next run of `run_of`, or of its own name.
    """

    name: str
    guests: tuple[str, ...]
    ends_at: float | None = None
    started_at: float | None = None
    wall_time_limit_s: float | None = None
    postponed_s: float = 0.0
    track: Track = Track()
    gone_at: float | None = None
    limits: JobLimits = JobLimits()
    slurm_job: int | None = None
    run_of: str = ""

    @property
    def kept_as(self) -> str:
        """What a run of this job is called, whichever run it is."""
        return self.run_of or self.name


class RememberedLink(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one level, and when (Unix time)."""

    link: MeasuredLink
    at: float


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The controller's own facts. `last_moved_at` (Unix time, by guest) counts failed migrations too.

    `leases` are the probes under way, by id. `last_probed_at` (Unix time, by guest) is when a guest's last one began,
    `probe_refused_at` when one was last not begun (then it does not count as probed, and waits behind others like it);
    `probe_rests` until when a host gets no lease because its last one came to nothing. `probe_asked` is when
    an operator has asked for the probe of a guest (Unix time), until it has a curve.
    `holds` are what keeps guests back after failures. `pool_addresses` are where the pool's hosts answered last: any of
    them tells which is the coordinator now. `learned` is what finished migrations say of links and guests, `accounts`
    what they have cost each job (a guest without one is a job of its own). `finished_s` is how long the last runs of a
    job took, `speeds` how fast it went while a guest of it migrated, both by what its runs are called. `links` are the
    levels that were measured: they count instead of what is configured. `sets` are the sets of moves under way by name,
    `contest` what shadow policies are compared by, `quiet_waits` the moves (by guest) that wait for a quiet phase.
    `automation` is the level that an operator has chosen (None: the configured one), `recommendations` those that are
    open, by name, `turned_down` what an operator has refused last, by guest.
    `maintenance` are the hosts (uuids) that an operator has taken out of service.
    """

    policy: str
    policy_config: dict[str, Any] = {}
    is_paused: bool = False
    causes: CauseCounter = CauseCounter()
    jobs: dict[str, RememberedJob] = {}
    last_moved_at: dict[str, float] = {}
    in_flight: dict[str, Migration] = {}
    holds: dict[str, Hold] = {}
    leases: dict[str, Lease] = {}
    last_probed_at: dict[str, float] = {}
    probe_refused_at: dict[str, float] = {}
    probe_rests: dict[str, float] = {}
    probe_asked: dict[str, float] = {}
    pool_addresses: tuple[str, ...] = ()
    learned: Learned = NOTHING_LEARNED
    accounts: dict[str, tuple[Entry, ...]] = {}
    finished_s: dict[str, tuple[float, ...]] = {}
    speeds: dict[str, LearnedSpeed] = {}
    links: dict[Level, RememberedLink] = {}
    sets: dict[str, MoveSet] = {}
    contest: Contest = NO_CONTEST
    quiet_waits: dict[str, QuietWait] = {}
    automation: Automation | None = None
    recommendations: dict[str, Recommendation] = {}
    turned_down: dict[str, TurnedDown] = {}
    maintenance: dict[str, Maintenance] = {}

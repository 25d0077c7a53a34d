"""Everything that can happen to the controller. Each is journaled as it is, so each must be a complete value."""

from enum import StrEnum
from typing import Any

import msgspec

from migd_core.automation import Automation
from migd_core.job_limits import JobLimitsChange
from migd_core.messages import HostSample
from migd_core.progress import Progress
from migd_core.world import Level


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=True):
    """The common base gives every event its kind, which is the tag in the journal."""


class Tick(Event, frozen=True, kw_only=True):
    """A control period has passed: look at the cluster and decide."""


class ShadowTurn(Event, frozen=True, kw_only=True):
    """What the tick decided is on its way: follow the shadow policies, and ask the one whose turn it is."""


class Source(StrEnum):
    """What feeds a host's telemetry: its agent, or, where none can run, the round-robin databases of its XAPI."""

    AGENT = "agent"
    RRD = "rrd"


class SampleArrived(Event, frozen=True, kw_only=True):
    """An authenticated agent reported, or a host's XAPI was asked; the sample was found possible."""

    sample: HostSample
    source: Source = Source.AGENT


class MeasuringFailed(Event, frozen=True, kw_only=True):
    """A host without an agent was asked for XAPI's own measurements, and `problem` says why there are none."""

    host: str
    problem: str


class Resource(msgspec.Struct, frozen=True):
    """Something of the pool that a guest needs, by uuid and name: a storage repository, a network, a VM group."""

    uuid: str
    name: str


class PoolHost(msgspec.Struct, frozen=True, kw_only=True):
    """One host as the pool describes it.

    `memory_for_guests_bytes` excludes the hypervisor's and Dom0's own; `address` is where its XAPI answers;
    `control_domains` are the uuids of its Dom0 and the like, `storages` and `networks` those of what is attached to it.
    `cpu_mhz` is the clock of its CPUs, 0 if not known; CPU features are as XAPI writes them, empty if not known.
    `toolstack_since` is when its toolstack started, as XAPI writes it; empty if it does not.
    """

    uuid: str
    name: str
    is_enabled: bool
    is_live: bool
    cpus: int
    memory_for_guests_bytes: int
    is_evacuating: bool = False
    address: str = ""
    control_domains: tuple[str, ...] = ()
    storages: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    hardware_versions: tuple[int, ...] = ()
    cpu_mhz: float = 0.0
    cpu_vendor: str = ""
    cpu_features_hvm: str = ""
    cpu_features_pv: str = ""
    toolstack_since: str = ""


class PoolGuest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One running guest as the pool describes it.

    `memory_bytes` is what an arriving guest needs (dynamic-min and overhead); `arriving_at` is the target of a
    migration that somebody, perhaps migd, has under way. `blocked_because` is the pool's own standing reason why the
    guest may not be migrated, `busy_with` an operation that will pass, `probed_by` the lease for which migd keeps the
    guest from being migrated; each may be empty. `storages` and `networks` are those that a host must have for it; the
    CPU is the one it was started on; `group` is an anti-affinity group. `domid` is its domain on that host: another one
    on the same host is another run of the guest. -1 where the pool does not say. `devices` are what of the host's
    hardware is passed through to it, in words.
    """

    uuid: str
    name: str
    host: str
    vcpus: int
    memory_bytes: int
    macs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    arriving_at: str | None = None
    blocked_because: str = ""
    busy_with: str = ""
    probed_by: str = ""
    memory_may_shrink: bool = False
    storages: tuple[Resource, ...] = ()
    networks: tuple[Resource, ...] = ()
    group: Resource | None = None
    hardware_version: int = 0
    cpu_vendor: str = ""
    cpu_features: str = ""
    is_paravirtual: bool = False
    domid: int = -1
    devices: tuple[str, ...] = ()


class InventoryChanged(Event, frozen=True, kw_only=True):
    """Hosts and guests that are new or different, and uuids that are gone; a complete one replaces everything."""

    hosts: tuple[PoolHost, ...] = ()
    guests: tuple[PoolGuest, ...] = ()
    gone: tuple[str, ...] = ()
    is_complete: bool = False


class PoolReachability(Event, frozen=True, kw_only=True):
    """The pool answers, or it does not and `problem` says what is wrong and what to look at."""

    is_reachable: bool
    problem: str = ""


class MigrationAccepted(Event, frozen=True, kw_only=True):
    """The pool took the request; `task` is the reference to follow."""

    cause: str
    task: str


class MigrationTaskLost(Event, frozen=True, kw_only=True):
    """The pool no longer has the task, or its answer never came; the guest may be moving all the same."""

    cause: str


class AgentListens(Event, frozen=True, kw_only=True):
    """The agent of a host (uuid) can probe guests, and listens for leases; or no longer."""

    host: str
    listens: bool


class ProbeEnded(Event, frozen=True, kw_only=True):
    """The pool allows a guest on lease to be migrated again. `text` says why the lease did not come to anything."""

    lease: str
    text: str = ""


class MigrationProgressed(Event, frozen=True, kw_only=True):
    """The pool's own progress of the task, 0..1. It may go back (XAPI restarts it for its clean-up)."""

    cause: str
    progress_ratio: float


class MigrationEnded(Event, frozen=True, kw_only=True):
    """The task is over or lost, and the pool was asked where the guest is: `host_now`, None if it no longer runs.

    `code` and `text` carry the pool's error; both empty when it reported none.
    """

    cause: str
    host_now: str | None
    code: str = ""
    text: str = ""


class PolicySet(Event, frozen=True, kw_only=True):
    """An operator chose a policy; `config` was validated before."""

    name: str
    config: dict[str, Any]


class ShadowAdded(Event, frozen=True, kw_only=True):
    """An operator wants a policy to run beside the active one, called `label`; `config` was validated before."""

    label: str
    name: str
    config: dict[str, Any]


class ShadowRemoved(Event, frozen=True, kw_only=True):
    """An operator has seen enough of a shadow policy."""

    label: str


class Paused(Event, frozen=True, kw_only=True):
    """An operator stopped new migrations; those under way go on."""


class Resumed(Event, frozen=True, kw_only=True):
    """An operator allowed migrations again."""


class JobAdded(Event, frozen=True, kw_only=True):
    """An operator or Slurm named a job, or changed the one of that name. `remaining_s` counts from this event.

    `wall_time_limit_s` counts from `started_at` (Unix time), which is when the job was first named where nobody says.
    `slurm_job` is its number where it is Slurm's; `run_of` what all runs of it are called, where that is not its name.
    """

    name: str
    guests: tuple[str, ...]
    remaining_s: float | None = None
    wall_time_limit_s: float | None = None
    limits: JobLimitsChange = JobLimitsChange()
    started_at: float | None = None
    slurm_job: int | None = None
    run_of: str = ""


class JobLimited(Event, frozen=True, kw_only=True):
    """An operator changed a job's own limits; what the change leaves out stays as it is."""

    name: str
    change: JobLimitsChange


class JobProgressed(Event, frozen=True, kw_only=True):
    """An operator, or a job's own script, told how far the job is. What guests tell comes with their samples."""

    name: str
    progress: Progress


class JobRemoved(Event, frozen=True, kw_only=True):
    """An operator removed a job, or Slurm no longer names it: it is over."""

    name: str


class MeasuredLink(msgspec.Struct, frozen=True, kw_only=True):
    """What two ranks at one level were measured to get from the network, one way, and between whom it was measured."""

    bandwidth_bytes_per_s: float
    latency_s: float
    between: str = ""


class LinksMeasured(Event, frozen=True, kw_only=True):
    """An operator measured some levels. What was known of these before no longer counts."""

    links: dict[Level, MeasuredLink]


class MigrationRequested(Event, frozen=True, kw_only=True):
    """An operator asked for one move by hand. Safety gates hold; gain and cooldown do not apply.

    `by` is who asked: a user of the controller's machine, or a token's name; empty where nobody can tell.
    """

    guest: str
    target: str
    by: str = ""


class ProbeRequested(Event, frozen=True, kw_only=True):
    """An operator wants a guest's dirty pages counted as soon as the rules for probes allow it."""

    guest: str


class CancelRequested(Event, frozen=True, kw_only=True):
    """An operator wants a migration under way to end, with the guest where it was."""

    cause: str


class GuestReleased(Event, frozen=True, kw_only=True):
    """An operator lifts whatever holds a guest back after failed migrations."""

    guest: str


class AutomationSet(Event, frozen=True, kw_only=True):
    """An operator chose how much migd does by itself; None: what is configured. A job's own comes with its limits."""

    level: Automation | None


class RecommendationApproved(Event, frozen=True, kw_only=True):
    """An operator wants a recommendation carried out, if it still passes the gates. `by` as in `MigrationRequested`."""

    name: str
    by: str = ""


class RecommendationRefused(Event, frozen=True, kw_only=True):
    """An operator does not want a recommendation carried out, nor to see it again for a while. `by` as above."""

    name: str
    by: str = ""


class MaintenanceBegun(Event, frozen=True, kw_only=True):
    """An operator takes a host (uuid) out of service: it receives nothing, until then (Unix time) or for good."""

    host: str
    until: float | None = None


class MaintenanceEnded(Event, frozen=True, kw_only=True):
    """An operator lets a host receive guests again."""

    host: str


class EvacuationAsked(Event, frozen=True, kw_only=True):
    """An operator wants a host empty; it is out of service from now on."""

    host: str


class EvacuationStopped(Event, frozen=True, kw_only=True):
    """An operator lets the guests that are still on a host stay there; it remains out of service."""

    host: str


class LeaderSeen(Event, frozen=True, kw_only=True):
    """Another controller of the pool leads, by its `number`-th claim; this one stands by."""

    name: str
    number: int


class TookOver(Event, frozen=True, kw_only=True):
    """This controller leads from now on, by the claim of this number, after `predecessor` (empty: nobody).

    `memory` is what it goes on with, a `Memory` as the journal keeps it.
    """

    name: str
    number: int
    predecessor: str
    memory: bytes


AnyEvent = (
    Tick
    | ShadowTurn
    | SampleArrived
    | MeasuringFailed
    | InventoryChanged
    | PoolReachability
    | MigrationAccepted
    | MigrationTaskLost
    | MigrationProgressed
    | MigrationEnded
    | AgentListens
    | ProbeEnded
    | PolicySet
    | ShadowAdded
    | ShadowRemoved
    | Paused
    | Resumed
    | JobAdded
    | JobLimited
    | JobProgressed
    | JobRemoved
    | LinksMeasured
    | MigrationRequested
    | ProbeRequested
    | CancelRequested
    | GuestReleased
    | AutomationSet
    | RecommendationApproved
    | RecommendationRefused
    | MaintenanceBegun
    | MaintenanceEnded
    | EvacuationAsked
    | EvacuationStopped
    | LeaderSeen
    | TookOver
)

"""What the controller's HTTP API answers and takes: one Struct a body. `migctl --json` prints exactly these.

Names carry their units; unknown fields in an answer are ignored, so that an older `migctl` reads a newer controller.
`at` and `started_at` are Unix time in seconds; every other time is a duration.
"""

from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from migd_core.automation import Automation
from migd_core.health import UNKNOWN, HostHealth
from migd_core.job_limits import JobLimits, JobLimitsChange
from migd_core.levels import Level
from migd_core.progress import Progress
from migd_core.units import Positive, Seconds


class GateView(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that a candidate move had to pass: its value against its threshold."""

    name: str
    passed: bool
    text: str
    value: float | None = None
    threshold: float | None = None
    unit: str = ""


class BoundView(msgspec.Struct, frozen=True, kw_only=True):
    """One end of what a move may take (`total_s`), stop the guest for (`pause_s`) and cost the jobs (`cost_s`)."""

    total_s: float
    pause_s: float
    cost_s: float


class IntervalView(msgspec.Struct, frozen=True, kw_only=True):
    """What eight of ten outcomes are expected to fall into, in seconds."""

    low: float
    median: float
    high: float


class CandidateView(msgspec.Struct, frozen=True, kw_only=True):
    """One move that was considered: what it would cost, what it would gain, and which gates it met.

    The intervals are around the medians, that of the gain around its own, as `gain_s` is a mean; the gain lasts
    `lasts_s`, and pays for the move after `break_even_s` (None: never). `least` and `most` bound the prediction where
    no dirty page of the guest was ever counted.
    """

    guest: str
    guest_name: str
    source: str
    source_name: str
    target: str
    target_name: str
    why: str
    accepted: bool
    gates: list[GateView] = []
    predicted_s: float | None = None
    predicted_pause_s: float | None = None
    predicted_bytes: float | None = None
    gain_s: float | None = None
    cost_s: float | None = None
    total: IntervalView | None = None
    pause: IntervalView | None = None
    cost: IntervalView | None = None
    gain: IntervalView | None = None
    break_even_s: float | None = None
    lasts_s: float | None = None
    least: BoundView | None = None
    most: BoundView | None = None


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """One migration of a set. `state` is one of `waiting`, `running`, `done`, `failed`, `dropped`.

    `number` counts from 1; `after` has the numbers of the steps that it cannot do without. `text` says what it waits
    for, or why it failed or was dropped; `migration` is the id of what it became. A detour leads to a spare host.
    """

    number: int
    guest: str
    guest_name: str
    source: str
    source_name: str
    target: str
    target_name: str
    state: str
    after: list[int] = []
    is_detour: bool = False
    predicted_s: float | None = None
    migration: str = ""
    text: str = ""


class SetView(msgspec.Struct, frozen=True, kw_only=True):
    """Moves that belong together, in the order in which they can be made. `name` is its decision's, with `.s1`."""

    name: str
    at: float
    policy: str
    is_over: bool
    steps: list[StepView]


class DecisionView(msgspec.Struct, frozen=True, kw_only=True):
    """One control cycle: what the policy proposed and what became of it. `cause` is the id to follow.

    `sets` are the sets of moves that were under way after it, as they were then.
    """

    cause: str
    at: float
    policy: str
    code: str
    text: str
    candidates: list[CandidateView] = []
    sets: list[SetView] = []


class MigrationView(msgspec.Struct, frozen=True, kw_only=True):
    """One migration, running or done. `ok` is None while it runs; `state` is one of the states of `migration.py`.

    `is_cancelling` once an operator wants it to end; it may yet arrive.
    """

    cause: str
    guest: str
    guest_name: str
    source: str
    source_name: str
    target: str
    target_name: str
    state: str
    started_at: float
    requested_by: str
    progress_ratio: float | None = None
    predicted_s: float | None = None
    predicted_pause_s: float | None = None
    actual_s: float | None = None
    ok: bool | None = None
    text: str = ""
    is_cancelling: bool = False


class HoldView(msgspec.Struct, frozen=True, kw_only=True):
    """What holds a guest back after a failed migration. `text` says what failed, and what would mend it.

    `then` is `retry-later` (the guest rests for `rest_s`), `never` (while things are as they are) or `needs-a-human`;
    `scope` says whether that concerns the `guest`, the guest on this `target`, or every guest of the `pool`.
    """

    guest: str
    guest_name: str
    target: str
    target_name: str
    then: str
    scope: str
    code: str
    text: str
    cause: str
    at: float
    failures: int
    rest_s: float | None = None


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """One host. `source` says what feeds it: `agent`, `rrd` (XAPI's own measurements), or `none` while nothing does.

    `samples_dropped` counts since the agent started; `dropped_age_s` is how long ago the controller saw that grow, None
    if it did not: what was dropped before the controller listened is no trouble of now. `health` is unknown without an
    agent. `switch` is the one that the configuration names for it, empty if none. `maintenance` says why it is out of
    service, by the pool's word or an operator's; empty if it is not.
    """

    uuid: str
    name: str
    cpus: int
    load_ratio: float | None
    memory_bytes: int
    memory_free_bytes: int
    guests: int
    is_enabled: bool
    source: str
    sample_age_s: float | None = None
    frozen_because: str | None = None
    samples_dropped: int = 0
    dropped_age_s: float | None = None
    health: HostHealth = UNKNOWN
    switch: str = ""
    maintenance: str = ""


class GuestView(msgspec.Struct, frozen=True, kw_only=True):
    """One running guest. `resting_because` says for how long no policy moves it after a failure, and after which."""

    uuid: str
    name: str
    host: str
    host_name: str
    vcpus: int
    cpu_used_vcpus: float
    cpu_demand_vcpus: float
    memory_bytes: int
    rx_bytes_per_s: float
    tx_bytes_per_s: float
    dirty_pages_per_s: float | None = None
    job: str | None = None
    tags: list[str] = []
    immovable_because: str | None = None
    resting_because: str | None = None


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """One job: the guests whose ranks wait for each other.

    `remaining_s` is a median, `remaining_least_s` to `remaining_most_s` hold it in 8 of 10 cases, and `remaining_basis`
    says what that rests on; None and empty where nothing is known. `speed_while_migrating_ratio` is the job's speed
    while a guest of it migrates over its speed before, with its own ends and basis. `missing` are the guests of it
    (uuids) that no longer run. `limits` are its own; `stalled_s` is how long migrations have made it stand still within
    the last hour, of `stall_per_hour_s` that it may be, and none in its `no_stall_last_s`, its own or everybody's.
    `slurm_job` is its number where it is Slurm's.
    """

    name: str
    guests: list[str]
    guest_names: list[str]
    remaining_s: float | None = None
    remaining_least_s: float | None = None
    remaining_most_s: float | None = None
    remaining_basis: str = ""
    started_at: float | None = None
    wall_time_limit_s: float | None = None
    progress: Progress | None = None
    iteration_s: float | None = None
    speed_while_migrating_ratio: float | None = None
    speed_while_migrating_least_ratio: float | None = None
    speed_while_migrating_most_ratio: float | None = None
    speed_while_migrating_basis: str = ""
    missing: list[str] = []
    limits: JobLimits = JobLimits()
    stalled_s: float = 0.0
    stall_per_hour_s: float | None = None
    no_stall_last_s: float | None = None
    slurm_job: int | None = None


class LinkView(msgspec.Struct, frozen=True, kw_only=True):
    """What two ranks at one level get from the network between them, one way; None where nobody knows.

    `source` is `measured` (at `measured_at`, between the two that `between` names), `configured`, or `unknown`.
    """

    level: Level
    source: str
    bandwidth_bytes_per_s: float | None = None
    latency_s: float | None = None
    measured_at: float | None = None
    between: str = ""


class PolicyView(msgspec.Struct, frozen=True, kw_only=True):
    """One policy that can be set, with its configuration: the one in use if it is active, its defaults otherwise."""

    name: str
    summary: str
    is_active: bool
    config: dict[str, Any]


class StandbyView(msgspec.Struct, frozen=True, kw_only=True):
    """A controller that stands by and follows the leader's memory, since then (Unix time)."""

    name: str
    since: float


class LeaderView(msgspec.Struct, frozen=True, kw_only=True):
    """Who leads of the controllers of this pool, and how the one that answers stands to that.

    `name` is that one's, `leader` who leads (empty: nobody is known to) `since` then (Unix time), by the `number`-th
    claim; `api` is where its API is reached over TCP. `heard_s` ago its last claim was seen. `standbys` follow
    the one that answers, where that leads; else `memory_s` ago it last heard of the leader's memory (None: never), and
    its clock was `ahead_s` of the leader's. `problem` says in words what is wrong.
    """

    name: str
    leads: bool
    leader: str = ""
    api: str = ""
    since: float = 0.0
    number: int = 0
    lease_s: float = 0.0
    heard_s: float | None = None
    standbys: list[StandbyView] = []
    memory_s: float | None = None
    ahead_s: float = 0.0
    problem: str = ""


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    """The controller at a glance. What ends in `_problem` says in words what is wrong, or is empty.

    `holds` are the guests held back after failed migrations, those that need a human first; `recommendations` counts
    what waits for an operator's word.
    """

    version: str
    uptime_s: float
    policy: str
    is_paused: bool
    period_s: float
    hosts: int
    hosts_frozen: int
    guests: int
    jobs: int
    migrations: list[MigrationView]
    xapi_connected: bool
    xapi_problem: str = ""
    policy_problem: str = ""
    topology_problem: str = ""
    rules_problem: str = ""
    slurm_problem: str = ""
    samples_received: int = 0
    samples_refused: int = 0
    agents_refused: int = 0
    last_refusal: str = ""
    last_decision: DecisionView | None = None
    holds: list[HoldView] = []
    hosts_degraded: int = 0
    hosts_failing: int = 0
    http_problem: str = ""
    hosts_in_maintenance: int = 0
    automation: Automation = Automation.AUTOMATIC
    recommendations: int = 0
    leader: LeaderView | None = None


class ExplainView(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a decision or a guest: the decisions that concern it, newest first, and its migrations.

    `flips` says of a guest that is considered now what would make its move pay, or pay no more. `sets` are the sets of
    moves that the decision began, or with steps for the guest, newest first, as they are now.
    """

    subject: str
    text: str
    decisions: list[DecisionView] = []
    migrations: list[MigrationView] = []
    flips: str = ""
    sets: list[SetView] = []


class FlowView(msgspec.Struct, frozen=True, kw_only=True):
    """What two guests (uuids) send each other, both directions together."""

    guest_a: str
    guest_b: str
    bytes_per_s: float


class TrafficView(msgspec.Struct, frozen=True, kw_only=True):
    """Who talks to whom: the greatest flows first. `left_out` counts smaller ones, `bytes_per_s` is of all."""

    flows: list[FlowView]
    bytes_per_s: float
    left_out: int = 0


class DirtyCurveView(msgspec.Struct, frozen=True, kw_only=True):
    """One count of a guest's dirty pages: `unique_pages[i]` were written in the first `ages_s[i]` seconds."""

    measured_at: float
    ages_s: list[float]
    unique_pages: list[int]


class DirtyFitView(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of the pages written in `ages_s` seconds, and what it may be less or more.

    Up to `window_s` it was counted; beyond, it is extrapolated.
    """

    ages_s: list[float]
    expected_pages: list[float]
    least_pages: list[float]
    most_pages: list[float]
    window_s: float


class OutcomeView(msgspec.Struct, frozen=True, kw_only=True):
    """A migration that is over, what was predicted of it, and what it took."""

    cause: str
    at: float
    source_name: str
    target_name: str
    ok: bool
    actual_s: float
    text: str = ""
    predicted: IntervalView | None = None
    predicted_pause: IntervalView | None = None


class DirtyView(msgspec.Struct, frozen=True, kw_only=True):
    """How a guest writes its memory, oldest count first, and how right the predictions made of that were, newest first.

    `fit` is None where nothing was counted, or where `problem` says what is wrong with it.
    """

    guest: str
    guest_name: str
    memory_pages: int
    curves: list[DirtyCurveView] = []
    fit: DirtyFitView | None = None
    problem: str = ""
    outcomes: list[OutcomeView] = []


class ProbeView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a guest's dirty pages are counted, on whose wish, and what that waits for.

    `state` is one of `none`, `asked`, `under-way`. `asked_at` is when an operator asked for it (Unix time), None where
    nobody did or a curve has come since; `measured_at` is when the newest curve was counted, None where there is none.
    `waits_for` says what is in the way, for `waits_s` at least; empty and 0 where nothing is.
    """

    guest: str
    guest_name: str
    state: str
    asked_at: float | None = None
    measured_at: float | None = None
    waits_for: str = ""
    waits_s: float = 0.0


class JobTimelineView(msgspec.Struct, frozen=True, kw_only=True):
    """A job over time: one value each for each of `at`. None where nothing was told or measured.

    `speed_per_s` are iterations a second; `served_ratio` is what its worst served guest got of the CPU it wanted.
    `migrations` are those of its guests in that time, newest first.
    """

    name: str
    at: list[float]
    speed_per_s: list[float | None]
    served_ratio: list[float | None]
    migrations: list[MigrationView] = []


class DecisionLineView(msgspec.Struct, frozen=True, kw_only=True):
    """Control cycles in a row that came to the same: `cycles` of them from `first_at` to `at`.

    `cause` is the newest; `guests` names those whose move was proposed, `accepted` counts the moves that were made.
    """

    cause: str
    at: float
    first_at: float
    cycles: int
    policy: str
    code: str
    text: str
    proposed: int
    accepted: int
    guests: list[str] = []


class DecisionLogView(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, newest first. Earlier lines are had by `?before=`; None where there are none."""

    lines: list[DecisionLineView]
    before: float | None = None


class HappeningView(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an operator did or a host's health came to, in words."""

    at: float
    kind: str
    text: str


class HistoryView(msgspec.Struct, frozen=True, kw_only=True):
    """What has been from `since` to `until`.

    Loads are one value each for each of `at`; None while no host reported. `moved` and `failed` count the migrations
    that began within `bucket_s` of each of `bucket_at`. Of those that moved, `within` of `predicted` took as long as
    was predicted in 8 of 10 cases; `error_ratio` is the median of how far off the predictions were.
    """

    since: float
    until: float
    at: list[float]
    load_mean_ratio: list[float | None]
    load_most_ratio: list[float | None]
    load_least_ratio: list[float | None]
    bucket_s: float
    bucket_at: list[float]
    moved: list[int]
    failed: list[int]
    within: int
    predicted: int
    error_ratio: float | None = None
    happenings: list[HappeningView] = []


class RecommendationView(msgspec.Struct, frozen=True, kw_only=True):
    """Moves that wait for an operator's word, all or none of them: `moves` as they were judged last, detours included.

    `standing` is one of `open`, `approved`, `refused`, `lapsed`; `text` says how it ended, `by` by whose word (empty
    where nobody gave one), `decision` what an approval led to. Times are Unix times: it lapses at `lapses_at` unless
    the policy proposes it again. One `is_for_safety` is for guests that are to leave a host; then nothing has to be
    gained.
    """

    name: str
    at: float
    lapses_at: float
    policy: str
    standing: str
    is_for_safety: bool
    moves: list[CandidateView]
    text: str = ""
    by: str = ""
    decision: str = ""
    migrations: list[MigrationView] = []


class RecordRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PUT /v1/record`: whether to record from now on, until the controller restarts."""

    on: bool


class RecordView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether everything is recorded that happens, since when (Unix time), and what has been, in `folder`.

    There are `parts` files of `size_bytes` together; the oldest go beyond `keep_bytes`. `problem` says why nothing is
    recorded although it was to be.
    """

    is_on: bool
    folder: str
    parts: int
    size_bytes: int
    keep_bytes: int
    since: float | None = None
    problem: str = ""


class MaintenanceRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PUT /v1/hosts/{host}/maintenance`: until then (Unix time), or until it is deleted."""

    until: Annotated[float, Meta(ge=0, le=1e11)] | None = None


class LeavingView(msgspec.Struct, frozen=True, kw_only=True):
    """A guest that is still on a host which is emptied. `state` is `moving`, `waiting` or `stays`; `text` says why.

    `migration` is its id once it is under way; the target of one that stays is empty.
    """

    guest: str
    guest_name: str
    state: str
    target: str = ""
    target_name: str = ""
    text: str = ""
    migration: str = ""
    progress_ratio: float | None = None
    predicted_s: float | None = None


class EvacuationView(msgspec.Struct, frozen=True, kw_only=True):
    """What is left on a host, those that leave first; or, where it is not `is_under_way`, what emptying it would do."""

    host: str
    host_name: str
    is_under_way: bool
    maintenance: str
    guests: list[LeavingView]


class JobAutomationView(msgspec.Struct, frozen=True, kw_only=True):
    """The level that counts for a job's guests; `own` is the job's, None where it has none.

    So are `allowed_hours`, besides the cluster's; `is_allowed_hour` says of both whether one is now.
    """

    job: str
    level: Automation
    own: Automation | None = None
    allowed_hours: list[str] | None = None
    is_allowed_hour: bool = True


class AutomationView(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster's level (`configured` is that of the file, `chosen` an operator's), and each job's.

    `allowed_hours` are parts of days in `time_zone`; without any, guests are moved at any hour.
    """

    level: Automation
    configured: Automation
    chosen: Automation | None = None
    lapse_s: float
    refused_for_s: float
    allowed_hours: list[str] = []
    time_zone: str = "UTC"
    is_allowed_hour: bool = True
    jobs: list[JobAutomationView] = []


class AutomationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PUT /v1/automation`: of one `job`, or of the cluster (empty); null takes back what an operator chose."""

    level: Automation | None
    job: str = ""


class PolicyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PUT /v1/policy`: values in `config` may be text, as typed on a command line."""

    name: str
    config: dict[str, Any] = {}


class PolicyChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """What setting a policy would change: which moves it would make now, and which of today's fall away for it.

    Migrations that are `under_way` go on. `compared` shadows would begin their records anew.
    """

    before: PolicyView
    after: PolicyView
    plan: DecisionView
    falls_away: list[CandidateView] = []
    under_way: list[MigrationView] = []
    compared: list[str] = []


class ShadowRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/shadows`: like `PUT /v1/policy`; `label` tells two of one name apart, empty it is the name."""

    name: str
    config: dict[str, Any] = {}
    label: str = ""


class ContenderView(msgspec.Struct, frozen=True, kw_only=True):
    """One policy in the comparison: the active one, or a shadow, which only says what it would move.

    All gains and costs are job-seconds: `predicted_s` net, as the ledger promised when the moves passed the gates; of
    that, `due_s` was promised to be gained by now, `gained_s` is by the loads measured since, and `net_s` is that less
    `cost_s`. A shadow's is ahead of the active policy's by `ahead_s` over the same time. `since` is Unix time; loads
    were known for `watched_s` of it and not for `blind_s`. `placed` counts the guests that it has put, or would have,
    where they would not be without it. `problem` says why a shadow is not asked any more.
    """

    label: str
    policy: str
    config: dict[str, Any]
    is_active: bool
    since: float
    watched_s: float
    blind_s: float
    moves: int
    failed: int
    under_way: int
    placed: int
    pause_s: float
    predicted_s: float
    due_s: float
    gained_s: float
    cost_s: float
    net_s: float
    ahead_s: float
    problem: str = ""
    last: DecisionView | None = None


class ComparisonView(msgspec.Struct, frozen=True, kw_only=True):
    """The active policy first, then its shadows, the best first; `text` says which would have done best, and by what.

    `best` is its label. `took_ratio` is what real migrations took over what was predicted, `gained_ratio` what the
    active policy's moves gained over what was promised by now: how wrong the model is, None where nothing tells. Of
    `checked` jobs their progress has told how long a step took after its moves, in shares of before (`step_ratio`, on
    the average), where it was expected to take `expected_step_ratio`.
    """

    text: str
    best: str = ""
    contenders: list[ContenderView] = []
    took_ratio: float | None = None
    gained_ratio: float | None = None
    checked: int = 0
    step_ratio: float | None = None
    expected_step_ratio: float | None = None


class ReportedMoveView(msgspec.Struct, frozen=True, kw_only=True):
    """One migration with what was said of it before: `predicted` is how long it was to take.

    `cost_s` is what its job was to lose by it, `gain_s` what all jobs were to gain: less than nothing, maybe,
    where it was for its guest's safety.
    """

    migration: MigrationView
    job: str
    memory_bytes: int
    cost_s: float
    gain_s: float
    predicted: IntervalView | None = None


class CourseView(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy has come to, net and in job-seconds, by each of `at` (Unix time): 0 as the period begins."""

    label: str
    at: list[float]
    net_s: list[float]


class ReportView(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved in a period, what it took, gained and lost, and what other policies would have done.

    `policies` are those in use in it. `moves` are the oldest first; with `are_moves_left_out` there were more before
    these. The comparison is over all the time that its policies ran beside each other, the `courses` within the period.
    `source` says what the report was made of.
    """

    version: str
    source: str
    policies: list[str]
    history: HistoryView
    moves: list[ReportedMoveView]
    are_moves_left_out: bool
    comparison: ComparisonView
    courses: list[CourseView] = []
    jobs: list[JobTimelineView] = []


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/jobs`: guests by name or uuid. `wall_time_limit_s` is what the batch system was asked for.

    `limits` that are left out stay as they are for the run that is known, and are everybody's for a new one.
    `PATCH /v1/jobs/{name}` changes them alone. `slurm_job` says that the job is Slurm's, by its number, and ends when
    Slurm no longer names it; `run_of` is what all runs of it are called, where their names differ.
    """

    name: str
    guests: list[str]
    remaining_s: float | None = None
    wall_time_limit_s: float | None = None
    limits: JobLimitsChange = JobLimitsChange()
    slurm_job: Annotated[int, Meta(ge=1)] | None = None
    run_of: Annotated[str, Meta(max_length=256)] = ""


class LinkMeasurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured of one level, one way, and between whom."""

    bandwidth_bytes_per_s: Positive
    latency_s: Seconds
    between: Annotated[str, Meta(max_length=512)] = ""


class LinksRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`PUT /v1/links`: takes the place of what was measured or configured of these levels before; others stay."""

    links: dict[Level, LinkMeasurement]


class MigrateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/migrations`: guest and host by name or uuid."""

    guest: str
    host: str


class Verdict(StrEnum):
    """What an examination makes of one thing, best first."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was examined. `check` names what kind of thing it is, `text` says what was found.

    `mend` says what to do about it, with the command; empty where there is nothing to mend.
    """

    check: str
    verdict: Verdict
    text: str
    mend: str = ""


class ExaminationView(msgspec.Struct, frozen=True, kw_only=True):
    """What the controller finds of itself, its agents, the pool and the guests, check by check."""

    version: str
    findings: list[FindingView]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is not 2xx."""

    code: str
    text: str


class Role(StrEnum):
    """What a token lets its bearer do over TCP; each may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """True if this role may do what the other may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/session`: the token that a browser logs in with."""

    token: Annotated[str, Meta(max_length=256)]


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, as whom, and until when (Unix time; None: no end)."""

    name: str
    role: Role
    expires_at: float | None = None


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/tokens`: whom the token is for, what it may, and until when (Unix time; None: no end)."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
    role: Role
    expires_at: Annotated[float, Meta(gt=0, le=1e11)] | None = None


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """One token, without what makes it one. Times are Unix time."""

    name: str
    role: Role
    created_at: float
    expires_at: float | None = None
    has_expired: bool = False


class NewTokenView(TokenView, frozen=True, kw_only=True):
    """A token that was made just now. `token` is told this once."""

    token: str


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """One command: who asked for it (a user on the socket, or a token's name), and what came of it.

    `status` is that of the answer, 2xx where it was done; None where the controller ended before it answered. `text` is
    what a refusal said.
    """

    at: float
    name: str
    role: Role
    address: str
    method: str
    path: str
    body: str = ""
    status: int | None = None
    text: str = ""


# method and path -> the request body (None: no body) and the answer's body
ROUTES: dict[tuple[str, str], tuple[Any, Any]] = {
    ("GET", "/v1/status"): (None, StatusView),
    ("GET", "/v1/doctor"): (None, ExaminationView),
    ("GET", "/v1/hosts"): (None, list[HostView]),
    ("PUT", "/v1/hosts/{host}/maintenance"): (MaintenanceRequest, HostView),
    ("DELETE", "/v1/hosts/{host}/maintenance"): (None, HostView),
    ("GET", "/v1/hosts/{host}/evacuation"): (None, EvacuationView),
    ("POST", "/v1/hosts/{host}/evacuation"): (None, EvacuationView),
    ("DELETE", "/v1/hosts/{host}/evacuation"): (None, EvacuationView),
    ("GET", "/v1/guests"): (None, list[GuestView]),
    ("GET", "/v1/jobs"): (None, list[JobView]),
    ("POST", "/v1/jobs"): (JobRequest, JobView),
    ("PATCH", "/v1/jobs/{name}"): (JobLimitsChange, JobView),
    ("DELETE", "/v1/jobs/{name}"): (None, JobView),
    ("POST", "/v1/jobs/{name}/progress"): (Progress, JobView),
    ("GET", "/v1/links"): (None, list[LinkView]),
    ("PUT", "/v1/links"): (LinksRequest, list[LinkView]),
    ("GET", "/v1/policies"): (None, list[PolicyView]),
    ("PUT", "/v1/policy"): (PolicyRequest, PolicyView),
    ("POST", "/v1/policy/dry-run"): (PolicyRequest, PolicyChangeView),
    ("GET", "/v1/policies/comparison"): (None, ComparisonView),
    ("GET", "/v1/shadows"): (None, list[ContenderView]),
    ("POST", "/v1/shadows"): (ShadowRequest, ContenderView),
    ("DELETE", "/v1/shadows/{label}"): (None, ContenderView),
    ("GET", "/v1/plan"): (None, DecisionView),
    ("GET", "/v1/automation"): (None, AutomationView),
    ("PUT", "/v1/automation"): (AutomationRequest, AutomationView),
    ("GET", "/v1/recommendations"): (None, list[RecommendationView]),
    ("POST", "/v1/recommendations/{name}/approve"): (None, RecommendationView),
    ("POST", "/v1/recommendations/{name}/refuse"): (None, RecommendationView),
    ("GET", "/v1/migrations"): (None, list[MigrationView]),
    ("POST", "/v1/migrations"): (MigrateRequest, MigrationView),
    ("POST", "/v1/migrations/{name}/cancel"): (None, MigrationView),
    ("POST", "/v1/guests/{guest}/release"): (None, list[HoldView]),
    ("POST", "/v1/pause"): (None, StatusView),
    ("POST", "/v1/resume"): (None, StatusView),
    ("GET", "/v1/explain/{subject}"): (None, ExplainView),
    ("GET", "/v1/record"): (None, RecordView),
    ("PUT", "/v1/record"): (RecordRequest, RecordView),
    ("GET", "/v1/traffic"): (None, TrafficView),
    ("GET", "/v1/decisions"): (None, DecisionLogView),
    ("GET", "/v1/history"): (None, HistoryView),
    ("GET", "/v1/jobs/{name}/timeline"): (None, JobTimelineView),
    ("GET", "/v1/report"): (None, ReportView),
    ("GET", "/v1/guests/{guest}/dirty"): (None, DirtyView),
    ("GET", "/v1/guests/{guest}/probe"): (None, ProbeView),
    ("POST", "/v1/guests/{guest}/probe"): (None, ProbeView),
    ("GET", "/v1/guests/{guest}/targets"): (None, list[CandidateView]),
    ("GET", "/v1/tokens"): (None, list[TokenView]),
    ("POST", "/v1/tokens"): (TokenRequest, NewTokenView),
    ("DELETE", "/v1/tokens/{name}"): (None, TokenView),
    ("GET", "/v1/audit"): (None, list[AuditView]),
}

_Limit = Annotated[int, Meta(ge=1, le=1000, description="How many at most, the newest first.")]
_Hours = Annotated[float, Meta(ge=0.01, le=744, description="How far back, in hours.")]
# What may stand after the question mark; each may be left out.
QUERIES: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("GET", "/v1/migrations"): {"limit": _Limit},
    ("GET", "/v1/audit"): {"limit": _Limit},
    ("GET", "/v1/traffic"): {
        "limit": Annotated[int, Meta(ge=1, le=1024, description="How many at most, the greatest.")]
    },
    ("GET", "/v1/decisions"): {
        "limit": Annotated[int, Meta(ge=1, le=200, description="How many at most, the newest first.")],
        "before": Annotated[float, Meta(ge=0, description="Older than this Unix time only: the last page's `before`.")],
    },
    ("GET", "/v1/history"): {"hours": _Hours},
    ("GET", "/v1/report"): {"hours": _Hours},
    ("GET", "/v1/jobs/{name}/timeline"): {"hours": _Hours},
}

# The least role that may ask, for who comes over TCP; who may open the socket may do all. A route without a row is for
# `admin` alone.
ROLES: Final[dict[tuple[str, str], Role]] = {
    ("GET", "/v1/status"): Role.VIEWER,
    ("GET", "/v1/doctor"): Role.VIEWER,
    ("GET", "/v1/hosts"): Role.VIEWER,
    ("PUT", "/v1/hosts/{host}/maintenance"): Role.OPERATOR,
    ("DELETE", "/v1/hosts/{host}/maintenance"): Role.OPERATOR,
    ("GET", "/v1/hosts/{host}/evacuation"): Role.VIEWER,
    ("POST", "/v1/hosts/{host}/evacuation"): Role.OPERATOR,
    ("DELETE", "/v1/hosts/{host}/evacuation"): Role.OPERATOR,
    ("GET", "/v1/automation"): Role.VIEWER,
    ("PUT", "/v1/automation"): Role.OPERATOR,
    ("GET", "/v1/recommendations"): Role.VIEWER,
    ("POST", "/v1/recommendations/{name}/approve"): Role.OPERATOR,
    ("POST", "/v1/recommendations/{name}/refuse"): Role.OPERATOR,
    ("GET", "/v1/guests"): Role.VIEWER,
    ("GET", "/v1/jobs"): Role.VIEWER,
    ("POST", "/v1/jobs"): Role.OPERATOR,
    ("DELETE", "/v1/jobs/{name}"): Role.OPERATOR,
    ("PATCH", "/v1/jobs/{name}"): Role.OPERATOR,
    ("POST", "/v1/jobs/{name}/progress"): Role.OPERATOR,
    ("GET", "/v1/links"): Role.VIEWER,
    ("PUT", "/v1/links"): Role.OPERATOR,
    ("GET", "/v1/policies"): Role.VIEWER,
    ("PUT", "/v1/policy"): Role.OPERATOR,
    ("POST", "/v1/policy/dry-run"): Role.OPERATOR,
    ("GET", "/v1/policies/comparison"): Role.VIEWER,
    ("GET", "/v1/shadows"): Role.VIEWER,
    ("POST", "/v1/shadows"): Role.OPERATOR,
    ("DELETE", "/v1/shadows/{label}"): Role.OPERATOR,
    ("GET", "/v1/plan"): Role.VIEWER,
    ("GET", "/v1/migrations"): Role.VIEWER,
    ("POST", "/v1/migrations"): Role.OPERATOR,
    ("POST", "/v1/migrations/{name}/cancel"): Role.OPERATOR,
    ("POST", "/v1/guests/{guest}/release"): Role.OPERATOR,
    ("POST", "/v1/pause"): Role.OPERATOR,
    ("POST", "/v1/resume"): Role.OPERATOR,
    ("GET", "/v1/explain/{subject}"): Role.VIEWER,
    ("GET", "/v1/record"): Role.VIEWER,
    ("PUT", "/v1/record"): Role.OPERATOR,
    ("GET", "/v1/traffic"): Role.VIEWER,
    ("GET", "/v1/decisions"): Role.VIEWER,
    ("GET", "/v1/history"): Role.VIEWER,
    ("GET", "/v1/report"): Role.VIEWER,
    ("GET", "/v1/jobs/{name}/timeline"): Role.VIEWER,
    ("GET", "/v1/guests/{guest}/dirty"): Role.VIEWER,
    ("GET", "/v1/guests/{guest}/probe"): Role.VIEWER,
    ("POST", "/v1/guests/{guest}/probe"): Role.OPERATOR,
    ("GET", "/v1/guests/{guest}/targets"): Role.VIEWER,
    ("GET", "/v1/tokens"): Role.ADMIN,
    ("POST", "/v1/tokens"): Role.ADMIN,
    ("DELETE", "/v1/tokens/{name}"): Role.ADMIN,
    ("GET", "/v1/audit"): Role.ADMIN,
    ("GET", "/v1/events"): Role.VIEWER,
    ("GET", "/v1/openapi.json"): Role.VIEWER,
    ("GET", "/metrics"): Role.VIEWER,
    ("GET", "/v1/session"): Role.VIEWER,
    ("DELETE", "/v1/session"): Role.VIEWER,
}

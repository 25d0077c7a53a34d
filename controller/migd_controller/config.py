"""The controller's configuration file, one Struct a section. `controller.example.toml` shows every key."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from migd_controller.contest import MAX_SHADOWS
from migd_controller.events import Source
from migd_core.automation import Automation
from migd_core.pricing import Interval, Pricing
from migd_core.units import Lasting, Positive, Seconds
from migd_core.world import Level
from migd_policies.rules import RuleSettings

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
Command = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]


# Around the speed that a job is taken to have while one of its guests is copied: HPL had 0.24 to 0.56 (the paper).
SPEED_SPREAD: Final = 0.2
# With colons, as openssl prints it, or without.
_FINGERPRINT: Final = re.compile("[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One section of the file; an unknown key is an error."""


class TelemetrySection(Section, frozen=True, kw_only=True):
    """Where agents report and which are let in.

    `agents_file` lists host uuid = public key; it is read again when it changes. A host whose last sample is older
    than `stale_after_s` is frozen. A host that is not on the list is asked for XAPI's own measurements every
    `rrd_period_s` (0: never); they come in steps of 5 s, so `rrd_stale_after_s` is the longer limit for these.
    """

    secret_key_file: Path
    agents_file: Path
    listen: Annotated[str, Meta(pattern=r"^tcp://[^\s/]+:(\d{1,5}|\*)$", examples=["tcp://*:7201"])] = "tcp://*:7201"
    stale_after_s: Lasting = 5.0
    rrd_period_s: Seconds = 5.0
    rrd_stale_after_s: Lasting = 20.0

    def stale_after(self, source: Source) -> float:
        """Return after how many seconds a host's last sample from this source is stale."""
        return self.stale_after_s if source is Source.AGENT else self.rrd_stale_after_s


class XapiSection(Section, frozen=True, kw_only=True):
    """The pool to talk to.

    Its certificates are checked: against the authorities in `ca_file`, or the system's without one; or, where
    `fingerprints` lists any, by their SHA-256 alone. Every host that may become the coordinator shows its own.

    When the pool has lost the task of a migration, the guest may still arrive. It is waited for until `settle_s` have
    passed since then, and `settle_ratio` times what the migration was predicted to take at most since it began; where
    there never was a task, and no toolstack has restarted, for `settle_s` alone.
    """

    url: str
    username: str
    password_file: Path
    ca_file: Path | None = None
    fingerprints: tuple[str, ...] = ()
    timeout_s: Annotated[float, Meta(gt=0, le=86400)] = 30.0  # a socket takes no more than 24 days
    settle_s: Seconds = 120.0
    settle_ratio: Annotated[float, Meta(ge=0, le=100)] = 2.0

    def __post_init__(self) -> None:
        if self.fingerprints and self.ca_file is not None:
            raise ValueError("ca_file and fingerprints are two ways to trust a certificate: give one of them")
        for fingerprint in self.fingerprints:
            if not _FINGERPRINT.fullmatch(fingerprint):
                raise ValueError(
                    f"expected SHA-256 fingerprints of 64 hexadecimal digits, found {fingerprint!r}; "
                    "`openssl x509 -noout -fingerprint -sha256` prints one"
                )


class PolicySection(Section, frozen=True, kw_only=True):
    """The policy of the very first start; what `migctl policy set` chooses later is remembered instead."""

    name: str = "observe"
    config: dict[str, Any] = {}


class ShadowSection(PolicySection, frozen=True, kw_only=True):
    """A policy that runs beside the active one and only proposes, from the very first start on.

    `label` tells two of one name apart; without it, it is the name.
    """

    label: str = ""


class GuardsSection(Section, frozen=True, kw_only=True):
    """Limits that hold for every policy.

    A guest whose migration failed rests for `retry_after_s`, twice as long after each further failure in a row, and
    `retry_at_most_s` in the end. A move must gain `min_gain_s` net of what it costs, even if that is `certainty_sds`
    standard deviations less than expected. No job is moved again while past moves have left it behind where it would
    be by more than `behind_ratio` of the time since the first of them and more than `behind_at_least_s`, unless the
    move makes up for it. Migrations may make a job stand still for `stall_per_hour_s`, and not in its
    `no_stall_last_s`.
    """

    cooldown_s: Seconds = 1800.0
    retry_after_s: Seconds = 1800.0
    retry_at_most_s: Seconds = 86400.0
    max_concurrent: Count = 2
    max_concurrent_per_source: Count = 1
    max_concurrent_per_target: Count = 1
    behind_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.05
    behind_at_least_s: Seconds = 60.0
    stall_per_hour_s: Seconds = 3600.0
    no_stall_last_s: Seconds = 0.0
    min_gain_s: Seconds = 10.0
    certainty_sds: Annotated[float, Meta(ge=0, le=5)] = 1.0
    memory_reserve_ratio: Annotated[float, Meta(ge=0, lt=1)] = 0.0


class ProbeSection(Section, frozen=True, kw_only=True):
    """How often, and for how long, the pages that a guest dirties are counted.

    Leases go out to agents on `listen`; empty, it is the port after that of `telemetry.listen`. No guest is probed for
    more than `guest_time_ratio` of the time (0: never), nor again within `apart_s`. Pages are counted at `ages` ages,
    from `first_age_s` to half of the time that sending all of the guest's memory takes, within the bounds given.
    """

    listen: Annotated[str, Meta(pattern=r"^(tcp://[^\s/]+:(\d{1,5}|\*))?$", examples=["tcp://*:7202"])] = ""
    guest_time_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.01
    apart_s: Seconds = 900.0
    ages: Annotated[int, Meta(ge=2, le=64)] = 11
    first_age_s: Annotated[float, Meta(gt=0, le=1)] = 0.05
    window_at_least_s: Annotated[float, Meta(gt=1, le=40)] = 4.0
    window_at_most_s: Annotated[float, Meta(gt=1, le=40)] = 40.0

    def __post_init__(self) -> None:
        if self.window_at_most_s < self.window_at_least_s:
            raise ValueError(
                f"window_at_most_s {self.window_at_most_s:g} is less than window_at_least_s {self.window_at_least_s:g}"
            )


class AutomationSection(Section, frozen=True, kw_only=True):
    """Whether moves are made, recommended to an operator, or not made at all.

    `level` holds until an operator chooses another, which is remembered. A recommendation lapses once the policy has
    not proposed its moves for `lapse_s`; one that was refused is not made again for `refused_for_s`.
    """

    level: Automation = Automation.AUTOMATIC
    lapse_s: Lasting = 900.0
    refused_for_s: Seconds = 3600.0


class PhasesSection(Section, frozen=True, kw_only=True):
    """Moves of guests that write more and less by turns wait for a quiet phase, for `wait_at_most_s` (0: never)."""

    wait_at_most_s: Seconds = 900.0


class LedgerSection(Section, frozen=True, kw_only=True):
    """How a move is priced.

    No gain is reckoned for longer than `horizon_s`, nor than a job still runs. A load that has stood for t, or for
    `life_at_least_s` if that is more, is taken to stand for r more with the probability t / (t + r).
    `speed_while_migrating_ratio` is the speed that messages keep which share a NIC with a copy; what else slows a job
    meanwhile is worked out from the load of both hosts, until migrations of the job itself were watched.
    `bandwidth_ratio` is what one migration gets of the slower of the two NICs; `bandwidth_bytes_per_s` stands in where
    no agent reports a link speed.
    """

    rule_set: Literal["xen-legacy", "xen-4.6", "xenserver", "xcp-ng"] = "xen-4.6"
    horizon_s: Lasting = 14400.0
    life_at_least_s: Seconds = 120.0
    speed_while_migrating_ratio: Share = 0.5
    bandwidth_ratio: Share = 0.9
    bandwidth_bytes_per_s: Positive = 117e6
    warm_up_s: Seconds = 1.0

    @property
    def pricing(self) -> Pricing:
        """What moves are priced by."""
        speed = self.speed_while_migrating_ratio
        return Pricing(
            horizon_s=self.horizon_s,
            life_at_least_s=self.life_at_least_s,
            speed_while_migrating=Interval(max(0.0, speed - SPEED_SPREAD), speed, min(1.0, speed + SPEED_SPREAD)),
            bandwidth_ratio=self.bandwidth_ratio,
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
            warm_up_s=self.warm_up_s,
        )


class LinkSection(Section, frozen=True, kw_only=True):
    """What two ranks at one level get from the network between them, as measured."""

    bandwidth_bytes_per_s: Positive
    latency_s: Seconds = 0.0


class TopologySection(Section, frozen=True, kw_only=True):
    """`switches` names the hosts (by name or uuid) of each switch; `links` the measured bandwidth of each level."""

    switches: dict[str, list[str]] = {}
    links: dict[Level, LinkSection] = {}


class JournalSection(Section, frozen=True, kw_only=True):
    """Where the journal is, and how much of it is kept beside `keep_s` and `keep_samples_s`.

    It is the file journal.sqlite in `state_dir`, which holds `max_bytes` at most, or a database of the PostgreSQL
    server that `url` names, whose password may stand in `password_file`; how large that grows is not limited.
    """

    url: Annotated[str, Meta(pattern=r"^(postgresql://.+)?$", examples=["postgresql://migd@db.example.org/migd"])] = ""
    password_file: Path | None = None
    max_bytes: Annotated[int, Meta(ge=2**20)] = 4 * 2**30

    def __post_init__(self) -> None:
        if self.password_file is not None and not self.url:
            raise ValueError("password_file is for the server that url names: give both, or neither for a file")


class HttpSection(Section, frozen=True, kw_only=True):
    """The API and the page over TCP, for who has a token; without this section there is the socket only.

    Without a certificate `listen` must be a loopback address. A certificate is read again when its file changes.
    `tokens_file` is where `migctl token` keeps tokens, as hashes; it is `tokens.toml` in `state_dir` unless named here.
    """

    listen: Annotated[str, Meta(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):\d{1,5}$")] = "127.0.0.1:7280"
    certificate_file: Path | None = None
    key_file: Path | None = None
    tokens_file: Path | None = None

    def __post_init__(self) -> None:
        host = self.listen.rpartition(":")[0]
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: give both or neither")
        if self.certificate_file is None and host not in ("127.0.0.1", "[::1]", "localhost"):
            raise ValueError(
                f"listen: {host} is heard by other machines, so it needs TLS: give certificate_file and key_file, or "
                "listen on 127.0.0.1"
            )


class NoticeKind(StrEnum):
    """What a webhook can be told of."""

    MIGRATION_FAILED = "migration-failed"
    QUARANTINE = "quarantine"
    EVACUATION = "evacuation"
    HOST_HEALTH = "host-health"
    POOL_LOST = "pool-lost"
    TELEMETRY_REFUSED = "telemetry-refused"
    LEADER_CHANGED = "leader-changed"


class WebhookSection(Section, frozen=True, kw_only=True):
    """A URL that notices are sent to, as Slack takes them. Who knows such a URL may write there: keep it in a file."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    url: str = ""
    url_file: Path | None = None
    events: tuple[NoticeKind, ...] = tuple(NoticeKind)

    def __post_init__(self) -> None:
        if bool(self.url) == (self.url_file is not None):
            raise ValueError("give a webhook its url or its url_file, one of them")


class SlurmSection(Section, frozen=True, kw_only=True):
    """Jobs are taken from Slurm, every `every_s`, where the file has this section.

    `squeue`, `sinfo` and `scontrol` are commands with their first arguments, which have `timeout_s` to answer. A node
    is the guest of its name (`match = "name"`), or of its name without domain in whatever case (`"hostname"`); `nodes`
    says otherwise for those that it names. With `drain`, nodes whose guests are on a failing host get no new jobs.
    """

    every_s: Lasting = 30.0
    timeout_s: Lasting = 20.0
    squeue: Command = ("squeue", "--json")
    sinfo: Command = ("sinfo",)
    scontrol: Command = ("scontrol",)
    match: Literal["name", "hostname"] = "name"
    nodes: dict[str, str] = {}
    drain: bool = False


class RecordSection(Section, frozen=True, kw_only=True):
    """Everything that the controller is told and does about it, for `migctl replay` and `migctl report --record`.

    With `on` it is recorded from the start; `migctl record` switches it until the controller restarts. Files of
    `part_bytes` go to `folder` (`record` in `state_dir` unless named here), and the oldest make room for the newest.
    """

    on: bool = False
    folder: Path | None = None
    part_bytes: Annotated[int, Meta(ge=100_000, le=1 << 40)] = 64 << 20
    keep_bytes: Annotated[int, Meta(ge=200_000, le=1 << 50)] = 1 << 30

    def __post_init__(self) -> None:
        if self.keep_bytes < 2 * self.part_bytes:
            raise ValueError(f"keep_bytes {self.keep_bytes} is less than two parts of part_bytes {self.part_bytes}")


class LeaderSection(Section, frozen=True, kw_only=True):
    """Where the file has this section, this is one of several controllers of a pool, of which one leads.

    All have the same secret key. Who stands by takes over once nothing was heard of the leader for `lease_s`. `name` is
    this controller's, the machine's where it is empty; `address` is where the others reach that machine, empty: by its
    own name.
    """

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    address: Annotated[str, Meta(pattern=r"^[^\s/]{0,255}$")] = ""
    lease_s: Annotated[float, Meta(ge=1, le=600)] = 15.0


class ControllerConfig(Section, frozen=True, kw_only=True):
    """The whole file."""

    telemetry: TelemetrySection
    xapi: XapiSection
    state_dir: Path = Path("/var/lib/migd")
    socket: Path = Path("/run/migd/controller.sock")
    socket_mode: Annotated[str, Meta(pattern="^0?[0-7]{3}$", examples=["0660"])] = "0660"
    period_s: Lasting = 5.0
    keep_s: Lasting = 30 * 86400.0
    keep_samples_s: Lasting = 86400.0
    policy: PolicySection = PolicySection()
    shadow: Annotated[tuple[ShadowSection, ...], Meta(max_length=MAX_SHADOWS)] = ()
    guards: GuardsSection = GuardsSection()
    automation: AutomationSection = AutomationSection()
    probe: ProbeSection = ProbeSection()
    ledger: LedgerSection = LedgerSection()
    phases: PhasesSection = PhasesSection()
    topology: TopologySection = TopologySection()
    rules: RuleSettings = RuleSettings()
    journal: JournalSection = JournalSection()
    http: HttpSection | None = None
    webhooks: tuple[WebhookSection, ...] = ()
    slurm: SlurmSection | None = None
    record: RecordSection = RecordSection()
    leader: LeaderSection | None = None

    def __post_init__(self) -> None:
        names = [webhook.name for webhook in self.webhooks]
        if len(set(names)) < len(names):
            raise ValueError("webhooks: two of them have the same name; give each its own")
        labels = [each.label or each.name for each in self.shadow]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"two [[shadow]] sections are called {', '.join(twice)}: give one of them another label")

    @property
    def tokens_file(self) -> Path:
        """Where the tokens are kept of who may come over TCP."""
        return (self.http.tokens_file if self.http is not None else None) or self.state_dir / "tokens.toml"

    @property
    def record_folder(self) -> Path:
        """Where records are kept."""
        return self.record.folder or self.state_dir / "record"

    @property
    def leases_on(self) -> str:
        """Where leases go out to agents."""
        address, _, port = self.telemetry.listen.rpartition(":")
        return self.probe.listen or f"{address}:{port if port == '*' else int(port) + 1}"

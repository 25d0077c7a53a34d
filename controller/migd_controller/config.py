"""The controller's configuration file, one Struct a section. `controller.example.toml` shows every key."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from migd_controller.contest import MAX_SHADOWS
from migd_controller.events import Source
from migd_core.pricing import Interval, Pricing
from migd_core.units import Lasting, Positive, Seconds
from migd_core.world import Level
from migd_policies.rules import RuleSettings

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, le=1)]


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
    passed since then, and `settle_ratio` times what the migration was predicted to take at most since it began.
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


class PhasesSection(Section, frozen=True, kw_only=True):
    """Moves of guests that write more and less by turns wait for a quiet phase, for `wait_at_most_s` (0: never)."""

    wait_at_most_s: Seconds = 900.0


class LedgerSection(Section, frozen=True, kw_only=True):
    """How a move is priced.

    `horizon_s` is how long an imbalance is taken to last at most, `life_at_least_s` at least; between the two it is
    taken to last as long as it has stood. A job gains for no longer than it still runs.
    `speed_while_migrating_ratio` is the job's speed during pre-copy relative to before; 0.5 on a shared NIC.
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
    probe: ProbeSection = ProbeSection()
    ledger: LedgerSection = LedgerSection()
    phases: PhasesSection = PhasesSection()
    topology: TopologySection = TopologySection()
    rules: RuleSettings = RuleSettings()

    def __post_init__(self) -> None:
        labels = [each.label or each.name for each in self.shadow]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"two [[shadow]] sections are called {', '.join(twice)}: give one of them another label")

    @property
    def leases_on(self) -> str:
        """Where leases go out to agents."""
        address, _, port = self.telemetry.listen.rpartition(":")
        return self.probe.listen or f"{address}:{port if port == '*' else int(port) + 1}"

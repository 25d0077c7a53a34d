"""One seed's case as a value: the pool, how the controller is set, and all that happens. It can be kept in a file.

Nothing is drawn while a case runs, so a case with some of its happenings left out is one as well: that is how a failing
one is made short.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from migd_controller.config import (
    AutomationSection,
    ControllerConfig,
    GuardsSection,
    LedgerSection,
    PhasesSection,
    ProbeSection,
    TelemetrySection,
    TopologySection,
    XapiSection,
)
from migd_core.errors import ConfigError
from migd_core.job_limits import JobLimitsChange
from migd_core.units import Lasting, Seconds
from migd_policies.rules import RuleSettings
from migd_sim.model import PoolSpec

AgentFault = Literal[
    "agent-dies",
    "agent-silent",
    "samples-late",
    "samples-doubled",
    "samples-swapped",
    "samples-absurd",
    "leases-late",
    "clock-slow",
    "health",
]
PoolFault = Literal[
    "xapi-slow", "xapi-cut", "xapi-restarts", "coordinator-changes", "events-late", "task-lost", "task-lingers"
]
MigrationFault = Literal["migration-fails", "link-slow", "suspend-hangs"]
HostFault = Literal["host-dies", "host-disabled", "host-evacuating", "storage-detached"]
HumanDeed = Literal[
    "human-migrates",
    "guest-stops",
    "guest-starts",
    "guest-reboots",
    "guest-renamed",
    "guest-tagged",
    "guest-paused",
    "guest-blocked",
    "guest-busy",
    "block-left",
    "hog",
]
OperatorDeed = Literal[
    "ask",
    "cancel",
    "approve",
    "refuse",
    "release",
    "pause",
    "policy",
    "automation",
    "maintenance",
    "evacuate",
    "stay",
    "job-added",
    "job-limited",
    "job-removed",
    "shadow-added",
    "shadow-removed",
    "links-measured",
]
ControllerFault = Literal["controller-dies", "controller-stalls"]
What = AgentFault | PoolFault | MigrationFault | HostFault | HumanDeed | OperatorDeed | ControllerFault


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One object of a case's file; an unknown key is an error."""


class Happening(Part, frozen=True, kw_only=True):
    """Something that goes wrong, or that somebody does, at `at_s`; what lasts does so for `lasts_s`.

    `of` is whom it concerns (host, guest or job by name; a policy, a shadow's label), `to` where to or what: a host, a
    name, a tag, a pool's failure code, a level, a state. `value` is a figure: seconds for what is late, bytes a second
    for a link, vCPUs, what a slow clock loses of each second (having leapt ahead by all that it is to lose), how many
    commands a dying controller still carries out (-1: it dies at once). `shift_s` is by how much the wall clock has
    jumped when the controller starts again.
    """

    at_s: Seconds
    what: What
    of: str = ""
    to: str = ""
    lasts_s: Seconds = 0.0
    value: float = 0.0
    shift_s: float = 0.0
    limits: JobLimitsChange = JobLimitsChange()


class Case(Part, frozen=True, kw_only=True):
    """One case. Guests' `disks` are on a storage each, which the hosts of `storages` have; hosts are named.

    `groups` are anti-affinity groups by guest, `agentless` the hosts that XAPI's own measurements stand in for. The
    memory of guests that are `shrinking` may be less after a migration than before.
    """

    seed: Annotated[int, Meta(ge=0)]
    until_s: Lasting
    pool: PoolSpec
    policy: str
    guards: GuardsSection = GuardsSection()
    ledger: LedgerSection = LedgerSection()
    topology: TopologySection = TopologySection()
    probe: ProbeSection = ProbeSection()
    automation: AutomationSection = AutomationSection()
    phases: PhasesSection = PhasesSection()
    rules: RuleSettings = RuleSettings()
    agentless: tuple[str, ...] = ()
    storages: dict[str, tuple[str, ...]] = {}
    disks: dict[str, str] = {}
    groups: dict[str, str] = {}
    shrinking: tuple[str, ...] = ()
    happenings: tuple[Happening, ...] = ()

    @property
    def config(self) -> ControllerConfig:
        """How the controller is set."""
        nothing = Path("unused")
        return ControllerConfig(
            telemetry=TelemetrySection(secret_key_file=nothing, agents_file=nothing),
            xapi=XapiSection(url="unused", username="unused", password_file=nothing),
            guards=self.guards,
            ledger=self.ledger,
            topology=self.topology,
            probe=self.probe,
            automation=self.automation,
            phases=self.phases,
            rules=self.rules,
        )


def read(path: Path) -> Case:
    """Return the case in a file that `write` has made. Raises ConfigError naming what is wrong with it."""
    try:
        case = msgspec.json.decode(path.read_bytes(), type=Case)
        case.pool.checked()
    except (OSError, ValueError, RecursionError) as error:  # msgspec's own are ValueErrors, too
        raise ConfigError(f"{path}: expected a case that `make soak` has written: {error}") from error
    return case


def as_kept(case: Case) -> Case:
    """Return a case as `read` would return it from its file. Raises ValueError for one that it would refuse."""
    return msgspec.json.decode(msgspec.json.encode(case), type=Case)


def write(case: Case, path: Path) -> None:
    """Keep a case in a file that people can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(case), indent=1) + b"\n")

"""A scenario is a folder: what the pool is, how the controller is set, what happens when. It runs in virtual time.

scenario.toml     the file below
golden.log        the lines that the run gave when somebody last looked at them and found them right
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from migd_controller.comparison import comparison_view
from migd_controller.config import (
    AutomationSection,
    ControllerConfig,
    GuardsSection,
    LedgerSection,
    PhasesSection,
    ProbeSection,
    ShadowSection,
    TelemetrySection,
    TopologySection,
    XapiSection,
)
from migd_controller.events import (
    AutomationSet,
    CancelRequested,
    EvacuationAsked,
    JobAdded,
    JobLimited,
    MaintenanceBegun,
    MaintenanceEnded,
    Paused,
    PolicySet,
    RecommendationApproved,
    RecommendationRefused,
    Resumed,
    ShadowAdded,
)
from migd_controller.record.recorder import Sink
from migd_core import config
from migd_core.automation import Automation
from migd_core.errors import ConfigError
from migd_core.health import UNKNOWN, HostHealth
from migd_core.job_limits import JobLimitsChange
from migd_core.units import Lasting, NotNegative, Seconds
from migd_policies.rules import RuleSettings
from migd_sim.model import PoolSpec
from migd_sim.run.closed_loop import ClosedLoop
from migd_sim.run.told import Told

OBSERVE: Final = "observe"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of a scenario; an unknown key is an error."""


class Happening(Part, frozen=True, kw_only=True):
    """Something done at `at_s`: to the host, guest or job that `of` names, to the controller, or by its operator.

    `of` also names the policy that the operator sets, or the guest whose migration the operator ends (`cancel`) or for
    which a recommendation is decided on (`approve`, `refuse`); `maintenance` and `evacuate` are of a host; `automation`
    sets a `level`, of a job or of all. A job that is set back goes on from step `steps`. After `suspend-hangs` a guest
    cannot be suspended; `cpus` is what the pool then says of a host's CPUs.
    """

    at_s: Seconds
    what: Literal[
        "host-dies",
        "host-returns",
        "host-disabled",
        "agent-silent",
        "agent-speaks",
        "guest-stops",
        "suspend-hangs",
        "hog-ends",
        "link",
        "health",
        "cpus",
        "job-set-back",
        "cancel",
        "approve",
        "refuse",
        "automation",
        "maintenance",
        "maintenance-ends",
        "evacuate",
        "pause",
        "resume",
        "policy",
        "controller-stops",
        "controller-starts",
        "controller-restarts",
    ]
    of: str = ""
    bytes_per_s: NotNegative = 0.0
    health: HostHealth = UNKNOWN
    steps: NotNegative = 0.0
    cpus: Annotated[int, Meta(ge=0)] = 0
    level: Automation | None = None


class Scenario(Part, frozen=True, kw_only=True):
    """The file. `about` says what the run is to show.

    `wants` may stand in place of a policy: guests on hosts (by name), as one set of moves, until they are there.
    """

    about: str
    until_s: Lasting
    policy: str = ""
    wants: dict[str, str] = {}
    pool: PoolSpec
    policy_config: dict[str, Any] = {}
    shadow: tuple[ShadowSection, ...] = ()
    period_s: Lasting = 5.0
    guards: GuardsSection = GuardsSection()
    ledger: LedgerSection = LedgerSection()
    topology: TopologySection = TopologySection()
    phases: PhasesSection = PhasesSection()
    probe: ProbeSection = ProbeSection()
    automation: AutomationSection = AutomationSection()
    rules: RuleSettings = RuleSettings()
    jobs_remaining_s: dict[str, Seconds] = {}
    happenings: tuple[Happening, ...] = ()


def run(folder: Path, record: Sink | None = None) -> ClosedLoop:
    """Run the scenario in `folder` to its end, recorded to `record`.

    Raises ConfigError naming what is wrong in its file.
    """
    path = folder / "scenario.toml"
    scenario = config.load(path, Scenario)
    nothing = Path("unused")
    settings = ControllerConfig(
        telemetry=TelemetrySection(secret_key_file=nothing, agents_file=nothing),
        xapi=XapiSection(url="unused", username="unused", password_file=nothing),
        period_s=scenario.period_s,
        guards=scenario.guards,
        ledger=scenario.ledger,
        topology=scenario.topology,
        phases=scenario.phases,
        probe=scenario.probe,
        automation=scenario.automation,
        rules=scenario.rules,
    )
    try:
        told = Told(scenario.wants) if not scenario.policy else None
        loop = ClosedLoop(
            scenario.pool, settings, scenario.policy or OBSERVE, scenario.policy_config, told, record=record
        )
    except ValueError as error:
        raise ConfigError(f"{path}: pool: {error}") from error
    for job in loop.cluster.jobs.values():
        remaining_s = scenario.jobs_remaining_s.get(job.name)
        loop.tell(JobAdded(name=job.name, guests=tuple(dict.fromkeys(job.guests)), remaining_s=remaining_s))
    for shadow in scenario.shadow:
        loop.tell(ShadowAdded(label=shadow.label or shadow.name, name=shadow.name, config=shadow.config))
    for happening in sorted(scenario.happenings, key=lambda one: one.at_s):
        loop.run_until(happening.at_s)
        _let_happen(loop, happening)
    loop.run_until(scenario.until_s)
    for job in loop.cluster.jobs.values():
        loop.log.append(f"{loop.cluster.now_s:.3f} job {job.name} has done {job.steps_done:.1f} steps")
    if scenario.shadow:
        loop.log += _compared(loop)
    return loop


def _compared(loop: ClosedLoop) -> list[str]:
    """What `migctl policy compare` would say at the end."""
    view, now_s = comparison_view(loop.core), loop.cluster.now_s
    lines = [
        f"{now_s:.3f} {each.label}: {each.moves} moves gained {each.gained_s:.1f} s of {each.due_s:.1f} s promised and "
        f"cost {each.cost_s:.1f} s" + ("" if each.is_active else f", ahead by {each.ahead_s:.1f} s")
        for each in view.contenders
    ]
    return [*lines, f"{now_s:.3f} {view.text}"]


def _let_happen(loop: ClosedLoop, happening: Happening) -> None:
    match happening.what:
        case "pause":
            loop.tell(Paused())
        case "resume":
            loop.tell(Resumed())
        case "policy":
            loop.tell(PolicySet(name=happening.of, config={}))
        case "automation" if happening.of:
            loop.tell(JobLimited(name=happening.of, change=JobLimitsChange(automation=happening.level)))
        case "automation":
            loop.tell(AutomationSet(level=happening.level))
        case "controller-stops":
            loop.stop()
        case "controller-starts":
            loop.start()
        case "controller-restarts":
            loop.stop()
            loop.start()
        case _:
            _let_happen_to(loop, happening)


def _let_happen_to(loop: ClosedLoop, happening: Happening) -> None:
    cluster = loop.cluster
    if happening.what == "job-set-back" and happening.of in cluster.jobs:
        cluster.set_back(happening.of, happening.steps)
        return
    uuids = {part.name: part.uuid for parts in (cluster.spec.hosts, cluster.spec.guests) for part in parts}
    if happening.of not in uuids:
        raise ConfigError(f"happening at {happening.at_s:g} s: no host or guest is called {happening.of}")
    uuid = uuids[happening.of]
    match happening.what:
        case "host-dies":
            cluster.fail_host(uuid)
        case "host-returns":
            cluster.restore_host(uuid)
        case "host-disabled":
            loop.disabled.add(uuid)
        case "agent-silent":
            loop.silent.add(uuid)
        case "agent-speaks":
            loop.silent.discard(uuid)
        case "guest-stops":
            cluster.stop_guest(uuid)
        case "hog-ends":
            cluster.stop_hog(uuid)
        case "cancel":
            for migration in tuple(loop.core.memory.in_flight.values()):
                if migration.guest == uuid:
                    loop.tell(CancelRequested(cause=migration.cause))
        case "suspend-hangs":
            cluster.hang_suspend(uuid)
        case "maintenance":
            loop.tell(MaintenanceBegun(host=uuid))
        case "maintenance-ends":
            loop.tell(MaintenanceEnded(host=uuid))
        case "evacuate":
            loop.tell(EvacuationAsked(host=uuid))
        case "approve" | "refuse":
            decided = RecommendationApproved if happening.what == "approve" else RecommendationRefused
            for name in [each.name for each in loop.core.memory.recommendations.values() if uuid in each.guests]:
                loop.tell(decided(name=name))
        case "link":
            cluster.set_link(uuid, happening.bytes_per_s)
        case "job-set-back":
            raise ConfigError(f"happening at {happening.at_s:g} s: {happening.of} is no job")
        case "health":
            cluster.set_health(uuid, happening.health)
        case "cpus":
            loop.cpus_told[uuid] = happening.cpus
        case _:
            raise AssertionError(f"nothing is done for {happening.what}")

"""A scenario is a folder: what the pool is, how the controller is set, what happens when. It runs in virtual time.

scenario.toml     the file below
golden.log        the lines that the run gave when somebody last looked at them and found them right
"""

from pathlib import Path
from typing import Any, Literal

import msgspec

from migd_controller.config import (
    ControllerConfig,
    GuardsSection,
    LedgerSection,
    PhasesSection,
    ProbeSection,
    TelemetrySection,
    TopologySection,
    XapiSection,
)
from migd_controller.events import JobAdded
from migd_core import config
from migd_core.errors import ConfigError
from migd_core.health import UNKNOWN, HostHealth
from migd_core.units import Lasting, NotNegative, Seconds
from migd_policies.rules import RuleSettings
from migd_sim.model import PoolSpec
from migd_sim.run.closed_loop import ClosedLoop


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of a scenario; an unknown key is an error."""


class Happening(Part, frozen=True, kw_only=True):
    """Something done to the cluster at `at_s`. `of` names the host, guest or job; a job goes on from step `steps`."""

    at_s: Seconds
    what: Literal[
        "host-dies", "host-returns", "agent-silent", "agent-speaks", "guest-stops", "link", "health", "job-set-back"
    ]
    of: str
    bytes_per_s: NotNegative = 0.0
    health: HostHealth = UNKNOWN
    steps: NotNegative = 0.0


class Scenario(Part, frozen=True, kw_only=True):
    """The file. `about` says what the run is to show."""

    about: str
    until_s: Lasting
    policy: str
    pool: PoolSpec
    policy_config: dict[str, Any] = {}
    period_s: Lasting = 5.0
    guards: GuardsSection = GuardsSection()
    ledger: LedgerSection = LedgerSection()
    topology: TopologySection = TopologySection()
    phases: PhasesSection = PhasesSection()
    probe: ProbeSection = ProbeSection()
    rules: RuleSettings = RuleSettings()
    jobs_remaining_s: dict[str, Seconds] = {}
    happenings: tuple[Happening, ...] = ()


def run(folder: Path) -> ClosedLoop:
    """Run the scenario in `folder` to its end. Raises ConfigError naming what is wrong in its file."""
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
        rules=scenario.rules,
    )
    try:
        loop = ClosedLoop(scenario.pool, settings, scenario.policy, scenario.policy_config)
    except ValueError as error:
        raise ConfigError(f"{path}: pool: {error}") from error
    for job in loop.cluster.jobs.values():
        remaining_s = scenario.jobs_remaining_s.get(job.name)
        loop.tell(JobAdded(name=job.name, guests=tuple(dict.fromkeys(job.guests)), remaining_s=remaining_s))
    for happening in sorted(scenario.happenings, key=lambda one: one.at_s):
        loop.run_until(happening.at_s)
        _let_happen(loop, happening)
    loop.run_until(scenario.until_s)
    for job in loop.cluster.jobs.values():
        loop.log.append(f"{loop.cluster.now_s:.3f} job {job.name} has done {job.steps_done:.1f} steps")
    return loop


def _let_happen(loop: ClosedLoop, happening: Happening) -> None:
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
        case "agent-silent":
            loop.silent.add(uuid)
        case "agent-speaks":
            loop.silent.discard(uuid)
        case "guest-stops":
            cluster.stop_guest(uuid)
        case "link":
            cluster.set_link(uuid, happening.bytes_per_s)
        case "job-set-back":
            raise ConfigError(f"happening at {happening.at_s:g} s: {happening.of} is no job")
        case "health":
            cluster.set_health(uuid, happening.health)

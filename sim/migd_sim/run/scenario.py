"""A scenario is a folder: what the pool is, how the controller is set, what happens when. It runs in virtual time.

scenario.toml     the file below
golden.log        the lines that the run gave when somebody last looked at them and found them right
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, assert_never

import msgspec
from msgspec import Meta

from migd_controller.config import (
    ControllerConfig,
    GuardsSection,
    LedgerSection,
    TelemetrySection,
    TopologySection,
    XapiSection,
)
from migd_controller.events import JobAdded, PolicySet
from migd_core import config
from migd_core.errors import ConfigError
from migd_core.health import UNKNOWN, HostHealth
from migd_core.units import Lasting, NotNegative, Seconds
from migd_sim.model import PoolSpec
from migd_sim.run.closed_loop import ClosedLoop

# What a happening is of that names no host and no guest.
CONTROLLER: Final = "controller"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of a scenario; an unknown key is an error."""


class Happening(Part, frozen=True, kw_only=True):
    """Something done at `at_s`: to the host or guest that `of` names, to the controller, or by its operator.

    `of` also names the policy that the operator sets. From `suspend-hangs` on a guest cannot be suspended; `cpus` is
    what the pool then says of a host's CPUs.
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
        "link",
        "health",
        "cpus",
        "controller-restarts",
        "policy",
    ]
    of: str = CONTROLLER
    bytes_per_s: NotNegative = 0.0
    health: HostHealth = UNKNOWN
    cpus: Annotated[int, Meta(ge=0)] = 0


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
    if happening.what == "controller-restarts":
        loop.restart_controller()
        return
    if happening.what == "policy":
        loop.tell(PolicySet(name=happening.of, config={}))
        return
    cluster = loop.cluster
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
        case "suspend-hangs":
            cluster.hang_suspend(uuid)
        case "link":
            cluster.set_link(uuid, happening.bytes_per_s)
        case "health":
            cluster.set_health(uuid, happening.health)
        case "cpus":
            loop.cpus_told[uuid] = happening.cpus
        case _:
            assert_never(happening.what)

"""The 48-hour forecast with everything real but the hosts: `python -m benchmarks._brams_live --faster 12`, some hours.

The pool is emulated (`migd-xapi`) and so many times faster; an agent for each of its 16 hosts, the controller under
`job-time`, sockets, keys, journal and XenAPI are what sites run. Loads and other jobs come and go, a host degrades,
fails and dies, another is taken out of service, and the controller is killed and started again, all as in
`benchmarks.brams`, whose virtual run of the same seed stands beside it. One JSON object goes to standard output.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import tomli_w

from migd_cli.client import Client
from migd_cli.demo.children import Brood, Child, brood
from migd_cli.demo.configuration import Endpoints, Files, agent_toml, agents_toml
from migd_cli.demo.emulated_pool import EmulatedPool
from migd_cli.demo.staging import endpoints_of
from migd_cli.failures import Failure
from migd_core import keys
from migd_core.api import JobRequest, MaintenanceRequest, MigrationView, StatusView
from migd_core.errors import MigdError
from migd_core.world import Level
from migd_sim.model import PoolSpec
from migd_sim.run.evaluation.case import Case
from migd_sim.run.forecast.brams import FORECAST, brams
from migd_sim.run.forecast.comparison import MIGD, NOBODY, compare
from migd_sim.run.options import above_zero, whole
from migd_xapi.faults import AnyFault, HealthChanges, HostDies

T = TypeVar("T")

PATIENCE_S: Final = 180.0
LOOKS_EVERY_S: Final = 0.5
CONTROLLER: Final = """\
state_dir = "{folder}/state"
socket = "{folder}/controller.sock"
socket_mode = "0600"
period_s = {period_s}

[telemetry]
listen = "tcp://127.0.0.1:*"
secret_key_file = "{folder}/controller.key_secret"
agents_file = "{folder}/agents.toml"

[http]
listen = "127.0.0.1:0"

[xapi]
url = "{url}"
username = "root"
password_file = "{folder}/xapi.password"

[policy]
name = "job-time"

[guards]
cooldown_s = {cooldown_s}
retry_after_s = {cooldown_s}
behind_at_least_s = {behind_at_least_s}
min_gain_s = {min_gain_s}

[probe]
apart_s = {apart_s}
guest_time_ratio = 0.05
first_age_s = {first_age_s}
window_at_least_s = 2.5
window_at_most_s = 2.5

[ledger]
rule_set = "{rule_set}"
horizon_s = {horizon_s}
life_at_least_s = {life_at_least_s}
warm_up_s = {warm_up_s}

[phases]
wait_at_most_s = {wait_at_most_s}

[topology.links.same-host]
bandwidth_bytes_per_s = {same_host}

[topology.links.same-switch]
bandwidth_bytes_per_s = {same_switch}
"""


@dataclass(frozen=True, slots=True)
class Deed:
    """What the administrator or the batch system does at `at_s` after the start of the pool."""

    at_s: float
    do: Callable[["Cluster"], None]


class Cluster:
    """The processes of one run in a folder: pool, controller and agents."""

    def __init__(self, case: Case, times: float, folder: Path, children: Brood) -> None:
        """Start them, and return once the controller sees all of the pool. Raises MigdError."""
        self._times, self._files, self._children = times, Files(folder), children
        self.case, self.client = case, Client(str(self._files.socket))
        pool = folder / "pool.toml"
        pool.write_text(_pool_file(case), encoding="utf-8")
        hosts = case.pool.checked().hosts
        for name in ("controller", *(host.name for host in hosts)):
            keys.create(folder, name)
        let_in = {host.uuid: keys.read_public(self._files.public_key(host.name)) for host in hosts}
        self._files.agents.write_text(agents_toml(let_in), encoding="utf-8")
        self._files.password.write_text("migd\n", encoding="utf-8")
        any_port = "127.0.0.1:0"
        options = ("--faster", str(times), "--listen", any_port, "--control", any_port, "--log-level", "warning")
        self._pool = children.start("pool", "migd_xapi", "--pool", str(pool), *options)
        self.began_s = time.monotonic()
        ready = _until(lambda: self._pool.output().partition("\n")[0] or None, self._pool)
        told = json.loads(ready)
        self.truth, settings = EmulatedPool(told["control"]).truth, _settings(case.pool, times)
        self._files.config("controller").write_text(
            CONTROLLER.format(folder=folder, url=told["url"], rule_set=case.pool.rule_set, **settings), encoding="utf-8"
        )
        self.controller, endpoints = self._start_controller()
        text = self._files.config("controller").read_text(encoding="utf-8")
        # Started again, it is to be found where the agents look for it.
        self._files.config("controller").write_text(
            text.replace("tcp://127.0.0.1:*", endpoints.telemetry), encoding="utf-8"
        )
        for host in hosts:
            config = agent_toml(self._files, host.name, host.uuid, endpoints, told["control"])
            self._files.config(host.name).write_text(config, encoding="utf-8")
            children.start(f"agent-{host.name}", "migd_agent", "--config", str(self._files.config(host.name)))
        _until(lambda: self._sees(len(hosts)), self.controller)

    def add_job(self, name: str, guests: tuple[str, ...]) -> None:
        asked_s = self.case.asked_s[name] / self._times
        self.client.ask("POST", "/v1/jobs", JobRequest(name=name, guests=list(guests), wall_time_limit_s=asked_s))

    def remove_job(self, name: str) -> None:
        with suppress(Failure):  # an earlier word of it was heard
            self.client.ask("DELETE", f"/v1/jobs/{name}")

    def close(self, host: str) -> None:
        self.client.ask("PUT", f"/v1/hosts/{host}/maintenance", MaintenanceRequest())
        self.client.ask("POST", f"/v1/hosts/{host}/evacuation")

    def open(self, host: str) -> None:
        self.client.ask("DELETE", f"/v1/hosts/{host}/maintenance")

    def kill_controller(self) -> None:
        self.controller.send(signal.SIGKILL)
        if not self.controller.wait(10.0):
            raise MigdError("a killed controller lives on")
        self._children.forget(self.controller)
        self.controller, _ = self._start_controller()

    def _start_controller(self) -> tuple[Child, Endpoints]:
        child = self._children.start("controller", "migd_controller", "--config", str(self._files.config("controller")))
        return child, _until(lambda: endpoints_of(child), child)

    def _sees(self, hosts: int) -> StatusView | None:
        try:
            status = self.client.get("/v1/status", StatusView)
        except Failure:
            return None
        return status if (status.hosts, status.hosts_frozen) == (hosts, 0) else None


def run(seed: int, times: float, weather_h: int) -> dict[str, Any]:
    """Return how long the forecast took, in hours of the cluster's clock, and what was moved. Raises MigdError."""
    case = brams(seed, weather_h)
    job = next(one for one in case.pool.jobs if one.name == FORECAST)
    with _folder() as folder, brood(folder) as children:
        cluster = Cluster(case, times, folder, children)
        deeds = sorted(_deeds(case), key=lambda deed: deed.at_s)
        is_over: set[str] = set()
        while FORECAST not in is_over:
            children.check()
            at_s = (time.monotonic() - cluster.began_s) * times
            while deeds and deeds[0].at_s <= at_s:
                deeds.pop(0).do(cluster)
            for each in cluster.truth().jobs:
                spec = next(one for one in case.pool.jobs if one.name == each.name)
                if each.steps_done >= spec.steps and each.name not in is_over:
                    is_over.add(each.name)
                    cluster.remove_job(each.name)
            if at_s > case.horizon_s:
                raise MigdError(f"job {job.name} is not over after {at_s / 3600:.1f} h of its cluster's time")
            time.sleep(LOOKS_EVERY_S)
        moved = cluster.client.get("/v1/migrations?limit=1000", list[MigrationView])
    states: dict[str, int] = {}
    for view in moved:
        states[view.state] = states.get(view.state, 0) + 1
    return {"forecast_h": at_s / 3600, "migrations": states, "controller_kills": len(case.restarts_s)}


def _deeds(case: Case) -> Iterator[Deed]:
    for job in case.pool.jobs:
        guests = tuple(dict.fromkeys(job.ranks))
        yield Deed(job.starts_s, lambda cluster, name=job.name, guests=guests: cluster.add_job(name, guests))
    for one in case.maintenances:
        yield Deed(one.at_s, lambda cluster, host=one.host: cluster.close(host))
        yield Deed(one.ends_s, lambda cluster, host=one.host: cluster.open(host))
    for at_s in case.restarts_s:
        yield Deed(at_s, lambda cluster: cluster.kill_controller())


def _pool_file(case: Case) -> str:
    faults: list[AnyFault] = [HostDies(at_s=one.at_s, host=one.host, noticed_after_s=60.0) for one in case.deaths]
    for turn in case.turns:
        reasons = (f"its sensors are {turn.state}",)
        faults.append(HealthChanges(at_s=turn.at_s, host=turn.host, state=turn.state, reasons=reasons))
    return tomli_w.dumps({**msgspec.to_builtins(case.pool), "faults": msgspec.to_builtins(faults)})


def _settings(pool: PoolSpec, times: float) -> dict[str, float]:
    """The controller's defaults for a cluster that is so many times faster."""
    defaults_s = {
        "period_s": 5.0,
        "cooldown_s": 1800.0,
        "behind_at_least_s": 60.0,
        "min_gain_s": 10.0,
        "apart_s": 3600.0,
        "first_age_s": 0.05,
        "horizon_s": 14400.0,
        "life_at_least_s": 120.0,
        "warm_up_s": 1.0,
        "wait_at_most_s": 900.0,
    }
    links = {
        "same_host": pool.levels[Level.SAME_HOST].bandwidth_bytes_per_s * times,
        "same_switch": pool.levels[Level.SAME_SWITCH].bandwidth_bytes_per_s * times,
    }
    return {name: value / times for name, value in defaults_s.items()} | links


def _until(look: Callable[[], T | None], child: Child) -> T:
    """Return what `look` finds while `child` lives. Raises ChildDied, or MigdError after `PATIENCE_S`."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (found := look()) is None:
        child.check()
        if time.monotonic() > deadline_s:
            raise MigdError(f"the {child.name} is not ready within {PATIENCE_S:g} s; {child.last_words()}")
        time.sleep(0.1)
    return found


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="migd-brams-") as name:
        yield Path(name)


def main(arguments: list[str]) -> int:
    """Run the forecast live and in virtual time; return the exit code."""
    options = argparse.ArgumentParser(prog="python -m benchmarks._brams_live")
    options.add_argument("--seed", type=whole(0), default=1)
    options.add_argument("--faster", type=above_zero, default=12.0, help="how many times faster the cluster is")
    options.add_argument("--weather-h", type=whole(1), default=48, help="hours of weather that are forecast")
    asked = options.parse_args(arguments)
    try:
        live = run(asked.seed, asked.faster, asked.weather_h)
    except MigdError as error:
        print(error, file=sys.stderr)
        return 1
    virtual = compare(brams(asked.seed, asked.weather_h))
    best_h, nobody_h = virtual.best_forecast_s / 3600, virtual.of(NOBODY).forecast_s / 3600
    figures = {
        "seed": asked.seed,
        "faster": asked.faster,
        "live": live,
        "live_captured_ratio": (nobody_h - live["forecast_h"]) / (nobody_h - best_h),
        "virtual": {
            "best_h": best_h,
            "nobody_h": nobody_h,
            "migd_h": virtual.of(MIGD).forecast_s / 3600,
            "migd_captured_ratio": virtual.of(MIGD).forecast_captured_ratio,
        },
    }
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

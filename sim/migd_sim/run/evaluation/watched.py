"""The controller's own core as a player: a `ClosedLoop` that steps as seldom as nothing changes.

Between two changes every rate is constant, so a control period each five seconds would decide the same thing again and
again. After a change periods follow each other as they do in life; later they wait for a share of the time since then,
which is also what a policy that learns from the age of an imbalance can tell apart.
"""

from math import inf
from pathlib import Path
from typing import Final

from migd_controller.config import (
    ControllerConfig,
    LedgerSection,
    LinkSection,
    ProbeSection,
    TelemetrySection,
    TopologySection,
    XapiSection,
)
from migd_controller.events import AnyEvent, EvacuationAsked, JobRemoved, MaintenanceBegun, MaintenanceEnded
from migd_controller.record.recorder import Sink
from migd_sim.model import Cluster, MigrationEnd
from migd_sim.run.closed_loop import ClosedLoop
from migd_sim.run.evaluation.case import Case
from migd_sim.run.evaluation.reports import REPORTS

# So many periods after a change come at their usual pace; from then on each waits for this share of the time since.
BRISK_PERIODS: Final = 6
WAITS_RATIO: Final = 0.2
# In a run that lasts for days guests are probed less often than by default; their writes do not change.
PROBES_A_RUN: Final = 10


class Watched:
    """One run of the core under one policy; `reports` names what it is told of remaining times.

    All that the core is told and does goes to `record`.
    """

    def __init__(self, case: Case, policy: str, reports: str, record: Sink | None = None) -> None:
        self._case, self._report = case, REPORTS[reports]
        self._loop = ClosedLoop(case.pool, _config(case), policy, clock_errors=case.clock_errors, record=record)
        self.cluster: Cluster = self._loop.cluster
        self.ends: list[MigrationEnd] = self._loop.ends
        self._period_s = self._loop.config.period_s
        self._last_change_s = self._next_tick_s = 0.0
        self._seen = len(self.cluster.log)
        self._announced: set[str] = set()
        self._removed: set[str] = set()
        self._due = _told(case)
        self._loop.step_to(0.0, ticks=False)

    def step(self, until_s: float) -> None:
        """Go on to the next control period, to the end of a probe, or to `until_s`, whichever is first."""
        now_s = self.cluster.now_s
        while self._due and self._due[0][0] <= now_s:
            self._tell(self._due.pop(0)[1])
        probe_ends_s = self._loop.probe_ends_s
        next_s = min(until_s, self._next_tick_s, inf if probe_ends_s is None else max(probe_ends_s, now_s + 0.1))
        ticks = next_s >= self._next_tick_s
        if ticks:
            self._tell_jobs()
        self._loop.step_to(next_s, ticks=ticks)
        if len(self.cluster.log) != self._seen or next_s == until_s:
            self._seen = len(self.cluster.log)
            self._last_change_s = next_s
            self._next_tick_s = next_s + self._period_s
        elif ticks:
            age_s = next_s - self._last_change_s
            brisk = age_s < BRISK_PERIODS * self._period_s
            self._next_tick_s = next_s + (self._period_s if brisk else max(self._period_s, WAITS_RATIO * age_s))

    def _tell(self, event: AnyEvent | None) -> None:
        if event is None:
            self._loop.stop()
            self._loop.start()
        else:
            self._loop.tell(event)

    def _tell_jobs(self) -> None:
        for job in self.cluster.jobs.values():
            if not job.has_begun:
                continue
            if job.is_over:
                if job.name not in self._removed:
                    self._removed.add(job.name)
                    self._loop.tell(JobRemoved(name=job.name))
                continue
            for event in self._report(job, self._case.asked_s[job.name], job.name not in self._announced):
                self._announced.add(job.name)
                self._loop.tell(event)


def _told(case: Case) -> list[tuple[float, AnyEvent | None]]:
    """What the administrator does about the controller, and when: hosts out of service; None is a kill and a start."""
    uuids = {host.name: host.uuid for host in case.pool.checked().hosts}
    told: list[tuple[float, AnyEvent | None]] = [(at_s, None) for at_s in case.restarts_s]
    for one in case.maintenances:
        host = uuids[one.host]
        told += [(one.at_s, MaintenanceBegun(host=host)), (one.at_s, EvacuationAsked(host=host))]
        told.append((one.ends_s, MaintenanceEnded(host=host)))
    return sorted(told, key=lambda due: due[0])


def _config(case: Case) -> ControllerConfig:
    """As an administrator would have it who has measured the levels, and tells the toolstack and the switches."""
    nothing = Path("unused")
    switches: dict[str, list[str]] = {}
    for host in case.pool.hosts:
        switches.setdefault(host.switch, []).append(host.name)
    return ControllerConfig(
        telemetry=TelemetrySection(secret_key_file=nothing, agents_file=nothing),
        xapi=XapiSection(url="unused", username="unused", password_file=nothing),
        ledger=LedgerSection(rule_set=case.pool.rule_set),
        probe=ProbeSection(apart_s=max(ProbeSection().apart_s, case.horizon_s / PROBES_A_RUN)),
        topology=TopologySection(
            switches=switches,
            links={
                level: LinkSection(
                    bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * (1.0 + case.link_errors.get(level, 0.0)),
                    latency_s=link.latency_s,
                )
                for level, link in case.pool.levels.items()
            },
        ),
    )

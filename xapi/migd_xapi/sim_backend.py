"""The backend on a simulated cluster that runs in real time.

The cluster knows virtual time only; here one of its seconds is one of ours, counted from when the backend was made. It
is brought up to now before it is asked or told anything, and often enough in between.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import structs

from migd_core.counters import HostCounters
from migd_core.messages import DirtyCurve
from migd_sim.model.cluster import UNACKNOWLEDGED, CannotMigrate, Cluster
from migd_sim.model.parts import Migration, MigrationEnd
from migd_xapi.backend import BackendGuest, BackendHost, BackendRefusal, MigrationOutcome, Why

PERIOD_S: Final = 0.02
MHZ_AT_SPEED_1: Final = 2400.0
MIGRATIONS_REMEMBERED: Final = 1000


@dataclass(slots=True)
class SimMigration:
    """One migration: what the cluster does, and how it ended."""

    migration: Migration
    cluster: Cluster
    ended: MigrationEnd | None = None

    @property
    def progress_ratio(self) -> float:
        return self.migration.progress_ratio

    def cancel(self) -> bool:
        return self.cluster.cancel(self.migration)

    def truth(self) -> MigrationEnd:
        """Return what it did, or has done so far."""
        return self.ended or self.migration.end(self.cluster.now_s, ok=False, reason="under way")


class SimBackend:
    """A simulated cluster behind the backend's seam."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.began_s = time.monotonic()
        self.migrations: deque[SimMigration] = deque(maxlen=MIGRATIONS_REMEMBERED)

    async def run(self) -> None:
        """Keep the cluster going until cancelled."""
        while True:
            self.settle()
            await asyncio.sleep(PERIOD_S)

    def settle(self) -> None:
        """Bring the cluster up to now."""
        self.cluster.run_until(max(self.cluster.now_s, time.monotonic() - self.began_s))

    def hosts(self) -> Sequence[BackendHost]:
        return [
            BackendHost(
                uuid=host.uuid,
                name=host.name,
                address=host.address,
                cpus=host.cpus,
                cpu_mhz=MHZ_AT_SPEED_1 * host.speed / self.cluster.spec.clock_ratio,
                memory_bytes=host.memory_bytes,
                link_bytes_per_s=host.link_bytes_per_s,
            )
            for host in self.cluster.spec.hosts
        ]

    def guests(self) -> Sequence[BackendGuest]:
        return [
            BackendGuest(
                uuid=guest.uuid,
                name=guest.name,
                host=self.cluster.guests[guest.uuid].host,
                vcpus=guest.vcpus,
                memory_bytes=guest.memory_bytes,
                mac=guest.mac,
                tags=guest.tags,
            )
            for guest in self.cluster.spec.guests
        ]

    def begin_migration(
        self, guest: str, target: str, memory_bytes: int, on_end: Callable[[MigrationOutcome], None]
    ) -> SimMigration:
        self.settle()
        try:
            migration = self.cluster.start_migration(guest, target, lambda end: finish(end), memory_bytes)
        except CannotMigrate as error:
            raise BackendRefusal(str(error)) from error
        record = SimMigration(migration, self.cluster)
        self.migrations.append(record)

        def finish(end: MigrationEnd) -> None:
            record.ended = end
            on_end(MigrationOutcome(end.ok, end.reason, self._why(end), is_suspended=not end.ok and end.stood_still))

        return record

    def _why(self, end: MigrationEnd) -> Why:
        if end.reason == UNACKNOWLEDGED:
            return Why.UNACKNOWLEDGED
        return Why.OTHER if self.cluster.hosts[end.source].is_up else Why.SOURCE_DIED

    def start(self, guest: str, host: str) -> None:
        self.settle()
        try:
            self.cluster.start_guest(guest, host)
        except ValueError as error:
            raise BackendRefusal(str(error)) from error

    def stop(self, guest: str) -> None:
        self.settle()
        self.cluster.stop_guest(guest)

    def pause(self, guest: str) -> None:
        self.settle()
        try:
            self.cluster.pause_guest(guest)
        except ValueError as error:
            raise BackendRefusal(str(error)) from error

    def unpause(self, guest: str) -> None:
        self.settle()
        self.cluster.unpause_guest(guest)

    def counters(self, host: str) -> HostCounters:
        self.settle()
        if not self.cluster.hosts[host].is_up:
            raise BackendRefusal(f"host {self.cluster.hosts[host].spec.name} is down")
        counters = self.cluster.counters(host)
        return structs.replace(counters, at_s=self.began_s + counters.at_s)

    def wanted_vcpus(self, host: str) -> float:
        residents = [each for each in self.cluster.guests.values() if each.host == host and not each.stands_still]
        return self.cluster.hosts[host].dom0_cpu_rate + sum(
            min(float(each.spec.vcpus), each.busy_vcpus + each.spec.base_demand_vcpus) for each in residents
        )

    def dirty_curve(self, guest: str, ages_s: tuple[float, ...]) -> DirtyCurve:
        """Return what log-dirty would count on a running guest."""
        self.settle()
        curve = self.cluster.dirty_curve(guest, ages_s)
        return structs.replace(curve, measured_s=self.began_s + curve.measured_s)

    def domid(self, guest: str) -> int:
        state = self.cluster.guests[guest]
        return state.domid if state.is_running else -1

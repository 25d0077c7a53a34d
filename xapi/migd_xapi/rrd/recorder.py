"""The histories of a pool's hosts and guests: every five seconds all counters are read, and each becomes steps.

Sampling follows the pool's own clock, at whole multiples of five seconds. In a cluster that runs N times faster it does
so too: to a client all of that cluster's processors and links are N times faster, and not its clocks.

A guest's history goes where the guest goes: it is one object here, and whose it is stands in the guest's record.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from migd_core.counters import GuestCounters, HostCounters
from migd_xapi.backend import Backend, BackendRefusal
from migd_xapi.clock import Clock
from migd_xapi.database import Database, Row
from migd_xapi.rrd.measures import (
    GuestFacts,
    HostFacts,
    Reading,
    dom0_counters,
    guest_readings,
    host_readings,
    load_average,
)
from migd_xapi.rrd.round_robin import STEP_S, RoundRobin
from migd_xapi.rrd.source import Source

# A guest that moves to a host that was just measured is missed once.
LONGEST_GAP_S: Final = 2.5 * STEP_S
# With this in the pool's other_config, new histories of guests keep the least and greatest of longer rows too.
WITH_EXTREMES: Final = "create_min_max_in_new_VM_RRDs"


class History:
    """One host's or guest's database, and all data sources that it could record. `epoch` is its boot or domain."""

    def __init__(self, at_s: float, *, with_extremes: bool) -> None:
        self.database = RoundRobin(at_s, with_extremes=with_extremes)
        self.sources: dict[str, Source] = {}
        self._epoch = ""

    def take(self, at_s: float, epoch: str, readings: Iterable[Reading]) -> None:
        """Take in readings; of a longer time without any nothing is known."""
        values: dict[str, float] = {}
        for source, value in readings:
            values[source.name] = value
            if source.name not in self.sources:
                self.sources[source.name] = source
                if source.is_standard:
                    self.database.record(source)
        if at_s - self.database.updated_s > LONGEST_GAP_S:
            self.database.skip(at_s)
        self.database.update(at_s, values, count_from_zero=epoch != self._epoch)
        self._epoch = epoch


class Recorder:
    """All histories of a pool, by uuid."""

    def __init__(self, db: Database, clock: Clock, backend: Backend) -> None:
        self._db = db
        self._clock = clock
        self._backend = backend
        self._histories: dict[str, History] = {}
        self._loads: dict[str, tuple[float, HostCounters]] = {}

    def of(self, row: Row) -> History | None:
        """Return the history of a host or guest, None where nothing was ever measured."""
        return self._histories.get(row["uuid"])

    def residents(self, host: Row) -> Iterator[tuple[str, History]]:
        """Yield uuid and history of each guest that is on a host by its record, Dom0 included."""
        for ref in host["resident_VMs"]:
            vm = self._db.get("VM", ref)
            if (history := self.of(vm)) is not None:
                yield vm["uuid"], history

    async def run(self) -> None:
        """Sample until cancelled."""
        await self.sample()
        while True:
            await asyncio.sleep(STEP_S - self._now_s() % STEP_S)
            await self.sample()

    async def sample(self) -> None:
        """Measure all hosts, one after the other, so that no client waits for all of them."""
        for host in [*self._db.rows("host")]:
            self._measure(host)
            await asyncio.sleep(0)
        for uuid in [*self._histories]:
            if not self._exists(uuid):
                del self._histories[uuid]

    def _now_s(self) -> float:
        return self._clock.now().timestamp()

    def _exists(self, uuid: str) -> bool:
        return self._db.find_by_uuid("VM", uuid) is not None or self._db.find_by_uuid("host", uuid) is not None

    def _measure(self, host: Row) -> None:
        """Take in what a host and its guests have counted by now."""
        try:
            counters = self._backend.counters(host["uuid"])
        except BackendRefusal:
            return
        at_s = self._now_s()
        vms = {
            vm["uuid"]: vm for guest in counters.guests if (vm := self._db.find_by_uuid("VM", guest.uuid)) is not None
        }
        readings = host_readings(counters, self._host_facts(host, counters, vms), self._load(counters))
        self._record(host["uuid"], at_s, counters.boot_id, readings, with_extremes=True)
        with_extremes = self._with_extremes()
        for guest in counters.guests:
            if (vm := vms.get(guest.uuid)) is not None:
                self._take_guest(vm, guest, f"{counters.boot_id} {guest.domid}", at_s, with_extremes)
        dom0 = self._db.find("VM", host["control_domain"])
        if dom0 is not None:
            guest = dom0_counters(counters, dom0["uuid"], dom0["VCPUs_max"])
            self._take_guest(dom0, guest, counters.boot_id, at_s, with_extremes)

    def _take_guest(self, vm: Row, guest: GuestCounters, epoch: str, at_s: float, with_extremes: bool) -> None:
        readings = guest_readings(guest, self._guest_facts(vm))
        self._record(vm["uuid"], at_s, epoch, readings, with_extremes=with_extremes)

    def _record(self, uuid: str, at_s: float, epoch: str, readings: Iterable[Reading], *, with_extremes: bool) -> None:
        history = self._histories.get(uuid)
        if history is None:
            history = self._histories[uuid] = History(at_s, with_extremes=with_extremes)
        history.take(at_s, epoch, readings)

    def _load(self, counters: HostCounters) -> float:
        """Return Dom0's load average by now."""
        load, last = self._loads.get(counters.host_uuid, (0.0, counters))
        interval_s = counters.at_s - last.at_s
        if interval_s > 0 and counters.boot_id == last.boot_id:
            load = load_average(load, (counters.dom0_cpu_s - last.dom0_cpu_s) / interval_s, interval_s)
        self._loads[counters.host_uuid] = load, counters
        return load

    def _host_facts(self, host: Row, counters: HostCounters, vms: dict[str, Row]) -> HostFacts:
        nics = [self._db.get("PIF", ref)["device"] for ref in host["PIFs"]]
        return HostFacts(
            pif=nics[0] if nics else "eth0",
            wanted_vcpus=self._backend.wanted_vcpus(host["uuid"]),
            running_domains=1 + sum(not guest.is_paused for guest in counters.guests),
            memory_reclaimed_bytes=sum(vm["memory_dynamic_max"] - vm["memory_target"] for vm in vms.values()),
            memory_reclaimable_bytes=sum(vm["memory_target"] - vm["memory_dynamic_min"] for vm in vms.values()),
        )

    def _guest_facts(self, vm: Row) -> GuestFacts:
        metrics = self._db.find("VM_metrics", vm["metrics"])
        disks = (self._db.get("VBD", ref) for ref in vm["VBDs"])
        return GuestFacts(
            memory_bytes=metrics["memory_actual"] if metrics is not None else vm["memory_target"],
            memory_target_bytes=vm["memory_target"],
            vifs=tuple(sorted(self._db.get("VIF", ref)["device"] for ref in vm["VIFs"])),
            disks=tuple(disk["device"] for disk in disks if disk["currently_attached"]),
        )

    def _with_extremes(self) -> bool:
        pool = next(iter(self._db.rows("pool")))
        return bool(pool["other_config"].get(WITH_EXTREMES) == "true")

"""A controller whose page answers over real TCP, in a thread of its own; what its agents and its pool say is staged.

Core, journal, API and event stream are the real ones. Time is the cluster's own: it passes when a test lets it.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from cluster_of_events import CONFIG, CPUS, Cluster, pool_guest, pool_host
from msgspec.structs import replace

from migd_controller.api import Api
from migd_controller.commands import AnyCommand, StartMigration
from migd_controller.config import ControllerConfig, HttpSection, TopologySection
from migd_controller.control import Clock, Control
from migd_controller.events import (
    AnyEvent,
    MigrationAccepted,
    MigrationEnded,
    MigrationProgressed,
    SampleArrived,
    ShadowTurn,
    Tick,
)
from migd_controller.http.service import Service
from migd_controller.intake import IntakeCounts
from migd_controller.journal import Journal
from migd_controller.metrics import Metrics
from migd_controller.timeline_store import TimelineStore
from migd_core.api import Role
from migd_core.messages import DirtyCurve, FlowSample, HostSample
from migd_core.progress import Progress
from migd_core.units import GIB, PAGE_BYTES

T = TypeVar("T")
LIMIT_S = 20.0
PERIOD_S = int(CONFIG.period_s)
# What the agents' own clock, by which they date what they measure, is behind Unix time.
BEHIND_S = 1e9


class StagedCluster(Cluster):
    """A cluster whose guests also talk to each other, write memory and tell how far their job is."""

    def __init__(self, hosts: list[Any], guests: list[Any], config: ControllerConfig) -> None:
        super().__init__(hosts, guests, config)
        self.now_s = float(int(time.time()))
        self.wants: dict[str, float] = {}
        self.talks: dict[tuple[str, str], float] = {}  # bytes per second from one guest to another
        self.curves: dict[str, DirtyCurve] = {}
        self.done: dict[str, Progress] = {}  # by the guest that tells it

    def sample(self, host: str, wants: dict[str, float]) -> HostSample:
        sample = super().sample(host, wants)
        here = {guest.uuid for guest in sample.guests}
        sent = dict.fromkeys(here, 0.0)
        heard = dict(sent)
        for (a, b), rate in self.talks.items():
            if a in here:
                sent[a] += rate
            if b in here:
                heard[b] += rate
        guests = tuple(
            replace(
                guest,
                tx_bytes_per_s=sent[guest.uuid],
                rx_bytes_per_s=heard[guest.uuid],
                dirty_curve=self._counted(guest.uuid),
                progress=self.done.get(guest.uuid),
            )
            for guest in sample.guests
        )
        flows = tuple(
            FlowSample(f"mac-{a}", f"mac-{b}", rate) for (a, b), rate in self.talks.items() if a in here or b in here
        )
        return replace(sample, monotonic_s=self.now_s - BEHIND_S, guests=guests, flows=flows)

    def _counted(self, guest: str) -> DirtyCurve | None:
        """Return the guest's curve as its agent dates it."""
        known = self.curves.get(guest)
        return replace(known, measured_s=known.measured_s - BEHIND_S) if known is not None else None


def curve(pages_per_s: float, working_set_bytes: float, *, measured_s: float = 1.0) -> DirtyCurve:
    """A guest that writes at random within its working set, as counted at eleven ages up to 20 s."""
    pages = working_set_bytes / PAGE_BYTES
    ages = [round(0.05 * 400 ** (n / 10), 4) for n in range(11)]
    counts = tuple(int(pages * (1 - math.exp(-pages_per_s * age / pages))) for age in ages)
    return DirtyCurve(ages_s=tuple(ages), unique_pages=counts, measured_s=measured_s)


def cluster(racks: int, hosts: int, guests: int, ranks: int = 16, **settings: Any) -> StagedCluster:
    """`racks` switches with `hosts` hosts between them and `guests` guests, in jobs of `ranks`, every fifth in none."""
    names = [f"xen{n + 1:02}" for n in range(hosts)]
    switches = {f"rack{r + 1}": names[r * hosts // racks : (r + 1) * hosts // racks] for r in range(racks)}
    config = replace(CONFIG, **{"topology": TopologySection(switches=switches), **settings})
    inventory = []
    kinds: list[list[str]] = []
    for n in range(guests):
        if n % 5 == 4:
            name = f"vm{n // 5}"
        else:
            rank = len(kinds[-1]) if kinds else ranks
            if rank == ranks:
                kinds.append([])
                rank = 0
            name = f"job{len(kinds)}-{rank}"
            kinds[-1].append(name)
        inventory.append(pool_guest(name, names[n * hosts // guests], macs=(f"mac-{name}",), memory_bytes=2 * GIB))
    staged = StagedCluster([pool_host(name) for name in names], inventory, config)
    mean_vcpus = 0.55 * CPUS * hosts / max(guests, 1)
    for n, guest in enumerate(inventory):
        staged.wants[guest.name] = min(1.0, mean_vcpus * (0.5 + n * 7 % 10 / 10))
    for ranks_of in kinds:
        for n, name in enumerate(ranks_of):
            staged.talks[name, ranks_of[(n + 1) % len(ranks_of)]] = 2e6 * (1 + n % 5)
    return staged


class _ClusterTime(Clock):
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def now_s(self) -> float:
        return self._cluster.now_s


class Staged:
    """One controller, whose page answers at `url`."""

    def __init__(self, folder: Path, cluster: StagedCluster, listen: str = "127.0.0.1:0") -> None:
        self.cluster = cluster
        http = HttpSection(listen=listen)
        config: ControllerConfig = msgspec.structs.replace(cluster.core.config, state_dir=folder, http=http)
        cluster.core.config = config
        self._folder, self._config = folder, config
        self.commands: list[AnyCommand] = []
        self.under_way: dict[str, StartMigration] = {}
        self._tokens: dict[Role, str] = {}
        self._ready: Future[str] = Future()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> "Staged":
        """Serve from now on."""
        self._thread.start()
        self.url = self._ready.result(LIMIT_S)
        return self

    def stop(self) -> None:
        """End everything."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(LIMIT_S)

    def do(self, what: Callable[[], T]) -> T:
        """Return what a function of the controller's own thread returns."""

        async def doing() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(doing(), self._loop).result(LIMIT_S)

    def token(self, role: Role = Role.OPERATOR) -> str:
        """Return a token of that role."""
        if role not in self._tokens:
            self._tokens[role] = self.do(lambda: self.service.tokens.new(f"the-{role.value}", role, 0.0))
        return self._tokens[role]

    def tell(self, event: AnyEvent) -> list[AnyCommand]:
        """Let an event happen."""
        return list(self.do(lambda: self.control.dispatch(event)))

    def pass_time(self, periods: int = 1) -> None:
        """Let control periods pass."""
        for _ in range(periods):
            self.do(self._period)

    def _period(self) -> None:
        cluster = self.cluster
        cluster.now_s += PERIOD_S
        cluster.sequence += PERIOD_S
        for host in cluster.hosts.values():
            if host.uuid not in cluster.silent:
                sample = replace(cluster.sample(host.uuid, cluster.wants), interval_s=float(PERIOD_S))
                self.control.dispatch(SampleArrived(sample=sample))
        self.control.dispatch(Tick())
        if cluster.core.memory.contest.shadows:
            self.control.dispatch(ShadowTurn())

    def started(self) -> list[StartMigration]:
        """Return the migrations that were asked of the pool and not looked at yet, and let the pool accept them."""
        found = [command for command in self.commands if isinstance(command, StartMigration)]
        self.commands.clear()
        for each in found:
            self.tell(MigrationAccepted(cause=each.cause, task=f"task-{each.cause}"))
        return found

    def progress(self, cause: str, ratio: float) -> None:
        """Let the pool tell how far a migration is."""
        self.tell(MigrationProgressed(cause=cause, progress_ratio=ratio))

    def finish(self, migration: StartMigration, *, ok: bool = True, code: str = "", text: str = "") -> None:
        """Let a migration end, on its target or where it was."""
        host = migration.target if ok else migration.source
        if ok:
            guest = self.cluster.guests[migration.guest]
            self.cluster.guests[migration.guest] = replace(guest, host=host)
        self.tell(MigrationEnded(cause=migration.cause, host_now=host, code=code, text=text))

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)  # whoever waits for the start is told why there is none

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        core = self.cluster.core
        journal = Journal(self._folder / "journal.sqlite")
        timeline = TimelineStore(self._folder / "timeline.sqlite")
        self.control = Control(core, journal, _ClusterTime(self.cluster))
        self.control.submit = self.commands.append
        self.control.watchers.append(timeline.watcher(core))
        counts = IntakeCounts()
        metrics = Metrics(self.control, counts, self._folder)
        self.service = Service(Api(self.control, counts, timeline.timeline), self.control, self._config, metrics)
        beside = asyncio.create_task(self.service.run())
        try:
            async with self.service.over_tcp() as url:
                assert url is not None
                self._ready.set_result(url)
                await self._stop.wait()
        finally:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
            timeline.close()
            journal.close()

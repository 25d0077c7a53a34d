"""A cluster told to a core as events: inventory, samples, ticks, the ends of migrations. Time is a number."""

from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from migd_controller.commands import AnyCommand, RecordDecision, StartMigration
from migd_controller.config import ControllerConfig, GuardsSection, LedgerSection, TelemetrySection, XapiSection
from migd_controller.core import Core, first_memory
from migd_controller.decision import Decision
from migd_controller.events import (
    AnyEvent,
    InventoryChanged,
    PolicySet,
    PoolGuest,
    PoolHost,
    PoolReachability,
    SampleArrived,
    ShadowTurn,
    Tick,
)
from migd_controller.memory import Memory
from migd_core.health import UNKNOWN, HostHealth
from migd_core.messages import GuestSample, HostSample
from migd_core.units import GIB

CONFIG = ControllerConfig(
    telemetry=TelemetrySection(secret_key_file=Path("key"), agents_file=Path("agents"), stale_after_s=5.0),
    xapi=XapiSection(url="http://127.0.0.1", username="u", password_file=Path("p")),
    period_s=5.0,
    guards=GuardsSection(cooldown_s=600.0, min_gain_s=1.0, max_concurrent=4),
    ledger=LedgerSection(horizon_s=3600.0, life_at_least_s=3600.0),
)
CPUS = 4


def pool_host(name: str, **values: object) -> PoolHost:
    """A host of 4 CPUs and 64 GiB."""
    host = PoolHost(uuid=name, name=name, is_enabled=True, is_live=True, cpus=CPUS, memory_for_guests_bytes=64 * GIB)
    return replace(host, **values)


def pool_guest(name: str, on: str, **values: object) -> PoolGuest:
    """A guest of one vCPU and 4 GiB."""
    return replace(PoolGuest(uuid=name, name=name, host=on, vcpus=1, memory_bytes=4 * GIB), **values)


class Cluster:
    """A core, the cluster it is told of, and everything it commanded."""

    def __init__(
        self,
        hosts: Iterable[PoolHost],
        guests: Iterable[PoolGuest],
        config: ControllerConfig = CONFIG,
        memory: Memory | None = None,
    ) -> None:
        self.core = Core(config, memory if memory is not None else first_memory(config))
        self.hosts = {host.uuid: host for host in hosts}
        self.guests = {guest.uuid: guest for guest in guests}
        self.now_s = 1_000_000.0
        self.sequence = 0
        self.commands: list[AnyCommand] = []
        self.silent: set[str] = set()
        self.failing_collectors: dict[str, tuple[str, ...]] = {}
        self.health: dict[str, HostHealth] = {}
        self.tell(PoolReachability(is_reachable=True))
        self.tell_inventory()

    def tell(self, event: AnyEvent) -> list[AnyCommand]:
        """Hand one event to the core at the present time."""
        commands = self.core.handle(event, self.now_s)
        self.commands += commands
        return commands

    def tell_inventory(self) -> None:
        """Tell the whole inventory, as after a reconnection."""
        self.tell(
            InventoryChanged(hosts=tuple(self.hosts.values()), guests=tuple(self.guests.values()), is_complete=True)
        )

    def set_policy(self, name: str, **config: object) -> None:
        """Choose a policy as an operator does."""
        self.tell(PolicySet(name=name, config=config))

    def run(self, periods: int, wants: dict[str, float] | None = None) -> Decision:
        """Let periods pass in which each guest wants that many vCPUs (1 if not named); return the last decision."""
        decision = None
        for _ in range(periods):
            self.measure(int(CONFIG.period_s), wants or {})
            for command in self.tell(Tick()):
                if isinstance(command, RecordDecision):
                    decision = command.decision
            if self.core.memory.contest.shadows:
                self.tell(ShadowTurn())
        assert decision is not None
        return decision

    def measure(self, seconds: int, wants: dict[str, float]) -> None:
        """Let each host send a sample a second."""
        for _ in range(seconds):
            self.now_s += 1.0
            self.sequence += 1
            for host in self.hosts.values():
                if host.uuid not in self.silent:
                    self.tell(SampleArrived(sample=self.sample(host.uuid, wants)))

    def sample(self, host: str, wants: dict[str, float]) -> HostSample:
        """Share the host's CPUs max-min among what its guests want, as the scheduler would."""
        residents = [guest for guest in self.guests.values() if guest.host == host]
        wanted = {guest.uuid: wants.get(guest.uuid, 1.0) for guest in residents}
        got = _max_min(wanted, {guest.uuid: guest.vcpus for guest in residents}, CPUS)
        return HostSample(
            host_uuid=host,
            boot_id="boot",
            sequence=self.sequence,
            monotonic_s=self.now_s,
            interval_s=1.0,
            cpus=CPUS,
            cpu_ratio=min(1.0, sum(got.values()) / CPUS),
            dom0_cpu_ratio=0.0,
            memory_bytes=64 * GIB,
            memory_free_bytes=0,
            rx_bytes_per_s=0.0,
            tx_bytes_per_s=0.0,
            link_bytes_per_s=125e6,
            failed_collectors=self.failing_collectors.get(host, ()),
            health=self.health.get(host, UNKNOWN),
            guests=tuple(
                GuestSample(
                    uuid=guest.uuid,
                    vcpus=guest.vcpus,
                    cpu_ratio=got[guest.uuid] / guest.vcpus,
                    memory_bytes=guest.memory_bytes,
                    rx_bytes_per_s=0.0,
                    tx_bytes_per_s=0.0,
                )
                for guest in residents
            ),
        )

    @property
    def started(self) -> list[StartMigration]:
        """Every migration that was asked for."""
        return [command for command in self.commands if isinstance(command, StartMigration)]


def _max_min(wanted: dict[str, float], vcpus: dict[str, int], cpus: float) -> dict[str, float]:
    got, left = dict.fromkeys(wanted, 0.0), cpus
    open_ = {uuid for uuid, want in wanted.items() if want > 0}
    while open_ and left > 1e-9:
        level = left / sum(vcpus[uuid] for uuid in open_)
        for uuid in sorted(open_):
            step = min(level * vcpus[uuid], wanted[uuid] - got[uuid])
            got[uuid] += step
            left -= step
        open_ = {uuid for uuid in open_ if wanted[uuid] - got[uuid] > 1e-9}
    return got

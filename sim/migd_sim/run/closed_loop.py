"""The controller's own core and the simulated cluster, closed into one loop in virtual time.

The core gets what it gets in production: samples formed by the same function from the same counters, the pool's
inventory, the ends of migrations. Its commands go to the cluster. Only sockets, threads and disks are missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from migd_controller.commands import (
    AnyCommand,
    BeginProbe,
    CancelMigration,
    EndProbe,
    FollowMigration,
    RecordDecision,
    RecordHealth,
    RecordMigration,
    RecordRecommendation,
    RecordSet,
    RecordShadow,
    RevokeProbe,
    StartMigration,
)
from migd_controller.config import ControllerConfig
from migd_controller.core import Core
from migd_controller.decision import Decision
from migd_controller.events import (
    AgentListens,
    AnyEvent,
    InventoryChanged,
    MigrationAccepted,
    MigrationEnded,
    PoolGuest,
    PoolHost,
    PoolReachability,
    ProbeEnded,
    SampleArrived,
    ShadowTurn,
    Tick,
)
from migd_controller.leases import Lease
from migd_controller.memory import Memory
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet, StepState
from migd_controller.quiet import PHASE
from migd_controller.recommendations import Recommendation
from migd_controller.record.recorder import RecordedCore, Sink
from migd_core.counters import HostCounters
from migd_core.rates import Stamp, form
from migd_policies.policy import Policy
from migd_sim.model import CannotMigrate, Cluster, MigrationEnd, PoolSpec
from migd_sim.run.sim_agent import SimAgent
from migd_sim.run.told import Told

SAMPLE_S: Final = 1.0
# Virtual time starts at this Unix time: 2026-01-01 00:00 UTC.
EPOCH_S: Final = 1_767_225_600.0
# What the pool says of the clock of a host whose speed is 1.
MHZ_AT_SPEED_1: Final = 2400.0


@dataclass(slots=True)
class ClosedLoop:
    """One run. `log` tells it in plain lines; `decisions` and `migrations` hold what the core recorded.

    `instead` is a policy that no registry knows, in place of the named one. Hosts (uuids) that are `silent` send no
    samples; those `disabled` are so in the pool, and `cpus_told` is what the pool says of the CPUs of some, true
    or not. `clock_errors` are, by host name, how much more its clock promises than its CPUs do. What the core is told,
    and does about it, goes to `record`.
    """

    spec: PoolSpec
    config: ControllerConfig
    policy: str
    policy_config: Mapping[str, Any] = field(default_factory=dict)
    instead: Policy | None = None
    clock_errors: Mapping[str, float] = field(default_factory=dict)
    record: Sink | None = None
    cluster: Cluster = field(init=False)
    core: Core = field(init=False)
    _mind: Core | RecordedCore = field(init=False)  # the core, recorded or not
    log: list[str] = field(init=False, default_factory=list)
    decisions: list[Decision] = field(init=False, default_factory=list)
    migrations: dict[str, Migration] = field(init=False, default_factory=dict)
    sets: dict[str, MoveSet] = field(init=False, default_factory=dict)
    ends: list[MigrationEnd] = field(init=False, default_factory=list)
    silent: set[str] = field(init=False, default_factory=set)
    disabled: set[str] = field(init=False, default_factory=set)
    cpus_told: dict[str, int] = field(init=False, default_factory=dict)
    _readings: dict[str, HostCounters] = field(init=False, default_factory=dict)
    _hosts: dict[str, PoolHost] = field(init=False, default_factory=dict)
    _guests: dict[str, PoolGuest] = field(init=False, default_factory=dict)
    _agents: dict[str, SimAgent] = field(init=False, default_factory=dict)
    _blocks: dict[str, str] = field(init=False, default_factory=dict)
    _is_down: bool = field(init=False, default=False)
    _sequence: int = field(init=False, default=0)
    _noted: int = field(init=False, default=0)
    _next_tick_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.spec)
        self._next_tick_s = self.config.period_s
        self._agents = {uuid: SimAgent() for uuid in self.cluster.hosts}
        self._begin(Memory(policy=self.policy, policy_config=dict(self.policy_config)))

    def stop(self) -> None:
        """End the controller as a power cut would: what happens meanwhile, nobody hears of."""
        self._note("the controller stops")
        self._is_down = True

    def start(self) -> None:
        """Start the controller again, with nothing but what it had on disk."""
        self._note("the controller starts")
        self._is_down = False
        on_disk = msgspec.msgpack.encode(self.core.memory)
        self._begin(msgspec.msgpack.decode(on_disk, type=Memory))

    def _begin(self, memory: Memory) -> None:
        self.core = Core(self.config, memory)
        if self.instead is not None:
            self.core.policy = self.instead
        now_s = EPOCH_S + self.cluster.now_s
        self._mind = self.core if self.record is None else self._recorded(self.record, now_s)
        for command in self._mind.adopt(now_s):
            self._carry_out(command)
        self._hosts, self._guests = {}, {}
        self.tell(PoolReachability(is_reachable=True))
        self._tell_inventory(is_complete=True)
        for uuid in self.cluster.hosts:
            self.tell(AgentListens(host=uuid, listens=True))

    def _recorded(self, record: Sink, now_s: float) -> RecordedCore:
        wants = self.instead.wants if isinstance(self.instead, Told) else None
        return RecordedCore(self.core, record, now_s, wants)

    def run_until(self, t_s: float) -> None:
        """Let virtual time pass up to `t_s`: a sample a second from every host, a tick a period."""
        while (sample_s := (self._sequence + 1) * SAMPLE_S) <= t_s:
            if ticks := sample_s >= self._next_tick_s:
                self._next_tick_s += self.config.period_s
            self.step_to(sample_s, ticks=ticks)

    def step_to(self, t_s: float, *, ticks: bool) -> None:
        """Let virtual time pass up to `t_s` in one step: one sample from every host then, and a tick if it `ticks`."""
        self._sequence += 1
        self.cluster.run_until(t_s)
        self._note_cluster()
        self._tell_inventory()
        for uuid in self.cluster.hosts:
            self._tell_sample(uuid)
        if ticks:
            self.tell(Tick())
            if self.core.memory.contest.shadows:
                self.tell(ShadowTurn())

    @property
    def probe_ends_s(self) -> float | None:
        """When the next probe under way has its curve; a step past it may find the lease expired."""
        return min((end for agent in self._agents.values() if (end := agent.ends_s) is not None), default=None)

    def tell(self, event: AnyEvent) -> None:
        """Hand the core one event at the present moment and carry out what it commands."""
        if self._is_down:
            return
        for command in self._mind.handle(event, EPOCH_S + self.cluster.now_s):
            self._carry_out(command)

    def host_of(self, guest_name: str) -> str | None:
        """Return the name of the host that a guest runs on."""
        state = next(found for found in self.cluster.guests.values() if found.spec.name == guest_name)
        return self.cluster.hosts[state.host].spec.name if state.host is not None else None

    def _carry_out(self, command: AnyCommand) -> None:
        match command:
            case RecordDecision(decision=decision):
                self.decisions.append(decision)
                for candidate in decision.candidates:
                    refused = [gate.name for gate in candidate.gates if not gate.passed]
                    name = self.core.inventory.guest_name(candidate.guest)
                    outcome = f"refused by {', '.join(refused)}" if refused else "accepted"
                    if refused == [PHASE]:
                        outcome = "waits for a quiet phase"
                    self._note(f"{decision.cause} {decision.policy} proposes {name}: {outcome}")
            case RecordMigration(migration=migration):
                self.migrations[migration.cause] = migration
                if migration.is_over:
                    self._note(f"{migration.cause} {migration.guest_name} {migration.state}")
            case RecordSet(move_set=move_set):
                self._note_set(move_set)
            case RecordRecommendation(recommendation=recommendation):
                self._note_recommendation(recommendation)
            case RecordShadow(shadow=label, decision=decision, problem=problem):
                moves = [
                    f"{self.core.inventory.guest_name(each.guest)} to {self.core.inventory.host_name(each.target)}"
                    for each in decision.candidates
                    if each.is_accepted
                ]
                self._note(f"shadow {label} would move {', '.join(moves)}" if moves else f"shadow {label}: {problem}")
            case RecordHealth(host_name=name, health=health):
                self._note(
                    f"host {name} is {health.state}: {health.text}"
                    if health.reasons
                    else f"host {name} is {health.state}"
                )
            case StartMigration():
                self._start(command)
            case BeginProbe(lease=lease):
                self._begin_probe(lease)
            case RevokeProbe(lease=lease):
                self._agents[lease.host].revoke(lease.lease)
            case EndProbe(lease=lease, text=text):
                self._blocks.pop(lease.guest, None)
                self.tell(ProbeEnded(lease=lease.lease, text=text))
            case CancelMigration(cause=cause):
                self._cancel(cause)
            case FollowMigration(cause=cause, guest=guest):
                state = self.cluster.guests[guest]
                if state.migration is None:  # it ended while nobody listened
                    self.tell(MigrationEnded(cause=cause, host_now=state.host))

    def _note_recommendation(self, recommendation: Recommendation) -> None:
        moves = [
            f"{self.core.inventory.guest_name(move.guest)} to {self.core.inventory.host_name(move.target)}"
            for move in recommendation.moves
        ]
        text = f": {recommendation.text}" if recommendation.text else ""
        self._note(f"{recommendation.name} {', '.join(moves)} {recommendation.standing}{text}")

    def _note_set(self, move_set: MoveSet) -> None:
        """Tell the order of a set that has one when it is begun, and each step that is dropped."""
        before = self.sets.get(move_set.name)
        self.sets[move_set.name] = move_set
        if before is None and any(step.after for step in move_set.steps):
            for step in move_set.steps:
                waits = move_set.waits_for(step)
                self._note(f"{move_set.name} step {step.number + 1}: {step.label}" + (f", {waits}" if waits else ""))
        was = {step.number: step.state for step in before.steps} if before is not None else {}
        for step in move_set.steps:
            if step.state is StepState.DROPPED and was.get(step.number) is not StepState.DROPPED:
                self._note(f"{move_set.name} step {step.number + 1}: {step.label} dropped: {step.text}")

    def _begin_probe(self, lease: Lease) -> None:
        state = self.cluster.guests[lease.guest]
        if state.host != lease.host or state.migration is not None:
            self.tell(ProbeEnded(lease=lease.lease, text="the guest is not idle on its host"))
            return
        self._blocks[lease.guest] = lease.lease
        self._agents[lease.host].begin(lease.for_agent, self.cluster.now_s)
        self.cluster.begin_counting(lease.guest)

    def _start(self, command: StartMigration) -> None:
        def ended(end: MigrationEnd) -> None:
            self.ends.append(end)
            code = "" if end.ok else "CANCELLED" if end.reason == "cancelled" else "INTERNAL_ERROR"
            host_now = self.cluster.guests[end.guest].host
            self.tell(MigrationEnded(cause=command.cause, host_now=host_now, code=code, text=end.reason))

        try:
            self.cluster.start_migration(command.guest, command.target, ended)
        except CannotMigrate as error:
            host_now = self.cluster.guests[command.guest].host
            self.tell(MigrationEnded(cause=command.cause, host_now=host_now, code="REFUSED", text=str(error)))
        else:
            self.tell(MigrationAccepted(cause=command.cause, task=f"task of {command.cause}"))

    def _cancel(self, cause: str) -> None:
        guest = self.core.memory.in_flight[cause].guest
        migration = self.cluster.guests[guest].migration
        if migration is not None:
            self.cluster.cancel(migration)

    def _tell_sample(self, host: str) -> None:
        """Form the sample that the host's agent would send; a dead or silent host sends none."""
        if host in self.silent or not self.cluster.hosts[host].is_up:
            self._readings.pop(host, None)
            return
        now = self.cluster.counters(host)
        before = self._readings.get(host)
        self._readings[host] = now
        if before is None:
            return
        agent = self._agents[host]
        agent.follow(self.cluster, host, now.boot_id, self.cluster.now_s)
        stamp = Stamp(now.boot_id, self._sequence, self.cluster.now_s, dirty_curves=agent.curves, probe=agent.report)
        sample = form(before, now, stamp).sample
        if sample is not None:
            self.tell(SampleArrived(sample=sample))

    def _tell_inventory(self, *, is_complete: bool = False) -> None:
        """Tell what has changed of the pool's own view."""
        hosts = {
            uuid: PoolHost(
                uuid=uuid,
                name=state.spec.name,
                is_enabled=uuid not in self.disabled,
                is_live=state.is_up,
                cpus=self.cpus_told.get(uuid, state.spec.cpus),
                cpu_mhz=MHZ_AT_SPEED_1 * state.spec.speed * (1.0 + self.clock_errors.get(state.spec.name, 0.0)),
                memory_for_guests_bytes=state.spec.memory_bytes,
            )
            for uuid, state in self.cluster.hosts.items()
        }
        guests = {
            uuid: PoolGuest(
                uuid=uuid,
                name=state.spec.name,
                host=state.host,
                vcpus=state.spec.vcpus,
                memory_bytes=state.spec.memory_bytes,
                macs=(state.spec.mac,),
                tags=state.spec.tags,
                arriving_at=state.migration.target if state.migration is not None else None,
                probed_by=self._blocks.get(uuid, ""),
                blocked_because="its power state is Paused" if state.is_paused else "",
                domid=state.domid,
            )
            for uuid, state in self.cluster.guests.items()
            if state.host is not None
        }
        changed = InventoryChanged(
            hosts=tuple(host for uuid, host in hosts.items() if self._hosts.get(uuid) != host),
            guests=tuple(guest for uuid, guest in guests.items() if self._guests.get(uuid) != guest),
            gone=tuple(sorted(self._guests.keys() - guests.keys())),
            is_complete=is_complete,
        )
        self._hosts, self._guests = hosts, guests
        if changed.hosts or changed.guests or changed.gone:
            self.tell(changed)

    def _note(self, text: str) -> None:
        self._note_cluster()
        self.log.append(f"{self.cluster.now_s:.3f} {text}")

    def _note_cluster(self) -> None:
        """Take over what the cluster has logged, in its place."""
        self.log += self.cluster.log[self._noted :]
        self._noted = len(self.cluster.log)

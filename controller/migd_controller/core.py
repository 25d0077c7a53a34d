"""The controller's mind: events in, commands out.

Theory of operation. `Core.handle(event, now_s)` is the only place where state changes. It reads no clock, does no I/O
and draws no random number, so the same events at the same times give the same commands: in production, in virtual
time, in replay and in a test. State is of three kinds:

- `inventory` and `telemetry`: what the pool and the agents said last. Lost at a restart and rebuilt within seconds.
- `memory`: what only migd knows (policy, jobs, cooldowns, migrations under way). A frozen value; the shell saves it in
  the transaction of the event that changed it, before it carries out that event's commands.
- `policy`: the configured policy, made from `memory`.

On each `Tick` inventory and telemetry become a `World`; the policy proposes; the ledger prices each proposed move; the
gates judge it; what passes them all becomes a `StartMigration`. A migration ends with the pool's answer to where the
guest is, whatever its task said. What no move needs may then be probed, on a lease (see `probing`).
"""

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import msgspec
from msgspec.structs import replace

from migd_controller import accounts, jobs, probing
from migd_controller.commands import (
    AnyCommand,
    CancelMigration,
    FollowMigration,
    ProbeCommand,
    RecordDecision,
    RecordHealth,
    RecordMigration,
    StartMigration,
)
from migd_controller.config import ControllerConfig
from migd_controller.decision import Candidate, Decision, Price
from migd_controller.events import (
    AgentListens,
    AnyEvent,
    CancelRequested,
    GuestReleased,
    InventoryChanged,
    JobAdded,
    JobProgressed,
    JobRemoved,
    LinksMeasured,
    MeasuringFailed,
    MigrationAccepted,
    MigrationEnded,
    MigrationProgressed,
    MigrationRequested,
    MigrationTaskLost,
    Paused,
    PolicySet,
    PoolReachability,
    ProbeEnded,
    Resumed,
    SampleArrived,
    Source,
    Tick,
)
from migd_controller.guards import Situation, judge, objection, refused_with
from migd_controller.holds import Holds, after, resting, revised, without_guest, without_pool
from migd_controller.inventory import Inventory
from migd_controller.learning import after_migration
from migd_controller.ledger import prices
from migd_controller.memory import Memory, RememberedLink
from migd_controller.migration import Migration, State
from migd_controller.snapshot import build_world
from migd_controller.telemetry import Telemetry
from migd_core.causes import CauseCounter
from migd_core.errors import MigdError
from migd_core.messages import HostSample
from migd_core.world import EVACUATION, Move, Plan, Reason, World
from migd_policies import imbalance
from migd_policies.own_load import without_own_load
from migd_policies.policy import Policy
from migd_policies.registry import configure
from migd_policies.rules import places, resolve
from migd_policies.second_thoughts import Copying, reconsider

BY_HAND: Final = "by hand"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, and the moves of it that passed every gate, with the migration each becomes."""

    decision: Decision
    migrations: tuple[Migration, ...]


class Core:
    """The state of one controller and the one function that changes it."""

    def __init__(self, config: ControllerConfig, memory: Memory) -> None:
        """Start with what is remembered. A remembered policy that no longer exists becomes `observe`."""
        self.config = config
        self.memory = memory
        self.inventory = Inventory()
        self.telemetry = Telemetry(smoothing_s=config.period_s)
        self.pool = PoolReachability(is_reachable=False, problem="the pool has not answered yet")
        self.policy_problem = ""
        self.last_decision: Decision | None = None
        self._copying: dict[str, Copying] = {}  # by cause: what the source has sent of migrations under way
        self.policy = self._configured(memory)

    def adopt(self, now_s: float) -> list[AnyCommand]:
        """Return the commands that take up what an earlier life left under way; to be called once, at start."""
        self.memory, commands = probing.on_start(self.memory, now_s, self.config)
        migrations = [
            FollowMigration(
                cause=m.cause,
                guest=m.guest,
                target=m.target,
                task=m.task,
                predicted_at_most_s=m.predicted_at_most_s,
            )
            for m in self.memory.in_flight.values()
        ]
        return [*commands, *migrations]

    def handle(self, event: AnyEvent, now_s: float) -> list[AnyCommand]:
        """Take in one event at Unix time `now_s` and return what is to be done about it, in order."""
        match event:
            case Tick():
                return self._tick(now_s)
            case SampleArrived(sample=sample, source=source):
                return self._sampled(sample, source, now_s)
            case MeasuringFailed(host=host, problem=problem):
                self.telemetry.problems[host] = problem
            case InventoryChanged():
                self.inventory.apply(event)
                self.telemetry.forget(event.gone)
                self._remember_addresses()
            case PoolReachability(is_reachable=is_reachable):
                if is_reachable and not self.pool.is_reachable:
                    self._hold(without_pool(self.memory.holds))
                self.pool = event
            case MigrationAccepted(cause=cause, task=task):
                commands = self._update(cause, lambda migration: migration.accepted(task, now_s))
                return [*commands, *self._cancellation(cause)]
            case MigrationTaskLost(cause=cause):
                return self._update(cause, lambda migration: migration.lost())
            case MigrationProgressed(cause=cause, progress_ratio=progress_ratio):
                self._update(cause, lambda migration: migration.progressed(progress_ratio))
            case MigrationEnded():
                return self._ended(event, now_s)
            case AgentListens(host=host, listens=listens):
                self.telemetry.listens(host, listens)
            case ProbeEnded(lease=lease):
                self.inventory.unblock(lease)
                self.memory = probing.on_ended(event, self.memory, now_s)
            case PolicySet(name=name, config=values):
                self.memory = replace(self.memory, policy=name, policy_config=values)
                self.policy = self._configured(self.memory)
            case Paused():
                self.memory = replace(self.memory, is_paused=True)
                return list(probing.revoked(self.memory))
            case Resumed():
                self.memory = replace(self.memory, is_paused=False)
            case JobAdded():
                self.memory = jobs.added(self.memory, event, now_s)
            case JobProgressed(name=name, progress=progress):
                self.memory = jobs.progressed(self.memory, name, progress, now_s)
            case JobRemoved(name=name):
                self.memory = jobs.removed(self.memory, name, now_s)
            case LinksMeasured(links=links):
                measured = {level: RememberedLink(link=link, at=now_s) for level, link in links.items()}
                self.memory = replace(self.memory, links={**self.memory.links, **measured})
            case MigrationRequested(guest=guest, target=target):
                revoked = probing.revoked(self.memory, guest)
                return [*self._commit(self._judge_request(guest, target, now_s), now_s), *revoked]
            case CancelRequested(cause=cause):
                return [*self._update(cause, lambda migration: migration.cancelling()), *self._cancellation(cause)]
            case GuestReleased(guest=guest):
                self._hold(without_guest(self.memory.holds, guest))
            case _:
                assert_never(event)
        return []

    def world(self, now_s: float) -> World:
        """Return the cluster as it is known at `now_s`."""
        world = build_world(now_s, self.inventory, self.telemetry, self.memory, self.config)
        return without_own_load(resolve(world, self.config.rules).applied(world, singly=True))

    def plan(self, now_s: float) -> Decision:
        """Return what a control cycle would decide at `now_s`, and do nothing about it."""
        return self._decide(self.world(now_s), now_s).decision

    def _sampled(self, sample: HostSample, source: Source, now_s: float) -> list[AnyCommand]:
        before = self.telemetry.health(sample.host_uuid).state
        if not self.telemetry.accept(sample, now_s, source):
            return []
        self._watch_copying(sample)
        self.memory, ends = probing.on_sample(sample, self.memory, now_s)
        health = self.telemetry.health(sample.host_uuid)
        if health.state is before:
            return [*ends]
        name = self.inventory.host_name(sample.host_uuid)
        return [*ends, RecordHealth(host=sample.host_uuid, host_name=name, before=before, health=health)]

    def _tick(self, now_s: float) -> list[AnyCommand]:
        self.memory = jobs.heard(self.memory, self.telemetry.news, now_s)
        world = self.world(now_s)
        for uuid, known in self.telemetry.hosts.items():
            host = world.hosts.get(uuid)
            if host is None or host.frozen_because is not None:
                known.load_ratios.clear()  # a trend must be sustained; a gap starts it again
                known.standing = None
            else:
                known.load_ratios.append(host.load_ratio)
                known.standing = imbalance.following(known.standing, host.load_ratio, now_s)
        self._forget_old_cooldowns(now_s)
        if (kept := accounts.current(self.memory.accounts, now_s)) is not self.memory.accounts:
            self.memory = replace(self.memory, accounts=dict(kept))
        over: list[AnyCommand] = []
        if self.inventory.is_known and self.pool.is_reachable:
            self.memory, records = jobs.without_guests(self.memory, self.inventory.guests.keys(), now_s)
            over += records
            self._hold(revised(self.memory.holds, self.inventory, self.config.guards, now_s))
        commands = self._commit(self._decide(world, now_s), now_s)
        return [*over, *self._second_thoughts(world, now_s), *commands, *self._probe(now_s)]

    def _watch_copying(self, sample: HostSample) -> None:
        """Add what a host has sent to the migration that leaves it, if it is one."""
        leaving = [m for m in self.memory.in_flight.values() if m.source == sample.host_uuid and m.task is not None]
        if len(leaving) == 1:
            (migration,) = leaving
            known = self._copying.get(migration.cause, Copying())
            self._copying[migration.cause] = known.further(sample.tx_bytes_per_s * sample.interval_s, sample.interval_s)

    def _second_thoughts(self, world: World, now_s: float) -> list[AnyCommand]:
        """Cancel migrations that a policy began and that are not worth finishing any more."""
        commands: list[AnyCommand] = []
        self._copying = {cause: seen for cause, seen in self._copying.items() if cause in self.memory.in_flight}
        for migration in tuple(self.memory.in_flight.values()):
            seen = self._copying.get(migration.cause)
            move = Move(migration.guest, migration.source, migration.target, Reason("under-way", "under way"))
            is_known = migration.guest in world.guests and {move.source, move.target} <= world.hosts.keys()
            if seen is None or not migration.is_for_gain or migration.is_cancelling or not is_known:
                continue
            elapsed_s = now_s - (migration.started_at or migration.asked_at)
            found = reconsider(world, move, elapsed_s, seen, migration.gain_s, migration.lasts_s)
            if found is not None and not found.is_worth_finishing:
                change = operator.methodcaller("given_up", f"given up by migd: {found.text}")
                commands += self._update(migration.cause, change)
                commands += self._cancellation(migration.cause)
        return commands

    def _probe(self, now_s: float) -> Sequence[ProbeCommand]:
        assert self.last_decision is not None
        cause = self.last_decision.cause
        self.memory, commands = probing.on_tick(
            cause, now_s, self.inventory, self.telemetry, self.memory, self.config, self.pool.is_reachable
        )
        return commands

    def _decide(self, world: World, now_s: float) -> Verdict:
        if not self.inventory.is_known:
            reason = Reason("no-inventory", f"the pool's hosts and guests are not known yet: {self.pool.problem}")
            return self._verdict(self.policy.name, Plan((), reason), world, now_s)
        try:
            plan = _by_value(self.policy.propose(world))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a policy may be anybody's code; broken, it moves nothing
            text = f"policy {self.policy.name} failed with {type(error).__name__}: {error}; nothing moves because of it"
            text = text.encode(errors="backslashreplace").decode()  # half a surrogate pair cannot be journaled
            plan = Plan((), Reason("policy-failed", text))
        return self._verdict(self.policy.name, plan, world, now_s)

    def _judge_request(self, guest: str, target: str, now_s: float) -> Verdict:
        world = self.world(now_s)
        known = world.guests.get(guest)
        source = known.host if known is not None else ""
        reason = Reason("by-hand", "asked for by an operator")
        return self._verdict(BY_HAND, Plan((Move(guest, source, target, reason),), reason), world, now_s)

    def _verdict(self, policy: str, plan: Plan, world: World, now_s: float) -> Verdict:
        """Judge each set of moves in order, each against the world in which what was accepted before is under way."""
        cause, _ = self.memory.causes.following()
        candidates: list[Candidate] = []
        migrations = []
        rules = resolve(world, self.config.rules)
        place = places(world) | {move.guest: move.target for move in plan.moves if move.guest in world.guests}
        situation = Situation(
            world=world,
            limits=self.config.guards,
            last_moved_at=None,
            price=None,
            is_paused=self.memory.is_paused,
            is_pool_reachable=self.pool.is_reachable,
            rules=rules,
            place=place,
            is_allowed_hour=self.config.rules.may_move(now_s),
        )
        for moves in _sets(plan):
            for candidate in self._judge_set(moves, dataclasses.replace(situation, world=world), policy == BY_HAND):
                candidates.append(candidate)
                if candidate.is_accepted:
                    why = moves[candidate.guest].reason.code
                    migration = self._migration(f"{cause}.{len(candidates)}", candidate, policy, now_s)
                    migrations.append(replace(migration, is_for_gain=policy != BY_HAND and why != EVACUATION))
                    world = world.with_in_flight(moves[candidate.guest])
        reason = plan.reason if not plan.moves else _outcome(plan, len(migrations))
        decision = Decision(cause=cause, at=now_s, policy=policy, reason=reason, candidates=tuple(candidates))
        return Verdict(decision, tuple(migrations))

    def _judge_set(self, moves: Mapping[str, Move], situation: Situation, by_hand: bool) -> list[Candidate]:
        """Judge moves that belong together: priced as one; what refuses one of them for good refuses them all.

        A move whose turn has not come, for others of its set are under way, is proposed again, and judged by itself.
        """
        world = situation.world
        known_prices, unpriced_because = self._prices(world, tuple(moves.values()))
        candidates = []
        for move, known_price in zip(moves.values(), known_prices, strict=True):
            situation = dataclasses.replace(
                situation,
                world=world,
                last_moved_at=self.memory.last_moved_at.get(move.guest),
                price=known_price,
                unpriced_because=unpriced_because,
                rest=resting(self.memory.holds, move.guest, world.now_s),
                job=self._job_of(move.guest),
                accounts=self.memory.accounts,
            )
            candidate = Candidate(
                guest=move.guest,
                source=move.source,
                target=move.target,
                why=move.reason.text,
                gates=judge(move, situation, by_hand=by_hand),
                price=known_price,
            )
            candidates.append(candidate)
            if candidate.is_accepted:
                world = world.with_in_flight(move)
        refused = [(each, gate) for each in candidates if (gate := objection(each.gates)) is not None]
        if not refused or len(candidates) == 1:
            return candidates
        refusals = [(each, refused_with(self.inventory.guest_name(each.guest), gate)) for each, gate in refused]
        return [
            replace(one, gates=(*one.gates, next(gate for each, gate in refusals if each is not one)))
            if objection(one.gates) is None
            else one
            for one in candidates
        ]

    def _prices(self, world: World, moves: Sequence[Move]) -> tuple[Sequence[Price | None], str]:
        """Return the prices of moves that belong together, or None for each and why they have none."""
        unpriced = (None,) * len(moves)
        if not all(move.guest in world.guests and {move.source, move.target} <= world.hosts.keys() for move in moves):
            return unpriced, "guest, source or target is not known"
        try:
            return prices(world, moves, self.config.guards.certainty_sds), ""
        except Exception as error:  # noqa: BLE001 - one move that cannot be priced must not stop every other for good
            return unpriced, f"{type(error).__name__}: {error}"

    def _migration(self, cause: str, candidate: Candidate, policy: str, now_s: float) -> Migration:
        return Migration(
            cause=cause,
            guest=candidate.guest,
            source=candidate.source,
            target=candidate.target,
            requested_by=policy,
            asked_at=now_s,
            guest_name=self.inventory.guest_name(candidate.guest),
            source_name=self.inventory.host_name(candidate.source),
            target_name=self.inventory.host_name(candidate.target),
            memory_bytes=self.inventory.guests[candidate.guest].memory_bytes,
            predicted_s=candidate.price.total_s if candidate.price is not None else None,
            predicted_pause_s=candidate.price.pause_s if candidate.price is not None else None,
            predicted_at_most_s=candidate.price.total_at_most_s if candidate.price is not None else 0.0,
            expected=candidate.price.expected if candidate.price is not None else None,
            job=self._job_of(candidate.guest),
            cost_s=candidate.price.cost_s if candidate.price is not None else 0.0,
            gain_s=candidate.price.gain_s if candidate.price is not None else 0.0,
            gain_rate=candidate.price.gain_rate if candidate.price is not None else 0.0,
            lasts_s=candidate.price.lasts_s or 0.0 if candidate.price is not None else 0.0,
        )

    def _job_of(self, guest: str) -> str:
        """Return the job of a guest (uuid); one that is of none is a job of its own."""
        return next((job.name for job in self.memory.jobs.values() if guest in job.guests), guest)

    def _commit(self, verdict: Verdict, now_s: float) -> list[AnyCommand]:
        _, causes = self.memory.causes.following()
        self.memory = replace(
            self.memory,
            causes=causes,
            in_flight={**self.memory.in_flight, **{m.cause: m for m in verdict.migrations}},
            last_moved_at={**self.memory.last_moved_at, **{m.guest: now_s for m in verdict.migrations}},
        )
        self.last_decision = verdict.decision
        commands: list[AnyCommand] = [RecordDecision(decision=verdict.decision)]
        for migration in verdict.migrations:
            commands.append(RecordMigration(migration=migration))
            commands.append(
                StartMigration(
                    cause=migration.cause,
                    guest=migration.guest,
                    source=migration.source,
                    target=migration.target,
                    predicted_at_most_s=migration.predicted_at_most_s,
                )
            )
        return commands

    def _update(self, cause: str, change: Callable[[Migration], Migration]) -> list[AnyCommand]:
        """Change one migration under way; a word about one that is over comes too late and changes nothing."""
        migration = self.memory.in_flight.get(cause)
        if migration is None:
            return []
        migration = change(migration)
        self.memory = replace(self.memory, in_flight={**self.memory.in_flight, cause: migration})
        return [RecordMigration(migration=migration)]

    def _cancellation(self, cause: str) -> list[AnyCommand]:
        """What ends a migration that somebody wants to end; nothing as long as the pool has no task for it."""
        migration = self.memory.in_flight.get(cause)
        if migration is None or not migration.is_cancelling or migration.task is None:
            return []
        return [CancelMigration(cause=cause, task=migration.task)]

    def _hold(self, holds: Holds) -> None:
        if holds is not self.memory.holds:
            self.memory = replace(self.memory, holds=dict(holds))

    def _ended(self, event: MigrationEnded, now_s: float) -> list[AnyCommand]:
        migration = self.memory.in_flight.get(event.cause)
        if migration is None:
            return []
        texts = [event.text]
        if event.host_now not in (migration.source, migration.target, None):
            texts.append(f"somebody else has moved the guest to host {self.inventory.host_name(event.host_now)}")
        migration = migration.ended(event.host_now, event.code, "; ".join(filter(None, texts)), now_s)
        if migration.state is State.MOVED:
            self._shift_load(migration, now_s)
        self.memory = jobs.learned(jobs.heard(self.memory, self.telemetry.news, now_s), migration, now_s)
        self.memory = replace(
            self.memory,
            in_flight={cause: m for cause, m in self.memory.in_flight.items() if cause != event.cause},
            last_moved_at={**self.memory.last_moved_at, migration.guest: now_s},
            accounts=dict(accounts.after(self.memory.accounts, migration)),
            learned=after_migration(self.memory.learned, migration, self.memory.in_flight),
        )
        self._hold(after(self.memory.holds, migration, self.config.guards, now_s))
        self.inventory.relocate(migration.guest, event.host_now)
        return [RecordMigration(migration=migration)]

    def _shift_load(self, migration: Migration, now_s: float) -> None:
        """What migd has moved makes neither load young, and what a host's load was, it was with and without it."""
        world = self.world(now_s)
        guest = world.guests.get(migration.guest)
        for uuid, sign in ((migration.source, -1), (migration.target, +1)):
            known = self.telemetry.hosts.get(uuid)
            if guest is None or known is None or uuid not in world.hosts:
                continue
            by_ratio = sign * guest.cpu_demand_vcpus / world.hosts[uuid].cpus
            earlier = [max(0.0, load + by_ratio) for load in known.load_ratios]
            known.load_ratios.clear()
            known.load_ratios.extend(earlier)
            if known.standing is not None:
                known.standing = imbalance.shifted(known.standing, by_ratio)

    def _remember_addresses(self) -> None:
        addresses = tuple(sorted(host.address for host in self.inventory.hosts.values() if host.address))
        if addresses and addresses != self.memory.pool_addresses:
            self.memory = replace(self.memory, pool_addresses=addresses)

    def _forget_old_cooldowns(self, now_s: float) -> None:
        """Drop what has cooled down; a time in the future is from before the clock was set back, and counts as now."""
        kept = {
            guest: min(at, now_s)
            for guest, at in self.memory.last_moved_at.items()
            if now_s - at < self.config.guards.cooldown_s
        }
        if kept != self.memory.last_moved_at:
            self.memory = replace(self.memory, last_moved_at=kept)

    def _configured(self, memory: Memory) -> Policy:
        try:
            policy = configure(memory.policy, memory.policy_config)
        except MigdError as error:
            self.policy_problem = f"policy {memory.policy} cannot be used, observing instead: {error}"
            return configure("observe", {})
        self.policy_problem = ""
        return policy


def first_memory(config: ControllerConfig) -> Memory:
    """Return what a controller knows at its very first start."""
    return Memory(policy=config.policy.name, policy_config=config.policy.config, causes=CauseCounter())


def _by_value(answer: object) -> Plan:
    """Return what a policy answered as the journal would keep it. Raises what says why that is no plan.

    Nothing checks the fields of a dataclass when it is made; a plan that cannot be kept would end the controller now
    and after each restart, for the policy is remembered.
    """
    if not isinstance(answer, Plan):
        raise TypeError(f"propose returned {type(answer).__name__}, not a Plan")
    return msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=Plan)


def _sets(plan: Plan) -> list[Mapping[str, Move]]:
    """Return the plan's moves that belong together, by guest, each set where its first move stands.

    A guest that one set names twice keeps its first move for it; the second stands alone, and is judged so.
    """
    sets: list[dict[str, Move]] = []
    labelled: dict[str, dict[str, Move]] = {}
    for move in plan.moves:
        found = labelled.get(move.together)
        if move.together and found is not None and move.guest not in found:
            found[move.guest] = move
            continue
        sets.append({move.guest: move})
        if move.together:
            labelled.setdefault(move.together, sets[-1])
    return list(sets)


def _outcome(plan: Plan, accepted: int) -> Reason:
    proposed = len(plan.moves)
    if accepted == proposed:
        return plan.reason
    code = "partly-refused" if accepted else "refused"
    return Reason(code, f"{plan.reason.text}; {accepted} of {proposed} proposed moves passed the gates")

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

import copy
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import msgspec
from msgspec.structs import replace

from migd_controller import (
    accounts,
    jobs,
    maintenance,
    probe_requests,
    probing,
    quiet,
    recommending,
    shadowing,
)
from migd_controller.commands import (
    AnyCommand,
    CancelMigration,
    FollowMigration,
    ProbeCommand,
    RecordDecision,
    RecordHealth,
    RecordMigration,
    RecordSet,
    RecordShadow,
    StartMigration,
)
from migd_controller.config import ControllerConfig
from migd_controller.contest import Contender
from migd_controller.decision import Candidate, Decision
from migd_controller.events import (
    AgentListens,
    AnyEvent,
    AutomationSet,
    CancelRequested,
    EvacuationAsked,
    EvacuationStopped,
    GuestReleased,
    InventoryChanged,
    JobAdded,
    JobLimited,
    JobProgressed,
    JobRemoved,
    LeaderSeen,
    LinksMeasured,
    MaintenanceBegun,
    MaintenanceEnded,
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
    ProbeRequested,
    RecommendationApproved,
    RecommendationRefused,
    Resumed,
    SampleArrived,
    ShadowAdded,
    ShadowRemoved,
    ShadowTurn,
    Source,
    Tick,
    TookOver,
)
from migd_controller.holds import Holds, after, revised, without_guest, without_pool
from migd_controller.inventory import Inventory
from migd_controller.judging import Judge, Verdict
from migd_controller.learning import after_migration
from migd_controller.memory import Memory, RememberedLink
from migd_controller.migration import Migration, State
from migd_controller.move_sets import MoveSet, set_after
from migd_controller.recommendations import who
from migd_controller.seen import Seen
from migd_controller.set_course import gains_left
from migd_controller.set_promises import as_promised
from migd_controller.shadow_policies import ShadowPolicies
from migd_controller.snapshot import build_world
from migd_controller.telemetry import Telemetry
from migd_core.automation import Automation
from migd_core.causes import CauseCounter
from migd_core.errors import MigdError
from migd_core.messages import HostSample
from migd_core.world import Move, Plan, Reason, World
from migd_policies import imbalance
from migd_policies.evacuate import Emptying
from migd_policies.own_load import without_own_load
from migd_policies.policy import Policy
from migd_policies.registry import configure
from migd_policies.rules import resolve
from migd_policies.second_thoughts import Copying, Promise, reconsider


@dataclass(frozen=True, slots=True)
class _Decided:
    """What a tick's decision was made of, before rules and by which memory, and what it began."""

    memory: Memory
    measured: World
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
        self.last_world: World | None = None  # what the last control cycle saw
        self._copying: dict[str, Copying] = {}  # by cause: what the source has sent of migrations under way
        self.policy = self._configured(memory)
        self.shadow_policies = ShadowPolicies()
        self._decided: _Decided | None = None  # by the last tick, until the shadows have had their turn

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
                toolstacks=m.toolstacks,
            )
            for m in self.memory.in_flight.values()
        ]
        dropped = self._drop_sets(self.policy_problem) if self.policy_problem else []
        return [*commands, *migrations, *dropped]

    def know(self, memory: Memory) -> None:
        """Go on with another memory: the leader's, which this controller stands by for or follows."""
        self.memory = memory
        self.policy = self._configured(memory)

    def handle(self, event: AnyEvent, now_s: float) -> list[AnyCommand]:
        """Take in one event at Unix time `now_s` and return what is to be done about it, in order."""
        match event:
            case Tick():
                return self._tick(now_s)
            case ShadowTurn():
                return [*self._ask_shadows()]
            case SampleArrived(sample=sample, source=source):
                return self._sampled(sample, source, now_s)
            case MeasuringFailed(host=host, problem=problem):
                self.telemetry.problems[host] = problem
            case InventoryChanged():
                known = set(self.inventory.guests)
                for guest in self.inventory.apply(event):
                    self.telemetry.rebooted(guest, now_s)
                self.telemetry.forget(known - self.inventory.guests.keys())  # a complete one names none that is gone
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
                before = self.policy
                self.memory = replace(self.memory, policy=name, policy_config=values)
                self.policy = self._configured(self.memory)
                if self.policy != before:
                    self.memory = shadowing.begun_anew(self.memory, now_s)
                why = f"policy {name} was set meanwhile"
                self.memory, lapsed = recommending.on_policy_set(self.memory, why, now_s)
                return [*self._drop_sets(why), *lapsed]
            case ShadowAdded(label=label, name=name, config=values):
                self.memory = shadowing.with_shadow(self.memory, label, name, values, now_s)
            case ShadowRemoved(label=label):
                self.memory = shadowing.without_shadow(self.memory, label)
            case Paused():
                self.memory = replace(self.memory, is_paused=True)
                return list(probing.revoked(self.memory))
            case Resumed():
                self.memory = replace(self.memory, is_paused=False)
            case JobAdded():
                self.memory = jobs.added(self.memory, event, now_s)
            case JobLimited(name=name, change=change):
                self.memory = jobs.limited(self.memory, name, change)
            case JobProgressed(name=name, progress=progress):
                self.memory = jobs.progressed(self.memory, name, progress, now_s)
            case JobRemoved(name=name):
                self.memory = jobs.removed(self.memory, name, now_s)
            case LinksMeasured(links=links):
                measured = {level: RememberedLink(link=link, at=now_s) for level, link in links.items()}
                self.memory = replace(self.memory, links={**self.memory.links, **measured})
            case MigrationRequested(guest=guest):
                revoked = probing.revoked(self.memory, guest)
                return [*self._commit(self._judge.request(event, self.seen(now_s)), now_s), *revoked]
            case ProbeRequested(guest=guest):
                self.memory = probe_requests.asked(self.memory, guest, now_s)
            case CancelRequested(cause=cause):
                return [*self._update(cause, lambda migration: migration.cancelling()), *self._cancellation(cause)]
            case GuestReleased(guest=guest):
                self._hold(without_guest(self.memory.holds, guest))
            case AutomationSet(level=level):
                self.memory = replace(self.memory, automation=level)
            case RecommendationApproved():
                return self._approved(event, now_s)
            case RecommendationRefused():
                return self._turned_down(event, now_s)
            case MaintenanceBegun(host=host, until=until):
                self._out_of_service(maintenance.begun(self.memory.maintenance, host, until, now_s))
            case MaintenanceEnded(host=host):
                self._out_of_service(maintenance.ended(self.memory.maintenance, host))
            case EvacuationAsked(host=host):
                self._out_of_service(maintenance.to_be_emptied(self.memory.maintenance, host, now_s))
            case EvacuationStopped(host=host):
                self._out_of_service(maintenance.left_as_it_is(self.memory.maintenance, host))
            case LeaderSeen():
                pass
            case TookOver(memory=memory):
                self.know(msgspec.msgpack.decode(memory, type=Memory))
                return self.adopt(now_s)
            case _:
                assert_never(event)
        return []

    def world(self, now_s: float) -> World:
        """Return the cluster as it is known at `now_s`."""
        return self.seen(now_s).singly

    def seen(self, now_s: float) -> Seen:
        """Return the cluster as it is known at `now_s` but for what migd's own copying asks of it, with its rules."""
        world = build_world(now_s, self.inventory, self.telemetry, self.memory, self.config)
        return self._by_rules(without_own_load(world))

    def _by_rules(self, measured: World) -> Seen:
        return Seen(measured, resolve(measured, self.config.rules))

    def plan(self, now_s: float) -> Decision:
        """Return what a control cycle would decide at `now_s`, and do nothing about it."""
        return self._decide(self.seen(now_s)).decision

    def judged(self, policy: Policy, memory: Memory, seen: Seen) -> Verdict:
        """Return what a control cycle would decide with another policy, memory and cluster, and do nothing about it."""
        other = copy.copy(self)
        other.policy, other.memory = policy, memory
        return other._decide(seen)

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
        if self.inventory.is_known:
            occupied = {guest.host for guest in self.inventory.guests.values()}
            occupied |= {migration.target for migration in self.memory.in_flight.values()}
            self._out_of_service(maintenance.current(self.memory.maintenance, occupied, now_s))
        self.last_world = self._decided = None  # a large site's takes 20 MB, and is not needed beside the next
        seen = self.seen(now_s)
        world = self.last_world = seen.singly
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
        verdict = self._decide(seen)
        self._decided = _Decided(self.memory, seen.bare, verdict.migrations)
        commands = self._commit(verdict, now_s)
        self.memory, recommended = recommending.on_tick(
            self.memory, verdict.decision, verdict.proposals, self.inventory, self.config.automation, world
        )
        waits = quiet.remembered(self.memory.quiet_waits, verdict.decision, self.config.phases.wait_at_most_s)
        self.memory = replace(self.memory, quiet_waits=waits)
        return [*over, *self._second_thoughts(world, now_s), *commands, *recommended, *self._probe(now_s)]

    def _ask_shadows(self) -> Sequence[RecordShadow]:
        """Let the shadows follow the cluster as it was when the active policy decided; nothing of theirs is done."""
        decided, self._decided = self._decided, None
        if decided is None or not self.memory.contest.shadows or not self.inventory.is_known:
            return ()
        # What shadows would move is asked as if nobody had to approve it: they are compared, and move nothing.
        memory = replace(decided.memory, contest=self.memory.contest, automation=Automation.AUTOMATIC)
        begun = [migration for migration in decided.migrations if migration.cause in self.memory.in_flight]
        try:
            contest, told = shadowing.on_turn(memory, decided.measured, begun, self._ask_shadow, self.config)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a comparison, the active policy goes on
            contest = shadowing.given_up(memory.contest, f"they cannot be compared: {_text(error)}")
            told = []
        self.memory = replace(self.memory, contest=contest)
        return told

    def _ask_shadow(
        self, label: str, shadow: Contender, memory: Memory, world: World
    ) -> tuple[Decision, Sequence[Migration], str]:
        try:
            policy = self.shadow_policies.of(label, shadow)
            found = self.judged(policy, memory, self._by_rules(world))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a shadow, the active policy goes on
            reason = Reason("policy-failed", f"policy {shadow.policy} cannot be asked: {_text(error)}")
            found = Verdict(Decision(cause=label, at=world.now_s, policy=shadow.policy, reason=reason), (), {})
        decision = replace(found.decision, cause=f"{memory.causes.following()[0]}/{label}")
        self.shadow_policies.decided[label] = decision
        has_failed = decision.reason.code == "policy-failed"
        return decision, found.migrations, decision.reason.text if has_failed else ""

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
            promise = Promise(
                gain_s=migration.gain_s,
                own_rate=migration.gain_rate,
                lasts_s=migration.lasts_s,
                total_s=migration.predicted_s or 0.0,
                pause_s=migration.predicted_pause_s or 0.0,
                cost_s=migration.cost_s,
            )
            found = reconsider(world, move, elapsed_s, seen, promise)
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

    def _decide(self, seen: Seen) -> Verdict:
        if not self.inventory.is_known:
            reason = Reason("no-inventory", f"the pool's hosts and guests are not known yet: {self.pool.problem}")
            cause, _ = self.memory.causes.following()
            decision = Decision(cause=cause, at=seen.bare.now_s, policy=self.policy.name, reason=reason)
            return Verdict(decision, (), self.memory.sets)
        world = as_promised(seen.singly, self.memory.sets)
        leaving = self._leaving(world)
        try:
            plan = _by_value(self.policy.propose(world if leaving is None else leaving.begun_in(world)))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a policy may be anybody's code; broken, it moves nothing
            text = f"policy {self.policy.name} failed with {_text(error)}; nothing moves because of it"
            plan = Plan((), Reason("policy-failed", text))
        return self._judge.verdict(self.policy.name, plan if leaving is None else leaving.beside(plan), seen)

    @property
    def _judge(self) -> Judge:
        """Whoever judges by what is known now."""
        return Judge(self.config, self.memory, self.inventory, self.telemetry.activities, self.pool.is_reachable)

    def by_hand(self, guest: str, now_s: float) -> list[Candidate]:
        """Return how a request to move a guest (uuid) to each other host would be judged, and do nothing about it."""
        return self._judge.by_hand(guest, self.seen(now_s))

    def _leaving(self, world: World) -> Emptying | None:
        try:
            return maintenance.leaving(self.memory.maintenance, world, self.config.guards)
        except Exception as error:  # noqa: BLE001 - a host that cannot be emptied must not stop everything else for good
            text = f"hosts that are to be emptied are not, because of {_text(error)}"
            return Emptying(Plan((), Reason("emptying-failed", text)), {}, {})

    def _commit(self, verdict: Verdict, now_s: float) -> list[AnyCommand]:
        _, causes = self.memory.causes.following()
        self.memory = replace(
            self.memory,
            causes=causes,
            in_flight={**self.memory.in_flight, **{m.cause: m for m in verdict.migrations}},
            last_moved_at={**self.memory.last_moved_at, **{m.guest: now_s for m in verdict.migrations}},
        )
        self.last_decision = verdict.decision
        commands: list[AnyCommand] = [RecordDecision(decision=verdict.decision), *self._keep(verdict.sets)]
        for migration in verdict.migrations:
            commands.append(RecordMigration(migration=migration))
            commands.append(
                StartMigration(
                    cause=migration.cause,
                    guest=migration.guest,
                    source=migration.source,
                    target=migration.target,
                    predicted_at_most_s=migration.predicted_at_most_s,
                    toolstacks=migration.toolstacks,
                )
            )
        return commands

    def _approved(self, word: RecommendationApproved, now_s: float) -> list[AnyCommand]:
        """Make the moves of a recommendation if they pass the gates as things are now; it stays open if they do not.

        One whose guests need not leave any more lapses instead.
        """
        recommendation = self.memory.recommendations.get(word.name)
        if recommendation is None:
            return []
        plan = Plan(recommendation.moves, Reason("approved", f"{who(word.by)} has approved {word.name}"))
        seen = self.seen(now_s)
        if why := recommending.pointless(recommendation, seen.world):
            self.memory, lapsed = recommending.on_pointless(self.memory, recommendation, why, now_s)
            return [*lapsed]
        verdict = self._judge.verdict(recommendation.policy, plan, seen, approved=plan.reason.text)
        is_begun = bool(verdict.migrations) or verdict.sets.keys() != self.memory.sets.keys()
        commands = self._commit(verdict, now_s)
        if is_begun:
            self.memory, records = recommending.on_approved(self.memory, recommendation, verdict.decision, word.by)
            commands += records
            self._credit(seen.bare, verdict.migrations)
        return commands

    def _credit(self, world: World, approved: Sequence[Migration]) -> None:
        """Put what an operator has let the active policy begin to its record, where shadows are held against that."""
        try:
            self.memory = shadowing.on_approved(self.memory, world, approved)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a comparison, what was approved goes on
            contest = shadowing.given_up(self.memory.contest, f"they cannot be compared: {_text(error)}")
            self.memory = replace(self.memory, contest=contest)

    def _turned_down(self, word: RecommendationRefused, now_s: float) -> list[AnyCommand]:
        recommendation = self.memory.recommendations.get(word.name)
        if recommendation is None:
            return []
        section = self.config.automation
        self.memory, records = recommending.on_refused(self.memory, recommendation, section, now_s, word.by)
        return [*records]

    def _keep(self, sets: Mapping[str, MoveSet]) -> list[AnyCommand]:
        """Remember the sets that are under way, and record those that have changed."""
        changed = [each for name, each in sets.items() if each != self.memory.sets.get(name)]
        if changed:
            self.memory = replace(self.memory, sets={name: each for name, each in sets.items() if not each.is_over})
        return [RecordSet(move_set=each) for each in changed]

    def _drop_sets(self, text: str) -> list[AnyCommand]:
        """Drop what has not begun of every set."""
        return self._keep({name: each.rest_dropped(text) for name, each in self.memory.sets.items()})

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

    def _out_of_service(self, hosts: maintenance.OutOfService) -> None:
        if hosts is not self.memory.maintenance:
            self.memory = replace(self.memory, maintenance=dict(hosts))

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
            contest=shadowing.on_ended(self.memory, migration, now_s),
        )
        self._hold(after(self.memory.holds, migration, self.config.guards, now_s))
        self.inventory.relocate(migration.guest, event.host_now)
        commands: list[AnyCommand] = [RecordMigration(migration=migration)]
        if (move_set := set_after(self.memory.sets, migration)) is not None:
            commands += self._keep({**self.memory.sets, move_set.name: move_set})
            if migration.state is not State.MOVED:
                commands += self._reweigh(move_set, now_s)
        return commands

    def _reweigh(self, move_set: MoveSet, now_s: float) -> list[AnyCommand]:
        """Take in what the migrations of a set are worth without the step that has failed."""
        gains_s = gains_left(move_set, self.seen(now_s).world, partial(self._judge.prices, None))
        commands: list[AnyCommand] = []
        for cause, gain_s in gains_s.items():
            commands += self._update(cause, operator.methodcaller("worth", gain_s))
        return commands

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
    memory = Memory(policy=config.policy.name, policy_config=config.policy.config, causes=CauseCounter())
    for shadow in config.shadow:
        label = shadow.label or shadow.name
        memory = shadowing.with_shadow(memory, label, shadow.name, shadow.config, now_s=0.0)
    return memory


def _text(error: BaseException) -> str:
    """Say what went wrong in words that can be journaled, which half a surrogate pair cannot."""
    return f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()


def _by_value(answer: object) -> Plan:
    """Return what a policy answered as the journal would keep it. Raises what says why that is no plan.

    Nothing checks the fields of a dataclass when it is made; a plan that cannot be kept would end the controller now
    and after each restart, for the policy is remembered.
    """
    if not isinstance(answer, Plan):
        raise TypeError(f"propose returned {type(answer).__name__}, not a Plan")
    return msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=Plan)

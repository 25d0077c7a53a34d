"""The loop's one turn: an event goes through the core, on to the journal, and its commands to whoever carries them out.

Everything that happens to the controller passes here, in the event loop's thread, one after the other.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import structlog

from migd_controller.commands import (
    AnyCommand,
    BeginProbe,
    PoolCommand,
    ProbeCommand,
    RecordDecision,
    RecordHealth,
    RecordJobOver,
    RecordMigration,
    RecordRecommendation,
    RecordSet,
    RecordShadow,
)
from migd_controller.core import Core
from migd_controller.events import AnyEvent, InventoryChanged, PoolReachability, ProbeEnded, Tick
from migd_controller.journal import Journal
from migd_controller.memory import Memory
from migd_controller.migration import Migration
from migd_controller.move_sets import MoveSet, StepState
from migd_controller.recommendations import Standing
from migd_controller.record.recording import Recording
from migd_core.health import HealthState

log = structlog.get_logger()
Watcher = Callable[[AnyEvent, Sequence[AnyCommand]], None]


class Clock:
    """Unix time that never jumps while this process lives: the wall clock is read once, then monotonic time goes on."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def now_s(self) -> float:
        """Return Unix time in seconds."""
        return time.monotonic() + self._offset_s


class Control:
    """Core, journal and executor joined. `submit` carries a command out; it is set once the executor exists.

    `watchers` hear of each event, and the commands it led to, once these are on their way; they must not block.
    """

    def __init__(self, core: Core, journal: Journal, clock: Clock) -> None:
        self.core, self.journal, self.clock = core, journal, clock
        self.recording = Recording(core)
        self.submit: Callable[[PoolCommand | ProbeCommand], None] | None = None
        self.watchers: list[Watcher] = []
        self.took_s = 0.0  # what the core and the journal took for the last event
        self._failure: Exception | None = None
        self._has_failed = asyncio.Event()

    def adopt(self) -> None:
        """Take up what an earlier life left under way. Raises JournalError; nothing is done then."""
        now_s = self.clock.now_s()
        commands = self.recording.adopt(now_s)
        self.journal.write(now_s, None, commands, self.core.memory)
        _log(None, commands)
        self._carry_out(commands)

    def know(self, memory: Memory) -> None:
        """Go on with the leader's memory, which this controller stands by for. What fails is raised by `fails`."""
        try:
            self.core.know(memory)
            self.journal.write(self.clock.now_s(), None, (), memory)
        except Exception as failure:  # noqa: BLE001 - as for an event
            self.give_up(failure)

    async def fails(self) -> NoReturn:
        """Wait until an event could not be taken through the loop, whoever sent it, and raise why."""
        await self._has_failed.wait()
        assert self._failure is not None
        raise self._failure

    def give_up(self, failure: Exception) -> None:
        """Take nothing in any more; `fails` raises this."""
        self._failure = self._failure or failure
        self._has_failed.set()

    def take_in(self, event: AnyEvent) -> None:
        """Dispatch an event whose sender could do nothing about a failure; `fails` raises that."""
        with contextlib.suppress(Exception):
            self.dispatch(event)

    def dispatch(self, event: AnyEvent) -> Sequence[AnyCommand]:
        """Take one event through the loop; return the commands it led to.

        Raises JournalError: then nothing is done, now or later, for the core knows of what is not on record. The same
        holds for any other exception, which is a bug.
        """
        if self._failure is not None:
            raise self._failure
        try:
            now_s, began_s = self.clock.now_s(), time.monotonic()
            commands = self.recording.handle(event, now_s)
            self.journal.write(now_s, event, commands, self.core.memory)
            self.took_s = time.monotonic() - began_s
            _log(event, commands, self.took_s)
            self._carry_out(commands)
            for watcher in self.watchers:
                watcher(event, commands)
        except Exception as failure:
            self.give_up(failure)
            raise
        return commands

    def _carry_out(self, commands: Sequence[AnyCommand]) -> None:
        for command in commands:
            if isinstance(command, PoolCommand | ProbeCommand):
                assert self.submit is not None, "events arrive only once the executor is there"
                self.submit(command)


def _log(event: AnyEvent | None, commands: Sequence[AnyCommand], took_s: float = 0.0) -> None:
    """One line a control cycle, one for each step of a migration or probe, one when pool or health changes."""
    if isinstance(event, PoolReachability):
        if event.is_reachable:
            log.info("pool answers")
        else:
            log.warning("pool cannot be reached", why=event.problem)
    elif isinstance(event, InventoryChanged) and event.is_complete:
        log.info("inventory read", hosts=len(event.hosts), guests=len(event.guests))
    elif isinstance(event, ProbeEnded):
        log.info("probe over", lease=event.lease, why=event.text or None)
    for command in commands:
        if isinstance(command, RecordDecision):
            decision = command.decision
            accepted = sum(candidate.is_accepted for candidate in decision.candidates)
            log.info(
                "control cycle" if isinstance(event, Tick) else "request judged",
                cause=decision.cause,
                policy=decision.policy,
                reason=decision.reason.text,
                proposed=len(decision.candidates),
                moves=accepted,
                took_s=round(took_s, 4),
            )
        elif isinstance(command, BeginProbe):
            lease = command.lease
            log.info(
                "probe", lease=lease.lease, guest=lease.guest_name, host=lease.host_name, window_s=lease.ages_s[-1]
            )
        elif isinstance(command, RecordJobOver):
            log.info("job over", job=command.name, ran_s=round(command.ran_s), why=command.text)
        elif isinstance(command, RecordSet):
            _log_set(command.move_set)
        elif isinstance(command, RecordRecommendation):
            found = command.recommendation
            is_open = found.standing is Standing.OPEN
            log.info(
                "move recommended" if is_open else "recommendation over",
                recommendation=found.name,
                standing=found.standing.value,
                moves=len(found.moves),
                by=found.by or None,
                cause=found.decision or found.name.partition(".")[0],
                why=found.text or None,
            )
        elif isinstance(command, RecordShadow):
            if command.problem:
                log.warning("shadow policy is not asked any more", shadow=command.shadow, why=command.problem)
            else:
                moves = sum(candidate.is_accepted for candidate in command.decision.candidates)
                log.info("shadow policy would move", shadow=command.shadow, cause=command.decision.cause, moves=moves)
        elif isinstance(command, RecordMigration):
            _log_migration(command.migration)
        elif isinstance(command, RecordHealth):
            is_bad = command.health.state in (HealthState.DEGRADED, HealthState.FAILING)
            (log.warning if is_bad else log.info)(
                "host health",
                host=command.host_name,
                state=command.health.state.value,
                before=command.before.value,
                why=command.health.text if is_bad else None,
            )


def _log_set(move_set: MoveSet) -> None:
    """Tell once that a set is over; that it goes on is told by its migrations."""
    if move_set.is_over:
        dropped = [step for step in move_set.steps if step.state is StepState.DROPPED]
        why = dropped[0].text if dropped else None
        done = len(move_set.numbers(StepState.DONE))
        log.info("set of moves over", set=move_set.name, steps=len(move_set.steps), done=done, why=why)


def _log_migration(migration: Migration) -> None:
    fields: dict[str, object] = {
        "cause": migration.cause,
        "guest": migration.guest_name,
        "source": migration.source_name,
        "target": migration.target_name,
        "state": migration.state.value,
    }
    if migration.job != migration.guest:
        fields["job"] = migration.job or None
    if migration.predicted_s is not None:
        fields["predicted_s"] = round(migration.predicted_s, 1)
    if migration.ended_at is not None:
        fields["actual_s"] = round(migration.ended_at - (migration.started_at or migration.asked_at), 1)
    if migration.code:
        fields["code"], fields["why"] = migration.code, migration.text
    log.info("migration", **fields)

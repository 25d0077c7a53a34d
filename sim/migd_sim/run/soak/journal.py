"""The journal as the core's records make it, and whether each decision and outcome is in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from migd_controller.commands import (
    AnyCommand,
    RecordDecision,
    RecordMigration,
    RecordRecommendation,
    RecordSet,
    StartMigration,
)
from migd_controller.decision import Candidate, Decision
from migd_controller.events import (
    AnyEvent,
    MigrationAccepted,
    MigrationEnded,
    MigrationTaskLost,
    RecommendationApproved,
    RecommendationRefused,
    Tick,
)
from migd_controller.migration import Migration, State
from migd_controller.move_sets import MoveSet
from migd_controller.recommendations import Standing
from migd_sim.run.soak.violation import expect


@dataclass(slots=True)
class Journal:
    """The newest record of each migration, set and recommendation; the decisions of the last event only."""

    migrations: dict[str, Migration] = field(default_factory=dict)
    sets: dict[str, MoveSet] = field(default_factory=dict)
    recommendations: dict[str, Standing] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    open: dict[str, Migration] = field(default_factory=dict)
    _started: set[str] = field(default_factory=set)

    @property
    def started_count(self) -> int:
        """How many migrations the pool was asked for."""
        return len(self._started)

    @property
    def moved_count(self) -> int:
        """How many of them have brought their guest where it was to go."""
        return sum(each.state is State.MOVED for each in self.migrations.values())

    def take(self, event: AnyEvent | None, commands: Sequence[AnyCommand]) -> list[Migration]:
        """Take in what an event has led to; return the migrations that it ended. Raises Violated."""
        decisions = [each.decision for each in commands if isinstance(each, RecordDecision)]
        self.decisions = tuple(decisions)
        ended: list[Migration] = []
        for command in commands:
            match command:
                case RecordMigration(migration=migration):
                    self._follows(self.migrations.get(migration.cause), migration)
                    if migration.is_over:
                        ended.append(migration)
                        self.open.pop(migration.cause, None)
                    else:
                        self.open[migration.cause] = migration
                    self.migrations[migration.cause] = migration
                case RecordSet(move_set=move_set):
                    before = self.sets.get(move_set.name)
                    expect(
                        before is None or not before.is_over, "journal", f"set {move_set.name} goes on after its end"
                    )
                    self.sets[move_set.name] = move_set
                case RecordRecommendation(recommendation=found):
                    before_it = self.recommendations.get(found.name)
                    begins = before_it is None and found.standing is Standing.OPEN
                    expect(
                        begins or before_it is Standing.OPEN,
                        "journal",
                        f"{found.name} is {found.standing}, and was {before_it or 'never made'}",
                    )
                    self.recommendations[found.name] = found.standing
                case _:
                    pass
        self._check(event, commands, decisions, ended)
        return ended

    def _follows(self, before: Migration | None, now: Migration) -> None:
        where = f"migration {now.cause}"
        if before is None:
            expect(now.state is State.ASKED, "journal", f"{where} begins as {now.state}")
            return
        expect(not before.is_over, "journal", f"{where} was {before.state}, and is {now.state}")
        expect((before.guest, before.target) == (now.guest, now.target), "journal", f"{where} is another one now")

    def _check(
        self,
        event: AnyEvent | None,
        commands: Sequence[AnyCommand],
        decisions: Sequence[Decision],
        ended: Sequence[Migration],
    ) -> None:
        if isinstance(event, Tick):
            expect(len(decisions) == 1, "journal", f"a control period has {len(decisions)} decisions")
        for decision in decisions:
            for each in decision.sets:
                is_kept = self.sets.get(each.name) == each
                expect(is_kept, "journal", f"{each.name} is not on record as {decision.cause} has left it")
        match event:
            case MigrationAccepted(cause=cause, task=task) if cause in self.open:
                known = self.open[cause].task
                expect(known == task, "journal", f"{cause} is {task} of the pool, on record {known or 'none'}")
            case MigrationTaskLost(cause=cause) if cause in self.open:
                expect(self.open[cause].is_task_lost, "journal", f"{cause} has lost its task, and not on record")
            case MigrationEnded(cause=cause, host_now=host_now) if cause in self.migrations:
                found = self.migrations[cause]
                expect(found.is_over, "journal", f"{cause} has ended, and is {found.state} in the journal")
                if found in ended:
                    places = {None: State.GONE, found.source: State.STAYED, found.target: State.MOVED}
                    state = places.get(host_now, State.ELSEWHERE)
                    expect(
                        found.state is state, "journal", f"{cause}: the guest is {state}, the journal: {found.state}"
                    )
            case RecommendationRefused(name=name) | RecommendationApproved(name=name):
                standing = self.recommendations.get(name)
                expect(standing is not None, "journal", f"{name} is open, and was never made")
                is_over = standing is not Standing.OPEN
                expect(is_over or decisions != [], "journal", f"{name} is open still")
            case _:
                pass
        for number, command in enumerate(commands):
            if isinstance(command, StartMigration):
                told = [each for each in commands[:number] if isinstance(each, RecordMigration)]
                is_recorded = any(each.migration.cause == command.cause for each in told)
                expect(is_recorded, "journal", f"{command.cause} is asked for, and not recorded before")
                expect(self.candidate(command) is not None, "journal", f"{command.cause} was decided on by nobody")

    @property
    def candidates(self) -> list[Candidate]:
        """All that this event's decisions were about."""
        return [each for decision in self.decisions for each in decision.candidates]

    def candidate(self, command: StartMigration) -> Candidate | None:
        """Return the accepted candidate of this event's decision that a request comes from; None if there is none."""
        name, _, number = command.cause.rpartition(".")
        for decision in self.decisions:
            if decision.cause == name and 0 < int(number) <= len(decision.candidates):
                found = decision.candidates[int(number) - 1]
                if found.is_accepted and (found.guest, found.target) == (command.guest, command.target):
                    return found
        return None

    def issued(self, cause: str) -> None:
        """Take in that the pool is really asked for a migration. Raises Violated where it was asked before."""
        expect(cause not in self._started, "started-twice", f"{cause} is asked for a second time")
        self._started.add(cause)

    def set_of(self, cause: str) -> MoveSet | None:
        """Return the set that a migration is a step of; None if of none."""
        return next((each for each in self.sets.values() if any(s.migration == cause for s in each.steps)), None)

"""Sets of moves under way: the steps of each, what became of them, and what the rest waits for. Values only.

A set is begun as a whole and made step by step (`migd_policies.move_order`). A step that fails takes with it those that
come after it, and no others. Sets are remembered across restarts; one that is over is in the journal only.

    waiting ──started──▶ running ──ended──▶ done | failed
       └────────────────dropped
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from migd_controller.migration import Migration, State
from migd_core.world import Move, Reason
from migd_policies.move_order import Step, Steps


class StepState(StrEnum):
    """Where a step stands; the last three are final."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    DROPPED = "dropped"


class SetStep(msgspec.Struct, frozen=True, kw_only=True):
    """One migration of a set (uuids, with the names that they had); `after` numbers those it cannot do without.

    `text` says why it waits, failed or was dropped. `refused_at` is since when (Unix time) what may pass has refused
    it; `migration` is the id of what it became.
    """

    number: int
    guest: str
    source: str
    target: str
    reason: Reason
    guest_name: str
    source_name: str
    target_name: str
    after: tuple[int, ...] = ()
    is_detour: bool = False
    predicted_s: float | None = None
    state: StepState = StepState.WAITING
    migration: str = ""
    text: str = ""
    refused_at: float | None = None

    @property
    def move(self) -> Move:
        return Move(self.guest, self.source, self.target, self.reason)

    @property
    def label(self) -> str:
        return f"{self.guest_name} to {self.target_name}"


class MoveSet(msgspec.Struct, frozen=True, kw_only=True):
    """Moves that belong together, under way since `at` (Unix time). `name` is the id of their decision, with `.s1`."""

    name: str
    policy: str
    at: float
    steps: tuple[SetStep, ...]

    @property
    def is_over(self) -> bool:
        return not any(step.state in (StepState.WAITING, StepState.RUNNING) for step in self.steps)

    @property
    def waiting(self) -> tuple[SetStep, ...]:
        return tuple(step for step in self.steps if step.state is StepState.WAITING)

    @property
    def ordered(self) -> Steps:
        """The steps as `move_order` and `move_schedule` know them."""
        return Steps(
            tuple(Step(s.number, s.guest, s.source, s.target, frozenset(s.after), s.is_detour) for s in self.steps)
        )

    def numbers(self, *states: StepState) -> frozenset[int]:
        """Return the numbers of the steps in these states."""
        return frozenset(step.number for step in self.steps if step.state in states)

    def waits_for(self, step: SetStep) -> str:
        """Say which steps this one waits for; empty if none."""
        open_ = self.numbers(StepState.WAITING, StepState.RUNNING)
        labels = [f"{self.steps[number].label} (step {number + 1})" for number in step.after if number in open_]
        return f"waits for {' and '.join(labels)}" if labels else ""

    def waiting_text(self, step: SetStep) -> str:
        """Say what a waiting step waits for."""
        return self.waits_for(step) or (f"waits, {step.text}" if step.text else "waits for the next control period")

    def started(self, number: int, migration: str) -> "MoveSet":
        """Return the set once a step has become a migration."""
        return self._with({number}, state=StepState.RUNNING, migration=migration, text="", refused_at=None)

    def waits(self, number: int, text: str, since: float | None) -> "MoveSet":
        """Return the set with a step that could not be started now; `since` when what may pass has refused it."""
        return self._with({number}, text=text, refused_at=since)

    def ended(self, migration: Migration) -> "MoveSet":
        """Return the set once a migration of it is over, however that ended."""
        (step,) = (step for step in self.steps if step.migration == migration.cause)
        if migration.state is State.MOVED:
            return self._with({step.number}, state=StepState.DONE)
        text = f"{migration.guest_name} {migration.state}: {migration.text or 'the guest did not move'}"
        failed = self._with({step.number}, state=StepState.FAILED, text=text)
        return failed._without_dependants(step, "failed")

    def dropped(self, step: SetStep, text: str) -> "MoveSet":
        """Return the set without a step, and without those that come after it."""
        return self._with({step.number}, state=StepState.DROPPED, text=text)._without_dependants(step, "was dropped")

    def rest_dropped(self, text: str) -> "MoveSet":
        """Return the set without what has not begun."""
        return self._with(self.numbers(StepState.WAITING), state=StepState.DROPPED, text=text)

    def _without_dependants(self, step: SetStep, fate: str) -> "MoveSet":
        """Return the set without the waiting steps that need this one, and without detours that lead nowhere then."""
        lost = self.ordered.lost_with([step.number])
        text = f"it needs {step.label} (step {step.number + 1}), which {fate}"
        rest = self._with(lost & self.numbers(StepState.WAITING), state=StepState.DROPPED, text=text)
        for detour in rest.waiting:
            later = [each for each in rest.steps if each.guest == detour.guest and each.number > detour.number]
            if detour.is_detour and all(each.state is StepState.DROPPED for each in later):
                return rest.dropped(detour, f"{detour.guest_name} cannot go on from {detour.target_name} any more")
        return rest

    def _with(self, numbers: Iterable[int], **changes: object) -> "MoveSet":
        those = frozenset(numbers)
        return replace(self, steps=tuple(replace(s, **changes) if s.number in those else s for s in self.steps))


Sets = Mapping[str, MoveSet]


def set_after(sets: Sets, migration: Migration) -> MoveSet | None:
    """Return the set that a migration which is over was a step of, as it is then; None if it was of none."""
    for each in sets.values():
        if any(step.migration == migration.cause for step in each.steps):
            return each.ended(migration)
    return None

"""The life of one migration, as a table of transitions.

    asked ──accepted──▶ running ──ended──▶ moved | stayed | elsewhere | gone
      └────────────────ended──────────────▲

`asked`: the command is journaled, the pool's answer is not known. `running`: the pool has a task for it. The end is
not what the task says but where the guest is afterwards: on the target, still on its source, on a third host where
somebody else has moved it, or nowhere. A running one may be given another task: after a restart, or when the pool lost
the first and goes on with the migration.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from migd_core.learned import Expected


class State(StrEnum):
    """Where a migration stands; the last four are final."""

    ASKED = "asked"
    RUNNING = "running"
    MOVED = "moved"
    STAYED = "stayed"
    ELSEWHERE = "elsewhere"
    GONE = "gone"


_LAST: Final = frozenset({State.MOVED, State.STAYED, State.ELSEWHERE, State.GONE})
NEXT_STATES: Final = MappingProxyType(
    {
        State.ASKED: _LAST | {State.RUNNING},
        State.RUNNING: _LAST | {State.RUNNING},
        **dict.fromkeys(_LAST, frozenset[State]()),
    }
)


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One migration (uuids; times are Unix seconds). `code` and `text` carry the pool's error, if it gave one.

    `cost_s` is what `job` was predicted to lose by it, `gain_rate` what that gains a second afterwards for `lasts_s`,
    `gain_s` what all jobs do in all; `is_for_gain` where that is why
    it was begun, and neither an operator nor a host's failing.
    `is_cancelling` once somebody wants it to end; it may yet arrive. `is_task_lost` while the pool has no task that
    could be asked about it, and the guest may be moving all the same. `toolstacks` are those that it was asked of:
    while they live, no migration goes on that the pool does not know of.
    """

    cause: str
    guest: str
    source: str
    target: str
    requested_by: str
    asked_at: float
    guest_name: str = ""
    source_name: str = ""
    target_name: str = ""
    memory_bytes: int = 0
    state: State = State.ASKED
    task: str | None = None
    progress_ratio: float | None = None
    predicted_s: float | None = None
    predicted_pause_s: float | None = None
    predicted_at_most_s: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    code: str = ""
    text: str = ""
    is_cancelling: bool = False
    is_task_lost: bool = False
    expected: Expected | None = None
    job: str = ""
    cost_s: float = 0.0
    gain_s: float = 0.0
    is_for_gain: bool = False
    gain_rate: float = 0.0
    lasts_s: float = 0.0
    toolstacks: str = ""

    @property
    def is_over(self) -> bool:
        return not NEXT_STATES[self.state]

    def accepted(self, task: str, now_s: float) -> "Migration":
        """Return the migration once the pool has a task for it."""
        started_at = self.started_at if self.started_at is not None else now_s
        return msgspec.structs.replace(self._into(State.RUNNING), task=task, started_at=started_at, is_task_lost=False)

    def lost(self) -> "Migration":
        """Return the migration once the pool has no task for it, although the guest may be moving."""
        return msgspec.structs.replace(self, task=None, is_task_lost=True)

    def progressed(self, progress_ratio: float) -> "Migration":
        """Return the migration with the pool's own progress, which may go back."""
        return msgspec.structs.replace(self, progress_ratio=progress_ratio)

    def cancelling(self) -> "Migration":
        """Return the migration once somebody wants it to end."""
        return msgspec.structs.replace(self, is_cancelling=True)

    def worth(self, gain_s: float) -> "Migration":
        """Return the migration once it is known to gain something else than it was begun for."""
        return msgspec.structs.replace(self, gain_s=gain_s)

    def given_up(self, text: str) -> "Migration":
        """Return the migration once migd itself thinks better of it."""
        return msgspec.structs.replace(self, is_cancelling=True, text=text)

    def ended(self, host_now: str | None, code: str, text: str, now_s: float) -> "Migration":
        """Return the migration in the final state that the guest's real host tells."""
        places: dict[str | None, State] = {None: State.GONE, self.source: State.STAYED, self.target: State.MOVED}
        state = places.get(host_now, State.ELSEWHERE)
        text = "; ".join(filter(None, (self.text, text)))
        return msgspec.structs.replace(self._into(state), ended_at=now_s, code=code, text=text)

    def _into(self, state: State) -> "Migration":
        if state not in NEXT_STATES[self.state]:
            raise AssertionError(f"migration {self.cause} is {self.state} and cannot become {state}")
        return msgspec.structs.replace(self, state=state)

"""What is kept of policies that run beside each other, so that they can be compared. Values only.

The active policy moves guests, the others (shadows) only say what they would move. Each has a record of the same kind:
where its moves have put guests or would have, what that cost, and what it has gained since by the loads measured.
"""

from typing import Any, Final

import msgspec

from migd_controller.accounts import Entry
from migd_controller.migration import Migration
from migd_controller.step_checks import StepCheck

MAX_SHADOWS: Final = 16


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy's moves have come to, in job-seconds; `pause_s` is how long guests stand still for them.

    `predicted_s` is the net gain that the ledger promised when the moves were accepted, `due_s` the gain that it
    promised until now, `gained_s` what the measured loads say it was. `took_s` is how long finished migrations took,
    and `expected_s` what they were expected to: of real ones only. So are the sums over `checks` jobs of how long a
    step took after the moves in shares of before, `step_ratio`, and of how long it was to, `expected_step_ratio`.
    """

    moves: int = 0
    failed: int = 0
    cost_s: float = 0.0
    pause_s: float = 0.0
    predicted_s: float = 0.0
    due_s: float = 0.0
    gained_s: float = 0.0
    took_s: float = 0.0
    expected_s: float = 0.0
    checks: int = 0
    step_ratio: float = 0.0
    expected_step_ratio: float = 0.0

    @property
    def net_s(self) -> float:
        return self.gained_s - self.cost_s


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A guest where a policy has put it, or would have: on `host` since `at` (Unix time).

    The ledger promised `gain_s` job-seconds over `lasts_s` for it.
    """

    host: str
    at: float
    gain_s: float = 0.0
    lasts_s: float = 0.0

    def due_s(self, from_s: float, to_s: float) -> float:
        """Return what of the promised gain falls between two moments (Unix time)."""
        if self.lasts_s <= 0:
            return 0.0
        overlap_s = min(to_s, self.at + self.lasts_s) - max(from_s, self.at)
        return self.gain_s * max(0.0, overlap_s) / self.lasts_s


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """One policy with its settings, and its record since `since` (Unix time).

    `in_flight` are its migrations under way, with the gain that is promised for them; those of a shadow only would be.
    `watched_s` is for how long its placement was settled, `blind_s` for how long it could not be. The rest is of a
    shadow only: the net job-seconds that it is ahead of the active policy, when it would have moved which guest, what
    that is on account of (see `accounts`), and in `problem` why it is not asked any more.
    """

    policy: str
    config: dict[str, Any]
    since: float
    tally: Tally = Tally()
    placed: dict[str, Placed] = {}
    in_flight: dict[str, Migration] = {}
    watched_s: float = 0.0
    blind_s: float = 0.0
    ahead_s: float = 0.0
    last_moved_at: dict[str, float] = {}
    accounts: dict[str, tuple[Entry, ...]] = {}
    problem: str = ""


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """The active policy and its shadows, by label; `active` is None while there are none.

    `checks` are the jobs of which it is being found out whether the active policy's moves do what the ledger said.
    `home` is where each guest that the active policy has moved would be had it moved nothing; `seen` where each guest
    that anybody's record concerns really was at the last look. `settled_at` is that look (Unix time), `turns` how many
    times a shadow was asked.
    """

    active: Contender | None = None
    shadows: dict[str, Contender] = {}
    checks: dict[str, StepCheck] = {}
    home: dict[str, str] = {}
    seen: dict[str, str] = {}
    settled_at: float | None = None
    turns: int = 0


NO_CONTEST: Final = Contest()

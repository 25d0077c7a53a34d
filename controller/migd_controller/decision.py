"""What is kept of a control cycle: each candidate with its price and every gate it met, passed or not."""

import math

import msgspec

from migd_controller.move_sets import MoveSet
from migd_core.learned import Expected
from migd_core.pricing import QUANTILE_SDS, Interval
from migd_core.world import Reason


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that a move had to pass. `value` was compared with `threshold`, both in `unit`."""

    name: str
    passed: bool
    text: str
    value: float | None = None
    threshold: float | None = None
    unit: str = ""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a move is predicted to cost and to gain.

    `total_s`, `pause_s`, `sent_bytes` describe the migration; `cost_s` and `gain_s` are job-seconds: what the jobs
    concerned lose while it runs, and what they gain afterwards. `basis` says what the prediction rests on. Where no
    dirty page of the guest was ever counted, `least` and `most` bound it; the most is what the gain is held against.
    `total`, `pause` and `cost` are the intervals around those medians, `gain` that of which `gain_s` is the mean;
    `ratio_sd_s` is how far the gain is off because steps may not become as short as predicted, and
    `forced_probability` how likely it is that the guest writes faster than it is copied. The gain is reckoned for
    `lasts_s`, and pays for the move after `break_even_s`; None where that is not known, or it never does. `gain_rate`
    is what the guest's own job gains a second. `expected` is what to learn from once it is done. `together` is the
    price of the set that the move belongs to; its net gain is shared evenly among the moves.
    """

    total_s: float
    pause_s: float
    sent_bytes: float
    cost_s: float
    gain_s: float
    basis: str
    least: "Bound | None" = None
    most: "Bound | None" = None
    expected: Expected | None = None
    total: Interval | None = None
    pause: Interval | None = None
    cost: Interval | None = None
    gain: Interval | None = None
    ratio_sd_s: float = 0.0
    forced_probability: float | None = None
    break_even_s: float | None = None
    lasts_s: float | None = None
    gain_rate: float = 0.0
    together: "Together | None" = None

    @property
    def net_sd_s(self) -> float:
        """How far the net gain may be off, as a standard deviation."""
        cost_sd_s = (self.cost.high - self.cost.low) / QUANTILE_SDS if self.cost is not None else 0.0
        return math.hypot(cost_sd_s, self.ratio_sd_s)

    @property
    def total_at_most_s(self) -> float:
        if self.most is not None:
            return self.most.total_s
        return self.total.high if self.total is not None else self.total_s

    @property
    def cost_at_most_s(self) -> float:
        return self.most.cost_s if self.most is not None else self.cost_s


class Together(msgspec.Struct, frozen=True, kw_only=True):
    """What a set of moves gains and costs as one, in job-seconds; `sure_s` is the net gain that is sure.

    `others` names the guests that move besides.
    """

    others: tuple[str, ...]
    gain_s: float
    cost_s: float
    sure_s: float
    gain: Interval | None = None
    cost: Interval | None = None


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a prediction, in seconds; `cost_s` in job-seconds."""

    total_s: float
    pause_s: float
    cost_s: float


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One move that was considered (uuids). `price` is None where the move cannot even be priced."""

    guest: str
    source: str
    target: str
    why: str
    gates: tuple[Gate, ...]
    price: Price | None = None

    @property
    def is_accepted(self) -> bool:
        return all(gate.passed for gate in self.gates)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One control cycle, or one request by hand. `at` is Unix time; `cause` is the id to follow.

    `sets` are the sets of moves under way after it, those that it has begun or ended included.
    """

    cause: str
    at: float
    policy: str
    reason: Reason
    candidates: tuple[Candidate, ...] = ()
    sets: tuple[MoveSet, ...] = ()

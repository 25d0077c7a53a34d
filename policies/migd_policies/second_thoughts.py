"""Whether a migration that is under way is still worth finishing, once its copying has been watched for a while.

What the source host has sent since tells how fast the guest is copied at the most, far better than any assumption
does. With that the migration is predicted again (`FirstRound`), and what is left of its cost is held against what is
left of the gain G for which it was begun. Loads are not looked at again: copying itself disturbs them.

    rest = (T' − pause' − t)(1 − v·g) + pause' + warm-up        for going on, after t seconds and with T' predicted now
    going on is worth G − a · t − b · (T' − T) − rest, giving up nothing

with the rate a at which the job of the guest gains, b at which others do, and T as predicted when it was begun. As in
the ledger, 1 − v·g has in it that the job of the guest does not gain before the guest has arrived, so of that part of G
only the past is gone; others were to gain from the arrival on, so only what it is late is. What was lost until now is
lost either way: one that goes as it was priced is not given up if it was worth beginning. Only a migration that is
worth less than nothing even at the cheap end of its interval is given up: giving up throws away what was copied, and
the same move may be wanted again.
"""

from dataclasses import dataclass, replace
from typing import Final

from migd_core.precopy import RULE_SETS
from migd_core.pricing import Interval
from migd_core.units import format_bytes, format_duration
from migd_core.world import Move, World
from migd_policies.dirty_fit import usable
from migd_policies.ledger import bandwidth_bytes_per_s
from migd_policies.precopy_prediction import FirstRound, Request, predict_many

# Sooner nothing is concluded: a connection needs a while to reach its pace.
WATCHED_AT_LEAST_S: Final = 10.0
# A host that sends less than this of what was assumed is not copying at all, or not through the NIC that is watched.
SEEN_AT_LEAST_RATIO: Final = 0.02


@dataclass(frozen=True, slots=True)
class Copying:
    """What a source host has sent since a migration began, its guests' own traffic included: bytes, within seconds."""

    sent_bytes: float = 0.0
    watched_s: float = 0.0

    def further(self, sent_bytes: float, watched_s: float) -> "Copying":
        """Return it with one more sample."""
        return Copying(self.sent_bytes + sent_bytes, self.watched_s + watched_s)


@dataclass(frozen=True, slots=True)
class Promise:
    """What a migration was begun for: `gain_s` job-seconds, of which its job gains `own_rate` a second for `lasts_s`.

    It was to take `total_s`, pause for `pause_s` of that, and cost its job `cost_s`.
    """

    gain_s: float
    own_rate: float
    lasts_s: float
    total_s: float
    pause_s: float
    cost_s: float


@dataclass(frozen=True, slots=True)
class Reconsidered:
    """What a migration is now predicted to take in all, and whether finishing it is worth what that still costs."""

    total_s: Interval
    net_s: float
    net_at_best_s: float
    bandwidth_bytes_per_s: float
    text: str

    @property
    def is_worth_finishing(self) -> bool:
        return self.net_at_best_s >= 0


def reconsider(world: World, move: Move, elapsed_s: float, copying: Copying, promise: Promise) -> Reconsidered | None:
    """Return what is thought of `move`, under way for `elapsed_s`; None while too little of it was seen.

    Guest and hosts must exist in `world`.
    """
    then = replace(world, moves_in_flight=tuple(each for each in world.moves_in_flight if each.guest != move.guest))
    guest = then.guests[move.guest]
    assumed = bandwidth_bytes_per_s(then, move)
    if copying.watched_s < WATCHED_AT_LEAST_S or not usable(guest.dirty_curves, guest.booted_at)[0]:
        return None
    seen = copying.sent_bytes / copying.watched_s
    if seen < SEEN_AT_LEAST_RATIO * assumed:
        return None
    first = FirstRound(took_s=guest.memory_bytes / seen, sent_bytes=guest.memory_bytes)
    request = Request(
        guest.memory_bytes,
        guest.dirty_curves,
        assumed,
        then.learned.correction(move.guest, move.source, move.target),
        guest.booted_at,
        first_round=first,
        begins_s=then.now_s - elapsed_s,
    )
    (migration,) = predict_many([request], RULE_SETS[then.rule_set], widening=then.learned.widening)
    warm_up_s = then.pricing.warm_up_s
    slowed = (promise.cost_s - promise.pause_s - warm_up_s) / max(1e-9, promise.total_s - promise.pause_s)  # 1 − v·g
    gain_rate = promise.gain_s / promise.lasts_s if promise.lasts_s > 0 else 0.0
    own_rate = min(gain_rate, max(0.0, promise.own_rate))

    def rest_s(total_s: float, pause_s: float) -> float:
        return max(0.0, total_s - pause_s - elapsed_s) * slowed + pause_s + warm_up_s

    def left_s(total_s: float) -> float:
        late_s = max(0.0, total_s - promise.total_s)
        return max(0.0, promise.gain_s - own_rate * elapsed_s - (gain_rate - own_rate) * late_s)

    def worth_s(total_s: float, pause_s: float) -> float:
        return left_s(total_s) - rest_s(total_s, pause_s)

    total_s, pause_s = migration.total_s, migration.pause_s
    net_s = worth_s(total_s.median, pause_s.median)
    costs_s = rest_s(total_s.median, pause_s.median)
    return Reconsidered(
        total_s=total_s,
        net_s=net_s,
        net_at_best_s=worth_s(total_s.low, pause_s.low),
        bandwidth_bytes_per_s=seen,
        text=(
            f"it copies at no more than {format_bytes(seen)}/s (assumed {format_bytes(assumed)}/s), so it would take "
            f"{format_duration(total_s.median)} in all; finishing it costs {format_duration(costs_s)} more and gains "
            f"{format_duration(left_s(total_s.median))}"
        ),
    )

"""The price of each move as it is kept with a decision; worked out by `migd_policies.ledger`."""

from collections.abc import Sequence

from msgspec.structs import replace

from migd_controller.decision import Bound, Price, Together
from migd_core.world import Move, World
from migd_policies import ledger
from migd_policies.ledger import MovePrice, PlanPrice
from migd_policies.precopy_prediction import MigrationPrediction


def price(world: World, move: Move) -> Price:
    """Return the price of `move` in `world`; guest, source and target must exist.

    Raises ValueError where the migration cannot be predicted.
    """
    (found,) = prices(world, [move], certainty_sds=0.0)
    return found


def prices(world: World, moves: Sequence[Move], certainty_sds: float, detours: Sequence[Move] = ()) -> list[Price]:
    """Return the prices of moves that belong together, as one set; guests, sources and targets must exist.

    Those of its `detours` follow. Raises ValueError where a migration cannot be predicted.
    """
    plan = ledger.price(world, moves, detours=detours)
    found = [_price(world, plan, each, certainty_sds) for each in plan.moves]
    return [*found[: len(moves)], *(replace(each, gain_rate=0.0) for each in found[len(moves) :])]


def _price(world: World, plan: PlanPrice, found: MovePrice, certainty_sds: float) -> Price:
    own = next(job for job in plan.jobs if job.job == found.job)
    migration, together, gain_s = found.migration, None, plan.gain_s
    if len(plan.moves) > 1:
        together = Together(
            others=tuple(
                dict.fromkeys(
                    world.guests[other.move.guest].name for other in plan.moves if other.move.guest != found.move.guest
                )
            ),
            gain_s=plan.gain_s,
            cost_s=plan.cost_s.median,
            sure_s=plan.sure_s(certainty_sds),
            gain=plan.gain,
            cost=plan.cost_s,
        )
        gain_s = found.cost_s.median + plan.net_s / len(plan.moves)
    return Price(
        total_s=migration.total_s.median,
        pause_s=migration.pause_s.median,
        sent_bytes=migration.sent_bytes.median,
        cost_s=found.cost_s.median,
        gain_s=gain_s,
        basis=migration.basis,
        expected=migration.expected,
        total=migration.total_s,
        pause=migration.pause_s,
        cost=found.cost_s,
        gain=plan.gain if together is None else None,
        ratio_sd_s=plan.ratio_sd_s if together is None else 0.0,
        forced_probability=migration.forced_probability,
        break_even_s=plan.break_even_s,
        lasts_s=own.lasts_s,
        gain_rate=1.0 - own.step_ratio,
        least=_bound(found, found.least, found.cost_s.low),
        most=_bound(found, found.most, found.cost_s.high),
        together=together,
    )


def _bound(found: MovePrice, migration: MigrationPrediction | None, cost_s: float) -> Bound | None:
    if migration is None:
        return None
    return Bound(total_s=migration.total_s.median, pause_s=migration.pause_s.median, cost_s=cost_s)

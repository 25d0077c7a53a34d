"""The price of one move as it is kept with a decision; worked out by `migd_policies.ledger`."""

from migd_controller.decision import Bound, Price
from migd_core.world import Move, World
from migd_policies import ledger
from migd_policies.ledger import MovePrice
from migd_policies.precopy_prediction import MigrationPrediction


def price(world: World, move: Move) -> Price:
    """Return the price of `move` in `world`; guest, source and target must exist.

    Raises ValueError where the migration cannot be predicted.
    """
    plan = ledger.price(world, [move])
    (found,) = plan.moves
    own = next(job for job in plan.jobs if job.job == found.job)
    migration = found.migration
    return Price(
        total_s=migration.total_s.median,
        pause_s=migration.pause_s.median,
        sent_bytes=migration.sent_bytes.median,
        cost_s=found.cost_s.median,
        gain_s=plan.gain_s,
        basis=migration.basis,
        expected=migration.expected,
        total=migration.total_s,
        pause=migration.pause_s,
        cost=found.cost_s,
        forced_probability=migration.forced_probability,
        break_even_s=plan.break_even_s,
        lasts_s=own.lasts_s,
        gain_rate=1.0 - own.step_ratio,
        least=_bound(found, found.least, found.cost_s.low),
        most=_bound(found, found.most, found.cost_s.high),
    )


def _bound(found: MovePrice, migration: MigrationPrediction | None, cost_s: float) -> Bound | None:
    if migration is None:
        return None
    return Bound(total_s=migration.total_s.median, pause_s=migration.pause_s.median, cost_s=cost_s)

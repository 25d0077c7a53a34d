"""What a move costs and what it gains, in job-seconds.

    gain = Σ over jobs touched of (1 − g) × min(remaining time, horizon)
    cost = (T − pause) × (1 − v) + pause + warm-up        for the job whose guest moves

g is a job's new iteration time over its old one (`migd_policies.scoring`), T and pause the predicted migration
(`migd_policies.precopy_prediction`), v the job's speed during pre-copy. A job that the move slows down counts with its
loss. This is the first ledger: one number each, v and horizon from the configuration.
"""

from migd_policies.precopy_prediction import predict
from migd_policies.scoring import job_step_ratios

from migd_controller.config import LedgerSection
from migd_controller.decision import Price
from migd_core.precopy import RULE_SETS
from migd_core.world import Move, World


def price(world: World, move: Move, settings: LedgerSection) -> Price:
    """Return the price of `move` in `world`; guest, source and target must exist."""
    guest = world.guests[move.guest]
    prediction = predict(
        guest.memory_bytes, guest.dirty_curve, _bandwidth_bytes_per_s(world, move, settings), RULE_SETS[world.rule_set]
    )
    gain_s = 0.0
    for job, ratio in job_step_ratios(world, move).items():
        known = world.jobs.get(job)
        remaining_s = known.remaining_s if known is not None and known.remaining_s is not None else settings.horizon_s
        gain_s += (1.0 - ratio) * min(remaining_s, settings.horizon_s)
    slowed_s = (prediction.total_s - prediction.pause_s) * (1.0 - settings.speed_while_migrating_ratio)
    return Price(
        total_s=prediction.total_s,
        pause_s=prediction.pause_s,
        sent_bytes=prediction.sent_bytes,
        cost_s=slowed_s + prediction.pause_s + settings.warm_up_s,
        gain_s=gain_s,
        basis=prediction.basis,
    )


def _bandwidth_bytes_per_s(world: World, move: Move, settings: LedgerSection) -> float:
    """What one more migration gets: the slower NIC, shared with those under way at either end."""
    ends = {move.source, move.target}
    sharing = 1 + sum(bool(ends & {other.source, other.target}) for other in world.moves_in_flight)
    known = [link for uuid in ends if (link := world.hosts[uuid].link_bytes_per_s) > 0]
    link = min(known) * settings.bandwidth_ratio if known else settings.bandwidth_bytes_per_s
    return link / sharing

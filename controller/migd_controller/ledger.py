"""What a move costs and what it gains, in job-seconds.

    gain = Σ over jobs touched of (1 − g) × min(remaining time, horizon, remaining time of the job whose guest moves)
    cost = (T − pause) × (1 − v) + pause + warm-up        for the job whose guest moves

g is a job's new iteration time over its old one (`migd_policies.scoring`), T and pause the predicted migration
(`migd_policies.precopy_prediction`), v the job's speed during pre-copy. A job that the move slows down counts with its
loss. Once the job whose guest moves is over, its guests are idle wherever they are, so nobody gains from the move any
more. This is the first ledger: one number each, v and horizon from the configuration. Only a guest whose dirty pages
nobody counts (a host without an agent) has bounds, from a guest that writes nothing to one that writes everything.
"""

from math import inf

from msgspec.structs import replace

from migd_controller.config import LedgerSection
from migd_controller.decision import Bound, Price
from migd_core.precopy import RULE_SETS
from migd_core.world import Level, Move, World
from migd_policies.precopy_prediction import MigrationPrediction, predict, predict_bounds
from migd_policies.scoring import job_step_ratios


def price(world: World, move: Move, settings: LedgerSection) -> Price:
    """Return the price of `move` in `world`; guest, source and target must exist."""
    guest = world.guests[move.guest]
    settings = _with_learned_speed(settings, world, guest.job)
    bandwidth_bytes_per_s, rules = _bandwidth_bytes_per_s(world, move, settings), RULE_SETS[world.rule_set]
    prediction = predict(guest.memory_bytes, guest.dirty_curve, bandwidth_bytes_per_s, rules)
    least = most = None
    if guest.dirty_curve is None:
        least, most = (
            Bound(total_s=bound.total_s, pause_s=bound.pause_s, cost_s=_cost_s(bound, settings))
            for bound in predict_bounds(guest.memory_bytes, bandwidth_bytes_per_s, rules)
        )
    horizon_s = min(settings.horizon_s, _remaining_s(world, guest.job))
    gain_s = sum(
        (1.0 - ratio) * min(horizon_s, _remaining_s(world, job)) for job, ratio in job_step_ratios(world, move).items()
    )
    return Price(
        total_s=prediction.total_s,
        pause_s=prediction.pause_s,
        sent_bytes=prediction.sent_bytes,
        cost_s=_cost_s(prediction, settings),
        gain_s=gain_s,
        basis=prediction.basis,
        least=least,
        most=most,
    )


def _cost_s(prediction: MigrationPrediction, settings: LedgerSection) -> float:
    slowed_s = (prediction.total_s - prediction.pause_s) * (1.0 - settings.speed_while_migrating_ratio)
    return slowed_s + prediction.pause_s + settings.warm_up_s


def _with_learned_speed(settings: LedgerSection, world: World, job: str | None) -> LedgerSection:
    """Return the settings with the speed that the job was seen to keep while a guest of it migrated."""
    known = world.jobs.get(job) if job is not None else None
    if known is None or known.speed_while_migrating is None:
        return settings
    return replace(settings, speed_while_migrating_ratio=known.speed_while_migrating.median_ratio)


def _remaining_s(world: World, job: str | None) -> float:
    """The job's remaining time; infinite where there is no such job or nobody said."""
    known = world.jobs.get(job) if job is not None else None
    return inf if known is None or known.remaining_s is None else known.remaining_s


def _bandwidth_bytes_per_s(world: World, move: Move, settings: LedgerSection) -> float:
    """What one more migration gets: of the slower NIC, and of the level that it crosses where that was measured.

    Both are shared with the migrations under way on them.
    """
    ends = {move.source, move.target}
    sharing = 1 + sum(bool(ends & {other.source, other.target}) for other in world.moves_in_flight)
    known = [link for uuid in ends if (link := world.hosts[uuid].link_bytes_per_s) > 0]
    nic = min(known) * settings.bandwidth_ratio if known else settings.bandwidth_bytes_per_s
    level = world.topology.links.get(world.topology.level(move.source, move.target))
    if level is None:
        return nic / sharing
    crossing = 1 + sum(_joins(world, other) == _joins(world, move) for other in world.moves_in_flight)
    return min(nic / sharing, level.bandwidth_bytes_per_s / crossing)


def _joins(world: World, move: Move) -> frozenset[str | None]:
    """What the link that a migration crosses joins: two switches, or two hosts of one switch."""
    topology, ends = world.topology, (move.source, move.target)
    if topology.level(*ends) is Level.WIDE_AREA:
        return frozenset(topology.switch_of.get(uuid) for uuid in ends)
    return frozenset(ends)

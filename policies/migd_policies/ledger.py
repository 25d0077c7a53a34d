"""What moves cost and what they gain, in job-seconds. The same prices for every policy and every gate.

A job of R remaining seconds that runs on as it is ends after R. With moves, it goes on at the speed v of before while
guests are copied, stands still while one is switched over, and then steps in g of the time (`scoring`); so it ends
earlier by

    net = (1 − g) · H + (1 − g₀)(L − H) − Σ over its moves of [(T − pause)(1 − v·g) + pause + warm-up]

and a job of which nobody moves by what follows the arrival of those who do: L and H lose what was before (`_Arrivals`).

T and pause are the predicted migration (`precopy_prediction`). L = min(R, horizon, R_m), with R_m the remaining time of
the jobs whose guests move: once those are over, nobody gains from the moves any more. H is for how much of L the
imbalance stands (`imbalance`), of the shortest-lived that the moves answer; g₀ is g once the loads of guests of no job
are gone: what is gained by faster hosts or nearer neighbours stays, and what a neighbour left behind costs stays, too,
until the guests can go back; what would be gained only then can be had then, and counts for nothing. Remaining times
are intervals: what is gained is worked out at their 10, 50 and 90 %, and counts 3 : 4 : 3 (Swanson's rule for a mean).
A job whose step takes longer (g > 1) counts with its loss, at the speed v rather than v·g while guests are copied.
Several moves are priced together, because moving one of two equally slow ranks gains nothing and moving both does.

What is not known for sure is worked out at both ends of its interval, one thing at a time, and the differences are
added up as squares: what the moves cost by how long they take, pause and slow the job down; what is gained by how long
the jobs run, how long the imbalance stands, and how far g may be off. How long things last has been averaged over, for
gains as for losses; what the moves cost and what g is may be wrong always in the same direction, so `sure_s` leaves a
margin for these two. Break-even is the H at which net is 0 if nothing is gained afterwards, where a job waits for W:

    H* = Σ [(T − pause)(1 − v·g) + pause + warm-up + (1 − g) W] / Σ (1 − g)
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Self

from migd_core.precopy import RULE_SETS
from migd_core.pricing import QUANTILE_SDS, Interval
from migd_core.world import Level, Move, World
from migd_policies.copying_speed import expected_speed
from migd_policies.dirty_fit import usable
from migd_policies.imbalance import outlived_s, stands_s
from migd_policies.precopy_prediction import MigrationPrediction, Request, predict_bounds, predict_many
from migd_policies.scoring import StepRatio, counts, step_ratios

# What the 10, 50 and 90 % quantiles count in a mean.
SWANSON: Final = (0.3, 0.4, 0.3)
# How far a step ratio is off, as a standard deviation: of all of the step, and of the part by which it changes (a
# lesser change may be none). Of 25 sets of moves in simulated clusters 21 lie within it; a few are off by much more.
RATIO_SD: Final = 0.002
CHANGE_SD_RATIO: Final = 0.1
# From a standard deviation to the 10 or 90 % quantile of a normal distribution.
TENTH_SDS: Final = QUANTILE_SDS / 2
# With what chance an imbalance outlives the low end, the median and the high end of what it is taken to last.
OUTLIVES: Final = (0.9, 0.5, 0.1)
# How long a guest that was moved stays where it is, whatever happens: the cooldown, unless a site sets another.
RESTS_S: Final = 1800.0


@dataclass(frozen=True, slots=True)
class MovePrice:
    """One move: what its migration is predicted to take, and the job-seconds that it costs the job of its guest.

    Where nobody ever counted the guest's dirty pages, `least` and `most` are the migrations of a guest that writes
    nothing and of one that writes all of its memory all the time.
    """

    move: Move
    job: str
    migration: MigrationPrediction
    cost_s: Interval
    least: MigrationPrediction | None = None
    most: MigrationPrediction | None = None


@dataclass(frozen=True, slots=True)
class JobPrice:
    """What the moves do to one job: its step takes `step_ratio` of the time it took as long as loads are as they are.

    `gain_rate` is what that counts for a second; at this rate the job has gained `gain_s` after `lasts_s`, which begin
    when it has waited for the guests of others for `waits_s`. The gain is a mean, of which `gain` is the interval;
    `ratio_sd_s` is how far it is off because g is.
    """

    job: str
    step_ratio: float
    waits_s: float
    lasts_s: float
    gain_rate: float
    gain_s: float
    gain: Interval
    ratio_sd_s: float


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """Moves priced together. `cost_s`, `gain_s` and its interval are sums over moves and over jobs, in job-seconds.

    `ratio_sd_s` is how far the gain is off because step ratios are, as a standard deviation. `moves` ends with the
    detours, which only cost.
    """

    moves: tuple[MovePrice, ...]
    jobs: tuple[JobPrice, ...]
    cost_s: Interval
    gain_s: float
    gain: Interval
    ratio_sd_s: float

    @property
    def net_s(self) -> float:
        return self.gain_s - self.cost_s.median

    @property
    def gain_rate(self) -> float:
        """Job-seconds gained a second, once the moves are done."""
        return sum(job.gain_rate for job in self.jobs)

    @property
    def awaited_s(self) -> float:
        """Job-seconds that jobs would gain while they wait for guests of others to arrive, did they not wait."""
        return sum(job.gain_rate * job.waits_s for job in self.jobs)

    @property
    def break_even_s(self) -> float | None:
        """How long, from the beginning, the gain must last to pay for the moves; None where it never does."""
        rate = self.gain_rate
        return (self.cost_s.median + self.awaited_s) / rate if rate > 0 else None

    def sure_s(self, certainty_sds: float) -> float:
        """Return what is left of the net gain if that many standard deviations are lost by cost and step ratios.

        A guest whose dirty pages nobody ever counted counts with the most that it can cost.
        """
        cost_s, sd_s = self.counted_cost_s
        return self.gain_s - cost_s - certainty_sds * math.hypot(sd_s, self.ratio_sd_s)

    @property
    def counted_cost_s(self) -> tuple[float, float]:
        """What the moves cost, those at most that nobody can predict; and its standard deviation, of the others."""
        counted = _sum([each.cost_s for each in self.moves if each.most is None])
        at_most_s = sum(each.cost_s.high for each in self.moves if each.most is not None)
        return at_most_s + counted.median, (counted.high - counted.low) / QUANTILE_SDS


def price(
    world: World, moves: Sequence[Move], *, for_jobs_only: bool = False, detours: Sequence[Move] = ()
) -> PlanPrice:
    """Return the price of `moves` made together; their guests and hosts must exist in `world`.

    A guest of no job gains and loses like a job of its own; `for_jobs_only`, it can only lose where there are jobs.
    `detours` bring guests of `moves` to a spare host meanwhile: each costs what its migration does.

    Raises ValueError where no migration can be predicted: no bandwidth.
    """
    ratios = step_ratios(world, *moves)
    made = (*moves, *detours)
    priced = tuple(
        _move_price(world, move, migration, ratios)
        for move, migration in zip(made, _migrations(world, made), strict=True)
    )
    cost_s = _sum([each.cost_s for each in priced])
    arrivals, lives = _Arrivals.of(priced), _Lives(world, moves)
    jobs = tuple(
        _job_price(world, arrivals, lives, job, ratio, cost_s.median, may_gain=not for_jobs_only or counts(world, job))
        for job, ratio in ratios.items()
    )
    return PlanPrice(
        moves=priced,
        jobs=jobs,
        cost_s=cost_s,
        gain_s=math.fsum(job.gain_s for job in jobs),  # in whatever order they come
        # What befalls one job befalls all that gain of the same moves, so their ends come together.
        gain=Interval(*(math.fsum(getattr(job.gain, end) for job in jobs) for end in ("low", "median", "high"))),
        ratio_sd_s=math.hypot(*(job.ratio_sd_s for job in jobs)),
    )


def bandwidth_bytes_per_s(world: World, move: Move, others: Sequence[Move] = ()) -> float:
    """Return what one more migration gets: of the slower NIC, and of the level that it crosses where that was measured.

    Both are shared with the migrations under way on them, and with `others`.
    """
    under_way = (*world.moves_in_flight, *others)
    ends = {move.source, move.target}
    sharing = 1 + sum(bool(ends & {other.source, other.target}) for other in under_way)
    known = [link for uuid in ends if (link := world.hosts[uuid].link_bytes_per_s) > 0]
    nic = min(known) * world.pricing.bandwidth_ratio if known else world.pricing.bandwidth_bytes_per_s
    level = world.topology.links.get(world.topology.level(move.source, move.target))
    if level is None:
        return nic / sharing
    crossing = 1 + sum(_joins(world, other) == _joins(world, move) for other in under_way)
    return min(nic / sharing, level.bandwidth_bytes_per_s / crossing)


def _migrations(world: World, moves: Sequence[Move]) -> list[MigrationPrediction]:
    """Predict each migration as if the others of the plan came one after the other, as limits usually make them."""
    requests = []
    for move in moves:
        guest = world.guests[move.guest]
        requests.append(
            Request(
                guest.memory_bytes,
                guest.dirty_curves,
                bandwidth_bytes_per_s(world, move),
                world.learned.correction(move.guest, move.source, move.target),
                guest.booted_at,
                begins_s=world.now_s,
            )
        )
    return predict_many(requests, RULE_SETS[world.rule_set], widening=world.learned.widening)


def _move_price(world: World, move: Move, migration: MigrationPrediction, ratios: Mapping[str, StepRatio]) -> MovePrice:
    guest = world.guests[move.guest]
    job = guest.job if guest.job in world.jobs and guest.job in ratios else guest.uuid
    assert job is not None
    v, ratio = speed_while_migrating(world, move, job), ratios[job].now
    total_s, pause_s = migration.total_s, migration.pause_s

    def cost_s(total_s: float, pause_s: float, speed: float) -> float:
        pause_s = min(pause_s, total_s)
        slowed_s = (total_s - pause_s) * (1.0 - speed * min(1.0, ratio))
        return slowed_s + pause_s + world.pricing.warm_up_s

    median_s = cost_s(total_s.median, pause_s.median, v.median)
    # A migration that takes long pauses long, so both are moved together.
    below = (cost_s(total_s.low, pause_s.low, v.median), cost_s(total_s.median, pause_s.median, v.high))
    above = (cost_s(total_s.high, pause_s.high, v.median), cost_s(total_s.median, pause_s.median, v.low))
    cost = Interval(
        max(0.0, median_s - math.hypot(*(median_s - each for each in below))),
        median_s,
        median_s + math.hypot(*(each - median_s for each in above)),
    )
    if usable(guest.dirty_curves, guest.booted_at)[0]:
        return MovePrice(move, job, migration, cost)
    bounds = predict_bounds(guest.memory_bytes, bandwidth_bytes_per_s(world, move), RULE_SETS[world.rule_set])
    least, most = bounds
    low, high = (cost_s(each.total_s.median, each.pause_s.median, v.median) for each in bounds)
    return MovePrice(move, job, migration, Interval(low, median_s, high), least, most)


@dataclass(frozen=True, slots=True)
class _Arrivals:
    """When the first and the last guest of a plan arrive, and how long guests of each job (by name) are copied.

    The last has arrived when the busiest link has carried all that is copied over it: two copies that share one take
    twice as long, or turns. What a plan gains needs all of it, what it makes worse begins with the first arrival. The
    last to arrive of guests whose dirty pages nobody ever counted is taken to be as late as it may be.
    """

    first_s: float
    last_s: float
    copied_s: Mapping[str, float]

    @classmethod
    def of(cls, moves: Sequence[MovePrice]) -> Self:
        link_s: defaultdict[str, float] = defaultdict(float)
        copied_s: defaultdict[str, float] = defaultdict(float)
        for each in moves:
            took_s = (each.most or each.migration).total_s.median
            link_s[each.move.source] += took_s
            link_s[each.move.target] += took_s
            copied_s[each.job] += took_s
        first_s = min((each.migration.total_s.median for each in moves), default=0.0)
        return cls(first_s, max(link_s.values(), default=0.0), copied_s)

    def awaited_s(self, job: str, *, gains: bool) -> float:
        """Return how long a job waits, besides the copying of its own guests: that is in what the moves cost."""
        return max(0.0, (self.last_s if gains else self.first_s) - self.copied_s.get(job, 0.0))


class _Lives:
    """How long the imbalance stands that a plan answers, the first to end of its moves; found once for all jobs."""

    def __init__(self, world: World, moves: Sequence[Move]) -> None:
        self.outlived_s = [min((outlived_s(world, move, chance) for move in moves), default=0.0) for chance in OUTLIVES]
        self.stands_s = cache(lambda within_s: min(stands_s(world, move, within_s) for move in moves))


def _job_price(
    world: World,
    arrivals: _Arrivals,
    lives: _Lives,
    job: str,
    ratio: StepRatio,
    cost_s: float,
    *,
    may_gain: bool,
) -> JobPrice:
    rate, calm_rate = (1.0 - each if may_gain else min(0.0, 1.0 - each) for each in (ratio.now, ratio.calm))
    calm_rate = min(calm_rate, max(0.0, rate))  # what would be gained only then can be had then
    waits_s = arrivals.awaited_s(job, gains=rate > 0)
    remaining = [_remaining_s(world, each) for each in {*arrivals.copied_s, job}]
    within_s = [min(world.pricing.horizon_s, *each) for each in zip(*remaining, strict=True)]

    def gained_s(within_s: float, loaded_s: float) -> float:
        calm_s = within_s - loaded_s
        # Guests that are in a worse place once it is calm go back, when they have rested and for the same price.
        calm_gain_s = max(calm_rate * calm_s, min(0.0, calm_rate * min(calm_s, RESTS_S) - cost_s))
        return rate * loaded_s + calm_gain_s

    def off_s(within_s: float, loaded_s: float) -> float:
        return rate_sd(rate) * loaded_s + rate_sd(calm_rate) * (within_s - loaded_s)

    def after_wait(within_s: float, loaded_s: float, loaded_before_s: float) -> tuple[float, float]:
        """For how long after the wait the gain may last, and for how much of that the imbalance stands."""
        return max(0.0, within_s - waits_s), max(0.0, loaded_s - loaded_before_s)

    spans = [after_wait(each, lives.stands_s(each), lives.stands_s(waits_s)) for each in within_s]
    gain_s = _mean([gained_s(*span) for span in spans])
    # The interval takes one thing to its ends after the other: how long jobs run, how long the imbalance stands, and g.
    least_s, typical_s, most_s = within_s
    low_s, life_s, high_s = lives.outlived_s
    lasting = [(typical_s, life_s), (least_s, life_s), (typical_s, low_s), (typical_s, high_s), (most_s, life_s)]
    typical, *varied = [after_wait(span_s, min(span_s, lasts_s), waits_s) for span_s, lasts_s in lasting]
    median_s, off = gained_s(*typical), TENTH_SDS * off_s(*typical)
    ends_s = [gained_s(*each) - median_s for each in varied]
    return JobPrice(
        job=job,
        step_ratio=ratio.now,
        waits_s=waits_s,
        lasts_s=max(0.0, gain_s / rate) if rate > 0 else _mean([stands for _, stands in spans]),
        gain_rate=rate,
        gain_s=gain_s,
        gain=Interval(
            median_s - math.hypot(off, *(min(0.0, each) for each in ends_s)),
            median_s,
            median_s + math.hypot(off, *(max(0.0, each) for each in ends_s)),
        ),
        ratio_sd_s=_mean([off_s(*span) for span in spans]),
    )


def _mean(quantiles: Sequence[float]) -> float:
    return math.fsum(weight * each for weight, each in zip(SWANSON, quantiles, strict=True))


def rate_sd(rate: float) -> float:
    """Return how far the rate at which a job gains or loses may be off; one that is small may be none."""
    return math.hypot(min(RATIO_SD, abs(rate)), CHANGE_SD_RATIO * rate)


def _remaining_s(world: World, job: str) -> tuple[float, float, float]:
    """The job's remaining time, at 10, 50 and 90 %; infinite where there is no such job or nobody said."""
    known = world.jobs.get(job)
    if known is None or known.remaining is None:
        return math.inf, math.inf, math.inf
    return known.remaining.least_s, known.remaining.median_s, known.remaining.most_s


def speed_while_migrating(world: World, move: Move, job: str) -> Interval:
    """Return a job's speed while a guest of it migrates, over its speed before: learned of it, or expected."""
    known = world.jobs.get(job)
    if known is None or known.speed_while_migrating is None or not known.speed_while_migrating.watched:
        return expected_speed(world, move, job)
    speed = known.speed_while_migrating
    return Interval(speed.least_ratio, speed.median_ratio, speed.most_ratio)


def _sum(intervals: Sequence[Interval]) -> Interval:
    """Add up quantities that are independent of each other: medians, and distances from them as squares."""
    median = sum(each.median for each in intervals)
    below = math.hypot(*(each.median - each.low for each in intervals))
    above = math.hypot(*(each.high - each.median for each in intervals))
    return Interval(median - below, median, median + above)


def _joins(world: World, move: Move) -> frozenset[str | None]:
    """What the link that a migration crosses joins: two switches, or two hosts of one switch."""
    topology, ends = world.topology, (move.source, move.target)
    if topology.level(*ends) is Level.WIDE_AREA:
        return frozenset(topology.switch_of.get(uuid) for uuid in ends)
    return frozenset(ends)

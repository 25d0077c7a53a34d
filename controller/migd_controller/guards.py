"""The gates every move must pass, whatever the policy. Each keeps its value and threshold, so that it can be explained.

A request by hand meets the same gates, except those that weigh worth against risk for an unattended system: cooldown,
rest after a failure, and gain. When a gate cannot judge because something is not known, it does not pass.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from msgspec.structs import replace

from migd_controller.accounts import Accounts, behind_s, since_s, stalled_s
from migd_controller.config import GuardsSection
from migd_controller.decision import Gate, Price, Together
from migd_controller.holds import Hold, rest_text
from migd_core.health import HealthState
from migd_core.job_limits import NO_LIMITS, JobLimits
from migd_core.pricing import Interval
from migd_core.units import format_bytes, format_duration
from migd_core.world import EVACUATION, Move, World
from migd_policies.projection import Projection
from migd_policies.rules import Rules


@dataclass(frozen=True, slots=True)
class Situation:
    """What a gate may look at: the world with the moves accepted so far in flight, its price, or why it has none.

    `place` is where each guest will be once the whole plan and the moves under way are done; `promised` is where sets
    other than the move's own still are to take guests. `brought` are the guests that the move's own set has moved
    already. `own` are the limits of the guest's job itself; `is_jobs_hour` tells whether it is one of its hours.
    """

    world: World
    limits: GuardsSection
    last_moved_at: float | None
    price: Price | None
    is_paused: bool
    is_pool_reachable: bool
    rest: Hold | None = None
    job: str = ""
    accounts: Accounts = field(default_factory=dict)
    unpriced_because: str = ""
    rules: Rules | None = None
    place: Mapping[str, str] = field(default_factory=dict)
    promised: Mapping[str, str] = field(default_factory=dict)
    is_allowed_hour: bool = True
    brought: frozenset[str] = frozenset()
    own: JobLimits = NO_LIMITS
    is_jobs_hour: bool = True


Guard = Callable[[Move, Situation], Gate]


def _named(move: Move, situation: Situation) -> Gate:
    world = situation.world
    guest = world.guests.get(move.guest)
    if guest is None:
        text = f"guest {move.guest} is not running in this pool"
    elif move.target not in world.hosts:
        text = f"host {move.target} is not in this pool"
    elif guest.host != move.source:
        text = f"guest {guest.name} is on {_host_name(world, guest.host)}, not on {_host_name(world, move.source)}"
    elif move.source == move.target:
        text = f"guest {guest.name} is on {_host_name(world, move.target)} already"
    else:
        return Gate(name="known", passed=True, text="guest, source and target are as the pool says")
    return Gate(name="known", passed=False, text=text)


def _pool_reachable(move: Move, situation: Situation) -> Gate:
    if situation.is_pool_reachable:
        return Gate(name="pool", passed=True, text="the pool answers")
    return Gate(name="pool", passed=False, text="the pool cannot be reached; nothing is asked of it until it answers")


def _not_paused(move: Move, situation: Situation) -> Gate:
    if not situation.is_paused:
        return Gate(name="pause", passed=True, text="not paused")
    return Gate(name="pause", passed=False, text="migd is paused; `migctl resume` allows migrations again")


def _not_moving(move: Move, situation: Situation) -> Gate:
    if any(other.guest == move.guest for other in situation.world.moves_in_flight):
        return Gate(name="one-at-a-time", passed=False, text="the guest is being migrated already")
    return Gate(name="one-at-a-time", passed=True, text="the guest is not being migrated")


def _movable(move: Move, situation: Situation) -> Gate:
    guest = situation.world.guests[move.guest]
    if guest.immovable_because is None:
        return Gate(name="movable", passed=True, text="the guest may be migrated")
    return Gate(name="movable", passed=False, text=f"guest {guest.name} may not be migrated: {guest.immovable_because}")


def _receives(move: Move, situation: Situation) -> Gate:
    target = situation.world.hosts[move.target]
    if target.frozen_because is not None:
        text = f"host {target.name} receives nothing: {target.frozen_because}"
    elif not target.is_enabled:
        why = target.closed_because or "it is disabled or being evacuated"
        text = f"host {target.name} receives nothing: {why}"
    else:
        return Gate(name="target", passed=True, text=f"host {target.name} is enabled, live and reporting")
    return Gate(name="target", passed=False, text=text)


def _healthy(move: Move, situation: Situation) -> Gate:
    target = situation.world.hosts[move.target]
    match target.health.state:
        case HealthState.FAILING:
            text = f"host {target.name} is failing: {target.health.text}"
        case HealthState.DEGRADED:
            text = f"host {target.name} is degraded, which does not forbid it: {target.health.text}"
        case HealthState.OK:
            text = f"nothing bad was found on host {target.name} by {', '.join(target.health.watched)}"
        case HealthState.UNKNOWN:
            text = f"nobody watches the health of host {target.name}"
        case _:
            assert_never(target.health.state)
    return Gate(name="health", passed=target.health.state is not HealthState.FAILING, text=text)


def _suits(move: Move, situation: Situation) -> Gate:
    reason = situation.world.guests[move.guest].barred.get(move.target)
    if reason is None:
        return Gate(name="placement", passed=True, text="the target has the guest's storage, networks and CPU")
    return Gate(name="placement", passed=False, text=reason)


def _apart(move: Move, situation: Situation) -> Gate:
    world = situation.world
    guest = world.guests[move.guest]
    if guest.group is None:
        return Gate(name="anti-affinity", passed=True, text="the guest is in no anti-affinity group")
    crowding = Projection(world, situation.promised).crowding(move.target, guest)
    if crowding is None:
        return Gate(name="anti-affinity", passed=True, text=f"the guests of group {guest.group} stay apart")
    there, here = crowding
    return Gate(
        name="anti-affinity",
        passed=False,
        text=(
            f"host {_host_name(world, move.target)} has {there} of the anti-affinity group {guest.group}, "
            f"{_host_name(world, move.source)} no more than {here} with this guest: they would be less apart"
        ),
        value=float(there),
        threshold=float(here),
        unit="guests",
    )


def _obeys(move: Move, situation: Situation) -> Gate:
    rules = situation.rules
    why = rules.objection(situation.place, move.guest, move.source, move.target) if rules is not None else None
    if why is None:
        return Gate(name="rules", passed=True, text="no tag or rule speaks against it")
    return Gate(name="rules", passed=False, text=f"guest {situation.world.guests[move.guest].name}: {why}")


def _fits(move: Move, situation: Situation) -> Gate:
    world = situation.world
    guest, target = world.guests[move.guest], world.hosts[move.target]
    reserve = situation.limits.memory_reserve_ratio * target.memory_bytes
    free = target.memory_free_bytes - reserve
    passed = guest.memory_bytes <= free
    return Gate(
        name="capacity",
        passed=passed,
        text=(
            f"guest {guest.name} needs {format_bytes(guest.memory_bytes)}, host {target.name} has "
            f"{format_bytes(max(0.0, free))} free after moves in flight"
        ),
        value=float(guest.memory_bytes),
        threshold=float(free),
        unit="bytes",
    )


def _limit(name: str, place: str, count: int, limit: int) -> Gate:
    return Gate(
        name=name,
        passed=count < limit,
        text=f"{count} of at most {limit} migrations under way {place}",
        value=float(count),
        threshold=float(limit),
        unit="migrations",
    )


def _pool_limit(move: Move, situation: Situation) -> Gate:
    return _limit("pool-limit", "in the pool", len(situation.world.moves_in_flight), situation.limits.max_concurrent)


def _source_limit(move: Move, situation: Situation) -> Gate:
    count = sum(other.source == move.source for other in situation.world.moves_in_flight)
    place = f"from {_host_name(situation.world, move.source)}"
    return _limit("source-limit", place, count, situation.limits.max_concurrent_per_source)


def _target_limit(move: Move, situation: Situation) -> Gate:
    count = sum(other.target == move.target for other in situation.world.moves_in_flight)
    place = f"to {_host_name(situation.world, move.target)}"
    return _limit("target-limit", place, count, situation.limits.max_concurrent_per_target)


def _allowed_hour(move: Move, situation: Situation) -> Gate:
    if not situation.is_allowed_hour:
        return Gate(name="hours", passed=False, text="no guest is moved at this hour ([rules] allowed_hours)")
    if not situation.is_jobs_hour:
        hours = ", ".join(situation.own.allowed_hours or ())
        text = f"no guest of {_job_name(situation)} is moved at this hour (its own hours: {hours})"
        return Gate(name="hours", passed=False, text=text)
    return Gate(name="hours", passed=True, text="guests may be moved at this hour")


def _cooled_down(move: Move, situation: Situation) -> Gate:
    limit_s = situation.limits.cooldown_s
    if move.guest in situation.brought:
        return Gate(name="cooldown", passed=True, text="its own set has brought it where it is")
    if situation.last_moved_at is None:
        return Gate(name="cooldown", passed=True, text="the guest was not migrated by migd before")
    # A clock set back across a restart must not freeze a guest for longer than the cooldown itself.
    since_s = max(0.0, situation.world.now_s - situation.last_moved_at)
    return Gate(
        name="cooldown",
        passed=since_s >= limit_s,
        text=f"{format_duration(since_s)} since its last migration or attempt (cooldown {format_duration(limit_s)})",
        value=since_s,
        threshold=limit_s,
        unit="s",
    )


def _rested(move: Move, situation: Situation) -> Gate:
    rest = situation.rest
    if rest is None or rest.until is None:
        return Gate(name="rest", passed=True, text="no failed migration lets the guest rest")
    return Gate(
        name="rest",
        passed=False,
        text=f"guest {rest.guest_name} {rest_text(rest, situation.world.now_s)}",
        value=rest.until - situation.world.now_s,
        threshold=0.0,
        unit="s",
    )


def _worth_it(move: Move, situation: Situation) -> Gate:
    if situation.price is None:
        return Gate(name="gain", passed=False, text=f"the move could not be priced: {situation.unpriced_because}")
    price, limits = situation.price, situation.limits
    if price.together is not None:
        return _set_worth_it(price.together, limits)
    sure_s = _sure_s(price, limits)
    return Gate(
        name="gain",
        passed=sure_s >= limits.min_gain_s,
        text=(
            f"gains {_spread(price.gain_s, price.gain)} of job time and {_loss_text(price)}: "
            f"{format_duration(sure_s)} net for sure (at least {format_duration(limits.min_gain_s)})"
        ),
        value=sure_s,
        threshold=limits.min_gain_s,
        unit="s",
    )


def _sure_s(price: Price, limits: GuardsSection) -> float:
    """What is left of the net gain if it is so many standard deviations less than expected."""
    if price.together is not None:
        return price.together.sure_s
    if price.most is not None:
        return price.gain_s - price.cost_at_most_s - limits.certainty_sds * price.ratio_sd_s
    return price.gain_s - price.cost_s - limits.certainty_sds * price.net_sd_s


def _set_worth_it(together: Together, limits: GuardsSection) -> Gate:
    others = ", ".join(together.others) or "its detour"
    return Gate(
        name="gain",
        passed=together.sure_s >= limits.min_gain_s,
        text=(
            f"together with {others}: gains {_spread(together.gain_s, together.gain)} of job time and "
            f"loses {_spread(together.cost_s, together.cost)}: {format_duration(together.sure_s)} net for sure "
            f"(at least {format_duration(limits.min_gain_s)})"
        ),
        value=together.sure_s,
        threshold=limits.min_gain_s,
        unit="s",
    )


def _loss_text(price: Price) -> str:
    if price.most is not None:
        return f"loses up to {format_duration(price.most.cost_s)} ({price.basis})"
    return f"loses {_spread(price.cost_s, price.cost)}"


def _spread(expected_s: float, interval: Interval | None) -> str:
    """Say what is expected, and the range that eight of ten outcomes fall into."""
    expected = format_duration(expected_s)
    ends = [] if interval is None else [format_duration(interval.low), format_duration(interval.high)]
    return f"{expected} ({ends[0]} to {ends[1]})" if len(set(ends)) > 1 else expected


def _caught_up(move: Move, situation: Situation) -> Gate:
    limits, job, now_s = situation.limits, situation.job, situation.world.now_s
    behind = behind_s(situation.accounts, job, now_s)
    allowed_s = max(limits.behind_at_least_s, limits.behind_ratio * since_s(situation.accounts, job, now_s))
    # The second of two moves that only together gain anything must not wait for the first to pay.
    makes_up_s = 0.0 if situation.price is None else _sure_s(situation.price, limits)
    return Gate(
        name="behind",
        passed=behind <= max(allowed_s, makes_up_s),
        text=(
            f"past moves have left {_job_name(situation)} {format_duration(behind)} behind where it would be had it "
            f"stayed (at most {format_duration(allowed_s)}, or what this move makes up for sure)"
        ),
        value=behind,
        threshold=allowed_s,
        unit="s",
    )


def _not_stalled(move: Move, situation: Situation) -> Gate:
    limits, own, price = situation.limits, situation.own, situation.price
    job = situation.world.jobs.get(situation.job)
    last_s, whose = _own_or(own.no_stall_last_s, limits.no_stall_last_s)
    if job is not None and job.remaining_s is not None and last_s > 0:
        # The guest stands still at the end of its migration.
        then_s = max(0.0, job.remaining_s - (0.0 if price is None else price.total_s))
        if then_s < last_s:
            return Gate(
                name="stall",
                passed=False,
                text=(
                    f"{_job_name(situation)} would stand still {format_duration(then_s)} before it ends, and is not "
                    f"stalled in its last {format_duration(last_s)}{whose}"
                ),
                value=then_s,
                threshold=last_s,
                unit="s",
            )
    stalled = stalled_s(situation.accounts, situation.job, situation.world.now_s)
    adds = 0.0 if price is None else price.pause.high if price.pause is not None else price.pause_s
    at_most_s, whose = _own_or(own.stall_per_hour_s, limits.stall_per_hour_s)
    return Gate(
        name="stall",
        passed=stalled + adds <= at_most_s,
        text=(
            f"{_job_name(situation)} has stood still for {format_duration(stalled)} within an hour, and this adds up "
            f"to {format_duration(adds)} (at most {format_duration(at_most_s)}{whose})"
        ),
        value=stalled + adds,
        threshold=at_most_s,
        unit="s",
    )


def _own_or(own: float | None, everybodys: float) -> tuple[float, str]:
    """Return the limit that counts for a job, and words that say so where it is the job's own."""
    return (everybodys, "") if own is None else (own, ", its own limit")


def _job_name(situation: Situation) -> str:
    guest = situation.world.guests.get(situation.job)
    return f"guest {guest.name}" if guest is not None else f"job {situation.job}"


def _host_name(world: World, uuid: str) -> str:
    return world.hosts[uuid].name if uuid in world.hosts else uuid


def _unless_for_safety(guard: Guard) -> Guard:
    """Return a guard that says what the given one says, but refuses no guest that leaves for its safety."""

    def judged(move: Move, situation: Situation) -> Gate:
        gate = guard(move, situation)
        if gate.passed or move.reason.code != EVACUATION:
            return gate
        return replace(gate, passed=True, text=f"{gate.text}; that does not count, the guest leaves for its safety")

    return judged


# The first gate decides whether the others have anything to look at, so it stands alone.
IDENTITY: Final[Guard] = _named
SAFETY: Final[tuple[Guard, ...]] = (
    _not_paused,
    _pool_reachable,
    _not_moving,
    _movable,
    _receives,
    _healthy,
    _suits,
    _apart,
    _obeys,
    _fits,
    _pool_limit,
    _source_limit,
    _target_limit,
)
WORTH: Final[tuple[Guard, ...]] = (
    _unless_for_safety(_allowed_hour),
    _unless_for_safety(_cooled_down),
    _rested,
    _unless_for_safety(_caught_up),
    _unless_for_safety(_not_stalled),
    _unless_for_safety(_worth_it),
)
# What these refuse may be made when its turn comes, so they do not speak against the set that it belongs to.
TURNS: Final = frozenset({"pool-limit", "source-limit", "target-limit", "turn"})


def judge(move: Move, situation: Situation, *, by_hand: bool) -> tuple[Gate, ...]:
    """Return every gate of `move`, passed or not; all of them, so that an operator sees the whole list at once."""
    identity = IDENTITY(move, situation)
    if not identity.passed:
        return (identity,)
    rest = SAFETY if by_hand else (*SAFETY, *WORTH)
    return (identity, *(guard(move, situation) for guard in rest))


def objection(gates: Sequence[Gate]) -> Gate | None:
    """Return the first gate that refuses a move for another reason than that its turn has not come."""
    return next((gate for gate in gates if not gate.passed and gate.name not in TURNS), None)


def refused_with(guest_name: str, gate: Gate) -> Gate:
    """Return the gate that refuses a move because of another one that it belongs together with."""
    text = f"belongs together with the move of {guest_name}, which {gate.name} refuses: {gate.text}"
    return Gate(name="together", passed=False, text=text)

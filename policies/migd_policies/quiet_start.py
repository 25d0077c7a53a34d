"""Whether a move that is to be made waits for a quiet phase of its guest: one in which it writes less, and costs less.

The rhythm of the guest (`rhythm`) comes from rates that are there every second: CPU, network, disk. What the two parts
of its period write is counted seldom, by probes; each count is kept with the rates of its time, which tell the part
that it was made in. The quiet part is the one in which the ledger says that the move costs less, whatever the rates do:

    worth waiting for iff  (cost now − cost in the quiet part) − z · sd  >  gain a second × seconds until it begins

A move that would not fit into the quiet part does not wait for it; one that begins at work may come into the quiet
part before it is done, and is priced so. Whether the part has begun is not taken from the rhythm, which may be late,
but seen in the rate itself.

The wrong choice where quiet phases come rarely and loads that call for moves stand only briefly: then there is little
to wait for, and the rule says so by itself. It knows nothing of a phase in which nobody counted, and of more than two.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from migd_core.messages import DirtyCurve
from migd_core.pricing import Interval
from migd_core.units import format_duration
from migd_core.world import Move, World
from migd_policies.ledger import PlanPrice, price
from migd_policies.rhythm import Part, Rhythm, Series, seek

# Sessions whose last counts differ by less than this are of one phase as far as anybody can tell.
COUNTS_DIFFER_RATIO: Final = 0.2
# So much of a period a rate is watched for to say which part of it is under way, within these numbers of bins.
SETTLES_RATIO: Final = 0.04
SETTLES_BINS: Final = (2, 15)


@dataclass(frozen=True, slots=True)
class Counted:
    """A dirty curve, and the mean rates of the guest while it was counted, by their names."""

    curve: DirtyCurve
    rates: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of one guest: each rate at several widths of bins, and its dirty curves, oldest first."""

    series: Sequence[Series]
    counted: Sequence[Counted]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to be expected of a move at once, and of one in the quiet part of its guest's period.

    `curves` are what the guest writes for as long as a migration begun now takes.
    `begins_in_s` is when the next quiet part begins that lasts for long enough: 0 where one is under way by the
    rhythm, but not yet by the rate. `is_now` says that one is under way, and lasts for as long as the migration.
    """

    rhythm: Rhythm
    quiet: Part
    is_now: bool
    begins_in_s: float
    curves: tuple[DirtyCurve, ...]
    cost_now_s: float
    cost_quiet_s: float
    quiet_total_s: Interval

    @property
    def is_long_enough(self) -> bool:
        return self.rhythm.lasts_s(self.quiet) >= self.quiet_total_s.high

    @property
    def saves_s(self) -> float:
        """The job-seconds that the move is expected to cost less in the quiet part."""
        return self.cost_now_s - self.cost_quiet_s


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why nothing is known of phases of a guest, with the figure that fell short of what was needed, if it was that."""

    text: str
    value: float | None = None
    needed: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Whether the move waits, and why (not): what it would lose by waiting, against what that saves, in job-seconds."""

    waits: bool
    text: str
    loses_s: float | None = None
    saves_s: float | None = None


def outlook(world: World, move: Move, watched: Watched) -> Outlook | Unknown:
    """Return what the phases of the move's guest promise; guest and hosts must exist in `world`.

    Of several rhythms it is the fastest whose quiet part holds the migration. Raises ValueError where the move cannot
    be priced.
    """
    if not _differ([each.curve for each in watched.counted]):
        return Unknown("no two counts of its dirty pages differ so much that it could have phases")
    sought = seek(watched.series)
    if not sought.rhythms:
        return Unknown(sought.text, sought.correlation, sought.needed)
    found: Outlook | Unknown = Unknown("")
    for rhythm in sought.rhythms:
        seen = _outlook(world, move, watched, rhythm)
        if isinstance(seen, Outlook) or not isinstance(found, Outlook):
            found = seen
        if isinstance(seen, Outlook) and seen.is_long_enough:
            return seen
    return found


def _outlook(world: World, move: Move, watched: Watched, rhythm: Rhythm) -> Outlook | Unknown:
    curves = {part: _counted_in(part, rhythm, watched.counted) for part in rhythm.parts}
    if not all(curves.values()):
        return Unknown(f"{rhythm.text}, but its dirty pages were not counted in both parts of that period")
    priced = {part: price(_with_curves(world, move, curves[part]), [move]) for part in rhythm.parts}
    quiet, busy = sorted(rhythm.parts, key=lambda part: priced[part].cost_s.median)
    total_s = priced[quiet].moves[0].migration.total_s
    under_way, for_s = _under_way(rhythm, watched.series)
    is_now = under_way is quiet and rhythm.lasts_s(quiet) - for_s >= total_s.high
    begins_in_s = rhythm.begins_in_s(quiet, world.now_s)
    if under_way is quiet and not is_now:
        begins_in_s = max(begins_in_s, rhythm.period_s - for_s)
    now = quiet if is_now else busy  # a migration that outlasts the quiet part is taken to meet nothing else
    cost_now_s = _cost_now(world, priced[now], priced[quiet], begins_in_s)
    return Outlook(
        rhythm=rhythm,
        quiet=quiet,
        is_now=is_now,
        begins_in_s=begins_in_s,
        curves=curves[now],
        cost_now_s=cost_now_s,
        cost_quiet_s=priced[quiet].cost_s.median,
        quiet_total_s=total_s,
    )


def start(seen: Outlook, gain_rate: float, waited_s: float, at_most_s: float) -> Start:
    """Return whether a move waits that has waited for `waited_s` and gains `gain_rate` job-seconds a second once made.

    No move waits for longer than `at_most_s` in all. What is expected decides: waiting is the more careful of the two.
    """
    lasts_s, begins_in_s = seen.rhythm.lasts_s(seen.quiet), seen.begins_in_s
    phase = f"a quiet phase of {format_duration(lasts_s)} ({seen.rhythm.text})"
    cost, quiet = format_duration(seen.cost_now_s), format_duration(seen.cost_quiet_s)
    loses_s, saves_s = max(0.0, gain_rate) * begins_in_s, seen.saves_s
    if seen.is_now:
        return Start(False, f"the guest is in {phase}, in which the move costs {quiet}")
    if waited_s >= at_most_s:
        text = f"it has waited {format_duration(waited_s)} for {phase} that did not come, and is judged as it is"
        return Start(False, text, loses_s, saves_s)
    if not seen.is_long_enough:
        text = f"a migration takes up to {format_duration(seen.quiet_total_s.high)}, and fits in no {phase[2:]}"
        return Start(False, text)
    if begins_in_s > at_most_s - waited_s:
        text = f"{phase} begins in {format_duration(begins_in_s)}, and no move waits longer than "
        return Start(False, text + format_duration(at_most_s - waited_s), loses_s, saves_s)
    balance = (
        f"the move would cost {quiet} then instead of {cost}, which saves {format_duration(max(0.0, saves_s))}, "
        f"and waiting loses {format_duration(loses_s)}"
    )
    if saves_s <= loses_s:
        return Start(
            False, f"no waiting for {phase} that begins in {format_duration(begins_in_s)}: {balance}", loses_s, saves_s
        )
    return Start(True, f"{phase}: {balance}", loses_s, saves_s)


def _cost_now(world: World, now: PlanPrice, quiet: PlanPrice, begins_in_s: float) -> float:
    """Return what the move is expected to cost at once.

    A migration that comes into the quiet part before it is done sends at most all of memory again there, as one that
    begins there: it has only slowed the job down for longer.
    """
    took, then = now.moves[0].migration, quiet.moves[0].migration
    if begins_in_s == 0.0 or begins_in_s + then.total_s.median >= took.total_s.median:
        return now.cost_s.median
    copied_s = max(1e-9, took.total_s.median - took.pause_s.median)
    a_second = (now.cost_s.median - took.pause_s.median - world.pricing.warm_up_s) / copied_s
    return min(now.cost_s.median, quiet.cost_s.median + begins_in_s * a_second)


def _differ(curves: Sequence[DirtyCurve]) -> bool:
    """Whether two of the counts differ so much, at the longest age that all have, that they may be of two phases."""
    believed = [curve for curve in curves if curve.contradiction() is None]
    if len(believed) < 2:
        return False
    age_s = min(curve.ages_s[-1] for curve in believed)
    pages = [_pages_at(curve, age_s) for curve in believed]
    return max(pages) > (1.0 + COUNTS_DIFFER_RATIO) * min(pages)


def _pages_at(curve: DirtyCurve, age_s: float) -> float:
    ages, counts = (0.0, *curve.ages_s), (0, *curve.unique_pages)
    at = next(n for n, age in enumerate(ages) if age >= age_s)
    if at == 0:
        return 0.0
    share = (age_s - ages[at - 1]) / (ages[at] - ages[at - 1])
    return counts[at - 1] + share * (counts[at] - counts[at - 1])


def _counted_in(part: Part, rhythm: Rhythm, counted: Sequence[Counted]) -> tuple[DirtyCurve, ...]:
    """Return the curves that were counted while the rate was that of the part."""
    return tuple(
        each.curve
        for each in counted
        if (rate := each.rates.get(rhythm.name)) is not None and rhythm.part_of(rate) is part
    )


def _with_curves(world: World, move: Move, curves: tuple[DirtyCurve, ...]) -> World:
    guest = replace(world.guests[move.guest], dirty_curves=curves)
    return replace(world, guests=MappingProxyType({**world.guests, guest.uuid: guest}))


def _under_way(rhythm: Rhythm, several: Sequence[Series]) -> tuple[Part | None, float]:
    """Return the part of the period that the rate shows now, and for how long it has; None between two parts."""
    series = min((each for each in several if each.name == rhythm.name), key=lambda each: each.width_s)
    least, most = SETTLES_BINS
    bins = min(most, max(least, math.ceil(SETTLES_RATIO * rhythm.period_s / series.width_s)))
    values = list(series.values)
    now: Part | None = None
    for ago in range(len(values) - bins + 1):
        end = len(values) - ago
        part = rhythm.part_of(sum(values[end - bins : end]) / bins)
        if ago == 0:
            now = part
        if now is None or part is not now:
            # It began within the bins in which the mean went over from one rate to the other.
            return now, (ago + bins / 2) * series.width_s if now is not None else 0.0
    return now, len(values) * series.width_s

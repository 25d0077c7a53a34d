"""What would flip a decision: how far one thing would have to be otherwise for a move to pay, or to pay no more.

Each thing is turned alone, with everything else as it is: how long the imbalance lasts (solved for, the ledger is
linear in it), how long the job does, how much the guest writes and how fast the link is (found by bisection, the ledger
goes one way with each).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import msgspec

from migd_core.messages import DirtyCurve
from migd_core.units import PAGE_BYTES, format_bytes, format_duration
from migd_core.world import Move, Remaining, World
from migd_policies.dirty_fit import usable
from migd_policies.ledger import PlanPrice, price, rate_sd

# Nothing is looked for beyond: a guest that writes so many times as much, a link so many times as fast.
MOST_TIMES: Final = 64.0
STEPS: Final = 16


@dataclass(frozen=True, slots=True)
class Flips:
    """Whether a move pays now, and each of the things that alone would make it otherwise, in words."""

    pays: bool
    conditions: tuple[str, ...]

    @property
    def text(self) -> str:
        """One sentence."""
        if not self.conditions:
            return "nothing that could be otherwise would make it pay" if not self.pays else "it pays either way"
        return ("it would not pay if " if self.pays else "it would pay if ") + ", or ".join(self.conditions)


def flips(world: World, move: Move, min_gain_s: float, certainty_sds: float) -> Flips:
    """Return what would flip the judgement that `move` gains `min_gain_s` for sure; guest and hosts must exist.

    Raises ValueError where the move cannot be priced.
    """

    def sure_s(then: World) -> float:
        return price(then, [move]).sure_s(certainty_sds)

    found = price(world, [move])
    pays = found.sure_s(certainty_sds) >= min_gain_s
    conditions = [_by_time(world, move, found, min_gain_s, certainty_sds, pays)]
    if found.gain_rate > 0:
        conditions.append(_by_writing(world, move, lambda then: sure_s(then) >= min_gain_s, pays))
        conditions.append(_by_link(world, move, lambda then: sure_s(then) >= min_gain_s, pays))
    return Flips(pays, tuple(each for each in conditions if each))


def _by_time(world: World, move: Move, found: PlanPrice, min_gain_s: float, certainty_sds: float, pays: bool) -> str:
    """How long the job would have to run, or else the imbalance to last."""
    rate, than = found.gain_rate, "less" if pays else "more"
    if rate <= 0:
        return ""
    job = world.jobs.get(world.guests[move.guest].job or "")
    if job is not None and job.remaining_s is not None:

        def does_pay(left_s: float) -> bool:
            remaining = Remaining(left_s, left_s, left_s, "if it were so")
            jobs = MappingProxyType({**world.jobs, job.name: replace(job, remaining=remaining)})
            return price(replace(world, jobs=jobs), [move]).sure_s(certainty_sds) >= min_gain_s

        low_s, high_s = 0.0, world.pricing.horizon_s
        if does_pay(high_s) and not does_pay(low_s):
            left_s = _between(low_s, high_s, does_pay)
            now_s = format_duration(job.remaining_s)
            return f"job {job.name} had {than} than {format_duration(left_s)} left (it has {now_s})"
    needed_s = _needed_s(found, min_gain_s, certainty_sds)
    if needed_s is None:
        return ""
    than, now_s = "no longer" if pays else "longer", format_duration(max(0.0, _lasts_s(found)))
    return f"the imbalance lasted {than} than {format_duration(needed_s)} (it is taken to last {now_s})"


def _lasts_s(found: PlanPrice) -> float:
    """Return for how long, from the beginning, the imbalance is taken to last."""
    return (found.gain_s + found.awaited_s) / found.gain_rate


def _needed_s(found: PlanPrice, min_gain_s: float, certainty_sds: float) -> float | None:
    """Return for how long the gain must last to pay for sure; None if it is too small to be sure however long.

    The least t with rate · t − awaited − cost − certainty · √(cost's sd² + (sd of the rate · t)²) = the least gain.
    """
    cost_s, cost_sd_s = found.counted_cost_s
    rate, lasts_s = found.gain_rate, _lasts_s(found)
    off = certainty_sds * (found.ratio_sd_s / lasts_s if lasts_s > 0 else rate_sd(rate))
    least_s, square = cost_s + min_gain_s + found.awaited_s, rate * rate - off * off
    if square <= 0:
        return None
    under_root = rate**2 * least_s**2 - square * (least_s**2 - (certainty_sds * cost_sd_s) ** 2)
    return (rate * least_s + math.sqrt(max(0.0, under_root))) / square


def _by_writing(world: World, move: Move, does_pay: Callable[[World], bool], pays: bool) -> str:
    guest = world.guests[move.guest]
    believed, _ = usable(guest.dirty_curves, guest.booted_at)
    if not believed:
        return ""
    per_s = believed[-1].unique_pages[0] / believed[-1].ages_s[0]

    def writing(times: float) -> World:
        curves = tuple(_scaled(curve, times, guest.memory_bytes // PAGE_BYTES) for curve in believed)
        guests = {**world.guests, guest.uuid: replace(guest, dirty_curves=curves)}
        return replace(world, guests=MappingProxyType(guests))

    low, high = (1.0, MOST_TIMES) if pays else (0.0, 1.0)
    if per_s <= 0 or does_pay(writing(low)) == does_pay(writing(high)):
        return ""
    times = _between(low, high, lambda times: does_pay(writing(times)))
    than = "more" if pays else "less"
    return f"the guest dirtied {than} than {times * per_s:,.0f} pages/s (it dirties {per_s:,.0f})"


def _by_link(world: World, move: Move, does_pay: Callable[[World], bool], pays: bool) -> str:
    ends = {move.source, move.target}
    known = [link for uuid in ends if (link := world.hosts[uuid].link_bytes_per_s) > 0]
    now = min(known) if known else world.pricing.bandwidth_bytes_per_s

    def linked(times: float) -> World:
        hosts = {
            uuid: replace(host, link_bytes_per_s=host.link_bytes_per_s * times) if uuid in ends else host
            for uuid, host in world.hosts.items()
        }
        bandwidth = world.pricing.bandwidth_bytes_per_s * times
        pricing = msgspec.structs.replace(world.pricing, bandwidth_bytes_per_s=bandwidth)
        return replace(world, hosts=MappingProxyType(hosts), pricing=pricing)

    low, high = (1.0 / MOST_TIMES, 1.0) if pays else (1.0, MOST_TIMES)
    if does_pay(linked(low)) == does_pay(linked(high)):
        return ""
    times = _between(low, high, lambda times: does_pay(linked(times)))
    than = "less" if pays else "more"
    return f"the link carried {than} than {format_bytes(times * now)}/s (it carries {format_bytes(now)}/s)"


def _between(low: float, high: float, does_pay: Callable[[float], bool]) -> float:
    """Return where between two factors, one of which pays and one does not, that changes."""
    pays_low = does_pay(low)
    for _ in range(STEPS):
        middle = math.sqrt(low * high) if low > 0 else (low + high) / 2
        if does_pay(middle) == pays_low:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _scaled(curve: DirtyCurve, times: float, most_pages: int) -> DirtyCurve:
    pages = tuple(min(most_pages, round(count * times)) for count in curve.unique_pages)
    return msgspec.structs.replace(curve, unique_pages=pages)

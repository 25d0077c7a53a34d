"""A job's best possible speeds, as epochs and states for `clairvoyant`: what no way of moving guests can beat.

A state says of each guest that matters whether it is at home, where it began, or away, which is anywhere and always the
best (`best_speeds`). So no real placement is faster than its state, and the time found is a lower bound on the job's
time; the score says for how many runs somebody reached it.

Guests that matter: loads that may be moved off hosts with ranks on them, and ranks on hosts that a load slows, that
die, that are slower than others, or, in a job that would talk better elsewhere, all ranks. Ranks of one host are alike
but for what moving them costs, so their state is how many are away, cheapest first; with one away, all of them talk at
the best level, but for messages that those away cannot mend, whichever they are (`talk_left`). Where only a host's
speed or death is the matter, it is none or all: one that stays behind spoils it. A move costs what the simulated
cluster makes of it: the guest moved with nothing else going on, to the best host, without loads or among those at its
home, whichever is cheaper. Moves off one host add up, for they share its NIC; those off several overlap. Left out: the
hundredths that Dom0 takes of a host which its ranks alone fill, where one could be moved away from every such host.
"""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from dataclasses import replace as with_fields
from itertools import pairwise, product
from math import inf, prod
from typing import Final

from msgspec.structs import replace

from migd_sim.model import Cluster
from migd_sim.model.spec import HogSpec, JobSpec
from migd_sim.run.evaluation.best_speeds import Ground
from migd_sim.run.evaluation.case import Case
from migd_sim.run.evaluation.clairvoyant import Change, Epoch, Fate
from migd_sim.run.evaluation.sets import NEVER_TAG
from migd_sim.run.evaluation.talk_left import slow_messages, talk_at_least_s

# With more placements than this the bound lets everything that matters be away for nothing.
MOST_STATES: Final = 100
TALKS_BETTER_RATIO: Final = 1.01


@dataclass(frozen=True, slots=True)
class Group:
    """Guests of one host that are alike, cheapest to move first, and what moving each takes.

    Of a coarse one either none is away or any number are, for the first price: the cheapest one's, or that of all.
    """

    host: str
    guests: tuple[str, ...]
    costs: tuple[Change, ...]
    is_coarse: bool = False

    @property
    def size(self) -> int:
        """The most that a state can say are away."""
        return 1 if self.is_coarse else len(self.guests)

    def coarse(self) -> "Group":
        """Return the same guests with only two ways to be."""
        return Group(self.host, self.guests, self.costs, is_coarse=True)

    def whole(self) -> "Group":
        """Return the same guests as one: where one that stays behind is as bad as all."""
        lasts_s, lost_s = sum(cost.lasts_s for cost in self.costs), sum(cost.lost_s for cost in self.costs)
        return Group(self.host, self.guests, (Change(lasts_s, lost_s),), is_coarse=True)

    def away(self, count: int) -> tuple[str, ...]:
        """Return the guests that are away where a state says `count`."""
        return self.guests if self.is_coarse and count else self.guests[:count]


@dataclass(frozen=True, slots=True)
class Relaxed:
    """One job of a case, relaxed. State n is the n-th of `states`, each a count of guests away by group."""

    job: JobSpec
    groups: tuple[Group, ...]
    states: tuple[tuple[int, ...], ...]
    epochs: tuple[Epoch, ...]
    moves_are_free: bool

    def change(self, old: int, new: int) -> Change:
        """Return what going from one state to another takes at least."""
        if self.moves_are_free:
            return Change(0.0, 0.0)
        lasts: dict[str, float] = {}
        lost: dict[str, float] = {}
        for group, before, after in zip(self.groups, self.states[old], self.states[new], strict=True):
            for cost in group.costs[min(before, after) : max(before, after)]:
                lasts[group.host] = lasts.get(group.host, 0.0) + cost.lasts_s
                lost[group.host] = lost.get(group.host, 0.0) + cost.lost_s
        return Change(max(lasts.values(), default=0.0), max(lost.values(), default=0.0))


def relax(case: Case, job: JobSpec, *, for_talk: bool = True, talk_is_free: bool = False) -> Relaxed:
    """Return the relaxation of one of the jobs of `case`.

    Where `talk_is_free` all ranks talk at the best level wherever they are, so those that could only talk better do not
    matter: also a bound. Without `for_talk` ranks do not move to talk better within a switch: no bound, but often where
    a good plan starts.
    """
    ground = Ground(case, job)
    everybody = set(ground.ranks)
    groups = tuple(_groups(ground, spans=not talk_is_free and _talks_better_elsewhere(ground, for_talk)))
    if _count(groups) > MOST_STATES:
        groups = tuple(group.coarse() for group in groups)
    moves_are_free = _count(groups) > MOST_STATES
    home, all_away = (0,) * len(groups), tuple(group.size for group in groups)
    every = (range(group.size + 1) for group in groups)
    states = [home, all_away] if moves_are_free else list(product(*every))
    who = [_away(groups, state) for state in states]
    stays = [frozenset[str]() if talk_is_free else _stay(ground, groups, state) for state in states]
    least_talk_s = _least_talk_s(ground, groups, [away for away, _ in who])
    times = [0.0, *case.change_times_s, inf]
    epochs: list[Epoch] = []
    for starts_s, ends_s in pairwise(times):
        died = {death.host for death in case.deaths if death.at_s <= starts_s}
        speeds = tuple(
            ground.steps_per_s(starts_s, died, away, everybody if talk_is_free else talks_best, stay, talks_s)
            for (away, talks_best), stay, talks_s in zip(who, stays, least_talk_s, strict=True)
        )
        fates = _fates(case, starts_s, groups, states, all_away if moves_are_free else None)
        if epochs and not fates and epochs[-1].steps_per_s == speeds:  # what changes concerns nobody here
            epochs[-1] = with_fields(epochs[-1], ends_s=ends_s)
        else:
            epochs.append(Epoch(starts_s, ends_s, speeds, fates))
    return Relaxed(job, groups, tuple(states), tuple(epochs), moves_are_free)


def _least_talk_s(ground: Ground, groups: Sequence[Group], away: Sequence[Set[str]]) -> list[float]:
    """Return what some rank talks at least with those `away`; nothing is known where not all ranks have their group."""
    if not {guest for group in groups for guest in group.guests} >= ground.ranks.keys():
        return [0.0] * len(away)
    home_of = {guest: ground.home(guest) for guest in ground.ranks}
    slow = slow_messages(ground)
    counts = [Counter(home_of[guest] for guest in those if guest in home_of) for those in away]
    return [talk_at_least_s(ground, slow, home_of, count) for count in counts]


def _count(groups: Sequence[Group]) -> int:
    return prod(group.size + 1 for group in groups)


def _fates(
    case: Case, at_s: float, groups: Sequence[Group], states: Sequence[tuple[int, ...]], only: tuple[int, ...] | None
) -> dict[int, Fate]:
    """Whoever has ranks on a host that dies goes on later with those away (or in the state `only`)."""
    found: dict[int, Fate] = {}
    for host in (death.host for death in case.deaths if death.at_s == at_s):
        for number, state in enumerate(states):
            away = tuple(
                group.size if group.host == host else count for group, count in zip(groups, state, strict=True)
            )
            if away != state:
                after = states.index(away if only is None else only)
                found[number] = Fate(after, case.checkpoint_steps, case.restart_s)
    return found


def _away(groups: Sequence[Group], state: Sequence[int]) -> tuple[set[str], set[str]]:
    """Return who is away in a state, and who talks at the best level."""
    away: set[str] = set()
    talks_best: set[str] = set()
    for group, count in zip(groups, state, strict=True):
        away.update(group.away(count))
        talks_best.update(group.guests if count else ())
    return away, talks_best


def _stay(ground: Ground, groups: Sequence[Group], state: Sequence[int]) -> frozenset[str]:
    """Return the hosts on which some rank is left in a state for sure."""
    return frozenset(
        group.host
        for group, count in zip(groups, state, strict=True)
        if count < group.size and group.guests[0] in ground.ranks
    )


def _talks_better_elsewhere(ground: Ground, for_talk: bool) -> bool:
    """Whether ranks would talk better elsewhere: across switches, or (`for_talk`) within one of a slow network."""
    if len({ground.hosts[ground.home(guest)].switch for guest in ground.ranks}) > 1:
        return True
    everybody, with_no_loads = set(ground.ranks), -1.0
    now, best = (ground.steps_per_s(with_no_loads, set(), set(), each) for each in (set[str](), everybody))
    return for_talk and best > TALKS_BETTER_RATIO * now


def _groups(ground: Ground, *, spans: bool) -> list[Group]:
    """Return the guests that matter; all ranks do if the job `spans` what it would not have to."""
    fastest = max(host.speed for host in ground.hosts.values())
    dying = {death.host for death in ground.case.deaths}
    homes = {ground.home(guest) for guest in ground.ranks}
    found: list[Group] = []
    for home in sorted(homes):
        ranks = [guest for guest in ground.ranks if ground.home(guest) == home]
        loads = _loads_that_slow(ground, home)
        movable = [guest for guest in loads if NEVER_TAG not in ground.guests[guest].tags]
        found += [_group(ground, home, [guest]) for guest in movable]
        costs = _group(ground, home, ranks)
        cheapest = costs.costs[0].lost_s
        # One load, cheaper to move than any rank: moving it does all that moving ranks could.
        is_settled = not loads or (len(loads) == 1 and movable and found[-1].costs[0].lost_s <= cheapest)
        if spans or not is_settled:
            found.append(costs)
        elif home in dying or ground.hosts[home].speed < fastest:
            found.append(costs.whole())
    return found


def _loads_that_slow(ground: Ground, home: str) -> list[str]:
    """Return the guests whose loads leave the ranks of a host less than a core each, at any time."""
    cpus, ranks = ground.hosts[home].cpus, sum(n for guest, n in ground.ranks.items() if ground.home(guest) == home)
    found: dict[str, None] = {}
    for at_s in (0.0, *ground.case.change_times_s):
        here = {guest: vcpus for guest, vcpus in ground.hog_vcpus(at_s).items() if ground.home(guest) == home}
        if ranks + sum(here.values()) > cpus:
            found.update(dict.fromkeys(here))
    return list(found)


def _group(ground: Ground, home: str, guests: Sequence[str]) -> Group:
    costs = sorted(((_cost(ground, guest), guest) for guest in guests), key=lambda one: (one[0].lost_s, one[1]))
    return Group(home, tuple(guest for _, guest in costs), tuple(cost for cost, _ in costs))


def _cost(ground: Ground, guest: str) -> Change:
    """Return what moving one guest takes at least: the migration simulated, without and with loads at its home."""
    home = ground.home(guest)
    most: dict[str, int] = {}
    for hog in ground.case.pool.hogs:
        if ground.home(hog.guest) == home and hog.guest != guest:
            most[hog.guest] = max(most.get(hog.guest, 0), hog.vcpus)
    own = tuple(HogSpec(guest=name, vcpus=vcpus, starts_s=0.0, lasts_s=1e9) for name, vcpus in most.items())
    costs = [_simulated(ground, guest, hogs) for hogs in {(), own}]
    return Change(min(cost.lasts_s for cost in costs), min(cost.lost_s for cost in costs))


def _simulated(ground: Ground, guest: str, hogs: tuple[HogSpec, ...]) -> Change:
    pool = replace(
        ground.case.pool, guests=tuple(ground.guests.values()), jobs=(replace(ground.job, steps=0),), hogs=hogs
    )
    cluster = Cluster(pool)
    cluster.run_until(0.0)
    uuids = {state.spec.name: uuid for uuid, state in cluster.guests.items()}
    job = cluster.jobs[ground.job.name]
    before = job.steps_per_s
    ended: list[float] = []
    target = next(host.uuid for host in cluster.spec.hosts if host.name == _best_target(ground, ground.home(guest)))
    cluster.start_migration(uuids[guest], target, lambda end: ended.append(end.ended_s))
    while not ended:
        next_s = cluster.next_event_s
        assert next_s is not None, "a migration always ends"
        cluster.run_until(next_s)
    return Change(ended[0], max(0.0, ended[0] - job.steps_done / before))


def _best_target(ground: Ground, home: str) -> str:
    used = {ground.home(guest) for guest in ground.ranks}
    others = [host for host in ground.hosts.values() if host.name != home]
    return max(
        others,
        key=lambda host: (
            host.switch == ground.hosts[home].switch,
            host.link_bytes_per_s,
            host.name not in used,
            host.name,
        ),
    ).name

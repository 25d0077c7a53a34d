"""Brings guests that talk most to a level of the topology where they are measured to talk faster.

What counts is the time that talking takes, Σ bytes_per_s / bandwidth of the level crossed, in seconds a second. The
nearest level is not always the fastest: two guests on one host reached 180 Mbit/s where a native pair reached 1200
(Neves et al. 2007, Fig. 4), and behind a 10 Gbit/s switch they are better off apart. So the levels' measured bandwidths
decide, and a level that was not measured is neither left nor sought.

`talk_search` finds where guests should be; the plan has the next moves of those that lead there. Moves that pay by
themselves go alone. Where none does, the fewest that pay together go as one set: one guest makes room for another, or
half a job would talk across the switch with the other half. Every move or set saves `min_gain_ratio` a move or more,
which is why a guest can never be sent back and forth.

The wrong choice where jobs wait for CPU rather than for messages (`least-loaded`), and where talk is many small
messages (latency is not counted). Guests that talk with nobody do not make way. Traffic is that of the moment, smoothed
over one control period: a job that talks in bursts wants a higher `min_gain_ratio`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Final

import msgspec
import numpy as np
from msgspec import Meta

from migd_core.units import format_ratio
from migd_core.world import Guest, Host, Move, Plan, Reason, World
from migd_policies.projection import Projection
from migd_policies.talk_problem import talk_problem
from migd_policies.talk_search import Placement, search
from migd_policies.trend import highest_load_ratio

# Savings closer than a thousandth are alike: among such moves the one that copies less memory is taken.
GAIN_DIGITS: Final = 3
# Float rounding must not make a gain of exactly the least one too small.
TINY: Final = 1e-9


class Colocate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Towards the level that talks fastest, as far as CPU and memory allow.

    `min_gain_ratio` is the communication time a move must save, in seconds a second. No target is loaded above
    `max_load_ratio`, judged by its highest load of the last `sustained_periods`. The moves of one plan, but for those
    of one set, concern guests that do not talk with each other, so that each saves what it says whatever becomes of the
    others. `max_moves` bounds the moves of a plan.
    """

    name: ClassVar[str] = "colocate"
    summary: ClassVar[str] = "brings guests that talk most to where the measured bandwidth between them is better"

    min_gain_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.05
    max_load_ratio: Annotated[float, Meta(gt=0, le=100)] = 1.0
    sustained_periods: Annotated[int, Meta(ge=1, le=120)] = 3
    max_moves: Annotated[int, Meta(ge=1, le=64)] = 8

    def propose(self, world: World) -> Plan:
        if not world.flows:
            return Plan((), Reason("no-flows", "no traffic between guests is known, so none can be brought together"))
        if (known := len(world.topology.links)) < 2:
            text = (
                f"the bandwidth of {known} topology levels is known, and it takes two to call one better; measure them "
                "and give them in [topology.links] of the controller's configuration"
            )
            return Plan((), Reason("levels-not-measured", text, float(known), 2.0, "levels"))
        search = _Search(self, world)
        moves = tuple(search.moves())
        if not moves:
            return Plan((), search.why_none())
        text = f"guests that talk can be brought to a faster level; guests to move: {len(moves)}"
        best = moves[0].reason
        return Plan(moves, Reason(best.code, text, best.value, best.threshold, best.unit))


class _Search:
    """One run of the policy over one world."""

    def __init__(self, settings: Colocate, world: World) -> None:
        self._settings = settings
        self._world = world
        self._projection = Projection(world)
        self._problem = talk_problem(
            world, self._projection, self._load, settings.max_load_ratio, settings.min_gain_ratio
        )

        self._now = Placement(self._problem.talk, self._problem.talk.home)

    def moves(self) -> Sequence[Move]:
        """Return the moves that pay by themselves, the best first; where none does, the set that pays most a move."""
        talk = self._problem.talk
        target = search(talk)
        wanted = {int(guest): int(target[guest]) for guest in np.flatnonzero(target != talk.home)}
        alone = list(self._alone(list(wanted.items())))
        if alone:
            return alone
        if together := self._together(wanted):
            return together
        # The way to where guests should be is too long for one plan: go downhill from here.
        gains = self._now.cost_at[np.arange(len(talk.home)), talk.home][:, None] - self._now.cost_at
        paying = np.argwhere(gains >= self._settings.min_gain_ratio - TINY)
        return list(self._alone([(int(guest), int(host)) for guest, host in paying]))

    def why_none(self) -> Reason:
        """Say why nothing is moved: even the best move saves too little, or CPU vetoes it."""
        problem, least = self._problem, self._settings.min_gain_ratio
        rows = range(len(problem.guests))
        options = [(self._gain(guest, host), guest, host) for guest in rows for host in range(len(problem.hosts))]
        best = 0.0
        for gain, guest, host in sorted(options, key=lambda option: (-option[0], *option[1:])):
            if gain <= 0.0:
                break
            moved, target = problem.guests[guest], problem.hosts[host]
            load = self._load_with(moved, target)
            if load is None or not self._projection.may_take(target, moved):
                continue
            if gain >= least - TINY and load > self._settings.max_load_ratio:
                return self._cpu_veto(moved, target, gain, load)
            best = max(best, gain)
        text = f"the best move saves {best:.2g} s of communication a second (at least {least:g} wanted)"
        return Reason("no-gain", text, best, least, "s/s")

    def _alone(self, options: Sequence[tuple[int, int]]) -> Iterator[Move]:
        """Yield those of the moves that save enough each, and that CPU and memory allow together."""
        talk, problem, least = self._problem.talk, self._problem, self._settings.min_gain_ratio
        gains = {option: self._gain(*option) for option in options}

        def rank(option: tuple[int, int]) -> tuple[float, float, float, int, int]:
            guest, host = option
            return -round(gains[option], GAIN_DIGITS), talk.memory[guest], talk.price[guest, host], guest, host

        concerned: set[int] = set()
        left = self._settings.max_moves
        for guest, host in sorted(options, key=rank):
            gain, moved, target = gains[guest, host], problem.guests[guest], problem.hosts[host]
            load = self._load_with(moved, target)
            if left == 0 or gain < least - TINY:
                return
            if guest in concerned or load is None or load > self._settings.max_load_ratio + TINY:
                continue
            if not self._projection.may_take(target, moved):
                continue
            saves = f"it saves {gain:.2g} s of communication a second"
            text = (
                f"{self._why(moved, target, saves)}, and the host is asked for {format_ratio(load)} of its CPUs then "
                f"(at most {format_ratio(self._settings.max_load_ratio)})"
            )
            move = Move(moved.uuid, moved.host, target.uuid, Reason("faster-level", text, gain, least, "s/s"))
            self._projection.accept(move)
            concerned |= {guest, *talk.near[guest]}
            left -= 1
            yield move

    def _together(self, wanted: Mapping[int, int]) -> Sequence[Move]:
        """Return the set of moves that saves most a move, and enough; none where there is no such set."""
        least = self._settings.min_gain_ratio
        found = [one for guest in wanted if (one := self._set_from(guest, wanted)) is not None]
        for members, gain in sorted(found, key=lambda one: (-round(one[1] / len(one[0]), GAIN_DIGITS), one[0])):
            projection, moves = Projection(self._world), []
            label = f"with {self._problem.guests[members[0]].uuid}"
            for member in members:
                moved, target = self._problem.guests[member], self._problem.hosts[wanted[member]]
                if not projection.may_take(target, moved):
                    break
                saves = f"{len(members)} moves together save {gain:.2g} s of communication a second"
                reason = Reason("faster-level", self._why(moved, target, saves), gain / len(members), least, "s/s")
                moves.append(Move(moved.uuid, moved.host, target.uuid, reason, label))
                projection.accept(moves[-1])
            else:
                return moves
        return ()

    def _set_from(self, first: int, wanted: Mapping[int, int]) -> tuple[list[int], float] | None:
        """Return the fewest moves that pay together, grown from one of them, and what they save; None if too many."""
        now, talk, members, gain = self._now, self._problem.talk, list[int](), 0.0
        candidate: int | None = first
        pays = False
        while candidate is not None and not pays:
            gain += self._gain(candidate, wanted[candidate])
            now.move(candidate, wanted[candidate])
            members.append(candidate)
            fits = bool((now.wanted <= talk.room_vcpus + TINY).all())
            pays = fits and gain >= self._settings.min_gain_ratio * len(members) - TINY
            candidate = self._next(members, wanted) if len(members) < self._settings.max_moves else None
        for member in reversed(members):
            now.move(member, int(talk.home[member]))
        return (sorted(members), gain) if pays else None

    def _next(self, members: Sequence[int], wanted: Mapping[int, int]) -> int | None:
        """Return the best move to make with those of `members`: of one that talks with them, or that makes room."""
        talk = self._problem.talk
        near = {peer for member in members for peer in talk.near[member]}
        targets = {wanted[member] for member in members}
        others = [
            guest for guest in wanted if guest not in members and (guest in near or int(talk.home[guest]) in targets)
        ]
        return max(others, key=lambda guest: (self._gain(guest, wanted[guest]), -guest), default=None)

    def _gain(self, guest: int, host: int) -> float:
        """Return the seconds of communication a second that a guest saves on another host, others as they are."""
        cost_at = self._now.cost_at[guest]
        return float(cost_at[self._now.place[guest]] - cost_at[host])

    def _cpu_veto(self, guest: Guest, target: Host, gain: float, load: float) -> Reason:
        most = self._settings.max_load_ratio
        text = (
            f"guest {guest.name} on host {target.name} would save {gain:.2g} s of communication a second, but the host "
            f"would be asked for {format_ratio(load)} of its CPUs (at most {format_ratio(most)})"
        )
        return Reason("cpu-veto", text, load, most, "ratio")

    def _why(self, guest: Guest, target: Host, saves: str) -> str:
        source = self._world.hosts[guest.host].name
        what = f"guest {guest.name} talks faster from host {target.name} than from host {source}"
        return f"{what}: {saves} (at least {self._settings.min_gain_ratio:g} a move wanted)"

    def _load(self, host: Host) -> float | None:
        highest = highest_load_ratio(host, self._settings.sustained_periods)
        return None if highest is None else highest + self._projection.shift_ratio(host.uuid)

    def _load_with(self, guest: Guest, host: Host) -> float | None:
        load = self._load(host)
        return None if load is None else load + guest.cpu_demand_vcpus / host.cpus

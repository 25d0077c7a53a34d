"""Makes the clairvoyant's moves on the simulated cluster, to see how much of the bound can really be had."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

from migd_sim.model import CannotMigrate, Cluster, MigrationEnd
from migd_sim.run.evaluation.case import Case
from migd_sim.run.evaluation.clairvoyant import Fastest
from migd_sim.run.evaluation.play import Played, play
from migd_sim.run.evaluation.relaxed import Relaxed

# What counts more than a free core when a host is chosen, most first.
SAME_SIDE: Final = 1e6
NO_RANKS: Final = 1e3
FASTER: Final = 10.0
NEIGHBOUR: Final = 2.0
# So many moves of a plan are tried without.
MOST_TRIED: Final = 12


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One guest to a host (names), not begun before `at_s`; those off one host go one after the other."""

    at_s: float
    guest: str
    target: str


def best_planned(case: Case, *several: Sequence[tuple[Relaxed, Fastest]]) -> Played:
    """Return how the case goes with the best moves found.

    They are those of the plans, those of them that move loads only, a gathering of a job on one switch, or none; of the
    best each move is left out once, and stays out where the jobs are no slower for it.
    """
    ranks = {rank for job in case.pool.jobs for rank in job.ranks}
    options = [[], *_gatherings(case)]
    for plans in several:
        moves = _Placing(case, plans).moves()
        options += [moves, [move for move in moves if move.guest not in ranks]]
    tried = [(moves, _played(case, moves)) for moves in options]
    moves, best = min(tried, key=lambda one: one[1].total_s)
    for move in reversed(moves[:MOST_TRIED]):
        rest = [other for other in moves if other is not move]
        without = _played(case, rest)
        if without.total_s <= best.total_s:
            moves, best = rest, without
    return best


def _played(case: Case, moves: Sequence[PlannedMove]) -> Played:
    return play(case, Planned(Cluster(case.pool), moves))


def _gatherings(case: Case) -> Iterator[list[PlannedMove]]:
    """Yield, for each job that spans switches and each of these, the moves at the start that bring it all there."""
    hosts = {host.name: host for host in case.pool.hosts}
    for job in case.pool.jobs:
        placing = _Placing(case, ())
        ranks = list(dict.fromkeys(job.ranks))
        sides = sorted({hosts[placing.at[guest]].switch for guest in ranks})
        for side in sides if len(sides) > 1 else ():
            placing = _Placing(case, ())
            yield [
                move
                for guest in ranks
                if hosts[placing.at[guest]].switch != side
                for move in placing.move(0.0, guest, placing.best_host(guest, 0.0, case.horizon_s, side))
            ]


class _Placing:
    """Finds a host for each guest that a plan sends away."""

    def __init__(self, case: Case, plans: Sequence[tuple[Relaxed, Fastest]]) -> None:
        self._case, self._plans = case, plans
        self._guests = {guest.name: guest for guest in case.pool.guests}
        self._hosts = {host.name: host for host in case.pool.hosts}
        self._ranks = {guest: job.ranks.count(guest) for job in case.pool.jobs for guest in job.ranks}
        self._job_of = {guest: job for job in case.pool.jobs for guest in job.ranks}
        self.at = {guest.name: guest.host or "" for guest in case.pool.guests}

    def moves(self) -> list[PlannedMove]:
        turns = [
            (relaxed.epochs[turn.epoch].starts_s, turn, relaxed, best)
            for relaxed, best in self._plans
            for turn in best.turns
        ]
        found: list[PlannedMove] = []
        for at_s, turn, relaxed, best in sorted(turns, key=lambda one: (one[0], not one[1].is_early)):
            takes_s = relaxed.change(turn.state_before, turn.state).lasts_s if turn.is_early else 0.0
            before, after = relaxed.states[turn.state_before], relaxed.states[turn.state]
            later = [other.epoch for other in best.turns if other.epoch > turn.epoch]
            until_s = relaxed.epochs[later[0]].starts_s if later else best.time_s
            for group, was, will_be in zip(relaxed.groups, before, after, strict=True):
                for guest in group.away(will_be)[len(group.away(was)) :]:
                    target = self.best_host(guest, at_s, until_s) if self.at[guest] == group.host else None
                    found += self.move(max(0.0, at_s - takes_s), guest, target)
                for guest in group.away(was)[len(group.away(will_be)) :]:
                    found += self.move(max(0.0, at_s - takes_s), guest, group.host)
        return found

    def move(self, at_s: float, guest: str, target: str | None) -> list[PlannedMove]:
        if target is None or target == self.at[guest]:
            return []
        self.at[guest] = target
        return [PlannedMove(at_s, guest, target)]

    def best_host(self, guest: str, at_s: float, until_s: float, side: str | None = None) -> str | None:
        """Return where the guest is best from `at_s` to `until_s`, and in nobody's way; None if nowhere is room."""
        barred = {self.at[guest], *(death.host for death in self._case.deaths)}
        fitting = [
            name
            for name, host in self._hosts.items()
            if name not in barred and side in (None, host.switch) and self._fits(guest, name)
        ]
        return max(fitting, key=lambda name: (self._worth(guest, name, at_s, until_s), name), default=None)

    def _fits(self, guest: str, host: str) -> bool:
        used = sum(self._guests[other].memory_bytes for other, at in self.at.items() if at == host)
        return used + self._guests[guest].memory_bytes <= self._hosts[host].memory_bytes

    def _worth(self, guest: str, host: str, at_s: float, until_s: float) -> float:
        is_rank = guest in self._ranks
        residents = [other for other, at in self.at.items() if at == host and other != guest]
        times = [at_s, *(time for time in self._case.change_times_s if at_s < time < until_s)]
        ranks = sum(self._ranks.get(other, 0) for other in residents)
        free = min(self._hosts[host].cpus - ranks - self._hogging(residents, time) for time in times)
        wanted = self._ranks[guest] if is_rank else self._guests[guest].vcpus
        # Beyond what it needs, a free core is worth little.
        worth = min(0.0, float(free - wanted)) * NO_RANKS / 10 + 0.01 * free + FASTER * self._hosts[host].speed
        if not is_rank:
            return worth if ranks else NO_RANKS
        ring = self._job_of[guest].ranks
        peers = [self._hosts[self.at[peer]].switch for peer in ring if peer != guest]
        near = sum(
            self.at[ring[n - 1]] == host or self.at[ring[(n + 1) % len(ring)]] == host
            for n, peer in enumerate(ring)
            if peer == guest
        )
        worth += NEIGHBOUR * near
        return worth + SAME_SIDE * peers.count(self._hosts[host].switch) / max(1, len(peers))

    def _hogging(self, guests: Sequence[str], at_s: float) -> int:
        return sum(
            hog.vcpus
            for hog in self._case.pool.hogs
            if hog.guest in guests and hog.starts_s <= at_s < hog.starts_s + hog.lasts_s
        )


@dataclass(slots=True)
class Planned:
    """Makes the moves of a list, each when it is due and its source has none under way."""

    cluster: Cluster
    moves: Sequence[PlannedMove]
    ends: list[MigrationEnd] = field(default_factory=list)
    _waiting: list[PlannedMove] = field(init=False)
    _uuids: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = sorted(self.moves, key=lambda move: move.at_s)
        self._uuids = {
            part.name: part.uuid for parts in (self.cluster.spec.hosts, self.cluster.spec.guests) for part in parts
        }

    def step(self, until_s: float) -> None:
        self._start_due()
        now_s = self.cluster.now_s
        due_s = min((move.at_s for move in self._waiting if move.at_s > now_s), default=inf)
        next_event_s = self.cluster.next_event_s
        self.cluster.run_until(min(until_s, due_s, inf if next_event_s is None else next_event_s))

    def _start_due(self) -> None:
        for move in [move for move in self._waiting if move.at_s <= self.cluster.now_s]:
            guest = self.cluster.guests[self._uuids[move.guest]]
            if guest.host == self._uuids[move.target]:
                self._waiting.remove(move)
                continue
            if guest.host is None or guest.migration is not None:
                continue
            if any(guest.host == other.source for other in self.cluster.migrations):
                continue
            self._waiting.remove(move)
            try:
                self.cluster.start_migration(guest.spec.uuid, self._uuids[move.target], self.ends.append)
            except CannotMigrate:
                continue

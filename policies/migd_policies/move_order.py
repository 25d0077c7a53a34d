"""From a set of wanted moves to steps that can be made: each has its memory when its turn comes, and says why then.

A guest takes memory on both its hosts while it moves, so what it leaves is free only once it has arrived. Guests that
wait for each other's memory in a circle need a detour: one of them goes to a spare host first.

Each step names the steps that it comes `after`: those that must have succeeded, because they make the room that it
takes, or remove the guest that it must be apart from, or bring its own guest to where it starts. Steps may run in any
order and at the same time that respects this: the room of a step is reckoned with every arrival before it in the plan
and only those departures that it names. So if one fails, only those that come after it are lost.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from migd_core.units import format_bytes
from migd_core.world import World
from migd_policies.rules import APART, WITH, Rule, Rules, places

# States looked at for each number of detours, before a plan is taken to be out of reach.
MOST_STATES: Final = 5_000
FEW_STATES: Final = 500
MOST_DETOURS: Final = 2


@dataclass(frozen=True, slots=True)
class Step:
    """One migration of a plan (uuids); `after` has the numbers of those that must have succeeded before it starts."""

    number: int
    guest: str
    source: str
    target: str
    after: frozenset[int] = frozenset()
    is_detour: bool = False


@dataclass(frozen=True, slots=True)
class Steps:
    """An ordered plan, and the guests that it does not bring where they are wanted, with the reason."""

    steps: tuple[Step, ...]
    left_out: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def lost_with(self, failed: Iterable[int]) -> frozenset[int]:
        """Return the steps that can no longer be made once these have failed, these included."""
        lost = set(failed)
        for step in self.steps:  # a step comes after earlier ones only
            if step.after & lost:
                lost.add(step.number)
        return frozenset(lost)

    def ready(self, succeeded: Iterable[int], failed: Iterable[int] = (), running: Iterable[int] = ()) -> list[Step]:
        """Return the steps that may start now as far as the plan goes, in its order."""
        done = frozenset(succeeded)
        begun = done | frozenset(running) | self.lost_with(failed)
        return [step for step in self.steps if step.number not in begun and step.after <= done]


def order_moves(world: World, rules: Rules, wanted: Mapping[str, str]) -> Steps:
    """Return the steps that bring each guest of `wanted` (guest to host) there, as far as that can be.

    `world` should be as `rules.applied` returns it. Moves under way keep the memory that they take. Guests that may not
    move, or not there, or that would not fit even in the end are left out with the reason, and so are those for whom no
    order is found; what they take stays taken.
    """
    left_out: dict[str, str] = {}
    going = dict(_possible(world, rules, wanted, left_out))
    problem = _Problem(world, rules, going)
    path = problem.solve()
    reached = dict(problem.start)
    for guest, host in path:
        reached[guest] = host
    for guest, target in going.items():
        if reached[guest] != target:
            left_out[guest] = f"no order of moves finds {format_bytes(world.guests[guest].memory_bytes)} free for it"
    return Steps(tuple(_with_reasons(problem, path)), MappingProxyType(left_out))


def kept_apart(world: World, rules: Rules) -> list[Rule]:
    """Return the rules that keep guests apart; XAPI's anti-affinity groups are among them, as what should be."""
    groups = (
        Rule(group, APART, must=False, guests=frozenset(member.uuid for member in members))
        for group, members in sorted(world.groups.items())
    )
    return [*(rule for rule in rules.rules if rule.kind == APART), *groups]


def _possible(
    world: World, rules: Rules, wanted: Mapping[str, str], left_out: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the moves that nothing forbids once all are done; tell in `left_out` what forbids the others."""
    moving = {move.guest for move in world.moves_in_flight}
    place = places(world) | {uuid: target for uuid, target in wanted.items() if uuid in world.guests}
    for uuid, target in wanted.items():
        guest, host = world.guests.get(uuid), world.hosts.get(target)
        if guest is None or host is None:
            why: str | None = "the guest or the host is not known"
        elif guest.host == target:
            continue
        elif uuid in moving:
            why = "it is being migrated"
        elif guest.immovable_because is not None:
            why = guest.immovable_because
        elif not host.may_receive:
            why = f"host {host.name} receives nothing: {host.frozen_because or 'it is disabled'}"
        else:
            why = guest.barred.get(target) or rules.objection(place, uuid, guest.host, target)
        if why is None:
            yield uuid, target
        else:
            left_out[uuid] = why


class _Problem:
    """Where guests are and where they are to be; the search for an order."""

    def __init__(self, world: World, rules: Rules, going: Mapping[str, str]) -> None:
        self._world = world
        self.going = going
        self.start = places(world)
        self.free = {uuid: host.memory_free_bytes for uuid, host in world.hosts.items()}
        self.size = {uuid: world.guests[uuid].memory_bytes for uuid in going}
        self.apart = [rule for rule in kept_apart(world, rules) if rule.guests & going.keys()]
        self.together = [rule.guests for rule in rules.rules if rule.kind == WITH and rule.guests & going.keys()]
        self._placed = [rule for rule in rules.rules if rule.hosts is not None and rule.guests & going.keys()]

    def solve(self) -> list[tuple[str, str]]:
        """Return the moves in order, with as few detours as are needed; the most that can be made if not all can."""
        best = _Search(self, self.start, 0, MOST_STATES, len(self.going))
        for detours in range(1, MOST_DETOURS + 1):
            if best.most_arrived == len(self.going) or not best.is_blocked:
                return best.farthest
            best = max(best, _Search(self, self.start, detours, MOST_STATES, len(self.going)), key=_arrived)
        if best.most_arrived == len(self.going):
            return best.farthest
        return max(best.farthest, self._by_and_by(), key=self._arrivals)

    def _arrivals(self, path: Sequence[tuple[str, str]]) -> int:
        return sum(self.going[guest] == host for guest, host in dict(path).items())

    def _by_and_by(self) -> list[tuple[str, str]]:
        """Return moves that bring one more guest there at a time, with nobody left on a spare host in between.

        For many circles: the number of ways to choose all detours at once grows too fast.
        """
        path: list[tuple[str, str]] = []
        place = dict(self.start)
        arrived = 0
        while arrived < len(self.going):
            for detours in range(MOST_DETOURS + 1):
                search = _Search(self, place, detours, FEW_STATES, arrived + 1)
                if search.most_arrived > arrived:
                    break
            else:
                break
            path += search.farthest
            place.update(search.farthest)
            arrived = search.most_arrived
        return path

    def spares(self, guest: str) -> list[str]:
        """Return the hosts where the guest may wait: none with companions, which would be left alone meanwhile."""
        if any(guest in companions for companions in self.together):
            return []
        one = self._world.guests[guest]
        wished = [rule.hosts for rule in self._placed if guest in rule.guests and rule.hosts is not None]
        return [
            uuid
            for uuid, host in self._world.hosts.items()
            if host.may_receive
            and uuid not in one.barred
            and all(uuid in hosts or one.host not in hosts for hosts in wished)
        ]

    def clash(self, place: Mapping[str, str], guest: str, target: str) -> bool:
        """Whether a guest that must be apart from this one is on the target."""
        for rule in self.apart:
            if guest in rule.guests:
                others = [place[uuid] for uuid in rule.guests if uuid != guest and uuid in place]
                if others.count(target) > (0 if rule.must else others.count(place[guest])):
                    return True
        return False


class _Search:
    """Depth first over who is where, each state once for a number of detours left, until `goal` guests have arrived.

    `farthest` is the path to where most of them have and nobody waits on a spare host; `is_blocked` says that another
    detour might have led farther.
    """

    def __init__(self, problem: _Problem, start: Mapping[str, str], detours: int, most_states: int, goal: int) -> None:
        self._problem = problem
        self._detours = detours
        self._place = dict(start)
        self._free = dict(problem.free)
        for guest in problem.going:
            self._free[problem.start[guest]] += problem.size[guest]
            self._free[start[guest]] -= problem.size[guest]
        self._path: list[tuple[str, str, str]] = []
        self.is_blocked = False
        self.most_arrived = 0
        self.farthest: list[tuple[str, str]] = []
        self._run(most_states, goal)

    def _run(self, most_states: int, goal: int) -> None:
        seen: dict[tuple[str, ...], int] = {}
        branches = [iter(self._options())]
        while branches:
            self._keep_farthest()
            if self.most_arrived >= goal or len(seen) >= most_states:
                return
            option = next(branches[-1], None)
            if option is None:
                branches.pop()
                if branches:
                    self._undo()
                continue
            self._make(*option)
            state = tuple(self._place[guest] for guest in self._problem.going)
            if seen.get(state, -1) >= self._detours:
                self._undo()
            else:
                seen[state] = self._detours
                branches.append(iter(self._options()))

    def _options(self) -> Sequence[tuple[str, str]]:
        """Return the moves to try from here, the most promising first."""
        problem, free, place = self._problem, self._free, self._place
        waiting = [guest for guest, target in problem.going.items() if place[guest] != target]
        claimed: dict[str, int] = {}
        for guest in waiting:
            claimed[problem.going[guest]] = claimed.get(problem.going[guest], 0) + problem.size[guest]
        direct = [
            (guest, problem.going[guest])
            for guest in waiting
            if problem.size[guest] <= free[problem.going[guest]]
            and not problem.clash(place, guest, problem.going[guest])
        ]
        # Where all fit that are still to come, and nobody is in anybody's way, going at once can spoil nothing.
        certain = [(guest, target) for guest, target in direct if claimed[target] <= free[target]]
        if certain and not self._detours and not problem.apart:
            return certain[:1]
        short = {host for host, size in claimed.items() if size > free[host]}
        certain_of = frozenset(certain)
        direct.sort(key=lambda move: (move not in certain_of, place[move[0]] not in short, -problem.size[move[0]]))
        if not self._detours:
            self.is_blocked = self.is_blocked or len(direct) < len(waiting)
            return direct
        aside = [
            (guest, host)
            for guest in waiting
            for host in problem.spares(guest)
            if host not in (place[guest], problem.going[guest])
            and problem.size[guest] <= free[host]
            and not problem.clash(place, guest, host)
        ]
        aside.sort(key=lambda move: (place[move[0]] not in short, problem.size[move[0]], -free[move[1]]))
        return direct + aside

    def _make(self, guest: str, target: str) -> None:
        source = self._place[guest]
        self._path.append((guest, source, target))
        self._detours -= target != self._problem.going[guest]
        self._shift(guest, source, target)

    def _undo(self) -> None:
        guest, source, target = self._path.pop()
        self._detours += target != self._problem.going[guest]
        self._shift(guest, target, source)

    def _shift(self, guest: str, source: str, target: str) -> None:
        size = self._problem.size[guest]
        self._free[source] += size
        self._free[target] -= size
        self._place[guest] = target

    def _keep_farthest(self) -> None:
        """Remember the longest path that leaves no guest waiting on a spare host."""
        going, start = self._problem.going, self._problem.start
        arrived = sum(self._place[guest] == target for guest, target in going.items())
        away = sum(self._place[guest] != start[guest] for guest in going)
        if arrived == away and arrived > self.most_arrived:
            self.most_arrived = arrived
            self.farthest = [(guest, target) for guest, _, target in self._path]


def _arrived(search: _Search) -> int:
    return search.most_arrived


def _with_reasons(problem: _Problem, path: Sequence[tuple[str, str]]) -> Iterator[Step]:
    """Yield the steps of a path in its order, each with those that it has to come after."""
    place = dict(problem.start)
    made: list[Step] = []
    for number, (guest, target) in enumerate(path):
        source = place[guest]
        after = {step.number for step in made if step.guest == guest}
        after |= _room_makers(problem, made, guest, target)
        for rule in problem.apart:
            if guest in rule.guests:
                after |= {step.number for step in made if step.source == target and step.guest in rule.guests}
        for companions in problem.together:
            if guest in companions:
                after |= {step.number for step in made if step.guest in companions and not step.is_detour}
        step = Step(number, guest, source, target, frozenset(after), is_detour=target != problem.going[guest])
        made.append(step)
        place[guest] = target
        yield step


def _room_makers(problem: _Problem, made: Sequence[Step], guest: str, target: str) -> set[int]:
    """Return the fewest departures from the target without which the guest could lack room there."""
    arrived = sum(problem.size[step.guest] for step in made if step.target == target)
    missing = problem.size[guest] + arrived - problem.free[target]
    makers: set[int] = set()
    leaving = [step for step in made if step.source == target]
    for step in sorted(leaving, key=lambda step: (-problem.size[step.guest], step.number)):
        if missing <= 0:
            break
        makers.add(step.number)
        missing -= problem.size[step.guest]
    return makers

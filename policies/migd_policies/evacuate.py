"""Empties hosts that are failing, disabled or to be maintained: the guest with the smallest pause first.

Guests leave for their safety, so nothing has to be gained: a move with the reason code `evacuation` is exempt from the
gates of gain, cooldown and hours. Every other gate holds, and so do rules. Targets are the least loaded hosts that take
a guest; memory counts for each as if all guests before it in the order had arrived, so any prefix of it fits. As many
leave at a time as limits and links allow. A guest stays if its job ends before it could be away, or, where its host is
not failing, before `deadline_s`: nobody stops a job for a migration that it needs no more.

The wrong choice as the policy for every day: it looks at no load but the targets', and empties a host that somebody
has disabled only to keep new guests away. Where the pool empties the host itself (`xe host-evacuate`), both do it.
Guests that are tagged to be together stay, as it moves one after the other.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from migd_core.health import HealthState
from migd_core.precopy import RULE_SETS
from migd_core.units import format_duration
from migd_core.world import EVACUATION, Guest, Host, Move, Plan, Reason, World
from migd_policies.ledger import bandwidth_bytes_per_s
from migd_policies.move_order import Step, Steps
from migd_policies.move_schedule import Parallel, schedule
from migd_policies.precopy_prediction import Request, predict_many
from migd_policies.projection import Projection
from migd_policies.rules import are_kept_apart
from migd_policies.target_ladder import TargetLadder

# Guests that stay behind are named up to so many.
NAMED: Final = 3


class Evacuate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Off hosts that are failing, disabled, or named here.

    `hosts` are names or uuids, separated by commas. With `degraded`, hosts whose health is degraded are left, too.
    `deadline_s` is the Unix time by which hosts are to be empty (0: as soon as may be). `max_concurrent` guests are on
    their way at a time, `max_per_host` of them off or to one host.
    """

    name: ClassVar[str] = "evacuate"
    summary: ClassVar[str] = "empties failing, disabled and named hosts, the guest with the smallest pause first"

    hosts: str = ""
    degraded: bool = False
    deadline_s: Annotated[float, Meta(ge=0, le=1e11)] = 0.0
    max_concurrent: Annotated[int, Meta(ge=1, le=64)] = 2
    max_per_host: Annotated[int, Meta(ge=1, le=64)] = 1

    def propose(self, world: World) -> Plan:
        leaving = {host.uuid: why for host in world.hosts.values() if (why := self._why_leave(host)) is not None}
        if not leaving:
            text = f"no host is failing, disabled or to be emptied{self._unknown(world)}"
            return Plan((), Reason("no-host-to-leave", text))
        return _Evacuation(self, world, leaving).found(self._unknown(world)).plan

    def _why_leave(self, host: Host) -> str | None:
        state = host.health.state
        if state is HealthState.FAILING:
            return f"host {host.name} is failing: {host.health.text}"
        if host.uuid in self._named or host.name in self._named:
            return f"host {host.name} is to be emptied"
        if not host.is_enabled and host.closed_because is not None:
            return f"host {host.name}: {host.closed_because}"
        if not host.is_enabled:
            return f"host {host.name} is disabled or being evacuated"
        if self.degraded and state is HealthState.DEGRADED:
            return f"host {host.name} is degraded: {host.health.text}"
        return None

    @property
    def _named(self) -> frozenset[str]:
        return frozenset(filter(None, (name.strip() for name in self.hosts.split(","))))

    def _unknown(self, world: World) -> str:
        known = {name for host in world.hosts.values() for name in (host.name, host.uuid)}
        unknown = sorted(self._named - known)
        return f"; `hosts` names {', '.join(unknown)}, which is no host of the pool" if unknown else ""


@dataclass(frozen=True, slots=True)
class Emptying:
    """How hosts are emptied: what may be moved now, where each guest that leaves goes, and why the others stay."""

    plan: Plan
    targets: Mapping[str, str]
    stays: Mapping[str, str]

    def begun_in(self, world: World) -> World:
        """Return the world as others see it: with the moves that empty hosts under way."""
        for move in self.plan.moves:
            world = world.with_in_flight(move)
        return world

    def beside(self, plan: Plan) -> Plan:
        """Return what `plan` wants done, after what empties hosts; a guest that leaves one goes where that leads."""
        gone = {move.guest for move in self.plan.moves}
        moves = (*self.plan.moves, *(move for move in plan.moves if move.guest not in gone))
        reason = self.plan.reason if gone else plan.reason
        text = f"{self.plan.reason.text}; besides: {plan.reason.text}"
        return Plan(moves, Reason(reason.code, text, reason.value, reason.threshold, reason.unit))


def emptying(world: World, hosts: Mapping[str, str], settings: Evacuate) -> Emptying:
    """Return how the guests of `hosts` (uuid: why it is left) leave them, and no others."""
    return _Evacuation(settings, world, hosts).found("")


@dataclass(frozen=True, slots=True)
class _Leaver:
    """A guest that may leave, whether it must at once, and how long its migration and pause are predicted to take."""

    guest: Guest
    is_urgent: bool
    total_s: float
    pause_s: float

    @property
    def rank(self) -> tuple[bool, bool, float, float, str]:
        """The lowest goes first. One that may have to rest after a failure must not hold up the others."""
        return not self.is_urgent, self.guest.cooldown_s > 0, self.pause_s, self.total_s, self.guest.uuid


class _Evacuation:
    """One run of the policy over one world."""

    def __init__(self, settings: Evacuate, world: World, leaving: Mapping[str, str]) -> None:
        self._settings = settings
        self._world = world
        self._leaving = leaving
        self._projection = Projection(world)
        takes = [host for host in world.hosts.values() if host.uuid not in leaving]
        self._ladder = TargetLadder(self._projection, takes, lambda host: self._projection.load_ratio(host.uuid))
        self._stays: dict[str, str] = {}

    def found(self, remark: str) -> Emptying:
        targets: dict[str, str] = {}
        plan = self._plan(remark, targets)
        return Emptying(plan, targets, self._stays)

    def _plan(self, remark: str, targets: dict[str, str]) -> Plan:
        under_way = {move.guest for move in self._world.moves_in_flight}
        residents = [guest for uuid in sorted(self._leaving) for guest in self._world.guests_on[uuid]]
        waiting = [guest for guest in residents if guest.uuid not in under_way]
        names = ", ".join(self._world.hosts[uuid].name for uuid in sorted(self._leaving))
        if not residents:
            return Plan((), Reason("empty", f"no guest is left on {names}{remark}"))
        leavers = sorted(self._leavers(waiting), key=lambda leaver: leaver.rank)
        steps = list(self._steps(leavers))
        targets.update((step.guest, step.target) for step in steps)
        duration_s = {step.number: leavers[step.number].total_s for step in steps}
        moves = tuple(self._moves(steps, leavers))
        text = f"guests to leave {names}: {len(steps)}{self._when(steps, duration_s)}{self._staying()}{remark}"
        if moves:
            return Plan(moves, Reason("evacuation", text))
        if steps or len(waiting) < len(residents):
            return Plan((), Reason("already-moving", f"{text}; guests are on their way already"))
        return Plan((), Reason("nobody-may-leave", text))

    def _leavers(self, waiting: list[Guest]) -> Iterator[_Leaver]:
        """Yield the guests that are to leave; tell of the others why they stay."""
        movable = []
        for guest in waiting:
            if guest.immovable_because is not None:
                self._stays[guest.uuid] = guest.immovable_because
            elif (found := self._ladder.best_for(guest)) is None:
                self._stays[guest.uuid] = self._why_nowhere(guest)
            else:
                movable.append((guest, found[0]))
        for guest, total_s, pause_s in self._predicted(movable):
            is_urgent = self._world.hosts[guest.host].health.state is HealthState.FAILING
            remaining_s = self._remaining_s(guest)
            left_s = 0.0 if is_urgent else max(0.0, self._settings.deadline_s - self._world.now_s)
            if remaining_s <= max(left_s, total_s) and not math.isinf(remaining_s):
                self._stays[guest.uuid] = f"its job ends in {format_duration(remaining_s)}"
            else:
                yield _Leaver(guest, is_urgent, total_s, pause_s)

    def _predicted(self, movable: list[tuple[Guest, Host]]) -> Iterator[tuple[Guest, float, float]]:
        """Yield how long each guest takes and pauses; for ever where its link is not known to carry anything."""
        requests: list[Request] = []
        guests: list[Guest] = []
        for guest, target in movable:
            move = Move(guest.uuid, guest.host, target.uuid, Reason(EVACUATION, ""))
            bytes_per_s = bandwidth_bytes_per_s(self._world, move)
            if not bytes_per_s > 0:
                yield guest, math.inf, math.inf
                continue
            correction = self._world.learned.correction(guest.uuid, guest.host, target.uuid)
            known = guest.memory_bytes, guest.dirty_curves, bytes_per_s, correction, guest.booted_at
            requests.append(Request(*known, begins_s=self._world.now_s))
            guests.append(guest)
        predictions = predict_many(requests, RULE_SETS[self._world.rule_set], widening=self._world.learned.widening)
        for guest, prediction in zip(guests, predictions, strict=True):
            yield guest, prediction.total_s.median, prediction.pause_s.median

    def _steps(self, leavers: list[_Leaver]) -> Iterator[Step]:
        """Yield where each guest goes, in order, with the memory of all before it taken."""
        arrivals: list[tuple[Guest, str]] = []
        for number, leaver in enumerate(leavers):
            guest = leaver.guest
            apart = {target for other, target in arrivals if are_kept_apart(guest, other)}
            found = self._ladder.best_for(guest, besides=apart)
            if found is None:
                self._stays[guest.uuid] = self._why_nowhere(guest)
                continue
            target = found[0]
            self._projection.accept(Move(guest.uuid, guest.host, target.uuid, Reason(EVACUATION, "")))
            self._ladder.update(target)
            arrivals.append((guest, target.uuid))
            yield Step(number, guest.uuid, guest.host, target.uuid)

    def _moves(self, steps: list[Step], leavers: list[_Leaver]) -> Iterator[Move]:
        """Yield the moves that may start now, in order, beside those under way."""
        running = [Step(-1, move.guest, move.source, move.target) for move in self._world.moves_in_flight]
        for step in steps:
            if self._parallel.admits(step, running):
                running.append(step)
                pause_s = leavers[step.number].pause_s
                pause = format_duration(pause_s) if math.isfinite(pause_s) else "nobody knows how long"
                text = f"{self._leaving[step.source]}; {self._world.guests[step.guest].name} pauses for {pause}"
                value = pause_s if math.isfinite(pause_s) else None
                yield Move(step.guest, step.source, step.target, Reason(EVACUATION, text, value, None, "s"))

    @property
    def _parallel(self) -> Parallel:
        most, each = self._settings.max_concurrent, self._settings.max_per_host
        return Parallel(max_concurrent=most, max_per_source=each, max_per_target=each, max_per_link=each)

    def _when(self, steps: list[Step], duration_s: dict[int, float]) -> str:
        """Say when the last of them will be away, and whether that is in time."""
        if not steps or not all(math.isfinite(each) for each in duration_s.values()):
            return ""
        slots = schedule(Steps(tuple(steps)), duration_s, self._parallel)
        takes_s = max(slot.end_s for slot in slots.values())
        when = f", the last in about {format_duration(takes_s)}"
        if not self._settings.deadline_s:
            return when
        left_s = self._settings.deadline_s - self._world.now_s
        if left_s <= 0:
            return f"{when}, and the deadline was {format_duration(-left_s)} ago"
        late = "in time for" if takes_s <= left_s else "too late for"
        return f"{when}, {late} the deadline in {format_duration(left_s)}"

    def _staying(self) -> str:
        if not self._stays:
            return ""
        named = [f"{self._world.guests[uuid].name} ({why})" for uuid, why in sorted(self._stays.items())]
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        return f"; guests that stay: {', '.join(named[:NAMED])}{more}"

    def _why_nowhere(self, guest: Guest) -> str:
        takes = [host for host in self._world.hosts.values() if host.uuid not in self._leaving and host.may_receive]
        barred = [guest.barred[host.uuid] for host in takes if host.uuid in guest.barred]
        if takes and len(barred) == len(takes):
            return barred[0]
        return "no host that may receive takes it" if takes else "no host may receive"

    def _remaining_s(self, guest: Guest) -> float:
        job = self._world.jobs.get(guest.job) if guest.job is not None else None
        return math.inf if job is None or job.remaining_s is None else job.remaining_s

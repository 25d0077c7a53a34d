"""What must hold when the pool is asked for a migration, by what the controller has been told and what is on record.

Nothing here looks at the core's gates, its memory or its world: every fact is formed anew, and every rule said again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from migd_controller.commands import StartMigration
from migd_controller.decision import Candidate, Price
from migd_controller.events import AnyEvent, MigrationRequested, PoolGuest, RecommendationApproved
from migd_controller.migration import Migration, State
from migd_controller.move_sets import MoveSet, SetStep, StepState
from migd_core.automation import Automation
from migd_core.health import HealthState
from migd_sim.run.soak.case import Case
from migd_sim.run.soak.journal import Journal
from migd_sim.run.soak.known import Known
from migd_sim.run.soak.past import Past
from migd_sim.run.soak.violation import Violated

OBSERVE = "observe"
NEVER = "migd:never"
# Gates that only let a step of a set wait for its turn.
WAITS = frozenset({"pool-limit", "source-limit", "target-limit", "turn"})
# Sums of floats in another order.
NEARLY = 1e-6


@dataclass(frozen=True, slots=True)
class Start:
    """One migration as it is asked for: the request, its record, and the candidate that it was decided on as."""

    command: StartMigration
    record: Migration
    candidate: Candidate
    is_by_hand: bool
    is_approved: bool

    @property
    def is_for_safety(self) -> bool:
        return not self.is_by_hand and not self.record.is_for_gain


class StartChecks:
    """Checks one migration after the other, those of one decision each beside the others."""

    def __init__(self, case: Case, known: Known, journal: Journal, past: Past) -> None:
        self._case, self._known, self._journal, self._past = case, known, journal, past
        self._limits, self._config = case.guards, case.config

    def check(self, command: StartMigration, event: AnyEvent | None, now_s: float) -> None:
        """Raise Violated where a migration must not be asked for at `now_s`."""
        record, candidate = self._journal.migrations[command.cause], self._journal.candidate(command)
        if candidate is None:
            raise Violated("journal", f"{command.cause} was decided on by nobody")
        is_by_hand = isinstance(event, MigrationRequested)
        start = Start(command, record, candidate, is_by_hand, isinstance(event, RecommendationApproved))
        who = f"{command.cause}: {record.guest_name} from {record.source_name} to {record.target_name}"
        for invariant, text in self._wrong(start, now_s):
            raise Violated(invariant, f"{who}: {text}")

    def _wrong(self, start: Start, now_s: float) -> Iterator[tuple[str, str]]:
        known, command = self._known, start.command
        guest, source, target = known.guests.get(command.guest), command.source, command.target
        if guest is None or target not in known.hosts or guest.host != source or source == target:
            yield "known", "guest, source or target are not as the pool has said"
            return
        if known.is_paused:
            yield "pause", "migd is paused"
        if not known.is_reachable:
            yield "pool", "the pool does not answer"
        yield from self._beside_others(start)
        yield from self._movable(start, guest, now_s)
        yield from self._receives(target, now_s)
        yield from self._placement(guest, target)
        yield from self._rules(start, guest)
        yield from self._memory(guest, target, command.cause)
        if start.is_by_hand:
            return
        yield from self._allowed(start, now_s)
        yield from self._worth(start, now_s)
        yield from self._set(start, now_s)

    def _others(self, cause: str) -> list[Migration]:
        return [each for each in self._journal.open.values() if each.cause != cause]

    def _beside_others(self, start: Start) -> Iterator[tuple[str, str]]:
        others, command = self._others(start.command.cause), start.command
        if any(each.guest == command.guest for each in others):
            yield "one-at-a-time", "the guest is being migrated already"
        if len(others) >= self._limits.max_concurrent:
            yield "pool-limit", f"{len(others)} others are under way"
        if sum(each.source == command.source for each in others) >= self._limits.max_concurrent_per_source:
            yield "source-limit", "others leave the source"
        if sum(each.target == command.target for each in others) >= self._limits.max_concurrent_per_target:
            yield "target-limit", "others go to the target"

    def _movable(self, start: Start, guest: PoolGuest, now_s: float) -> Iterator[tuple[str, str]]:
        known, source = self._known, start.command.source
        if NEVER in guest.tags:
            yield "never", "it is tagged so"
        if guest.blocked_because or guest.busy_with:
            yield "movable", guest.blocked_because or guest.busy_with
        if guest.memory_may_shrink:
            yield "movable", "it would have less memory afterwards"
        if guest.arriving_at is not None:
            yield "one-at-a-time", "somebody is migrating it"
        if guest.probed_by or any(lease.guest == guest.uuid for lease in self._past.leases.values()):
            yield "probe-and-migration", "its pages are being counted"
        if self._past.is_quarantined(guest.uuid):
            yield "quarantine", "it failed in a way that a person has to look at"
        if why := known.silent(source, now_s, self._config.telemetry):
            yield "stale", f"source: {why}"
        elif all(each.uuid != guest.uuid for each in known.heard[source].sample.guests):
            yield "unmeasured", "its source has told nothing of it"
        elif not known.is_to_be_left(source, now_s) and (why := known.doubtful(source)):
            yield "doubtful", f"source: {why}"

    def _receives(self, target: str, now_s: float) -> Iterator[tuple[str, str]]:
        known, told = self._known, self._known.hosts[target]
        if why := known.silent(target, now_s, self._config.telemetry) or known.doubtful(target):
            yield "target", why
        if not told.is_enabled or told.is_evacuating:
            yield "target", "it is disabled or being evacuated"
        if known.is_in_maintenance(target, now_s):
            yield "maintenance", "the target is in maintenance"
        if known.health.get(target, (HealthState.UNKNOWN, 0.0))[0] is HealthState.FAILING:
            yield "health", "the target is failing"

    def _placement(self, guest: PoolGuest, target: str) -> Iterator[tuple[str, str]]:
        missing = [each.name for each in guest.storages if each.uuid not in self._known.hosts[target].storages]
        if missing:
            yield "placement", f"the target has no {missing[0]}"
        if self._past.is_barred(guest.uuid, target):
            yield "placement", "the target has refused it for good"

    def _places(self, start: Start, besides: MoveSet | None = None) -> Mapping[str, str]:
        """Where every guest will be once all that is under way is done, as far as it was told and recorded.

        What the same decision asks for later is no reason for or against what it asks for first. What a set still is to
        do counts, but for that of the set `besides`, and for operators, who ask in the knowledge of what is.
        """
        decision, _, number = start.command.cause.rpartition(".")
        later = {f"{decision}.{n}" for n in range(int(number) + 1, int(number) + 64)}
        place = {uuid: each.arriving_at or each.host for uuid, each in self._known.guests.items()}
        known = [each for each in self._journal.open.values() if each.cause not in later and each.guest in place]
        place |= {each.guest: each.target for each in known}
        for move_set in self._journal.sets.values():
            begun = {step.migration for step in move_set.steps if step.migration.startswith(f"{decision}.")}
            is_later = move_set.name.startswith(f"{decision}.") and begun <= later
            if move_set is besides or is_later or start.is_by_hand:
                continue
            place |= {step.guest: step.target for step in move_set.waiting if step.guest in place}
        return place

    def _rules(self, start: Start, guest: PoolGuest) -> Iterator[tuple[str, str]]:
        source, target = start.command.source, start.command.target
        place = {uuid: host for uuid, host in self._places(start).items() if uuid != guest.uuid}
        guests = self._known.guests
        for tag in guest.tags:
            mates = [place[uuid] for uuid in place if tag in guests[uuid].tags]
            if why := self._broken(tag, source, target, mates.count(source), mates.count(target)):
                yield "rules", f"it is tagged {tag}: {why}"
        ignored = self._case.rules.ignored_hosts
        if {self._known.hosts[host].name for host in (source, target) if host in self._known.hosts} & set(ignored):
            yield "rules", "a host is to be ignored"
        if guest.group is not None:
            # Which guests of a group go where later is judged then: a set in which each step leaves the group as far
            # apart as it was does so in the end.
            then = self._places(start, besides=self._journal.set_of(start.command.cause))
            mates = [uuid for uuid in then if uuid != guest.uuid and guests[uuid].group == guest.group]
            here = sum(then[uuid] == source for uuid in mates) + 1
            if (there := sum(then[uuid] == target for uuid in mates)) >= here:
                yield "anti-affinity", f"{there} of its group are there, {here} with it where it is"

    def _broken(self, tag: str, source: str, target: str, here: int, there: int) -> str:
        """Say how a move breaks a tag that must hold, or makes worse what should; `here` and `there` are its mates."""
        key, _, value = tag.partition("=")
        must = not key.endswith("?")
        match key.removesuffix("?"):
            case "migd:apart" if there > (0 if must else here):
                return f"{there} others are there"
            case "migd:with" if there < here:
                return f"{here} others stay behind"
            case "migd:pin" | "migd:hosts" as kind:
                meant = self._is_named if kind == "migd:pin" else self._is_in_group
                return "" if meant(target, value) or not (must or meant(source, value)) else "it is to be elsewhere"
        return ""

    def _is_named(self, host: str, name: str) -> bool:
        return name in (host, self._known.hosts[host].name)

    def _is_in_group(self, host: str, group: str) -> bool:
        members = self._case.rules.host_groups.get(group, [])
        return host in members or self._known.hosts[host].name in members

    def _memory(self, guest: PoolGuest, target: str, cause: str) -> Iterator[tuple[str, str]]:
        told = self._known.hosts[target]
        arriving = {each.guest for each in self._others(cause) if each.target == target}
        taken = sum(
            each.memory_bytes
            for uuid, each in self._known.guests.items()
            if uuid != guest.uuid and (target in (each.host, each.arriving_at) or uuid in arriving)
        )
        reserve = self._limits.memory_reserve_ratio * told.memory_for_guests_bytes
        reserve += max(self._case.rules.reserve_bytes.get(each, 0) for each in (told.name, told.uuid))
        if taken + guest.memory_bytes > told.memory_for_guests_bytes - reserve + 1:
            yield "capacity", f"{taken} bytes are taken of {told.memory_for_guests_bytes}, and {reserve:.0f} stay free"

    def _allowed(self, start: Start, now_s: float) -> Iterator[tuple[str, str]]:
        """By whose word: an operator's, who has asked for it or approved it, or migd's own."""
        known, command = self._known, start.command
        if start.is_for_safety and not known.is_to_be_left(command.source, now_s):
            yield "pretext", "it is moved for its safety, and nothing is wrong with its source"
        if start.is_for_safety and command.source in known.emptied:
            return
        move_set = self._journal.set_of(command.cause)
        is_begun = move_set is not None and move_set.at < now_s
        level = known.level_of(command.guest)
        if level is Automation.OFF or (level is Automation.RECOMMEND and not start.is_approved and not is_begun):
            yield "automation", f"automation is {level}"
        if known.policy == OBSERVE and not start.is_approved:
            yield "observe", "the policy is to observe"

    def _worth(self, start: Start, now_s: float) -> Iterator[tuple[str, str]]:
        past, limits, guest = self._past, self._limits, start.command.guest
        if past.rests_until(guest) > now_s + NEARLY:
            yield "rest", "its last migration failed, and it rests"
        if start.is_for_safety:
            return
        job = self._known.job_of(guest)
        own, price = self._known.limits_of(job), start.candidate.price
        for hours in (self._case.rules.allowed_hours, own.allowed_hours or ()):
            if hours and not any(_is_within(window, now_s) for window in hours):
                yield "hours", f"it is not within {', '.join(hours)}"
        since_s = past.rested_s(guest, now_s)
        if since_s < limits.cooldown_s - NEARLY and not self._was_brought(start):
            yield "cooldown", f"it was migrated {since_s:.1f} s ago, within {limits.cooldown_s:g}"
        if price is None:
            yield "gain", "nobody knows what it gains"
            return
        sure_s = _sure_s(price, limits.certainty_sds)
        if sure_s < limits.min_gain_s - NEARLY:
            yield "gain", f"it gains {sure_s:.3f} s for sure, of {limits.min_gain_s:g}"
        behind_s, since_first_s = past.behind_s(job, now_s)
        allowed_s = max(limits.behind_at_least_s, limits.behind_ratio * since_first_s, sure_s)
        if behind_s > allowed_s + NEARLY:
            yield "behind", f"its job is {behind_s:.1f} s behind, of {allowed_s:.1f}"
        at_most_s = limits.stall_per_hour_s if own.stall_per_hour_s is None else own.stall_per_hour_s
        adds_s = price.pause.high if price.pause is not None else price.pause_s
        if past.stalled_s(job, now_s) + adds_s > at_most_s + NEARLY:
            yield "stall", f"its job would have stood still for more than {at_most_s:g} s within an hour"
        last_s = limits.no_stall_last_s if own.no_stall_last_s is None else own.no_stall_last_s
        ends_in_s = self._known.ends_in_s(job, now_s)
        if last_s > 0 and ends_in_s is not None and 0 < ends_in_s < last_s + price.total_s - NEARLY:
            yield "stall", f"its job ends in {ends_in_s:.0f} s, and is not to be stalled in its last {last_s:g}"

    def _was_brought(self, start: Start) -> bool:
        """Whether a set that goes on has brought the guest where it is."""
        move_set = self._journal.set_of(start.command.cause)
        return move_set is not None and any(
            step.guest == start.command.guest and step.state is StepState.DONE for step in move_set.steps
        )

    def _set(self, start: Start, now_s: float) -> Iterator[tuple[str, str]]:
        """Whether what belongs together is begun as a whole, and goes on in its order."""
        move_set, price = self._journal.set_of(start.command.cause), start.candidate.price
        if move_set is None:
            if price is not None and price.together is not None:
                yield "together", f"it is begun without {', '.join(price.together.others)}, with whom it gains anything"
            return
        if move_set.at == now_s:
            for step in move_set.steps:
                if why := self._refused(step):
                    yield "together", f"{move_set.name} is begun, and {step.guest_name}'s part of it refused by {why}"
        step = next(each for each in move_set.steps if each.migration == start.command.cause)
        for number in step.after:
            before = self._journal.migrations.get(move_set.steps[number].migration)
            if before is None or before.state is not State.MOVED:
                yield "turn", f"step {step.number + 1} of {move_set.name} begins before step {number + 1} is done"

    def _refused(self, step: SetStep) -> str:
        """Say which gates refuse a step wherever this event's decisions are about it; empty if they do not."""
        found = [each for each in self._journal.candidates if (each.guest, each.target) == (step.guest, step.target)]
        refused = [sorted({gate.name for gate in each.gates if not gate.passed} - WAITS) for each in found]
        fewest: list[str] = min(refused, key=len, default=[])
        return ", ".join(fewest)


def _is_within(window: str, now_s: float) -> bool:
    """Whether Unix time is within `HH:MM-HH:MM` (UTC)."""
    start, end = window.split("-")
    now = datetime.fromtimestamp(now_s, UTC).strftime("%H:%M")
    return start <= now < end if start < end else now >= start or now < end


def _sure_s(price: Price, certainty_sds: float) -> float:
    """What a move gains at least, net, by what is on record of its price."""
    if price.together is not None:
        return price.together.sure_s
    if price.most is not None:
        return price.gain_s - price.most.cost_s
    spread_s = certainty_sds * price.net_sd_s
    return price.gain_s - price.cost_s - spread_s

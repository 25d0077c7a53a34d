"""Each guard of the core is switched off in turn, and the checker of the soak finds that out.

For each the seeds are tried one after the other, from one that is known to show it; the case then ends at once. What
is switched off is the core's own code, in place; the checker uses none of it. `make test-guards` runs them.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from migd_controller import (
    accounts,
    automation,
    core,
    guards,
    judging,
    maintenance,
    probing,
    set_course,
    snapshot,
)
from migd_controller.automation import Stance
from migd_controller.commands import (
    EndProbe,
    FollowMigration,
    RecordDecision,
    RecordMigration,
    RecordRecommendation,
    RecordSet,
    StartMigration,
)
from migd_controller.decision import Gate
from migd_controller.events import MigrationAccepted
from migd_controller.guards import Situation
from migd_controller.inventory import Inventory
from migd_controller.residents import Residents
from migd_controller.telemetry import HostTelemetry
from migd_core.world import Move, World
from migd_policies.rules import Rules
from migd_sim.run.soak.case import read, write
from migd_sim.run.soak.drawing import draw
from migd_sim.run.soak.loop import Loop
from migd_sim.run.soak.shrink import shrunk

Patch = pytest.MonkeyPatch
# So many seeds are tried from the one that is named on.
SEEDS = 40


def found(first: int) -> str:
    """Return the invariant that does not hold in the first case, from a seed on, in which one does not; else nothing."""
    for seed in range(first, first + SEEDS):
        violation = Loop(draw(seed)).run().violation
        if violation is not None:
            return violation.invariant
    return ""


def without_gate(patch: Patch, name: str) -> None:
    """Let a gate pass whatever it says."""

    def judge(move: Move, situation: Situation, *, by_hand: bool) -> tuple[Gate, ...]:
        gates = guards.judge(move, situation, by_hand=by_hand)
        return tuple(replace(gate, passed=True) if gate.name == name else gate for gate in gates)

    patch.setattr(judging, "judge", judge)


def without_reason(patch: Patch, text: str) -> None:
    """Let a guest be moved although it is immovable because of what begins with `text`."""
    immovable_because = Residents._immovable_because

    def because(*known: Any) -> str | None:
        why = immovable_because(*known)
        return None if why is not None and why.startswith(text) else why

    patch.setattr(Residents, "_immovable_because", because)


def without(patch: Patch, where: object, name: str, answer: object) -> None:
    """Let a function answer the same whatever it is asked."""
    patch.setattr(where, name, lambda *_, **__: answer)


# Not alone here is `rules`: a world for single moves bars the hosts that rules forbid (`placement`), and sets are ordered
# by them (`order`). What all three ask is switched off below (`rules_are_overlooked`). `phase`, which lets a move wait for
# a quiet moment, guards nothing.
# The gates that every move meets: the invariants by whose names their absence is found out, and a seed that shows it.
GATES: Mapping[str, tuple[set[str], int]] = {
    "known": ({"known", "crash"}, 2),
    "pool": ({"pool"}, 17),
    "pause": ({"pause"}, 17),
    "one-at-a-time": ({"one-at-a-time"}, 33),
    "movable": ({"movable", "never", "stale", "unmeasured", "one-at-a-time", "probe-and-migration", "quarantine"}, 20),
    "target": ({"target", "maintenance"}, 2),
    "health": ({"health"}, 32),
    "placement": ({"placement", "rules"}, 21),
    "anti-affinity": ({"anti-affinity"}, 65),
    "capacity": ({"capacity"}, 10),
    "pool-limit": ({"pool-limit"}, 5),
    "source-limit": ({"source-limit"}, 43),
    "target-limit": ({"target-limit"}, 46),
    "hours": ({"hours"}, 41),
    "cooldown": ({"cooldown"}, 95),
    "rest": ({"rest"}, 130),
    "behind": ({"behind"}, 46),
    "stall": ({"stall"}, 24),
    "gain": ({"gain"}, 69),
}
# `together`, which sets alone meet, is switched off below (`sets_are_begun_in_part`).


@pytest.mark.guards
@pytest.mark.parametrize("name", GATES)
def test_a_core_without_a_gate_is_found_out(name: str, monkeypatch: Patch) -> None:
    invariants, first = GATES[name]
    without_gate(monkeypatch, name)
    assert found(first) in invariants


# Not here is that a guest was not measured on its host yet: that lasts from its arrival to its second sample there, and
# no seed was found in which somebody asks for it just then; policies are kept from it by `cooldown` as well. Nor is
# "no other host could run it", which says at once what the gate `placement` would say of each.
# Why a guest may not be moved: how the reason begins, the invariant, and a seed.
REASONS: Mapping[str, tuple[str, int]] = {
    "it is tagged migd:never": ("never", 20),
    "the pool does not allow it": ("movable", 11),
    "it is being migrated": ("one-at-a-time", 7),
    "migd ": ("probe-and-migration", 29),
    "snapshot is under way": ("movable", 50),
    "its dynamic memory minimum": ("movable", 7),
    "it is in quarantine": ("quarantine", 93),
    "its host is frozen": ("stale", 11),
}


@pytest.mark.guards
@pytest.mark.parametrize("text", REASONS)
def test_a_core_that_moves_immovable_guests_is_found_out(text: str, monkeypatch: Patch) -> None:
    invariant, first = REASONS[text]
    without_reason(monkeypatch, text)
    assert found(first) == invariant


def nobody_restricts(patch: Patch) -> None:
    without(patch, automation, "stance", Stance(Gate(name="automation", passed=True, text="")))


def sets_are_begun_in_part(patch: Patch) -> None:
    patch.setattr(set_course, "_together", lambda judged, _: list(judged))


def sets_are_begun_whatever_is_refused(patch: Patch) -> None:
    """Neither the gate `together` nor what begins a set looks at what refuses a step of it."""
    begin = set_course.begin

    def anyhow(*known: Any) -> Any:
        with pytest.MonkeyPatch.context() as meanwhile:
            meanwhile.setattr(set_course, "objection", lambda _: None)
            return begin(*known)

    patch.setattr(judging, "begin", anyhow)


def steps_begin_at_once(patch: Patch) -> None:
    without(patch, set_course, "_turn", None)


def rules_are_overlooked(patch: Patch) -> None:
    without(patch, Rules, "objection", None)


def nothing_is_in_maintenance(patch: Patch) -> None:
    patch.setattr(maintenance, "begun", lambda known, *_: dict(known))
    patch.setattr(maintenance, "to_be_emptied", lambda known, *_: dict(known))


def failures_are_forgotten(patch: Patch) -> None:
    patch.setattr(core, "after", lambda holds, *_: holds)


def debts_are_forgotten(patch: Patch) -> None:
    patch.setattr(accounts, "after", lambda known, _: known)


def silence_is_overlooked(patch: Patch) -> None:
    silent_because = snapshot._silent_because

    def because(host: Any, telemetry: Any, *rest: Any) -> str | None:
        return None if host.uuid in telemetry.hosts else silent_because(host, telemetry, *rest)

    patch.setattr(snapshot, "_silent_because", because)


def whatever_a_host_says_is_believed(patch: Patch) -> None:
    without(patch, snapshot, "_doubtful_because", None)


def what_moves_takes_no_memory(patch: Patch) -> None:
    """What migd has under way and what the pool tells of arrivals count as one: either alone covers the other."""

    def residents(inventory: Inventory, _: object) -> dict[str, int]:
        taken: dict[str, int] = {}
        for guest in inventory.guests.values():
            taken[guest.host] = taken.get(guest.host, 0) + guest.memory_bytes
        return taken

    patch.setattr(snapshot, "_reserved_bytes", residents)


def what_was_accepted_before_takes_no_memory(patch: Patch) -> None:
    """What one decision begins counts for the next of its moves as under way, and needs no room."""

    def with_in_flight(self: World, move: Move) -> World:
        return dataclasses.replace(self, moves_in_flight=(*self.moves_in_flight, move))

    patch.setattr(World, "with_in_flight", with_in_flight)


def migrations_are_not_followed(patch: Patch) -> None:
    adopt = core.Core.adopt
    patch.setattr(
        core.Core, "adopt", lambda self, now_s: [c for c in adopt(self, now_s) if not isinstance(c, FollowMigration)]
    )


def migrations_are_asked_for_again(patch: Patch) -> None:
    adopt = core.Core.adopt

    def again(self: core.Core, now_s: float) -> list[Any]:
        return [
            StartMigration(cause=c.cause, guest=c.guest, source=self.memory.in_flight[c.cause].source, target=c.target)
            if isinstance(c, FollowMigration)
            else c
            for c in adopt(self, now_s)
        ]

    patch.setattr(core.Core, "adopt", again)


def without_records(patch: Patch, are_left_out: Callable[[Any, Any], bool]) -> None:
    """Let commands be left out, by the event that they answer and what they are."""
    handle = core.Core.handle

    def some(self: core.Core, event: Any, now_s: float) -> list[Any]:
        return [c for c in handle(self, event, now_s) if not are_left_out(event, c)]

    patch.setattr(core.Core, "handle", some)


def ends_are_not_recorded(patch: Patch) -> None:
    without_records(patch, lambda _, command: isinstance(command, RecordMigration) and command.migration.is_over)


def decisions_are_not_recorded(patch: Patch) -> None:
    without_records(patch, lambda _, command: isinstance(command, RecordDecision))


def sets_are_not_recorded(patch: Patch) -> None:
    without_records(patch, lambda _, command: isinstance(command, RecordSet))


def recommendations_are_not_recorded(patch: Patch) -> None:
    without_records(patch, lambda _, command: isinstance(command, RecordRecommendation))


def acceptances_are_not_recorded(patch: Patch) -> None:
    without_records(
        patch, lambda event, command: isinstance(event, MigrationAccepted) and isinstance(command, RecordMigration)
    )


def guests_that_are_gone_are_kept(patch: Patch) -> None:
    apply = Inventory.apply

    def late(self: Inventory, event: Any) -> Any:
        return apply(self, replace(event, gone=()))

    patch.setattr(Inventory, "apply", late)


def every_guest_is_probed(patch: Patch) -> None:
    def able(inventory: Inventory, *_: Any) -> Mapping[str, Sequence[Any]]:
        found: dict[str, list[Any]] = {}
        for guest in inventory.guests.values():
            found.setdefault(guest.host, []).append(guest)
        return found

    patch.setattr(probing, "_may_be_probed", able)


def tags_do_not_keep_from_probes(patch: Patch) -> None:
    patch.setattr(probing, "UNPROBED_TAGS", frozenset())


def probes_follow_each_other(patch: Patch) -> None:
    without(patch, probing, "_is_due", True)


def probes_go_to_whoever_is_there(patch: Patch) -> None:
    without(patch, probing, "_is_fit", True)


def agents_clocks_may_go_as_they_like(patch: Patch) -> None:
    patch.setattr(HostTelemetry, "jitter_s", 0.0)


def clocks_are_trusted_at_first_sight(patch: Patch) -> None:
    patch.setattr(HostTelemetry, "watched_s", float("inf"))


def hosts_have_many_probes(patch: Patch) -> None:
    granted = probing._granted

    def more(cause: str, now_s: float, inventory: Any, telemetry: Any, memory: Any, config: Any) -> Any:
        return granted(cause, now_s, inventory, telemetry, replace(memory, leases={}), config)

    patch.setattr(probing, "_granted", more)


def probes_are_given_in_a_pause(patch: Patch) -> None:
    granted = probing._granted

    def ever(cause: str, now_s: float, inventory: Any, telemetry: Any, memory: Any, config: Any) -> Any:
        return granted(cause, now_s, inventory, telemetry, replace(memory, is_paused=False), config)

    patch.setattr(probing, "_granted", ever)


def probes_end_before_their_agents(patch: Patch) -> None:
    patch.setattr(probing, "MARGIN_S", -60.0)


def leases_are_over_when_they_were_to_be(patch: Patch) -> None:
    """A controller that starts again takes its clock for the one of before."""

    def as_they_were(memory: Any, *_: Any) -> Any:
        return memory, [EndProbe(lease=lease) for lease in memory.leases.values() if lease.is_ending]

    patch.setattr(probing, "on_start", as_they_were)


def blocks_are_left_behind(patch: Patch) -> None:
    without(patch, probing, "_left_behind", ())


OTHERS: Sequence[tuple[Callable[[Patch], None], set[str], int]] = (
    (nobody_restricts, {"automation"}, 61),
    (steps_begin_at_once, {"turn"}, 102),
    (sets_are_begun_in_part, {"together"}, 4),
    (sets_are_begun_whatever_is_refused, {"together"}, 8),
    (rules_are_overlooked, {"rules"}, 2),
    (nothing_is_in_maintenance, {"maintenance", "pretext"}, 16),
    (failures_are_forgotten, {"rest", "quarantine", "placement"}, 2),
    (debts_are_forgotten, {"behind", "stall"}, 34),
    (silence_is_overlooked, {"stale", "target", "probe"}, 2),
    (whatever_a_host_says_is_believed, {"doubtful", "target"}, 117),
    (what_moves_takes_no_memory, {"capacity"}, 29),
    (what_was_accepted_before_takes_no_memory, {"capacity"}, 3620),
    (migrations_are_not_followed, {"never-quiet"}, 6),
    (migrations_are_asked_for_again, {"started-twice", "journal"}, 6),
    (ends_are_not_recorded, {"journal"}, 1),
    (decisions_are_not_recorded, {"journal"}, 1),
    (sets_are_not_recorded, {"journal"}, 46),
    (recommendations_are_not_recorded, {"journal"}, 48),
    (acceptances_are_not_recorded, {"journal"}, 1),
    (guests_that_are_gone_are_kept, {"unlike-pool"}, 3),
    (every_guest_is_probed, {"probe", "probe-and-migration", "unprobed"}, 1),
    (tags_do_not_keep_from_probes, {"unprobed"}, 1),
    (probes_follow_each_other, {"probe-share"}, 1),
    (probes_go_to_whoever_is_there, {"probe"}, 4),
    (agents_clocks_may_go_as_they_like, {"probe-and-migration"}, 50),
    (clocks_are_trusted_at_first_sight, {"probe-and-migration"}, 797),
    (hosts_have_many_probes, {"one-probe-a-host"}, 1),
    (probes_are_given_in_a_pause, {"pause"}, 2),
    (probes_end_before_their_agents, {"probe-and-migration"}, 1),
    (leases_are_over_when_they_were_to_be, {"probe-and-migration"}, 519),
    (blocks_are_left_behind, {"never-quiet"}, 1),
)


@pytest.mark.guards
@pytest.mark.parametrize(("change", "invariants", "first"), OTHERS, ids=[change.__name__ for change, *_ in OTHERS])
def test_a_core_without_another_guard_is_found_out(
    change: Callable[[Patch], None], invariants: set[str], first: int, monkeypatch: Patch
) -> None:
    change(monkeypatch)
    assert found(first) in invariants


def test_what_is_switched_off_is_there_to_be_switched_off() -> None:
    """Whatever of it was moved or renamed is missed with every change, and not with `make test-guards` alone."""
    changes: list[Callable[[Patch], None]] = [
        *(partial(without_gate, name=name) for name in GATES),
        *(partial(without_reason, text=text) for text in REASONS),
        *(change for change, *_ in OTHERS),
    ]
    for change in changes:
        with pytest.MonkeyPatch.context() as patch:
            change(patch)


@pytest.mark.guards
def test_a_case_that_shows_a_missing_guard_becomes_short_and_shows_it_again(monkeypatch: Patch, tmp_path: Path) -> None:
    case = draw(GATES["capacity"][1])
    without_gate(monkeypatch, "capacity")
    short = shrunk(case, "capacity")
    assert len(short.happenings) < len(case.happenings) // 4
    write(short, tmp_path / "short.json")
    violation = Loop(read(tmp_path / "short.json")).run().violation
    assert violation is not None
    assert violation.invariant == "capacity"
    monkeypatch.undo()
    assert Loop(short).run().violation is None, "with the gate nothing is wrong"

"""What other policies would have done on recorded data, held against what the recorded one did: its regret.

From the first move that a policy makes otherwise, the cluster would have gone another way, and the record says nothing
of that way. So the recorded run is replayed as it was, with the other policies as shadows (`shadowing`): each has the
measured cluster with its own moves made and the recorded ones taken back, and both sides are scored by the loads that
were measured. Here every shadow is asked in every control period; a live one waits for its turn.

    regret = what a policy would have gained − cost, less what the recorded one did             in job-seconds

beside which stands how far that may be off by the model alone, as far as the recorded migrations tell it:

    |r_s − 1| · |Δ gained| + |r_t − 1| · |Δ cost|        r_s  what steps fell by after moves, over what they were to
                                                         r_t  how long migrations took, over what was predicted

Both are of what the policies differ in: what the model gets wrong for both alike is no part of their difference.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from migd_controller.commands import AnyCommand, RecordShadow
from migd_controller.comparison import compared as comparison
from migd_controller.comparison import contender_view
from migd_controller.contest import NO_CONTEST, Contender, Contest, Tally
from migd_controller.core import Core
from migd_controller.events import ShadowAdded, ShadowRemoved, ShadowTurn, Tick
from migd_controller.memory import Memory
from migd_controller.record.format import Frame
from migd_controller.shadowing import with_shadow
from migd_core import api
from migd_policies.registry import configure
from migd_sim.run.replay.replaying import Replayed, answer, compared, cores, count


@dataclass(frozen=True, slots=True)
class Other:
    """A policy to ask besides, and what to call it."""

    label: str
    policy: str
    config: Mapping[str, Any] = field(default_factory=dict)


class Regret(msgspec.Struct, frozen=True, kw_only=True):
    """By how many job-seconds a policy would have done better than the recorded one (negative: worse).

    The model alone may be off by `model_error_s`; where nothing on record tells, `unknown` says what is missing.
    """

    label: str
    regret_s: float
    model_error_s: float | None
    unknown: str = ""


@dataclass(slots=True)
class Redecided:
    """What came of it. Without `comparison` the record has no control period to compare in, or did not replay.

    `would_move` has each decision of the other policies that would have begun a move, with gates and prices.
    """

    replayed: Replayed
    comparison: api.ComparisonView | None = None
    regrets: list[Regret] = field(default_factory=list)
    would_move: list[RecordShadow] = field(default_factory=list)


Asked = Callable[[Core, Frame, Sequence[AnyCommand]], None]


def redecide(run: Path, others: Sequence[Other], watch: Asked | None = None) -> Redecided:
    """Replay a record with `others` as shadows. `watch` hears of each event, of a tick after the shadows' turns.

    Raises RecordError, and UnknownName or ConfigError for a policy that there is not.
    """
    for each in others:
        configure(each.policy, each.config)
    found = Redecided(Replayed())
    sums = Sums()
    core: Core | None = None

    def begun(new: Core, at: float) -> None:
        new.memory = _contested(new.memory, core.memory.contest if core is not None else NO_CONTEST, others, at, sums)

    for part, core in cores(run, found.replayed, begun):
        for number, frame in enumerate(part.frames, start=1):
            if isinstance(frame.event, ShadowAdded | ShadowRemoved | ShadowTurn):
                continue
            before = core.memory.contest
            commands, failure = answer(core, frame)
            found.replayed.difference = compared(part, number, frame, commands, failure)
            if found.replayed.difference is not None:
                return found
            count(found.replayed, frame, commands)
            if core.memory.contest.settled_at is None:
                sums.add(before)
            if isinstance(frame.event, Tick):
                found.would_move += _turns(core, frame.at, len(others))
            if watch is not None:
                watch(core, frame, commands)
        if part.cut:
            found.replayed.notes.append(part.cut)
    if core is not None:
        sums.add(core.memory.contest)
        _conclude(found, sums, core.config.guards.min_gain_s)
    return found


def _contested(memory: Memory, contest: Contest, others: Sequence[Other], at: float, sums: "Sums") -> Memory:
    """Return the memory with the contest of an earlier life, or with a new one where another policy is in use."""
    active = contest.active
    if active is not None and (active.policy, active.config) == (memory.policy, memory.policy_config):
        return replace(memory, contest=contest)
    sums.add(contest)
    memory = replace(memory, contest=NO_CONTEST)
    for each in others:
        memory = with_shadow(memory, each.label, each.policy, dict(each.config), at)
    return memory


def _turns(core: Core, at: float, shadows: int) -> list[RecordShadow]:
    """Let each shadow have its turn on what the tick has decided; what it began is told once."""
    told: list[RecordShadow] = []
    decided = core._decided
    for _ in range(shadows):
        core._decided = decided
        told += [each for each in core.handle(ShadowTurn(), at) if isinstance(each, RecordShadow)]
        decided = None if decided is None else dataclasses.replace(decided, migrations=())
    return told


class Sums:
    """The records of all contests of a run: a policy that was set begins them anew."""

    def __init__(self) -> None:
        self.active: Contender | None = None
        self.shadows: dict[str, Contender] = {}
        self.policies: list[str] = []

    def add(self, contest: Contest) -> None:
        """Add one that nobody goes on with; one that nobody has looked at yet holds nothing."""
        if contest.active is None or contest.settled_at is None:
            return
        if contest.active.policy not in self.policies:
            self.policies.append(contest.active.policy)
        self.active = _sum(self.active, contest.active)
        self.shadows = {label: _sum(self.shadows.get(label), each) for label, each in contest.shadows.items()}


def _sum(one: Contender | None, other: Contender) -> Contender:
    if one is None:
        return other
    values = {name: getattr(one.tally, name) + getattr(other.tally, name) for name in Tally.__struct_fields__}
    return replace(
        other,
        since=one.since,
        tally=Tally(**values),
        watched_s=one.watched_s + other.watched_s,
        blind_s=one.blind_s + other.blind_s,
        ahead_s=one.ahead_s + other.ahead_s,
        problem=other.problem or one.problem,
    )


def _conclude(found: Redecided, sums: Sums, least_s: float) -> None:
    if sums.active is None:
        return
    mine = sums.active.tally
    active = contender_view(", then ".join(sums.policies), sums.active, is_active=True)
    shadows = [contender_view(label, each) for label, each in sums.shadows.items()]
    found.comparison = comparison(active, shadows, mine, least_s)
    found.regrets = [_regret(label, each, mine) for label, each in sums.shadows.items() if not each.problem]


def _regret(label: str, other: Contender, mine: Tally) -> Regret:
    """Return the regret of not using a policy; how far the model may be off by it is worked out as said above."""
    gained_s, cost_s = abs(other.tally.gained_s - mine.gained_s), abs(other.tally.cost_s - mine.cost_s)
    fell, was_to_fall = mine.checks - mine.step_ratio, mine.checks - mine.expected_step_ratio
    unknown = []
    if gained_s > 0 and (not mine.checks or was_to_fall == 0):
        unknown.append("no job has told what recorded moves did to its steps")
    if cost_s > 0 and mine.expected_s <= 0:
        unknown.append("no recorded migration has ended")
    if unknown:
        return Regret(label=label, regret_s=other.ahead_s, model_error_s=None, unknown=" and ".join(unknown))
    of_gain = abs(fell / was_to_fall - 1.0) * gained_s if gained_s > 0 else 0.0
    of_cost = abs(mine.took_s / mine.expected_s - 1.0) * cost_s if cost_s > 0 else 0.0
    return Regret(label=label, regret_s=other.ahead_s, model_error_s=of_gain + of_cost)

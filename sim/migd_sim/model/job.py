"""A bulk-synchronous job: every rank works, talks to its neighbours in the ring, and waits for the slowest.

    step = max over ranks of (work × factors / speed + Σ over neighbours (latency + bytes / bandwidth)) + extra

Ranks spin while they wait, so each wants a whole vCPU whatever it does. Between changes the job advances fluidly.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from migd_core.progress import Progress
from migd_sim.model.spec import JobSpec


@dataclass(slots=True)
class JobState:
    """One job as it stands. `steps_done` counts fractions of a step too.

    `neighbours` are pairs of ranks; `pair_bytes` is what each pair of guests exchanges in a step, each way.
    """

    spec: JobSpec
    guests: tuple[str, ...]
    steps_done: float = 0.0
    steps_per_s: float = 0.0
    has_begun: bool = field(init=False)
    stretch_ends_step: float = inf
    ranks_of: dict[str, int] = field(init=False)
    neighbours: list[tuple[int, int]] = field(init=False)
    pair_bytes: dict[tuple[str, str], float] = field(init=False)

    def __post_init__(self) -> None:
        self.has_begun = self.spec.starts_s == 0
        self.ranks_of = {uuid: self.guests.count(uuid) for uuid in self.guests}
        count = len(self.guests)
        pairs = {(min(r, (r + 1) % count), max(r, (r + 1) % count)) for r in range(count)} if count > 1 else set()
        self.neighbours = sorted(pairs)
        self.pair_bytes = {}
        for a, b in self.neighbours:
            if self.guests[a] != self.guests[b]:
                pair = (self.guests[a], self.guests[b])
                self.pair_bytes[pair] = self.pair_bytes.get(pair, 0.0) + self.spec.exchange_bytes

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def is_over(self) -> bool:
        return self.spec.steps > 0 and self.steps_done >= self.spec.steps

    @property
    def runs(self) -> bool:
        """True from its begin to its end."""
        return self.has_begun and not self.is_over

    def progress_of(self, guest: str) -> Progress | None:
        """Return what a guest (uuid) tells of the job: whole steps, and only the first rank's guest, if any does."""
        if not self.spec.reports_progress or guest != self.guests[0]:
            return None
        return Progress(float(self._step()), float(self.spec.steps) if self.spec.steps else None)

    @property
    def work_factor(self) -> float:
        """How much more work this step takes than a plain one."""
        factor = 1.0
        for phase in self.spec.phases:
            factor *= phase.work_factor if self._step() % phase.every_steps < phase.steps else 1.0
        return factor

    @property
    def extra_s(self) -> float:
        """Seconds that this step takes beyond work and talk (a history dump)."""
        return sum(p.extra_s for p in self.spec.phases if self._step() % p.every_steps < p.steps)

    @property
    def writes_ratio(self) -> float:
        """The pace at which its guests write in this step, over that in a plain one."""
        ratio = 1.0
        for phase in self.spec.phases:
            ratio *= phase.writes_ratio if self._step() % phase.every_steps < phase.steps else 1.0
        return ratio if self.runs else 1.0

    def step_s(self, rank_speed: Callable[[str], float], talk_s: Callable[[str, str, float], float]) -> float:
        """Return the length of the present step; infinite while any rank stands still.

        `rank_speed` gives a guest's work a second for one rank; `talk_s` the seconds of one message between two guests.
        """
        talking = [0.0] * len(self.guests)
        for a, b in self.neighbours:
            seconds = talk_s(self.guests[a], self.guests[b], self.spec.exchange_bytes)
            talking[a] += seconds
            talking[b] += seconds
        longest = 0.0
        for uuid, work_s, talk in zip(self.guests, self._works_s(), talking, strict=True):
            speed = rank_speed(uuid)
            if speed <= 0:
                return inf
            longest = max(longest, work_s / speed + talk)
        return longest + self.extra_s

    def next_change_step(self) -> float:
        """Return the step at which the work of a step changes next or the job ends; infinite if never."""
        step, nearest = self._step(), inf
        for phase in self.spec.phases:
            start = step - step % phase.every_steps
            within = start + phase.steps
            nearest = min(nearest, within if step < within else start + phase.every_steps)
        for front in self.spec.fronts:
            if step < front.from_step:
                nearest = min(nearest, front.from_step)
            elif step < front.until_step:
                nearest = min(nearest, step + front.steps_a_rank - (step - front.from_step) % front.steps_a_rank)
        if self.spec.steps:
            nearest = min(nearest, self.spec.steps)
        return nearest

    def _works_s(self) -> list[float]:
        """The work of each rank in the present step, with its phases and the fronts above it."""
        factor, count = self.work_factor, len(self.guests)
        works_s = [self.spec.work_of_rank_s(rank) * factor for rank in range(count)]
        for front in self.spec.fronts:
            first = front.first_at(self._step())
            for rank in range(first, first + front.width_ranks) if first is not None else ():
                works_s[rank % count] *= front.work_factor
        return works_s

    def _step(self) -> int:
        """The number of the present step. A step that is all but done is done: fractions are floats."""
        return int(self.steps_done + 1e-9)

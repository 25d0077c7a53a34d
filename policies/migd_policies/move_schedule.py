"""When the steps of a plan start: as many at a time as links and limits allow, those that most depends on first."""

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from migd_policies.move_order import Step, Steps


@dataclass(frozen=True, slots=True)
class Parallel:
    """How many migrations may run at a time: in the pool, off one host, to one host, and over one host's link at all.

    A host has one link for migrations; two that share it take twice as long each, so more than one gain nothing.
    """

    max_concurrent: int = 2
    max_per_source: int = 1
    max_per_target: int = 1
    max_per_link: int = 1

    def admits(self, step: Step, running: Collection[Step]) -> bool:
        """Whether the step may start beside those that run."""
        ends = {step.source, step.target}
        return (
            len(running) < self.max_concurrent
            and sum(other.source == step.source for other in running) < self.max_per_source
            and sum(other.target == step.target for other in running) < self.max_per_target
            and all(sum(end in (other.source, other.target) for other in running) < self.max_per_link for end in ends)
        )


@dataclass(frozen=True, slots=True)
class Slot:
    """When a step runs, in seconds after the plan begins."""

    start_s: float
    end_s: float


def starting(
    plan: Steps,
    duration_s: Mapping[int, float],
    parallel: Parallel,
    succeeded: Collection[int],
    failed: Collection[int] = (),
    running: Collection[int] = (),
) -> list[Step]:
    """Return the steps to start now: ready, admitted beside those that run and each other, the longest tail first."""
    tail_s = _tails_s(plan.steps, duration_s)
    beside = [step for step in plan.steps if step.number in running]
    chosen: list[Step] = []
    ready = plan.ready(succeeded, failed, running)
    for step in sorted(ready, key=lambda step: (-tail_s[step.number], step.number)):
        if parallel.admits(step, beside):
            chosen.append(step)
            beside.append(step)
    return chosen


def schedule(plan: Steps, duration_s: Mapping[int, float], parallel: Parallel) -> dict[int, Slot]:
    """Return when each step would run if each took its `duration_s` (by number) and none failed."""
    slots: dict[int, Slot] = {}
    ends: list[tuple[float, int]] = []
    succeeded: set[int] = set()
    now_s = 0.0
    while True:
        running = [number for _, number in ends]
        for step in starting(plan, duration_s, parallel, succeeded, running=running):
            slots[step.number] = Slot(now_s, now_s + duration_s[step.number])
            heapq.heappush(ends, (slots[step.number].end_s, step.number))
        if not ends:
            return slots
        now_s, number = heapq.heappop(ends)
        succeeded.add(number)


def _tails_s(steps: Sequence[Step], duration_s: Mapping[int, float]) -> dict[int, float]:
    """Return how long the longest chain of steps takes that begins with each step."""
    tail_s: dict[int, float] = {step.number: duration_s[step.number] for step in steps}
    for step in reversed(steps):
        for earlier in step.after:
            longest_s = duration_s[earlier] + tail_s[step.number]
            tail_s[earlier] = max(tail_s[earlier], longest_s)
    return tail_s

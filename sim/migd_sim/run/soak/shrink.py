"""Makes a failing case short: with fewer happenings, guests and hosts, and no longer than need be, as long as the same
invariant does not hold. By delta debugging (Zeller and Hildebrandt 2002): halves first, then ever smaller parts.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from msgspec.structs import replace

from migd_sim.model import PoolSpec
from migd_sim.model.spec import GuestSpec, HostSpec, JobSpec
from migd_sim.run.soak.case import Case, Happening, as_kept
from migd_sim.run.soak.loop import Loop
from migd_sim.run.soak.violation import Violation

T = TypeVar("T")
# A case that takes more runs than this to become short stays as short as it is by then.
RUNS: Final = 400
# After what is wrong the case goes on for so long.
AFTER_S: Final = 1.0

Run = Callable[[Case], Violation | None]


def run(case: Case) -> Violation | None:
    """Return what is wrong with a run of a case; None if nothing is."""
    return Loop(case).run().violation


def shrunk(case: Case, invariant: str, run: Run = run) -> Case:
    """Return a short case in which the invariant does not hold either; `case` is one."""
    left = [RUNS]

    def fails(candidate: Case) -> bool:
        if left[0] == 0:
            return False
        left[0] -= 1
        try:
            found = run(as_kept(candidate))
        except ValueError:  # the pool contradicts itself without what was left out, or there is no pool any more
            return False
        return found is not None and found.invariant == invariant

    found = run(case)
    if found is not None and fails(shorter := replace(case, until_s=max(AFTER_S, found.at_s + AFTER_S))):
        case = shorter
    while True:
        before = case
        case = replace(case, happenings=tuple(fewest(case.happenings, partial(_fails_with, case, fails))))
        case = _in_smaller_pool(case, fails)
        if case == before or left[0] == 0:
            return case


def _fails_with(case: Case, fails: Callable[[Case], bool], happenings: Sequence[Happening]) -> bool:
    return fails(replace(case, happenings=tuple(happenings)))


def _in_smaller_pool(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Return the case without each job, guest and host that it fails without as well."""
    parts: list[JobSpec | GuestSpec | HostSpec] = [*case.pool.jobs, *case.pool.guests, *case.pool.hosts]
    for part in parts:
        smaller = replace(case, pool=_without(case.pool, part))
        if fails(smaller):
            case = smaller
    return case


def _without(pool: PoolSpec, part: JobSpec | GuestSpec | HostSpec) -> PoolSpec:
    return replace(
        pool,
        jobs=tuple(each for each in pool.jobs if each != part),
        guests=tuple(each for each in pool.guests if each != part),
        hosts=tuple(each for each in pool.hosts if each != part),
    )


def fewest(things: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    """Return a few of `things` with which it fails still, none of which can be left out alone."""
    kept, parts = list(things), 2
    while kept:
        size = -(-len(kept) // parts)
        for begin in range(0, len(kept), size):
            rest = kept[:begin] + kept[begin + size :]
            if fails(rest):
                kept, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(kept), 2 * parts)
    return kept

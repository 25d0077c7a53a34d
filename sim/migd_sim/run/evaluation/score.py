"""What the runs of a set amount to for each policy. Pure: results in, scores out.

With N the jobs' total time if nobody moves anything, P with the policy, B at best (a lower bound), K as fast as anybody
is known to be (B ≤ K), each over the jobs of one run, and sums over runs, each run weighing the same:

    captured, at least = Σ (N − P)/N / Σ (N − B)/N        captured, at most = Σ (N − P)/N / Σ (N − K)/N
    slower             = share of runs with P > 1.05 N     worst = max P/N − 1

A run's bound is exact where somebody reached 95 % of its gain, or where there is less than half a percent to gain.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

SLOWER_RATIO: Final = 0.05
EXACT_RATIO: Final = 0.95
NOTHING_TO_GAIN_RATIO: Final = 0.005
# Below this two times are the same but for float rounding.
NO_SLOWER_RATIO: Final = 1e-9


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one run went with one policy. `total_s` is the time of all its jobs together, `took_s` that of each.

    `lost` names the jobs that had to start again from a checkpoint, `cut_off` those not over at the horizon.
    """

    total_s: float
    took_s: dict[str, float]
    moves: int
    failed_moves: int
    pause_s: float
    lost: tuple[str, ...] = ()
    cut_off: tuple[str, ...] = ()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One case: with nobody moving, with the best moves known, and with each policy.

    `bound_s` is less than or equal to what any moves could reach; None where loads answer to moves.
    """

    case: str
    unmoved: Outcome
    best_planned: Outcome
    bound_s: float | None
    by_policy: dict[str, Outcome]

    @property
    def best_known_s(self) -> float:
        """The least time that anybody reached."""
        return min(one.total_s for one in (self.unmoved, self.best_planned, *self.by_policy.values()))

    @property
    def least_s(self) -> float:
        """The bound, or what somebody reached where that is below it by what the bound's costs are wrong by."""
        return self.best_known_s if self.bound_s is None else min(self.bound_s, self.best_known_s)

    def gain_ratio(self, total_s: float) -> float:
        """Return how much less time `total_s` is than with nobody moving."""
        return 1.0 - total_s / self.unmoved.total_s

    @property
    def is_exact(self) -> bool:
        """Whether the best known is all but the bound."""
        possible = self.gain_ratio(self.least_s)
        return possible < NOTHING_TO_GAIN_RATIO or self.gain_ratio(self.best_known_s) >= EXACT_RATIO * possible


class PolicyScore(msgspec.Struct, frozen=True, kw_only=True):
    """One policy over a set. Captured shares are None where no optimum is known or there is nothing to gain."""

    policy: str
    captured_at_least_ratio: float | None
    captured_at_most_ratio: float | None
    mean_gain_ratio: float
    slower_runs_ratio: float
    worst_slowdown_ratio: float
    worst_case: str
    moves_per_run: float
    failed_moves_per_run: float
    pause_s_per_run: float
    jobs_lost: int


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All that an evaluation says. `seed` and the set's name draw the same runs again."""

    set_name: str
    runs: int
    seed: int
    jobs_report: str
    possible_gain_ratio: float | None
    known_gain_ratio: float
    exact_runs: int
    bounded_runs: int
    jobs_lost_unmoved: int
    policies: tuple[PolicyScore, ...]
    cases: tuple[Run, ...]


def evaluation(set_name: str, seed: int, jobs_report: str, runs: Sequence[Run], policies: Sequence[str]) -> Evaluation:
    """Return what `runs` amount to; there is at least one."""
    has_optimum = all(run.bound_s is not None for run in runs)
    possible = sum(run.gain_ratio(run.least_s) for run in runs)
    known = sum(run.gain_ratio(run.best_known_s) for run in runs)
    exact = sum(run.is_exact for run in runs) if has_optimum else 0
    return Evaluation(
        set_name=set_name,
        runs=len(runs),
        seed=seed,
        jobs_report=jobs_report,
        possible_gain_ratio=possible / len(runs) if has_optimum else None,
        known_gain_ratio=known / len(runs),
        exact_runs=exact,
        bounded_runs=len(runs) - exact if has_optimum else 0,
        jobs_lost_unmoved=sum(len(run.unmoved.lost) for run in runs),
        policies=tuple(_score(policy, runs, (possible, known) if has_optimum else (0.0, 0.0)) for policy in policies),
        cases=tuple(runs),
    )


def _score(policy: str, runs: Sequence[Run], gains: tuple[float, float]) -> PolicyScore:
    outcomes: Mapping[str, Outcome] = {run.case: run.by_policy[policy] for run in runs}
    slowdowns = {run.case: -run.gain_ratio(outcomes[run.case].total_s) for run in runs}
    worst_case = max(slowdowns, key=slowdowns.__getitem__)
    gained = -sum(slowdowns.values())
    captured = [gained / gain if gain > NOTHING_TO_GAIN_RATIO else None for gain in gains]
    count = len(runs)
    return PolicyScore(
        policy=policy,
        captured_at_least_ratio=captured[0],
        captured_at_most_ratio=captured[1],
        mean_gain_ratio=gained / count,
        slower_runs_ratio=sum(slowdown > SLOWER_RATIO for slowdown in slowdowns.values()) / count,
        worst_slowdown_ratio=max(0.0, slowdowns[worst_case]),
        worst_case=worst_case if slowdowns[worst_case] > NO_SLOWER_RATIO else "",
        moves_per_run=sum(one.moves for one in outcomes.values()) / count,
        failed_moves_per_run=sum(one.failed_moves for one in outcomes.values()) / count,
        pause_s_per_run=sum(one.pause_s for one in outcomes.values()) / count,
        jobs_lost=sum(len(one.lost) for one in outcomes.values()),
    )

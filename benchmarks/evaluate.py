"""How much of the possible gain the policies capture, and whom they harm: `python -m benchmarks evaluate`.

Cases are drawn afresh each time; the seed is among the figures, and `migctl evaluate --set … --seed …` draws the same
again. MIGD_EVALUATE_RUNS sets how many a set (20: small, for every run of all benchmarks; 200 for figures to quote).
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom
from typing import Any, Final

from migd_policies.registry import available
from migd_sim.run.evaluation.evaluate import evaluate
from migd_sim.run.evaluation.score import Evaluation, PolicyScore

RUNS: Final = 20
# The first of these that is installed is held against the goals.
JUDGED: Final = ("job-time", "least-loaded")
# Which set, and what migd knows of the jobs' remaining time.
PLAYED: Final = (
    ("mixed", "progress"),
    ("mixed", "wall-time"),
    ("seed-like", "progress"),
    ("communication", "progress"),
    ("failing", "progress"),
    ("adversarial", "progress"),
)


@dataclass(frozen=True, slots=True)
class Goal:
    """One row: what is held against which limit, over one of `PLAYED`. The value is None where it has none."""

    name: str
    set_name: str
    jobs_report: str
    at_least: bool
    limit: float
    value: Callable[[PolicyScore], float | None]


def _captured(score: PolicyScore) -> float | None:
    return score.captured_at_least_ratio


def _gain(score: PolicyScore) -> float | None:
    return score.mean_gain_ratio


def _slower(score: PolicyScore) -> float | None:
    return score.slower_runs_ratio


def _worst(score: PolicyScore) -> float | None:
    return score.worst_slowdown_ratio


GOALS: Final = (
    Goal("captured of the clairvoyant gain, progress reported", "mixed", "progress", True, 0.80, _captured),
    Goal("captured of the clairvoyant gain, wall time only", "mixed", "wall-time", True, 0.65, _captured),
    Goal("captured of the clairvoyant gain, seed-like", "seed-like", "progress", True, 0.40, _captured),
    Goal("mean gain, seed-like: never harmful on average", "seed-like", "progress", True, 0.0, _gain),
    Goal("share of runs more than 5 % slower", "mixed", "progress", False, 0.01, _slower),
    Goal("share of runs more than 5 % slower, wall time only", "mixed", "wall-time", False, 0.01, _slower),
    Goal("share of runs more than 5 % slower, seed-like", "seed-like", "progress", False, 0.03, _slower),
    Goal("worst slowdown", "mixed", "progress", False, 0.15, _worst),
    Goal("worst slowdown, seed-like", "seed-like", "progress", False, 0.25, _worst),
    Goal("share of runs more than 5 % slower, adversarial", "adversarial", "progress", False, 0.01, _slower),
)


def measure() -> dict[str, Any]:
    """Return the seed, seconds, each set's figures by policy, and a row for each goal with whether it is met."""
    runs = int(os.environ.get("MIGD_EVALUATE_RUNS", RUNS))
    seed = SystemRandom().randrange(2**31)
    played: dict[tuple[str, str], Evaluation] = {}
    seconds: dict[str, float] = {}
    for set_name, jobs_report in PLAYED:
        started_s = time.perf_counter()
        played[set_name, jobs_report] = evaluate(set_name, runs, seed, jobs_report=jobs_report)
        seconds[f"{set_name} {jobs_report}"] = round(time.perf_counter() - started_s, 1)
    return {
        "seed": seed,
        "runs_a_set": runs,
        "wall_s": seconds,
        "sets": {f"{set_name} {report}": _figures(found) for (set_name, report), found in played.items()},
        "goals": [_row(goal, played[goal.set_name, goal.jobs_report]) for goal in GOALS],
    }


def _figures(found: Evaluation) -> dict[str, Any]:
    return {
        "possible_gain_ratio": _rounded(found.possible_gain_ratio),
        "known_gain_ratio": _rounded(found.known_gain_ratio),
        "exact_runs": found.exact_runs,
        "bounded_runs": found.bounded_runs,
        "policies": {
            score.policy: {
                "captured_at_least_ratio": _rounded(score.captured_at_least_ratio),
                "captured_at_most_ratio": _rounded(score.captured_at_most_ratio),
                "mean_gain_ratio": _rounded(score.mean_gain_ratio),
                "slower_runs_ratio": _rounded(score.slower_runs_ratio),
                "worst_slowdown_ratio": _rounded(score.worst_slowdown_ratio),
                "moves_per_run": _rounded(score.moves_per_run),
                "pause_s_per_run": _rounded(score.pause_s_per_run),
                "jobs_lost": score.jobs_lost,
            }
            for score in found.policies
        },
    }


def _row(goal: Goal, found: Evaluation) -> dict[str, Any]:
    """Hold the judged policy against one goal."""
    policy = next(name for name in JUDGED if name in available())
    value = goal.value(next(score for score in found.policies if score.policy == policy))
    is_met = None if value is None else value >= goal.limit if goal.at_least else value <= goal.limit
    limit = f"{'at least' if goal.at_least else 'at most'} {goal.limit:g}"
    return {"goal": goal.name, "limit": limit, "policy": policy, "value": _rounded(value), "met": is_met}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

"""How much of the possible gain the policies capture, and whom they harm: `python -m benchmarks evaluate [--seed N]`.

Cases are drawn afresh each time; the figures have the seed, and with it the `migctl evaluate` that draws a set again.
MIGD_EVALUATE_RUNS sets how many a set: fewer than 100 cannot show that one run in 100 is harmed at most.
"""

import os
import time
from typing import Any, Final

from benchmarks._goals import JUDGED
from benchmarks._late_moves import late_moves
from migd_sim.run.evaluation.evaluate import evaluate
from migd_sim.run.evaluation.score import Evaluation

RUNS: Final = 100
# The one that goals are for, and the one that it has to be better than; `migctl evaluate` compares them all.
POLICIES: Final = (JUDGED, "least-loaded")
# Which set, and what migd knows of the jobs' remaining time.
PLAYED: Final = (
    ("mixed", "progress"),
    ("mixed", "wall-time"),
    ("seed-like", "progress"),
    ("communication", "progress"),
    ("failing", "progress"),
    ("adversarial", "progress"),
)


def measure(seed: int) -> dict[str, Any]:
    """Return the seed, and by set its figures by policy, how to have them again, and the seconds that they took."""
    runs = int(os.environ.get("MIGD_EVALUATE_RUNS", RUNS))
    sets: dict[str, Any] = {}
    asked = f"--runs {runs} --seed {seed} " + " ".join(f"--policy {policy}" for policy in POLICIES)
    for set_name, jobs_report in PLAYED:
        started_s = time.perf_counter()
        found = evaluate(set_name, runs, seed, POLICIES, jobs_report=jobs_report)
        sets[f"{set_name} {jobs_report}"] = {
            "again": f"migctl evaluate --set {set_name} --jobs-report {jobs_report} {asked}",
            "wall_s": round(time.perf_counter() - started_s, 1),
            **_figures(found),
        }
    moves, late = late_moves(JUDGED, ("mixed", "seed-like"), runs, seed)
    return {
        "seed": seed,
        "runs_a_set": runs,
        "judged": JUDGED,
        "sets": sets,
        "moves_asked_when_they_pay": moves,
        "moves_that_pay_too_late": late,
    }


def text(figures: dict[str, Any]) -> str:
    """Return how to have each set's part again."""
    return "\n".join(
        [
            "evaluate: each set again, from the command line:",
            *(f"    {one['again']}" for one in figures["sets"].values()),
        ]
    )


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


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

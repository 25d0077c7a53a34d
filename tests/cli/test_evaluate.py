"""`migctl evaluate`: what it prints, what its JSON holds, and what it refuses. No controller is there."""

import click
import msgspec
import pytest

from migd_cli.commands.evaluate import REPORTS as KINDS_OFFERED
from migd_cli.commands.evaluate import SETS as SETS_OFFERED
from migd_cli.commands.evaluate import evaluation_lines
from migd_cli.screen import Screen
from migd_sim.run.evaluation.reports import REPORTS
from migd_sim.run.evaluation.score import Evaluation, Outcome, PolicyScore, Run
from migd_sim.run.evaluation.sets import SETS

SMALL = ("evaluate", "--set", "seed-like", "--runs", "2", "--policy", "least-loaded")


def piped(found: Evaluation) -> list[str]:
    """Return the lines as a pipe gets them."""
    return [click.unstyle(line) for line in evaluation_lines(found, Screen(width=None, has_colours=False, now_s=0.0))]


def test_json_is_an_evaluation_and_its_seed_draws_the_same_again(migctl):
    ended = migctl(*SMALL, "--json", MIGD_SOCKET="/nowhere")
    assert (ended.returncode, ended.stderr) == (0, "")
    found = msgspec.json.decode(ended.stdout, type=Evaluation)
    assert (found.set_name, found.runs, found.jobs_report) == ("seed-like", 2, "progress")
    assert [score.policy for score in found.policies] == ["least-loaded"]
    assert [run.case for run in found.cases] == [f"seed-like-{found.seed}-{number}" for number in range(2)]
    assert found.exact_runs + found.bounded_runs == 2
    again = migctl(*SMALL, "--json", "--seed", str(found.seed), "--processes", "1")
    assert again.stdout == ended.stdout


def test_without_json_it_is_the_same_in_a_table(migctl):
    arguments = (*SMALL, "--seed", "5", "--jobs-report", "wall-time")
    table = migctl(*arguments)
    found = msgspec.json.decode(migctl(*arguments, "--json").stdout, type=Evaluation)
    assert table.stdout.splitlines() == piped(found)


def test_the_sets_and_reports_on_offer_are_those_there_are():
    assert (tuple(SETS), tuple(REPORTS)) == (SETS_OFFERED, KINDS_OFFERED)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--set", "easy"), 2, "'easy' is not one of 'mixed', 'seed-like'"),
        (("--runs", "0"), 2, "0 is not in the range"),
        (("--seed", "-1"), 2, "-1 is not in the range"),
        (("--jobs-report", "rumours"), 2, "'rumours' is not one of 'progress'"),
        (("--policy", "leest-loaded"), 1, "did you mean least-loaded"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(arguments, code, text, migctl):
    ended = migctl("evaluate", *arguments)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert text in ended.stderr


def evaluation(*, bound_s: float | None) -> Evaluation:
    outcome = Outcome(total_s=100.0, took_s={"job0": 100.0}, moves=1, failed_moves=0, pause_s=0.3, lost=("job0",))
    least = None if bound_s is None else 0.5
    score = PolicyScore(
        policy="least-loaded",
        captured_at_least_ratio=least,
        captured_at_most_ratio=None if least is None else 0.8,
        mean_gain_ratio=-0.00001,
        slower_runs_ratio=0.5,
        worst_slowdown_ratio=0.123,
        worst_case="failing-1-0",
        moves_per_run=1.0,
        failed_moves_per_run=0.0,
        pause_s_per_run=0.3,
        jobs_lost=1,
    )
    run = Run(case="failing-1-0", unmoved=outcome, best_planned=outcome, bound_s=bound_s, by_policy={"p": outcome})
    return Evaluation(
        set_name="failing",
        runs=1,
        seed=1,
        jobs_report="nothing",
        possible_gain_ratio=None if bound_s is None else 0.4,
        known_gain_ratio=0.25,
        exact_runs=0,
        bounded_runs=1,
        jobs_lost_unmoved=1,
        policies=(score,),
        cases=(run,),
    )


def test_the_table_says_what_there_was_to_gain_and_how_much_of_it_is_a_bound():
    assert piped(evaluation(bound_s=60.0)) == [
        "Set failing, 1 run, seed 1, jobs report nothing.",
        "At best the jobs' time falls by 25.0 % (reached) to 40.0 % (bound); the bound was reached in 0 of 1 run.",
        "Without migd hosts that die take 1 job with them.",
        "",
        "POLICY          CAPTURED   GAIN  SLOWER    WORST  MOVES  PAUSE  LOST  WORST CASE ",
        "least-loaded  50 to 80 %  0.0 %  50.0 %  +12.3 %    1.0  0.3 s     1  failing-1-0",
    ]


def test_loads_that_answer_to_moves_have_nothing_captured():
    lines = piped(evaluation(bound_s=None))
    assert "there is no best to compare with" in lines[1]
    assert lines[-1].split()[:2] == ["least-loaded", "-"]

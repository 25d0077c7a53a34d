"""Goals beside figures: what is met, missed, or not measured, and that one failure hides no other row."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks._goals import GOALS, Goal, Unmeasured, table, text

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
AGENTS = [("", 0.0024, 34.0), ("_each_guest_talks_to_16", 0.0034, 34.5), ("_each_guest_talks_to_63", 0.0056, 34.8)]


def missing(figures: object) -> list[float]:
    raise Unmeasured("METIS is not installed")


def test_a_number_at_the_limit_meets_it_and_one_beyond_does_not() -> None:
    goal = Goal("b", "g", lambda figures: [figures["x"]], most=2.0, unit="s")
    assert [goal.row({"x": x})["met"] for x in (1.0, 2.0, 2.1)] == [True, True, False]


def test_a_range_is_met_only_if_both_its_ends_are() -> None:
    goal = Goal("b", "g", lambda figures: figures["x"], 0.75, 0.9)
    rows = [goal.row({"x": x}) for x in ([0.8, 0.76, 0.9], [0.7, 0.8], [0.8, 0.95])]
    assert [(row["measured"], row["met"]) for row in rows] == [
        ([0.76, 0.9], True),
        ([0.7, 0.8], False),
        ([0.8, 0.95], False),
    ]


def test_what_could_not_be_measured_is_not_met_and_says_why() -> None:
    row = Goal("b", "g", missing, most=1.0).row({})
    assert (row["measured"], row["met"], row["problem"]) == ([], False, "METIS is not installed")
    assert Goal("b", "g", lambda figures: [float("nan")], most=1.0).row({})["met"] is False
    assert Goal("b", "g", lambda figures: [figures["x"]], most=1.0).row({})["problem"] == "KeyError: 'x'"


def test_a_benchmark_that_fails_has_its_rows_and_hides_no_other() -> None:
    rows = table(
        ["balance", "decision"],
        {"decision": {"median_ms": 57.0, "worst_ms": 99.0}},
        {"balance": "RuntimeError: hbal ended"},
    )
    assert {row["benchmark"] for row in rows if not row["met"]} == {"balance"}
    assert [row["met"] for row in rows if row["benchmark"] == "decision"] == [True, True]
    shown = text(rows)
    assert "NOT MEASURED: RuntimeError: hbal ended" in shown
    assert f"2 of {len(rows)} goals met" in shown


def test_a_few_runs_cannot_show_that_hardly_any_is_harmed() -> None:
    def rows(runs: int) -> list[tuple[bool, str]]:
        scores = {"slower_runs_ratio": 0.0, "worst_slowdown_ratio": 0.1}
        sets = {f"{played} progress": {"policies": {"job-time": scores}} for played in ("mixed", "failing")}
        found = table(["evaluate"], {"evaluate": {"runs_a_set": runs, "sets": sets}}, {})
        return [(row["met"], row["problem"]) for row in found if row["goal"].startswith("harm, failing")]

    assert rows(20) == [(False, "20 runs cannot show it: MIGD_EVALUATE_RUNS=100 or more")]
    assert rows(100) == [(True, "")]


def test_hbal_that_is_missing_is_told_in_the_rows_that_need_it() -> None:
    figures = {"skipped": "hbal is not installed", "1000_hosts_12000_guests_all_cpu_s": 1.7}
    problems = {row["goal"]: row["problem"] for row in table(["balance"], {"balance": figures}, {})}
    assert sorted(problems.values()) == ["", *["hbal is not installed"] * 3]


def test_each_agent_counts_and_without_root_none_is_held_against_the_goals() -> None:
    agents = {f"agent{name}": {"cpu_ratio": cpu, "resident_mb": mb} for name, cpu, mb in AGENTS}
    figures = {**agents, "node_exporter": {"cpu_ratio": 0.008, "resident_mb": 22.0}}
    rows = table(["agent"], {"agent": figures}, {})
    assert [(row["measured"], row["met"]) for row in rows] == [
        ([0.0024, 0.0056], False),
        (pytest.approx([0.3, 0.7]), True),
        ([34.0, 34.8], True),
    ]
    assert "0.24% – 0.56%   MISSED" in text(rows)
    without_root = table(["agent"], {"agent": {"agent": agents["agent"]}}, {})
    assert {row["problem"] for row in without_root} == {
        "no agent_each_guest_talks_to_16: what flows cost is measured by root only"
    }


def test_every_goal_is_of_a_benchmark_that_there_is() -> None:
    assert {goal.benchmark for goal in GOALS} <= {path.stem for path in BENCHMARKS.glob("[!_]*.py")}


def test_one_benchmark_by_itself_prints_json_and_a_table() -> None:
    command = [sys.executable, "-m", "benchmarks", "decision"]
    done = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, timeout=150, check=True)
    printed = json.loads(done.stdout)
    figures = printed["figures"]["decision"]
    assert [row["measured"] for row in printed["goals"]] == [[figures["median_ms"]], [figures["worst_ms"]]]
    assert [row["met"] for row in printed["goals"]] == [row["measured"][0] <= 100 for row in printed["goals"]]
    assert (figures["moves_proposed"], figures["decisions"]) == (4, 28)
    assert f"{sum(row['met'] for row in printed['goals'])} of 2 goals met" in done.stderr


def test_what_a_c_library_prints_does_not_get_into_the_json() -> None:
    """METIS complains on standard output, past Python's."""
    code = (
        "import ctypes, sys, types, benchmarks.__main__ as it; loud = types.ModuleType('benchmarks.decision');"
        "loud.measure = lambda: {'median_ms': float(ctypes.CDLL(None).puts(b'***Cannot bisect') > 0)};"
        "sys.modules['benchmarks.decision'] = loud; sys.exit(it.main(['decision']))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["figures"] == {"decision": {"median_ms": 1.0}}
    assert "***Cannot bisect" in done.stderr

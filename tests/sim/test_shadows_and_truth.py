"""What is said of policies that only proposed comes true when each of them is the active one."""

import re
from itertools import combinations
from pathlib import Path

import pytest

from migd_sim.run import scenario
from migd_sim.run.closed_loop import ClosedLoop

SCENARIOS = Path(__file__).parents[1] / "scenarios"
POLICIES = ("job-time", "least-loaded", "balance")
# By then every migration is over, and the hogs go on to the end.
SETTLED_S, END_S = 300.0, 600.0
# What a placement does to steps and loads do not tell, as a share of the time.
UNSEEN_RATIO = 0.06
# Migrations that the ledger takes to cost more or less than they do may turn what is closer.
CLEAR_S = 10.0


def played(name: str, folder: Path, policy: str, shadows: tuple[str, ...] = ()) -> ClosedLoop:
    """Run a scenario with another active policy, until its moves are over."""
    text = (SCENARIOS / name / "scenario.toml").read_text(encoding="utf-8")
    beside = ", ".join(f'{{ name = "{each}" }}' for each in shadows)
    text = re.sub(r"(?m)^policy = .*$", f'policy = "{policy}"\nshadow = [{beside}]', text)
    text = re.sub(r"(?m)^until_s = .*$", f"until_s = {SETTLED_S}", text)
    (folder / "scenario.toml").write_text(text, encoding="utf-8")
    return scenario.run(folder)


def steps(loop: ClosedLoop) -> float:
    (job,) = loop.cluster.jobs.values()
    return job.steps_done


@pytest.mark.parametrize("name", ["a-neighbour-and-a-rank-change-places", "a-hog-drives-ranks-away"])
def test_shadows_gain_what_they_would_have_gained_and_the_best_is_the_best(name: str, tmp_path: Path) -> None:
    compared = played(name, tmp_path, "observe", POLICIES)
    unmoved = steps(compared)
    early = {label: each.tally for label, each in compared.core.memory.contest.shadows.items()}
    compared.run_until(END_S)
    late = compared.core.memory.contest.shadows
    unmoved_speed = steps(compared) - unmoved
    done = {}
    for policy in POLICIES:
        loop = played(name, tmp_path, policy)
        before = steps(loop)
        loop.run_until(END_S)
        done[policy] = steps(loop)
        gained_s = (1.0 - unmoved_speed / (steps(loop) - before)) * (END_S - SETTLED_S)
        said_s = late[policy].tally.gained_s - early[policy].gained_s
        assert said_s == pytest.approx(gained_s, rel=0.15, abs=UNSEEN_RATIO * (END_S - SETTLED_S)), policy
    assert late["job-time"].ahead_s > max(each.ahead_s for each in late.values()) - CLEAR_S
    assert done["job-time"] == max(done.values())
    for one, other in combinations(POLICIES, 2):
        ahead_s = late[one].ahead_s - late[other].ahead_s
        if abs(ahead_s) > CLEAR_S:
            assert (done[one] > done[other]) == (ahead_s > 0), (one, other)

"""Guests that write by phases of their job: what is counted of them, and what waiting for a quiet phase is worth."""

from pathlib import Path

import pytest
from pools import guest, host, migrate, pool, uuid_of

from migd_core.errors import ConfigError
from migd_sim.model import Cluster
from migd_sim.model.spec import GuestSpec, JobSpec, PhaseSpec
from migd_sim.model.writes import ArraySweep
from migd_sim.run import scenario
from migd_sim.run.closed_loop import ClosedLoop

SCENARIOS = Path(__file__).parents[1] / "scenarios"
WRITES = (ArraySweep(pages=200_000, period_s=10.0),)


def dumping(writes_ratio: float) -> Cluster:
    """One rank of 1 GiB whose job works for 20 s and then dumps its history for 60 s, the first of them at 0 s."""
    rank = guest("g", "a")
    writing = GuestSpec(name="g", host="a", vcpus=1, memory_bytes=rank.memory_bytes, writes=WRITES)
    dump = PhaseSpec(name="history", every_steps=21, extra_s=59.0, writes_ratio=writes_ratio)
    return Cluster(pool(host("a"), host("b"), writing, JobSpec(name="j", ranks=("g",), work_s=1.0, phases=(dump,))))


@pytest.mark.parametrize("begins_s", [5.0, 45.0, 65.0])
def test_pages_are_counted_through_the_phases_that_pass_meanwhile(begins_s: float) -> None:
    """A dump from 0 to 60 s writes at a tenth of the pace; the sweep takes 10 s of work."""
    cluster = dumping(0.1)
    cluster.run_until(begins_s)
    cluster.begin_counting(uuid_of(cluster, "g"))
    ages_s = (1.0, 5.0, 8.0)
    for second in range(1, 9):
        cluster.run_until(begins_s + second)
    curve = cluster.counted_curve(uuid_of(cluster, "g"), ages_s)
    speed = 0.1 if begins_s < 60.0 else 1.0
    assert curve.unique_pages == pytest.approx([20_000 * age_s * speed for age_s in ages_s], rel=0.01)


def test_a_count_from_within_a_dump_to_work_bends_where_the_dump_ends() -> None:
    cluster = dumping(0.1)
    cluster.run_until(57.0)
    cluster.begin_counting(uuid_of(cluster, "g"))
    cluster.run_until(65.0)
    curve = cluster.counted_curve(uuid_of(cluster, "g"), (1.0, 3.0, 8.0))
    assert curve.unique_pages == pytest.approx([2_000, 6_000, 106_000], rel=0.02)


def test_a_migration_within_a_dump_sends_less_than_one_at_work() -> None:
    at_work, within = dumping(0.1), dumping(0.1)
    at_work.run_until(60.0)
    ends = [migrate(each) for each in (within, at_work)]
    took_s = [end.ended_s - end.started_s for end in ends]
    assert took_s[0] == pytest.approx(12.9, abs=0.3)
    assert took_s[1] > 1.5 * took_s[0]
    same = migrate(dumping(1.0))
    assert same.ended_s - same.started_s > took_s[1], "a job that writes on through its dump"


def ran(name: str, tmp_path: Path, *, waits: bool) -> ClosedLoop:
    """Run a scenario as it is, or with everything the same but that nothing waits."""
    text = (SCENARIOS / name / "scenario.toml").read_text(encoding="utf-8")
    if not waits:
        text = "phases = { wait_at_most_s = 0.0 }\n" + text
    (tmp_path / "scenario.toml").write_text(text, encoding="utf-8")
    return scenario.run(tmp_path)


def test_waiting_for_the_dump_makes_the_migration_shorter_and_the_job_faster(tmp_path: Path) -> None:
    """Both runs are measured: what the simulated cluster did, not what was predicted."""
    name = "a-rank-moves-while-its-job-dumps"
    waiting, at_once = (ran(name, tmp_path, waits=waits) for waits in (True, False))
    (quiet,), (busy,) = waiting.ends, at_once.ends
    assert (quiet.ok, busy.ok) == (True, True)
    assert 100.0 < quiet.started_s - busy.started_s < 200.0
    assert quiet.ended_s - quiet.started_s < 0.25 * (busy.ended_s - busy.started_s)
    assert (quiet.pause_s < 0.5, busy.pause_s > 15.0) == (True, True)
    steps = [next(iter(run.cluster.jobs.values())).steps_done for run in (waiting, at_once)]
    assert steps[0] > steps[1] + 10.0
    (migration,) = waiting.migrations.values()
    assert migration.predicted_s == pytest.approx(quiet.ended_s - quiet.started_s, rel=0.15)


def test_a_rank_without_rhythm_moves_at_the_same_moment_whether_it_might_wait_or_not(tmp_path: Path) -> None:
    name = "a-rank-without-rhythm-waits-for-nothing"
    waiting, at_once = (ran(name, tmp_path, waits=waits) for waits in (True, False))
    assert waiting.log == at_once.log
    (candidate,) = next(each for each in waiting.decisions if each.candidates).candidates
    assert "it repeats in no period that is sure" in candidate.gates[-1].text


def test_a_happening_of_a_job_that_is_not_there_is_refused(tmp_path: Path) -> None:
    text = (SCENARIOS / "a-short-burst-moves-nothing" / "scenario.toml").read_text(encoding="utf-8")
    happening = 'happenings = [{ at_s = 1.0, what = "job-set-back", of = "a" }]\n'
    (tmp_path / "scenario.toml").write_text(happening + text, encoding="utf-8")
    with pytest.raises(ConfigError, match="happening at 1 s: a is no job"):
        scenario.run(tmp_path)

"""Evaluation: what is drawn, who plays, what is counted; and that nobody is faster than the bound by more than its error."""

from dataclasses import dataclass, field, replace
from random import Random

import msgspec
import pytest

from migd_controller.events import JobAdded, JobProgressed
from migd_core.errors import ConfigError, UnknownName
from migd_core.progress import Progress
from migd_core.units import GIB, MIB
from migd_sim.model import Cluster, MigrationEnd
from migd_sim.model.spec import GuestSpec, HogSpec, HostSpec, JobSpec, PoolSpec
from migd_sim.model.writes import RandomWrites, Writes
from migd_sim.run.evaluation.case import Case, Death
from migd_sim.run.evaluation.clairvoyant import fastest
from migd_sim.run.evaluation.drawing import asked_s
from migd_sim.run.evaluation.evaluate import evaluate, judged
from migd_sim.run.evaluation.play import Unmoved, play
from migd_sim.run.evaluation.relaxed import relax
from migd_sim.run.evaluation.reports import REPORTS
from migd_sim.run.evaluation.score import Outcome, Run, evaluation
from migd_sim.run.evaluation.sets import SETS, draw
from migd_sim.run.evaluation.watched import Watched


def case(
    *,
    loads: tuple[HogSpec, ...] = (),
    deaths: tuple[Death, ...] = (),
    steps: int = 1000,
    every: int = 0,
    writes: tuple[Writes, ...] = (),
) -> Case:
    """Two ranks on hosts a and b, a spare host c, and a guest beside the rank on a whose loads come and go."""
    guests = [
        GuestSpec(name=f"rank{n}", host=host, vcpus=2, memory_bytes=512 * MIB, writes=writes)
        for n, host in enumerate("ab")
    ]
    pool = PoolSpec(
        name="three hosts",
        hosts=tuple(HostSpec(name=name, cpus=4, memory_bytes=8 * GIB) for name in "abc"),
        guests=(*guests, GuestSpec(name="noise", host="a", vcpus=4, memory_bytes=2 * GIB)),
        jobs=(JobSpec(name="job", ranks=("rank0", "rank0", "rank1", "rank1"), work_s=1.0, steps=steps),),
        hogs=loads,
    )
    return Case("case", pool, {"job": 6.0 * steps}, 10.0 * steps, deaths=deaths, checkpoint_steps=every)


HOG = HogSpec(guest="noise", vcpus=4, starts_s=100.0, lasts_s=600.0)


@dataclass(slots=True)
class Restless:
    """Moves the first rank on to the next host every minute, whatever that is good for."""

    cluster: Cluster
    ends: list[MigrationEnd] = field(default_factory=list)
    next_s: float = 60.0

    def step(self, until_s: float) -> None:
        self.cluster.run_until(min(until_s, self.next_s))
        if self.cluster.now_s >= self.next_s:
            self.next_s += 60.0
            guest = next(iter(self.cluster.guests.values()))
            hosts = [*self.cluster.hosts]
            if guest.migration is None and guest.host is not None:
                target = hosts[(hosts.index(guest.host) + 1) % len(hosts)]
                self.cluster.start_migration(guest.spec.uuid, target, self.ends.append)


def test_nobody_who_does_not_move_captures_or_harms_anything() -> None:
    run = judged(case(loads=(HOG,)), {"still": Unmoved(Cluster(case(loads=(HOG,)).pool))})
    (score,) = evaluation("a set", 1, "progress", [run], ["still"]).policies
    assert (score.captured_at_least_ratio, score.captured_at_most_ratio) == (0.0, 0.0)
    assert (score.slower_runs_ratio, score.worst_slowdown_ratio, score.moves_per_run, score.pause_s_per_run) == (
        0,
        0,
        0,
        0,
    )


def test_the_core_under_observe_lets_everything_go_as_it_goes() -> None:
    """The core's steps and probes leave no trace in the jobs."""
    one = draw("mixed", 5, 0)
    watched, unmoved = play(one, Watched(one, "observe", "progress")), play(one, Unmoved(Cluster(one.pool)))
    assert watched.total_s == pytest.approx(unmoved.total_s, rel=1e-9)
    assert watched.moves == 0


def test_moving_for_its_own_sake_is_shown_to_harm() -> None:
    one = case(writes=(RandomWrites(pages=60_000, tau_s=1.0),))
    run = judged(one, {"restless": Restless(Cluster(one.pool))})
    (score,) = evaluation("a set", 1, "progress", [run], ["restless"]).policies
    assert score.moves_per_run > 10
    assert score.slower_runs_ratio == 1.0
    assert score.worst_case == "case"
    assert score.worst_slowdown_ratio > 0.05
    assert score.mean_gain_ratio == -score.worst_slowdown_ratio


def test_least_loaded_has_most_of_what_there_is_to_gain_from_a_long_load() -> None:
    one = case(loads=(HogSpec(guest="noise", vcpus=4, starts_s=100.0, lasts_s=5000.0),), steps=3000)
    run = judged(one, {"least-loaded": Watched(one, "least-loaded", "progress")})
    assert run.is_exact
    (score,) = evaluation("a set", 1, "progress", [run], ["least-loaded"]).policies
    assert score.captured_at_least_ratio is not None
    assert 0.8 < score.captured_at_least_ratio <= 1.0


def test_an_undisturbed_job_takes_its_work_and_the_bound_says_so() -> None:
    one = case()
    unmoved = play(one, Unmoved(Cluster(one.pool)))
    relaxed = relax(one, one.pool.jobs[0])
    assert unmoved.total_s == pytest.approx(1000.0, rel=1e-3)
    assert fastest(relaxed.epochs, relaxed.change, 1000).time_s == pytest.approx(unmoved.total_s, rel=1e-6)


def test_a_dying_host_takes_the_job_back_to_its_checkpoint() -> None:
    """It dies at 400 s; the job goes on at 1000 s from step 300, or from 0 without checkpoints."""
    for every, left in ((300, 700.0), (0, 1000.0)):
        one = case(deaths=(Death(400.0, "a"),), every=every)
        played = play(one, Unmoved(Cluster(one.pool)))
        assert played.lost == ("job",)
        assert played.total_s == pytest.approx(400.0 + one.restart_s + left, rel=1e-2)


def test_the_best_plan_leaves_a_host_before_it_dies() -> None:
    run = judged(case(deaths=(Death(400.0, "a"),)), {})
    assert run.unmoved.lost == ("job",)
    assert run.best_planned.lost == ()
    assert run.best_planned.total_s < 1100.0


@pytest.mark.parametrize("name", SETS)
def test_a_case_is_the_same_for_the_same_seed_and_number_only(name: str) -> None:
    assert draw(name, 3, 1) == draw(name, 3, 1)
    assert len({msgspec.json.encode(draw(name, seed, number).pool) for seed in (3, 4) for number in (0, 1)}) == 4


@pytest.mark.parametrize("name", SETS)
def test_every_case_can_be_played(name: str) -> None:
    for number in range(12):
        one = draw(name, 11, number)
        played = play(one, Unmoved(Cluster(one.pool)))
        assert played.cut_off == () or name == "adversarial"
        assert all(seconds > 0 for seconds in played.took_s.values())


@pytest.mark.parametrize("name", [name for name in SETS if name != "adversarial"])
def test_no_plan_is_faster_than_the_bound_by_more_than_what_its_costs_are_wrong_by(name: str) -> None:
    for number in range(6):
        run = judged(draw(name, 12, number), {})
        assert run.bound_s is not None
        assert run.best_known_s > 0.985 * run.bound_s, run.case


def test_loads_follow_where_a_rank_goes() -> None:
    one = draw("adversarial", 3, 0)
    watched = Watched(one, "least-loaded", "progress")
    played = play(one, watched)
    awake = [guest for guest in watched.cluster.guests.values() if guest.hog_vcpus]
    last = [end for end in watched.ends if end.ok][-1]
    assert played.moves > 0
    assert [guest.host for guest in awake] == [last.target]


def test_the_same_seed_gives_the_same_figures_in_one_process_and_in_two() -> None:
    one = evaluate("seed-like", 3, 17, ["least-loaded"], processes=1)
    assert evaluate("seed-like", 3, 17, ["least-loaded"], processes=2) == one
    assert evaluate("seed-like", 3, 18, ["least-loaded"], processes=1) != one


def test_what_is_known_of_the_remaining_time_is_what_is_told() -> None:
    cluster = Cluster(case().pool)
    cluster.run_until(400.0)
    job = cluster.jobs["job"]
    progress = JobProgressed(name="job", progress=Progress(float(int(job.steps_done)), float(job.spec.steps)))
    guests = tuple(job.ranks_of)
    limit = JobAdded(name="job", guests=guests, wall_time_limit_s=6000.0)
    assert {name: report(job, 6000.0, True) for name, report in REPORTS.items()} == {
        "progress": (limit, progress),
        "wall-time": (limit,),
        "nothing": (JobAdded(name="job", guests=guests),),
    }
    assert {name: report(job, 6000.0, False) for name, report in REPORTS.items()} == {
        "progress": (progress,),
        "wall-time": (),
        "nothing": (),
    }


def test_users_ask_for_about_six_times_what_they_need() -> None:
    rng = Random(1)
    asked = sorted(asked_s(rng, 100.0) for _ in range(2001))
    assert asked[0] >= 200.0
    assert asked[1000] == pytest.approx(600.0, rel=0.1)


def outcome(total_s: float) -> Outcome:
    return Outcome(total_s=total_s, took_s={"job": total_s}, moves=2, failed_moves=1, pause_s=3.0)


def scored(name: str, *, bound_s: float | None, planned_s: float, policy_s: float) -> Run:
    return Run(
        case=name,
        unmoved=outcome(100.0),
        best_planned=outcome(planned_s),
        bound_s=bound_s,
        by_policy={"p": outcome(policy_s)},
    )


def test_the_score_is_what_the_formulas_say() -> None:
    runs = [
        scored("a", bound_s=60.0, planned_s=80.0, policy_s=90.0),
        scored("b", bound_s=100.0, planned_s=100.0, policy_s=110.0),
        scored("c", bound_s=90.0, planned_s=90.0, policy_s=85.0),
    ]
    found = evaluation("a set", 1, "progress", runs, ["p"])
    assert found.possible_gain_ratio == pytest.approx((0.4 + 0.0 + 0.15) / 3)
    assert found.known_gain_ratio == pytest.approx((0.2 + 0.0 + 0.15) / 3)
    assert (found.exact_runs, found.bounded_runs) == (2, 1)
    (score,) = found.policies
    assert score.captured_at_least_ratio == pytest.approx(0.15 / 0.55)
    assert score.captured_at_most_ratio == pytest.approx(0.15 / 0.35)
    assert score.slower_runs_ratio == pytest.approx(1 / 3)
    assert (score.worst_case, score.worst_slowdown_ratio) == ("b", pytest.approx(0.1))
    assert (score.moves_per_run, score.failed_moves_per_run, score.pause_s_per_run) == (2.0, 1.0, 3.0)


def test_loads_that_answer_to_moves_have_no_best() -> None:
    found = evaluation("a set", 1, "progress", [scored("a", bound_s=None, planned_s=100.0, policy_s=90.0)], ["p"])
    assert (found.possible_gain_ratio, found.exact_runs, found.bounded_runs) == (None, 0, 0)
    assert found.policies[0].captured_at_least_ratio is None


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        ({"set_name": "easy"}, UnknownName, "no set of cases called 'easy'; there are: mixed"),
        ({"policies": ["leest-loaded"]}, UnknownName, "did you mean least-loaded"),
        ({"jobs_report": "rumours"}, UnknownName, "no report of jobs called 'rumours'; there are: progress"),
        ({"runs": 0}, ConfigError, "at least 1 run"),
        ({"processes": 0}, ConfigError, "at least 1 run and 1 process"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(wrong: dict[str, object], kind: type[Exception], text: str) -> None:
    arguments: dict[str, object] = {"set_name": "mixed", "runs": 1, "seed": 1, **wrong}
    with pytest.raises(kind, match=text):
        evaluate(**arguments)  # type: ignore[arg-type]


def test_whatever_is_not_over_at_the_horizon_is_cut_off_there() -> None:
    one = replace(case(loads=(HogSpec(guest="noise", vcpus=4, starts_s=0.0, lasts_s=1e6),)), horizon_s=1200.0)
    played = play(one, Unmoved(Cluster(one.pool)))
    assert (played.cut_off, played.total_s) == (("job",), 1200.0)

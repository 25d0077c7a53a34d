"""What the core learns of jobs that report their progress, against what the simulated cluster knows of them."""

import random
from pathlib import Path

import pytest
from msgspec.structs import replace
from pools import guest, host, pool

from migd_controller.config import ControllerConfig, GuardsSection, TelemetrySection, XapiSection
from migd_controller.events import JobAdded, MigrationRequested
from migd_core.world import Job
from migd_sim.model.spec import HogSpec, JobSpec, PhaseSpec
from migd_sim.run.closed_loop import EPOCH_S, ClosedLoop

CONFIG = ControllerConfig(
    telemetry=TelemetrySection(secret_key_file=Path("unused"), agents_file=Path("unused")),
    xapi=XapiSection(url="unused", username="unused", password_file=Path("unused")),
    guards=GuardsSection(cooldown_s=0.0),
)
RANKS = [guest(f"r{n}", "a" if n < 2 else "b", memory_bytes=2 << 30) for n in range(4)]
WHOLE = JobSpec(name="brams", ranks=("r0", "r1", "r2", "r3"), reports_progress=True)


def loop_of(job: JobSpec, *more: object, link: float = 100e6) -> ClosedLoop:
    """The job on two of three hosts, its core told of it, and nothing moved but by hand."""
    hosts = [host(name, link=link) for name in "abc"]
    loop = ClosedLoop(pool(*hosts, *RANKS, job, *more), CONFIG, "observe")  # type: ignore[arg-type]
    (state,) = loop.cluster.jobs.values()
    loop.tell(JobAdded(name=job.name, guests=tuple(dict.fromkeys(state.guests))))
    return loop


def job_of(loop: ClosedLoop) -> Job:
    return loop.core.world(EPOCH_S + loop.cluster.now_s).jobs["brams"]


def ends_s(job: JobSpec) -> float:
    """When such a job ends if nothing happens."""
    loop = loop_of(job)
    while not loop.cluster.jobs["brams"].is_over:
        loop.cluster.run_until(loop.cluster.now_s + 1.0)
    return loop.cluster.now_s


def test_a_job_that_reports_its_steps_is_known_to_end_when_it_does() -> None:
    """Drawn jobs with radiation steps and history dumps, each asked a third and two thirds of the way.

    The intervals are meant to hold 8 of 10; the median is to be within a tenth where steps are alike in the long run.
    """
    random_ = random.Random(2007)
    held, errors = [], []
    for _ in range(12):
        work_s = random_.uniform(0.3, 6.0)
        job = replace(
            WHOLE,
            work_s=work_s,
            steps=int(random_.uniform(600.0, 1500.0) / work_s),
            exchange_bytes=random_.uniform(0.0, 4e6),
            phases=(
                PhaseSpec(name="radiation", every_steps=random_.randint(5, 40), work_factor=random_.uniform(1.0, 3.0)),
                PhaseSpec(name="history", every_steps=random_.randint(20, 90), extra_s=random_.uniform(0.0, 10.0)),
            ),
        )
        end_s, loop = ends_s(job), loop_of(job)
        for share in (1 / 3, 2 / 3):
            loop.run_until(end_s * share)
            found, left_s = job_of(loop).remaining, end_s - loop.cluster.now_s
            assert found is not None
            assert found.basis.startswith("progress: ")
            held.append(found.least_s <= left_s <= found.most_s)
            errors.append(abs(found.median_s / left_s - 1))
    assert sum(held) >= 0.75 * len(held)
    assert sorted(errors)[len(errors) // 2] < 0.1


def test_a_hog_that_slows_the_job_lengthens_what_it_still_runs_once_the_window_has_seen_it() -> None:
    other = guest("other", "b", vcpus=4)
    hog = HogSpec(guest="other", vcpus=4, starts_s=300.0, lasts_s=1e6)
    loop = loop_of(replace(WHOLE, work_s=1.0, steps=2000), other, hog)
    loop.run_until(295.0)
    before = job_of(loop)
    loop.run_until(700.0)
    after = job_of(loop)
    assert (before.iteration_s, after.iteration_s) == (
        pytest.approx(1.0, rel=0.05),
        pytest.approx(1 / loop.cluster.jobs["brams"].steps_per_s, rel=0.05),
    )


@pytest.mark.parametrize("exchange_bytes", [1e5, 10e6], ids=["computing", "talking"])
def test_the_speed_learned_from_a_migration_is_the_one_it_had(exchange_bytes: float) -> None:
    loop = loop_of(replace(WHOLE, work_s=0.5, exchange_bytes=exchange_bytes), link=40e6)
    loop.run_until(120.0)
    usual_per_s, before = loop.cluster.jobs["brams"].steps_per_s, loop.cluster.jobs["brams"].steps_done
    moved = loop.cluster.jobs["brams"].guests[0]
    loop.tell(MigrationRequested(guest=moved, target=next(h.uuid for h in loop.cluster.spec.hosts if h.name == "c")))
    while not loop.ends:
        loop.run_until(loop.cluster.now_s + 1.0)
    (end,) = loop.ends
    precopy_s = end.ended_s - 120.0 - end.pause_s
    true_ratio = (loop.cluster.jobs["brams"].steps_done - before) / precopy_s / usual_per_s
    (learned,) = loop.core.memory.speeds["brams"].ratios
    assert learned == pytest.approx(true_ratio, abs=0.08)
    speed = job_of(loop).speed_while_migrating
    assert speed is not None
    assert speed.median_ratio == pytest.approx((2 * 0.5 + learned) / 3)

"""A job whose guest tells its progress, from an emulated Dom0 through a real agent to what `migctl jobs` shows."""

import signal
from pathlib import Path

from live_cluster import POOL, LiveCluster, until

from migd_cli.demo.children import brood

JOB = """
[[jobs]]
name = "brams"
ranks = ["rank0", "rank1"]
work_s = 1.0
steps = 100000
reports_progress = true
"""


def test_what_a_guest_tells_of_its_job_reaches_the_operator_and_survives_a_restart(tmp_path: Path) -> None:
    with brood(tmp_path) as children:
        cluster = LiveCluster(tmp_path, children, pool=POOL + JOB)
        controller = cluster.controller()
        controller.start()
        cluster.start_agents(controller)
        controller.sees_everything()
        controller.ask("POST", "/v1/jobs", name="brams", guests=["rank0", "rank1"])

        def told() -> object:
            (job,) = controller.ask("GET", "/v1/jobs")
            return job if job.remaining_basis.startswith("progress: ") else None

        assert controller.child is not None
        job = until(told, controller.child)
        assert (job.progress.total, job.missing) == (100000.0, [])
        assert 0 < job.remaining_least_s <= job.remaining_s <= job.remaining_most_s
        assert ". Its job brams has about " in controller.explain("rank1").text
        controller.end(signal.SIGKILL)
        later = cluster.controller(state_dir=controller.folder / "state")
        later.start()
        later.sees_everything()
        (again,) = later.ask("GET", "/v1/jobs")
        assert (again.started_at, again.progress.total) == (job.started_at, 100000.0)
        assert again.progress.done >= job.progress.done
        later.end()

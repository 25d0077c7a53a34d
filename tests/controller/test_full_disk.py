"""A disk that is full under a controller at work: a real one, of four megabytes."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_cluster import LiveCluster, until

from migd_cli.demo.children import ChildDied, brood
from migd_cli.failures import Failure

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of 4 MiB at `folder`; skip where that may not be done."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True, text=True, timeout=30
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True, timeout=30)


def fill(file: Path) -> None:
    """Leave no room on the disk."""
    with contextlib.suppress(OSError), file.open("ab", buffering=0) as out:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while out.write(bytes(size)):
                    pass


def test_on_a_full_disk_nothing_is_done_that_is_not_on_record_and_with_space_again_nothing_is_lost(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk") as disk, brood(tmp_path) as children:
        cluster = LiveCluster(tmp_path, children)
        controller = cluster.controller(state_dir=disk / "state")
        child = controller.start()
        cluster.start_agents(controller)
        controller.sees_everything()
        controller.ask("POST", "/v1/jobs", name="brams", guests=["rank0", "rank1"])
        controller.ask("PUT", "/v1/policy", name="least-loaded", config={"sustained_periods": 120})

        def is_over() -> bool:
            """Fill what room there is, and go on asking for moves meanwhile."""
            fill(disk / "filler")
            for host in ("xen1", "xen2"):
                with contextlib.suppress(Failure):  # the guest is there, or on its way, or nobody answers any more
                    controller.ask("POST", "/v1/migrations", guest="rank0", host=host)
            return child.wait(0.0)

        until(is_over)
        with pytest.raises(ChildDied, match="ended with exit code 1"):
            child.check()
        assert "cannot be written: database or disk is full" in child.log()
        assert "nothing is migrated without it. Check the disk's free space" in child.log()
        begun = len(cluster.pool.migrations())

        (disk / "filler").unlink()
        controller = cluster.controller(state_dir=disk / "state")  # where the agents know it to be
        controller.start()
        status = controller.sees_everything()
        assert (status.policy, status.jobs) == ("least-loaded", 1)
        controller.status(lambda status: not status.migrations)
        recorded = controller.ask("GET", "/v1/migrations")
        assert begun <= len(recorded), "what the pool was asked for is on record"
        controller.ask("POST", "/v1/migrations", guest="big", host="xen2")
        controller.history(lambda found: found[0].guest_name == "big" and found[0].ok)

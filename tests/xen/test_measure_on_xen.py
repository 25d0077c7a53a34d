"""`migctl measure` for real: an MPI program in two guests, migrated by migd over real Xen. `make test-xen-measure`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from migd_on_xen import Migd
from scene import RANK0, RANK1

from migd_cli.experiment.runs import Record
from migd_lab.lab import Lab

IN_GUEST: Final = Path(__file__).with_name("in_guest.py")
REPEAT: Final = 3
# Under emulation MPI_Init takes three quarters of a minute, and the program 16 s for 200 steps: it is migrated while it
# computes. One that was migrated in its MPI_Init once gave up there, as the guest had too little CPU for PMIx.
AT_S: Final = 50.0
# Long enough to outlast a migration, which takes half a minute. Two ranks share the one CPU of a node before it and have
# one each after it, so a migration may well save time here.
JOB: Final = "runmpi rank0:1,rank1:1 2 /bin/jacobi 384 800"
pytestmark = pytest.mark.parametrize("xen", ["current"], indirect=True, scope="session")


def migctl(lab: Lab, *words: str, timeout_s: float) -> "subprocess.CompletedProcess[str]":
    """Run `migctl` in the lab's network, which this process is in."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        [sys.executable, "-m", "migd_cli", "--socket", str(lab.socket), *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment,
    )


@pytest.mark.timeout(3600)
def test_what_a_migration_costs_an_mpi_program_is_measured_and_harms_no_result(
    lab: Lab, migd: Migd, figures: dict[str, Any], tmp_path: Path
) -> None:
    """Each run, with a migration or without, has the result of every other; the guest is at home in the end."""
    source, target = lab.nodes
    with migd.with_guests((RANK0, 1), (RANK1, 1)):
        ended = migctl(
            lab,
            *("measure", "migration", "--json", "--guest", RANK1.name, "--to", target.name, "--at", str(AT_S)),
            *("--repeat", str(REPEAT), "--warm-up", "1", "--settle", "2", "--ping", RANK1.address),
            *("--out", str(tmp_path), "--plot", "--", sys.executable, str(IN_GUEST), RANK0.address, JOB),
            timeout_s=3300,
        )
        assert ended.returncode == 0, ended.stderr
        assert migd.guest(RANK1).host == source.uuid
    runs = Record.read(tmp_path).runs
    logs = [(tmp_path / f"application-{run.number:03d}.log").read_text() for run in runs]
    results = [[line for line in log.splitlines() if line.startswith("JACOBI DONE")] for log in logs]
    found = json.loads(ended.stdout)
    figures["measure_migration"] = {
        **{arm["arm"]: arm["run_time_s"] for arm in found["arms"]},
        **{name: found[name] for name in ("by_migration", "migration_s", "pause_s", "predicted_migration_s")},
        "predicted_pause_s": found["predicted_pause_s"],
        "left_out": found["left_out"],
        "results": results,
    }
    assert found["left_out"] == []
    assert [arm["run_time_s"]["n"] for arm in found["arms"]] == [REPEAT, REPEAT]
    assert len(results[0]) == 1
    assert results == [results[0]] * len(runs), "each run has the result of every other"
    assert 0.05 < found["pause_s"]["mean"] < found["migration_s"]["mean"]
    assert (tmp_path / "run-time.png").exists()


@pytest.mark.timeout(900)
def test_a_guest_is_counted_when_it_is_asked_for(lab: Lab, migd: Migd, figures: dict[str, Any]) -> None:
    migd.probe_often()
    with migd.with_guests((RANK0, 1), (RANK1, 1)):
        migd.restart_agents()  # with them goes when they probed a guest last
        ended = migctl(lab, "measure", "guest", RANK1.name, "--json", "--wait", "5m", timeout_s=400)
        assert ended.returncode == 0, ended.stderr
    profile = json.loads(ended.stdout)
    curve, (target,) = profile["dirty"]["curves"][-1], profile["targets"]
    figures["measure_guest"] = {
        "ages_s": curve["ages_s"],
        "unique_pages": curve["unique_pages"],
        "predicted_s": target["predicted_s"],
        "predicted_pause_s": target["predicted_pause_s"],
    }
    assert curve["unique_pages"] == sorted(curve["unique_pages"])
    assert target["target"] == lab.nodes[1].uuid
    assert target["predicted_s"] > 0

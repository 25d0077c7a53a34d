"""The prolog and epilog for slurmctld say to migctl what the controller would learn from squeue, and never fail."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from migd_controller.slurm_changes import job_name

SCRIPTS = Path(__file__).parents[2] / "deploy" / "slurm"
NAMES = ["brams", "hpl dt/5", "--guests", "é;$(touch x) 'quoted'", "x" * 100, "a  b"]


def run(script: str, folder: Path, name: str, migctl: str = 'for word; do echo "$word"; done > "$OUT"') -> list[str]:
    """Run a script as slurmctld does, with shell scripts for migctl and scontrol; return migctl's arguments."""
    out = folder / "arguments"
    out.unlink(missing_ok=True)
    for command, body in {"migctl": migctl, "scontrol": 'test "$*" = "show hostnames n[1-2]" && echo "n1\nn2"'}.items():
        (folder / command).write_text(f"#!/bin/sh\n{body}\n")
        (folder / command).chmod(0o755)
    environment = {
        "PATH": os.environ["PATH"],
        "OUT": str(out),
        "MIGCTL": str(folder / "migctl"),
        "SCONTROL": str(folder / "scontrol"),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": name,
        "SLURM_JOB_USER": "alice",
        "SLURM_JOB_NODELIST": "n[1-2]",
    }
    done = subprocess.run([SCRIPTS / script], env=environment, cwd=folder, capture_output=True, timeout=60, check=True)
    assert done.stdout == b""
    return out.read_text().splitlines() if out.exists() else []


@pytest.mark.parametrize("name", NAMES, ids=json.dumps)
def test_both_call_a_job_as_the_controller_does(tmp_path: Path, name: str) -> None:
    called = job_name(name, 7)
    told = ["job", "add", "--guests", "n1,n2", "--slurm-job", "7", "--run-of", f"alice/{name}", "--", called]
    assert run("prolog-slurmctld", tmp_path, name) == told
    assert run("epilog-slurmctld", tmp_path, name) == ["job", "rm", "--", called]
    assert {path.name for path in tmp_path.iterdir()} <= {"arguments", "migctl", "scontrol"}


@pytest.mark.parametrize("script", ["prolog-slurmctld", "epilog-slurmctld"])
def test_a_controller_that_is_down_fails_no_job(tmp_path: Path, script: str) -> None:
    assert run(script, tmp_path, "brams", migctl="exit 3") == []


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck, which `make test` installs as root")
def test_the_scripts_are_clean() -> None:
    subprocess.run(["shellcheck", "--shell=sh", *sorted(SCRIPTS.iterdir())], timeout=60, check=True)

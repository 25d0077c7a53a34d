"""How soon `migctl` answers, held against bare Python in the same run: CPU time of whole processes.

CPU time, because other work on the machine stretches the wall clock and not this. What answers `status` does so at
once.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from benchmarks._answering import answering
from migd_core.api import MigrationView, StatusView

RUNS: Final = 15
# The goals are 150 and 100 ms of wall time on a machine where bare Python takes 15.
GOAL_RATIOS: Final = {"help": 100 / 15, "status": 150 / 15}


def measure() -> dict[str, float]:
    """Return medians of CPU time in milliseconds, and ratios to bare Python with their goals."""
    with tempfile.TemporaryDirectory(prefix="migd-") as folder:
        socket = Path(folder) / "controller.sock"
        commands = {
            "python": ("-c", "pass"),
            "help": ("-m", "migd_cli", "--help"),
            "status": ("-m", "migd_cli", "status", "--socket", str(socket)),
        }
        with answering(socket, msgspec.json.encode(status())):
            # In turns, so that whatever the machine does meanwhile is met by each alike.
            rounds = [{name: cpu_s(arguments) for name, arguments in commands.items()} for _ in range(RUNS)]
    found = {f"{name}_ms": round(1e3 * statistics.median(each[name] for each in rounds), 1) for name in commands}
    for name, goal in GOAL_RATIOS.items():
        found[f"{name}_ratio"] = round(statistics.median(each[name] / each["python"] for each in rounds), 2)
        found[f"{name}_goal_ratio"] = round(goal, 2)
    return found


def text(figures: dict[str, float]) -> str:
    """Return the figures in a line."""
    return (
        f"bare Python takes {figures['python_ms']:.0f} ms of CPU time, migctl --help {figures['help_ms']:.0f} "
        f"({figures['help_ratio']:.1f} times, goal {figures['help_goal_ratio']:.1f}), migctl status "
        f"{figures['status_ms']:.0f} ({figures['status_ratio']:.1f} times, goal {figures['status_goal_ratio']:.1f})"
    )


def cpu_s(arguments: tuple[str, ...]) -> float:
    """Return the CPU time that Python took with these arguments, which must end well."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE", "PYTHON"))}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def status() -> StatusView:
    """Return a status with two migrations under way."""
    migration = MigrationView(
        cause="D1.1",
        guest="g",
        guest_name="rank0",
        source="a",
        source_name="xen01",
        target="b",
        target_name="xen02",
        state="running",
        started_at=1.7e9,
        requested_by="least-loaded",
        progress_ratio=0.5,
        predicted_s=12.0,
    )
    return StatusView(
        version="0",
        uptime_s=86400.0,
        policy="least-loaded",
        is_paused=False,
        period_s=5.0,
        hosts=64,
        hosts_frozen=0,
        guests=256,
        jobs=32,
        migrations=[migration, migration],
        xapi_connected=True,
    )

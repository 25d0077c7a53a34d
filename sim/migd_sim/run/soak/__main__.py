"""`python -m migd_sim.run.soak`: run cases until time is over, or one of them again.

Figures go to standard error for people, and as JSON to standard output. Of the first seed that fails a short case is
made, and written to a file that `--replay` reads. The exit code is 1 where anything is wrong, or nothing was run.
"""

import argparse
import os
import sys
from pathlib import Path
from random import SystemRandom
from typing import Final

import msgspec

from migd_core.errors import ConfigError
from migd_sim.run.options import above_zero, whole
from migd_sim.run.soak.case import Case, read, write
from migd_sim.run.soak.drawing import draw
from migd_sim.run.soak.loop import Loop
from migd_sim.run.soak.shrink import shrunk
from migd_sim.run.soak.soak import Figures, soak

COMMAND: Final = "python -m migd_sim.run.soak"
SEEDS: Final = 2**31


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; return the exit code."""
    options = argparse.ArgumentParser(prog=COMMAND, description="The controller's core with everything going wrong.")
    options.add_argument("--minutes", type=above_zero, default=10.0, help="for how long to run cases (default: 10)")
    options.add_argument("--seeds", type=whole(0), default=0, metavar="N", help="no more cases than these")
    options.add_argument("--first", type=whole(0), metavar="SEED", help="the first seed (default: drawn)")
    options.add_argument("--processes", type=whole(1), default=len(os.sched_getaffinity(0)), metavar="N")
    options.add_argument("--seed", type=whole(0), help="run the case of this seed alone, and tell its story")
    options.add_argument("--replay", type=Path, metavar="FILE", help="run the case in a file, and tell its story")
    options.add_argument("--folder", type=Path, default=Path("build/soak"), help="where short cases are written")
    asked = options.parse_args(arguments)
    try:
        if asked.replay is not None:
            return _tell_story(read(asked.replay), None)
    except ConfigError as error:
        _say(str(error))
        return 2
    if asked.seed is not None:
        return _tell_story(draw(asked.seed), asked.folder)
    first = SystemRandom().randrange(SEEDS) if asked.first is None else asked.first
    found = soak(first, 60.0 * asked.minutes, asked.processes, asked.seeds, _progress)
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    sys.stdout.buffer.flush()
    _say(text(found))
    if found.failures:
        _shorten(draw(found.failures[0].seed), found.failures[0].violation.invariant, asked.folder)
    if not found.seeds:
        _say(f"no case was run within {asked.minutes:g} minutes, so nothing is shown; --minutes takes more")
    return int(bool(found.failures) or not found.seeds)


def text(found: Figures) -> str:
    """Return the figures as a few lines for people."""
    lines = [
        f"{found.seeds} seeds from {found.first_seed}, {found.cluster_hours:,.0f} cluster-hours "
        f"in {found.took_s:.0f} s on {found.processes} processes ({found.cpu_s:.0f} s of CPU, load {found.load:g})",
        f"{found.control_periods} control periods, {found.migrations_asked} migrations asked for, "
        f"{found.migrations_moved} guests moved, {found.probes} probes",
        "what happened: " + ", ".join(f"{what} {times}" for what, times in found.happenings.items()),
        *(f"seed {each.seed}: {each.violation.invariant}: {each.violation.text}" for each in found.failures),
        f"{len(found.failures)} violations",
    ]
    return "\n".join(lines)


def _tell_story(case: Case, folder: Path | None) -> int:
    """Run one case and tell what happened; make a short one of it if it fails and there is a folder for it."""
    found = Loop(case, logs=True).run()
    for line in found.log:
        sys.stdout.write(f"{line}\n")
    if found.violation is None:
        _say(f"seed {case.seed}: nothing is wrong in {found.hours:.1f} hours")
        return 0
    _say(f"seed {case.seed} at {found.violation.at_s:.1f} s: {found.violation.invariant}: {found.violation.text}")
    if folder is not None:
        _shorten(case, found.violation.invariant, folder)
    return 1


def _shorten(case: Case, invariant: str, folder: Path) -> None:
    _say(f"making the case of seed {case.seed} short …")
    short = shrunk(case, invariant)
    path = folder / f"{invariant}-{case.seed}.json"
    try:
        write(short, path)
    except OSError as error:
        _say(f"{path}: cannot be written: {error.strerror}; --folder names another place")
        return
    _say(f"{len(short.happenings)} of {len(case.happenings)} happenings are left; to see it again:")
    _say(f"    {COMMAND} --replay {path}")


def _progress(done: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} seeds ")
        sys.stderr.flush()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m migd_sim.run.forecast [--seed N] [--weather-h H] [--record FOLDER]`: one forecast under everybody.

A table goes to standard output. The record is for `migctl replay` and `migctl report --record`.
"""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

from migd_core.errors import MigdError
from migd_sim.run.forecast.brams import brams
from migd_sim.run.forecast.comparison import compare, text
from migd_sim.run.options import whole
from migd_sim.run.recorded import recording


def main(arguments: list[str]) -> int:
    """Run it; return the exit code."""
    options = argparse.ArgumentParser(prog="python -m migd_sim.run.forecast")
    options.add_argument("--seed", type=whole(0), default=1)
    options.add_argument("--weather-h", type=whole(1), default=48, help="hours of weather that are forecast")
    options.add_argument("--record", type=Path, help="a folder without a record, for all that migd is told and does")
    asked = options.parse_args(arguments)
    try:
        with nullcontext() if asked.record is None else recording(asked.record) as record:
            sys.stdout.write(text(compare(brams(asked.seed, asked.weather_h), record)) + "\n")
    except MigdError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

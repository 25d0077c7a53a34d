"""`python -m migd_sim.run.forecast [--seed N] [--weather-h H] [--record FOLDER]`: one forecast under everybody.

A table goes to standard output. The record is for `migctl replay` and `migctl report --record`.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from migd_controller.record.parts import Parts
from migd_core.errors import MigdError
from migd_sim.run.forecast.brams import brams
from migd_sim.run.forecast.comparison import compare, text


def main(arguments: list[str]) -> int:
    """Run it; return the exit code."""
    options = argparse.ArgumentParser(prog="python -m migd_sim.run.forecast")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--weather-h", type=int, default=48, help="hours of weather that are forecast")
    options.add_argument("--record", type=Path, help="an empty folder for all that migd is told and does")
    asked = options.parse_args(arguments)
    with ExitStack() as closing:
        record = None
        if asked.record is not None:
            record = Parts(asked.record)
            closing.callback(record.close)
        try:
            sys.stdout.write(text(compare(brams(asked.seed, asked.weather_h), record)) + "\n")
        except MigdError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

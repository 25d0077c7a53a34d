"""`python -m benchmarks [--seed N] [NAME …]`: run the benchmarks, and hold them against migd's goals.

One JSON object goes to standard output: the table of goals, the seconds that each benchmark took, and all its figures.
The table goes to standard error for people, too, as does what a benchmark that has `text(figures)` tells besides.

Each module beside this one has `measure() -> dict`; one that draws at random takes `seed`, the same one for all, drawn
afresh unless it is given, and has it among its figures. The machine may be shared and noisy, so each takes medians or
ratios within its own run. A benchmark that fails is named in its rows with the seed, and hides no other; the exit code
is 1 then, a goal that is missed is no failure.
"""

import argparse
import importlib
import inspect
import json
import os
import pkgutil
import secrets
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks._goals import table, text


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, all of them without a name; return the exit code."""
    options = argparse.ArgumentParser(prog="python -m benchmarks")
    options.add_argument("names", nargs="*", metavar="NAME")
    options.add_argument("--seed", type=int, help="draw what is random by this seed")
    asked = options.parse_args(arguments)
    wanted: list[str] = asked.names
    names = sorted(
        module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name[0] != "_"
    )
    if unknown := sorted(set(wanted) - set(names)):
        print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(names)}", file=sys.stderr)
        return 2
    # Standard output is for the JSON alone: whatever else is printed, by C libraries too, goes to standard error.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    figures: dict[str, dict[str, Any]] = {}
    problems: dict[str, str] = {}
    seconds: dict[str, float] = {}
    seed: int = secrets.randbits(31) if asked.seed is None else asked.seed
    for name in wanted or names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        started_s = time.monotonic()
        try:
            module = importlib.import_module(f"benchmarks.{name}")
            is_seeded = "seed" in inspect.signature(module.measure).parameters
            figures[name] = module.measure(seed=seed) if is_seeded else module.measure()
            if hasattr(module, "text"):
                print(module.text(figures[name]), file=sys.stderr, flush=True)
        except Exception as error:  # noqa: BLE001 - one broken benchmark must not hide the figures of the others
            traceback.print_exc()
            problems[name] = f"{type(error).__name__}: {error} (--seed {seed})"
        seconds[name] = round(time.monotonic() - started_s, 1)
    rows = table(wanted or names, figures, problems)
    print(f"\n{text(rows)}", file=sys.stderr, flush=True)
    print(json.dumps({"goals": rows, "seconds": seconds, "figures": figures}, indent=2), file=output, flush=True)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

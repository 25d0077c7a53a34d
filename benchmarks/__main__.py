"""`python -m benchmarks [--seed N] [NAME …]`: run the benchmarks and print one JSON object, figures by benchmark.

Each module beside this one has `measure() -> dict`; one that draws at random takes `seed`, drawn from the time unless
it is given. One that has `text(figures)` is printed as a table, too, on standard error. The machine is shared and
noisy, so each takes medians or ratios within its own run. A benchmark that fails is named on standard error, and the
exit code is 1.
"""

import argparse
import importlib
import inspect
import json
import pkgutil
import sys
import traceback
from pathlib import Path


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
    figures, failed = {}, False
    for name in wanted or names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            module = importlib.import_module(f"benchmarks.{name}")
            is_seeded = "seed" in inspect.signature(module.measure).parameters
            figures[name] = module.measure(seed=asked.seed) if is_seeded else module.measure()
            if hasattr(module, "text"):
                print(module.text(figures[name]), file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 - one broken benchmark must not hide the figures of the others
            traceback.print_exc()
            failed = True
    print(json.dumps(figures, indent=2))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

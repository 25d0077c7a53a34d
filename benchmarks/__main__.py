"""`python -m benchmarks [NAME …]`: run the benchmarks and print one JSON object, figures by benchmark.

Each module beside this one has `measure() -> dict`. The machine is shared and noisy, so each takes medians or ratios
within its own run. A benchmark that fails is named on standard error, and the exit code is 1.
"""

import importlib
import json
import pkgutil
import sys
import traceback
from pathlib import Path


def main(wanted: list[str]) -> int:
    """Run the named benchmarks, all of them without a name; return the exit code."""
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
            figures[name] = importlib.import_module(f"benchmarks.{name}").measure()
        except Exception:  # noqa: BLE001 - one broken benchmark must not hide the figures of the others
            traceback.print_exc()
            failed = True
    print(json.dumps(figures, indent=2))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`migd-agent` as in a Dom0, on a Xen that is not there: libraries that LD_LIBRARY_PATH names answer in its place.

Sensors, memory and NICs are files under the folder that MIGD_BENCH_ROOT names.
"""

import functools
import importlib
import os
import sys
from pathlib import Path

# The base packages, which are all that a Dom0 gets, do not hold these, and where they are others load them: 6 MB.
for absent in ("rich", "typing_extensions"):
    sys.modules[absent] = None  # type: ignore[assignment]

if __name__ == "__main__":
    main = importlib.import_module("migd_agent.__main__").main  # first, as in a Dom0: it says what is not loaded
    library = importlib.import_module("migd_agent.xen.library")
    library.check_here = lambda: None  # there is no /dev/xen/privcmd beside a replay
    health = importlib.import_module("migd_agent.collectors.health")
    health.sources = functools.partial(health.sources, root=Path(os.environ["MIGD_BENCH_ROOT"]))
    sys.exit(main())

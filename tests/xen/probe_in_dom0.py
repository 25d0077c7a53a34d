"""Runs in a Dom0, on the agent's Python: one probe by the agent's own classes, on real Xen. Prints JSON lines.

probe DOMID LAST_AGE_S SESSIONS LEASE_S    `begun`, then what came of it
restart                                    what an agent's start makes of what a killed one left
is-on DOMID                                whether log-dirty is on
off-in-first-round DOMID                   an OFF that a migration overtakes
"""

import json
import random
import sys
import time
from typing import Any

from migd_agent.xen.libxenctrl import LibXenCtrl, LogDirtyTaken
from migd_agent.xen.log_dirty import LogDirtyProbes
from migd_agent.xen.probe_records import FOLDER, ProbeRecords
from migd_agent.xen.savers import Processes
from migd_core.errors import MigdError

AGES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def probes() -> LogDirtyProbes:
    return LogDirtyProbes(LibXenCtrl(), ProbeRecords(), random.Random(), time.monotonic)


def probe(domid: int, last_age_s: float, sessions: int, lease_s: float) -> None:
    """One probe, called as late as the agent's loop would call it at worst."""
    ages_s = tuple(age_s for age_s in AGES_S if age_s <= last_age_s)
    begun = probes().begin(domid, ages_s, sessions, time.monotonic() + lease_s)
    say(begun=True)
    cpu_s = time.process_time()
    while not begun.advance(time.monotonic()):
        time.sleep(max(0.0, begun.due_s - time.monotonic()))
    cpu_s = time.process_time() - cpu_s
    try:
        curve = begun.take()
    except MigdError as error:
        say(error=type(error).__name__, text=str(error))
    else:
        say(ages_s=ages_s, pages=curve and curve.unique_pages, cpu_s=cpu_s)


class Overtaken(Processes):
    """Looks, and is then held up until a migration has log-dirty on."""

    def __init__(self) -> None:
        super().__init__()
        self._has_looked = False

    def of(self, domid: int) -> list[int]:
        if not self._has_looked:
            self._has_looked, xen = True, LibXenCtrl()
            pages = xen.peek(domid)
            while xen.peek(domid) == pages:  # it counts once log-dirty is on
                time.sleep(0.05)
            return []
        return super().of(domid)


def is_on(domid: int) -> bool:
    xen = LibXenCtrl()
    try:
        xen.enable(domid)
    except LogDirtyTaken:
        return True
    xen.off(domid)
    return False


match sys.argv[1:]:
    case ["probe", domid, last_age_s, sessions, lease_s]:
        probe(int(domid), float(last_age_s), int(sessions), float(lease_s))
    case ["restart"]:
        probes()
        say(records=sorted(path.name for path in FOLDER.iterdir()))
    case ["off-in-first-round", domid]:
        LibXenCtrl(Overtaken()).off(int(domid))
        say(is_off=True)
    case ["is-on", domid]:
        say(is_on=is_on(int(domid)))
    case _:
        sys.exit(__doc__)

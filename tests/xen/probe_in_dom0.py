"""Runs in a Dom0, on the agent's Python: probes by the agent's own classes, on real Xen.

Reads commands, a line each, and answers each by a line of JSON:

probe DOMID LAST_AGE_S SESSIONS    `begun`, and when it is over what came of it
die DOMID                          no answer: killed in the midst of a probe
restart                            what an agent's start makes of what a killed one left on
close-in-first-round DOMID         the same of a probe that is given up in a migration's first round
restart-in-first-round DOMID       `restart` in a migration's first round
off-in-first-round DOMID           an OFF that was held up until a migration's first round
is-on DOMID                        whether log-dirty is on
"""

import json
import os
import random
import signal
import sys
import time
from contextlib import closing
from typing import Any

from migd_agent.xen.libxenctrl import LibXenCtrl, LogDirtyTaken
from migd_agent.xen.log_dirty import LogDirtyProbes
from migd_agent.xen.probe_records import FOLDER, ProbeRecords
from migd_agent.xen.savers import Processes
from migd_core.errors import MigdError

AGES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
LEASE_S = 200.0
SENT_BYTES = 2**20
KILLED_AFTER_S = 3.0
# A first round lasts for seconds; who looks without a rest takes the only CPU from the guest and its network.
LOOKS_EVERY_S = 0.1


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def probes(records: ProbeRecords) -> LogDirtyProbes:
    return LogDirtyProbes(LibXenCtrl(), records, random.Random(), time.monotonic)


def probe(domid: int, last_age_s: float, sessions: int) -> None:
    ages_s = tuple(age_s for age_s in AGES_S if age_s <= last_age_s)
    with closing(ProbeRecords()) as records:
        begun = probes(records).begin(domid, ages_s, sessions, time.monotonic() + LEASE_S)
        say(begun=True)
        used_s = time.process_time()
        while not begun.advance(time.monotonic()):
            time.sleep(max(0.0, begun.due_s - time.monotonic()))
        used_s = time.process_time() - used_s
        try:
            curve = begun.take()
        except MigdError as error:
            say(error=type(error).__name__, text=str(error))
        else:
            say(ages_s=ages_s, pages=curve and curve.unique_pages, cpu_s=used_s)


def die(domid: int) -> None:
    begun = probes(ProbeRecords()).begin(domid, AGES_S, 1, time.monotonic() + LEASE_S)
    until_s = begun.due_s + KILLED_AFTER_S
    while time.monotonic() < until_s:
        begun.advance(time.monotonic())
        time.sleep(max(0.0, min(until_s, begun.due_s) - time.monotonic()))
    os.kill(os.getpid(), signal.SIGKILL)


def restart() -> None:
    with closing(ProbeRecords()) as records:
        probes(records)
    say(records=sorted(path.name for path in FOLDER.iterdir()))


def close_in_first_round(domid: int) -> None:
    with closing(ProbeRecords()) as records:
        begun = probes(records).begin(domid, (LEASE_S / 2,), 1, time.monotonic() + LEASE_S)
        time.sleep(max(0.0, begun.due_s - time.monotonic()))
        begun.advance(time.monotonic())
        say(begun=True)
        while not in_first_round(domid):
            begun.advance(time.monotonic())
            time.sleep(LOOKS_EVERY_S)
        begun.close()
        try:
            say(pages=begun.take())
        except MigdError as error:
            say(error=type(error).__name__, text=str(error))


def in_first_round(domid: int) -> bool:
    """Return whether a process has begun to copy the domain's memory away. It sends all of it in its first round."""
    return any(_sent_bytes(pid) > SENT_BYTES for pid in Processes().of(domid))


def await_first_round(domid: int) -> None:
    while not in_first_round(domid):
        time.sleep(LOOKS_EVERY_S)


def _sent_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/io", encoding="ascii") as file:
        return int(dict(line.split(": ") for line in file)["wchar"])


class Overtaken(Processes):
    """Looks, and is then held up until a migration is in its first round."""

    def __init__(self) -> None:
        super().__init__()
        self._has_looked = False

    def of(self, domid: int) -> list[int]:
        if not self._has_looked:
            self._has_looked = True
            await_first_round(domid)
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


for line in sys.stdin:
    match line.split():
        case ["probe", domid, last_age_s, sessions]:
            probe(int(domid), float(last_age_s), int(sessions))
        case ["die", domid]:
            die(int(domid))
        case ["restart"]:
            restart()
        case ["close-in-first-round", domid]:
            close_in_first_round(int(domid))
        case ["restart-in-first-round", domid]:
            await_first_round(int(domid))
            restart()
        case ["off-in-first-round", domid]:
            LibXenCtrl(Overtaken()).off(int(domid))
            say(is_off=True)
        case ["is-on", domid]:
            say(is_on=is_on(int(domid)))
        case words:
            raise ValueError(words)

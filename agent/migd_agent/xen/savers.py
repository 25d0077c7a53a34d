"""The processes of this Dom0 that copy a domain's memory away, such as a migration's, and an OFF that spares them.

From its first round to its last such a process relies on log-dirty. It cannot notice that somebody switches it off:
Xen then hands it an empty bitmap, it sends nothing more, and what arrives "successfully" is no longer the guest.

The process exists before it switches log-dirty on. So if there is none directly before an OFF and none directly after,
the OFF has hit nobody. One that comes between is ended by SIGTERM. Tried on Xen 4.17.7, the OFF held up until a
migration was in its first round: "Migration failed, failed to suspend at sender", no stale page, the guest goes on.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol

import structlog

from migd_agent.xen.reading import XenUnreadable

PROC: Final = Path("/proc")
# linux/proc_ns.h: PROC_PID_INIT_INO.
_FIRST_PID_NAMESPACE: Final = "pid:[4026531836]"
# xenopsd's; xl, libvirt and all else that is built on libxl start libxl-save-helper.
_OF_XAPI: Final = frozenset({"emu-manager", "xenguest"})


class BeingSaved(XenUnreadable):
    """A process copies the domain's memory away: its log-dirty mode is that process's, which switches it off."""


class Savers(Protocol):
    """Finds processes that copy a domain's memory away, and makes one fail."""

    def of(self, domid: int) -> list[int]: ...
    def fail(self, pid: int) -> None: ...


class Processes:
    """Savers among the processes of this Dom0."""

    def __init__(self, proc: Path = PROC) -> None:
        self._proc = proc

    def of(self, domid: int) -> list[int]:
        """Return the ids of the processes that copy the domain's memory away."""
        number, found = str(domid).encode(), []
        for name in os.listdir(self._proc):
            if name.isdigit():
                with contextlib.suppress(OSError), open(f"{self._proc}/{name}/cmdline", "rb", buffering=0) as file:
                    line = file.readall()  # empty where it has ended, or is the kernel's
                    if number in line and saves(line.decode(errors="replace").split("\0"), domid):
                        found.append(int(name))
        return found

    def fail(self, pid: int) -> None:
        """Make it fail. libxl-save-helper ends on SIGTERM by its own way out: guest and log-dirty are put right."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def check_sees_all(proc: Path = PROC) -> None:
    """Raise XenUnreadable where not all processes of Dom0 can be seen."""
    try:
        namespace = os.readlink(proc / "self/ns/pid")
    except OSError as error:
        raise XenUnreadable(f"{proc}/self/ns/pid: {error.strerror}; probing needs to see Dom0's processes") from error
    if namespace != _FIRST_PID_NAMESPACE:
        raise XenUnreadable(
            "the agent runs in a container: it does not see the processes that migrate guests, and would wreck a guest "
            "that it probes meanwhile; run it in Dom0 itself"
        )


def saves(words: Sequence[str], domid: int) -> bool:
    """Return whether a process of this command line copies the domain's memory away.

    libxl_save_callout.c: `libxl-save-helper --save-domain FD FD DOMID …`; xenopsd, domain.ml: `emu-manager … -domid N`.
    """
    if "--save-domain" in words:
        return list(words[words.index("--save-domain") + 3 :][:1]) == [str(domid)]
    return bool(words) and Path(words[0]).name in _OF_XAPI and ("-domid", str(domid)) in pairwise(words)


def switch_off(domid: int, off: Callable[[], None], savers: Savers) -> None:
    """Call `off`, unless somebody copies the domain's memory away. Raises BeingSaved, and what `off` raises.

    One that began meanwhile may have been hit, and is made to fail: it says so, and the guest lives on here.
    """
    if pids := savers.of(domid):
        raise BeingSaved(f"domain {domid}: process {pids[0]} copies its memory away; log-dirty is left to it")
    off()
    for pid in savers.of(domid):
        savers.fail(pid)
        structlog.get_logger().warning(
            "a migration is made to fail; begin it again", cause="it began as a probe ended", domid=domid, pid=pid
        )

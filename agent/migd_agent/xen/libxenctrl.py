"""Xen's log-dirty mode through libxenctrl: on, off, and how many pages were written. It has no way to clean the bitmap.

Whoever cleans the bitmap of a guest that is being migrated takes the bits that the migration needs, and the guest
arrives with stale memory although the migration reports success. So this never does: Xen starts each session anew when
log-dirty is turned on, and a count relative to the first look is all that a curve needs (tried on 4.17: PVH, the same
curve with and without cleaning).
"""

import ctypes
import errno
import os
from typing import Final

from migd_agent.xen import library
from migd_agent.xen.reading import XenUnreadable

# XEN_DOMCTL_SHADOW_OP_* of xen/include/public/domctl.h, the same in every version.
_OFF, _PEEK, _ENABLE_LOGDIRTY = 0, 12, 2


class Gone(XenUnreadable):
    """The domain does not exist any more."""


class Taken(XenUnreadable):
    """Log-dirty is on already: somebody migrates the guest, or another agent probes it."""


class _Stats(ctypes.Structure):
    """struct xen_domctl_shadow_op_stats: two counters, never anything else."""

    _fields_ = [("fault_count", ctypes.c_uint32), ("dirty_count", ctypes.c_uint32)]


class LibXenCtrl:
    """Log-dirty of any domain, by its number."""

    def __init__(self) -> None:
        """Raises XenUnreadable."""
        library.check_here()
        version = library.xen_version()
        self._library = library.load("libxenctrl", f"libxenctrl.so.{version}")
        handle, number = ctypes.c_void_p, ctypes.c_uint
        library.declare(self._library, "xc_interface_open", handle, handle, handle, number)
        library.declare(self._library, "xc_interface_close", ctypes.c_int, handle)
        # Until 4.15 one function did what these two do, with other parameters: that library lacks the second.
        library.declare(
            self._library, "xc_shadow_control", ctypes.c_int, handle, ctypes.c_uint32, number, handle, number
        )
        library.declare(
            self._library,
            "xc_logdirty_control",
            ctypes.c_longlong,
            *(handle, ctypes.c_uint32, number, handle, ctypes.c_ulong, number, ctypes.POINTER(_Stats)),
        )
        self._handle = self._library.xc_interface_open(None, None, 0)
        if not self._handle:
            raise XenUnreadable(f"{self._library._name} cannot ask Xen: {library.errno_text()}; is this a Dom0?")

    def enable(self, domid: int) -> None:
        """Turn log-dirty on. Raises Taken, Gone or XenUnreadable."""
        if self._library.xc_shadow_control(self._handle, domid, _ENABLE_LOGDIRTY, None, 0) < 0:
            raise _failure(domid, "turn log-dirty on")

    def peek(self, domid: int) -> int:
        """Return how many pages were written, on top of a count that is the same all through a session.

        Raises Gone or XenUnreadable.
        """
        stats = _Stats()
        if self._library.xc_logdirty_control(self._handle, domid, _PEEK, None, 0, 0, ctypes.byref(stats)) < 0:
            raise _failure(domid, "count dirty pages")
        return int(stats.dirty_count)

    def off(self, domid: int) -> None:
        """Turn log-dirty off; no error where it is off. Raises Gone or XenUnreadable."""
        if self._library.xc_shadow_control(self._handle, domid, _OFF, None, 0) < 0:
            raise _failure(domid, "turn log-dirty off")

    def close(self) -> None:
        """Let go of Xen."""
        self._library.xc_interface_close(self._handle)


_ADVICE: Final = {
    errno.EOPNOTSUPP: "this Xen can watch no PV guest (it was built without shadow paging); make it a PVH or HVM one",
    errno.EPERM: "the agent must run as root in a Dom0",
    errno.ENOSYS: "is the library of this very version of Xen installed?",
    errno.EACCES: "is the library of this very version of Xen installed?",
}


def _failure(domid: int, what: str) -> XenUnreadable:
    number = ctypes.get_errno()
    text = f"domain {domid}: Xen does not {what}: {os.strerror(number)}"
    match number:
        case errno.ESRCH:
            return Gone(text)
        case errno.EINVAL:
            return Taken(f"{text}; somebody migrates or probes the guest already, or it has a passed-through device")
    return XenUnreadable(f"{text}; {_ADVICE.get(number, 'see `xl dmesg`')}")

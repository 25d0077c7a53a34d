"""Counts the pages that a domain dirties: Xen's log-dirty mode through libxenctrl, only what a probe needs of it.

There is no CLEAN here on purpose, and no OFF beside a migration: either corrupts a guest that migrates.
"""

import ctypes
import errno
import os
from typing import Final

from migd_agent.xen import library, savers
from migd_agent.xen.reading import XenUnreadable

# XEN_DOMCTL_SHADOW_OP_* of public/domctl.h.
_OFF: Final = 0
_ENABLE_LOGDIRTY: Final = 2
_PEEK: Final = 12

_HANDLE, _DOMID, _UINT, _ULONG = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint, ctypes.c_ulong


class LogDirtyTaken(XenUnreadable):
    """Log-dirty cannot be switched on: somebody else has it on, such as a migration, or the domain has a PCI device."""


class DomainGone(XenUnreadable):
    """There is no such domain any more."""


class _Stats(ctypes.Structure):
    """`struct xen_domctl_shadow_op_stats`."""

    _fields_ = (("fault_count", ctypes.c_uint32), ("dirty_count", ctypes.c_uint32))


class LibXenCtrl:
    """Xen's log-dirty mode through libxenctrl. Every call returns within milliseconds."""

    def __init__(self, find_savers: savers.Savers | None = None) -> None:
        """Raises XenUnreadable: no Xen, no permission, a container, no library of this version, or unknown calls."""
        library.check_here()
        savers.check_sees_all()
        self._savers = find_savers or savers.Processes()
        version = library.xen_version()
        if not version:
            raise XenUnreadable("the kernel does not tell Xen's version in /sys/hypervisor/version; is /sys mounted?")
        self._library = library.load("libxenctrl", f"libxenctrl.so.{version}")
        library.declare(self._library, "xc_interface_open", _HANDLE, _HANDLE, _HANDLE, _UINT)
        library.declare(self._library, "xc_interface_close", ctypes.c_int, _HANDLE)
        library.declare(self._library, "xc_shadow_control", ctypes.c_int, _HANDLE, _DOMID, _UINT, _HANDLE, _UINT)
        # A libxenctrl without xc_logdirty_control (before 4.16) has another xc_shadow_control.
        library.declare(
            self._library,
            "xc_logdirty_control",
            ctypes.c_longlong,
            *(_HANDLE, _DOMID, _UINT, _HANDLE, _ULONG, _UINT, ctypes.POINTER(_Stats)),
        )
        self._handle = self._library.xc_interface_open(None, None, 0)
        if not self._handle:
            raise XenUnreadable(
                f"{self._library._name} cannot open {library.PRIVCMD}: {library.errno_text()}; is this root in a Dom0?"
            )

    def enable(self, domid: int) -> None:
        """Switch log-dirty on. Raises LogDirtyTaken, DomainGone, XenUnreadable."""
        if pids := self._savers.of(domid):
            raise LogDirtyTaken(f"domain {domid}: process {pids[0]} copies its memory away")
        self._check(self._library.xc_shadow_control(self._handle, domid, _ENABLE_LOGDIRTY, None, 0), domid, "ENABLE")

    def off(self, domid: int) -> None:
        """Switch log-dirty off unless a migration has it; nothing where it is off.

        Raises BeingSaved, DomainGone, XenUnreadable.
        """

        def off() -> None:
            self._check(self._library.xc_shadow_control(self._handle, domid, _OFF, None, 0), domid, "OFF")

        savers.switch_off(domid, off, self._savers)

    def peek(self, domid: int) -> int:
        """Return how many pages were dirtied since somebody last cleaned, whether log-dirty is on or off now."""
        stats = _Stats()
        code = self._library.xc_logdirty_control(self._handle, domid, _PEEK, None, 0, 0, ctypes.byref(stats))
        self._check(code, domid, "PEEK")
        return int(stats.dirty_count)

    def close(self) -> None:
        """Let go of Xen."""
        self._library.xc_interface_close(self._handle)

    def _check(self, code: int, domid: int, what: str) -> None:
        if code >= 0:
            return
        number = ctypes.get_errno()
        text = f"domain {domid}: Xen refuses {what}: {os.strerror(number)}"
        if number == errno.ESRCH:
            raise DomainGone(f"{text}; it has ended or moved")
        if number == errno.EINVAL and what == "ENABLE":
            raise LogDirtyTaken(f"{text}; it migrates, another agent probes it, or it has a PCI device")
        if number in (errno.EPERM, errno.EACCES):
            raise XenUnreadable(f"{text}; the agent must run as root in a Dom0")
        if number == errno.EOPNOTSUPP:
            raise XenUnreadable(f"{text}; this Xen has no shadow paging: only HVM and PVH guests can be probed")
        raise XenUnreadable(text)

"""Reads XenStore through libxenstore, whose interface is the same in every version of Xen."""

import ctypes

from migd_agent.xen import library
from migd_agent.xen.reading import XenUnreadable


class XenStore:
    """One connection to XenStore."""

    def __init__(self) -> None:
        """Raises XenUnreadable."""
        self._library = library.load("libxenstore", "libxenstore.so.4", "libxenstore.so.3.0")
        self._libc = ctypes.CDLL(None)
        library.declare(self._library, "xs_open", ctypes.c_void_p, ctypes.c_ulong)
        library.declare(self._library, "xs_close", None, ctypes.c_void_p)
        text, length = ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint)
        library.declare(self._library, "xs_read", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, text, length)
        library.declare(self._libc, "free", None, ctypes.c_void_p)
        self._handle = self._library.xs_open(0)
        if not self._handle:
            raise XenUnreadable(f"XenStore cannot be opened: {library.errno_text()}; is xenstored running?")

    def read(self, path: str) -> str | None:
        """Return the value at `path`, None where there is none."""
        length = ctypes.c_uint(0)
        value = self._library.xs_read(self._handle, 0, path.encode(), ctypes.byref(length))
        if not value:
            return None
        try:
            return ctypes.string_at(value, length.value).decode(errors="backslashreplace")
        finally:
            self._libc.free(value)

    def uuid_of(self, domid: int) -> str:
        """Return the uuid of a domain, empty while the toolstack has not written it."""
        return (self.read(f"/local/domain/{domid}/vm") or "").rpartition("/")[2]

    def close(self) -> None:
        """Close the connection."""
        self._library.xs_close(self._handle)

"""Finds Xen's shared libraries. They come in one version for each of Xen, and only the running one's works."""

import ctypes
import os
from pathlib import Path
from typing import Final

from migd_agent.xen.reading import XenUnreadable

PRIVCMD: Final = Path("/dev/xen/privcmd")
CAPABILITIES: Final = Path("/proc/xen/capabilities")
_VERSION: Final = Path("/sys/hypervisor/version")
_TYPE: Final = Path("/sys/hypervisor/type")


class NoLibrary(XenUnreadable):
    """A library of Xen is not installed in the version of the Xen that runs."""


def is_dom0(capabilities: Path = CAPABILITIES) -> bool:
    """Return whether this system controls a Xen host. Raises nothing: what cannot be read is no Dom0."""
    try:
        return "control_d" in capabilities.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return False


def xen_version(folder: Path = _VERSION) -> str:
    """Return the running Xen's version as in 4.17, empty where the kernel does not tell."""
    try:
        return ".".join((folder / part).read_text(encoding="ascii").strip() for part in ("major", "minor"))
    except (OSError, UnicodeDecodeError):
        return ""


def check_here(privcmd: Path = PRIVCMD, hypervisor_type: Path = _TYPE) -> None:
    """Raise XenUnreadable where Xen cannot be asked from here, with the reason."""
    if not privcmd.exists():
        if hypervisor_type.exists():
            raise XenUnreadable(f"{privcmd} does not exist, though this runs under Xen: is this a guest, not a Dom0?")
        raise XenUnreadable(f"there is no Xen here: {privcmd} does not exist; boot Xen, or set measure.guests.source")
    if not os.access(privcmd, os.R_OK | os.W_OK):
        raise XenUnreadable(f"{privcmd}: permission denied; the agent must run as root to ask Xen")


def load(stem: str, *sonames: str) -> ctypes.CDLL:
    """Return the first of `sonames` that can be loaded; `stem` names the library to people. Raises NoLibrary."""
    problems = []
    for soname in sonames:
        try:
            return ctypes.CDLL(soname, use_errno=True)
        except OSError as error:
            problems.append(str(error))
    raise NoLibrary(f"{stem} for Xen {xen_version() or 'of unknown version'} cannot be loaded: {'; '.join(problems)}")


def declare(library: ctypes.CDLL, name: str, returns: object, *takes: object) -> None:
    """Give one function of a library its types. Raises XenUnreadable where the library does not have it."""
    try:
        function = getattr(library, name)
    except AttributeError as error:
        raise XenUnreadable(f"{library._name} has no {name}: its version is not known to this agent") from error
    function.restype, function.argtypes = returns, list(takes)


def errno_text() -> str:
    """Return what the last call of a library set errno to, as text."""
    return os.strerror(ctypes.get_errno())

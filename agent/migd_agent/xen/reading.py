"""What Xen counts of a host and its domains at one moment, whatever it was read with."""

from dataclasses import dataclass
from typing import Final

from migd_core.errors import MigdError
from migd_core.progress import Progress

DOM0: Final = 0
# What the kernel counts disks in, whatever the disk's own sectors are.
SECTOR_BYTES: Final = 512


class XenUnreadable(MigdError):
    """Xen cannot be asked; the text says what was tried, what happened, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain, Dom0 included. `cpu_s` over all its vCPUs since it was created; rx and tx from its own point of view.

    `uuid` is empty where it has none: Dom0, and a domain that is being built. `progress` is what the guest wrote of its
    job, None where it wrote nothing that can be read.
    """

    domid: int
    name: str
    uuid: str
    vcpus: int
    cpu_s: float
    memory_bytes: int
    rx_bytes: int = 0
    tx_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    is_paused: bool = False
    is_ending: bool = False
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class XenReading:
    """The host as Xen sees it: `cpus` physical ones, memory in bytes, and every domain."""

    cpus: int
    memory_bytes: int
    memory_free_bytes: int
    domains: tuple[Domain, ...]

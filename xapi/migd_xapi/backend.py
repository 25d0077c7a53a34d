"""The seam between the pool and what runs its guests: a simulated cluster, or hosts that know only `xl`.

The pool owns names, records, permissions and checks; a backend owns what is really there and what really happens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from migd_core.counters import HostCounters
from migd_xapi.settings import GuestSettings, HostSettings


@dataclass(frozen=True, slots=True)
class BackendHost:
    """A host as it is. `address` is empty where the pool may choose one.

    `memory_free_bytes` is what Xen says it could give to guests, None where only the pool counts it, and `dom0_bytes`
    what Dom0 has, 0 for what the pool's settings say. `settings` are there where the host itself says what it is.
    """

    uuid: str
    name: str
    address: str
    cpus: int
    cpu_mhz: float
    memory_bytes: int
    link_bytes_per_s: float
    is_up: bool = True
    memory_free_bytes: int | None = None
    dom0_bytes: int = 0
    xen_version: str = "4.17.4"
    cpu_model: str = "Emulated processor"
    capabilities: tuple[str, ...] = ("xen-3.0-x86_64", "hvm-3.0-x86_32", "hvm-3.0-x86_64")
    settings: HostSettings | None = None


@dataclass(frozen=True, slots=True)
class BackendGuest:
    """A guest as it is; `host` is the uuid of the host that it runs on, None when it does not run.

    `mac` is empty where it has no interface. `settings` are there where its host says what it is.
    """

    uuid: str
    name: str
    host: str | None
    vcpus: int
    memory_bytes: int
    mac: str
    tags: tuple[str, ...] = ()
    other_macs: tuple[str, ...] = ()
    is_paused: bool = False
    settings: GuestSettings | None = None


class BackendMigration(Protocol):
    """A live migration under way."""

    @property
    def progress_ratio(self) -> float:
        """How much of it is done, 0..1."""

    def cancel(self) -> bool:
        """Stop it, the guest stays; False when it is too late for that."""


class Why(StrEnum):
    """Why a migration failed, as far as XAPI has words of its own for it."""

    UNACKNOWLEDGED = "the guest did not acknowledge that it was to suspend"
    SOURCE_DIED = "the source died"
    TARGET_UNREACHABLE = "the source does not reach the target"
    NO_MEMORY = "the target has no memory for it"
    OTHER = "something else"


@dataclass(frozen=True, slots=True)
class MigrationOutcome:
    """How a migration ended: the guest runs on the target (`ok`), or `why` and `reason` say why it does not.

    `is_suspended`: it failed when the guest stood still already for its last pages.
    """

    ok: bool
    reason: str = ""
    why: Why = Why.OTHER
    is_suspended: bool = False


class BackendRefusal(Exception):
    """The backend cannot do what was asked; the text says why."""


class Backend(Protocol):
    """What runs the guests. Nothing here waits; what takes time reports its end by a callback."""

    def hosts(self) -> Sequence[BackendHost]: ...

    def guests(self) -> Sequence[BackendGuest]: ...

    def settle(self) -> None:
        """Bring what is known up to now; callbacks of what has ended are called."""

    def begin_migration(
        self, guest: str, target: str, memory_bytes: int, on_end: Callable[[MigrationOutcome], None]
    ) -> BackendMigration:
        """Begin to move a running guest. Raises BackendRefusal."""

    def start(self, guest: str, host: str) -> None: ...

    def stop(self, guest: str) -> None: ...

    def pause(self, guest: str) -> None: ...

    def unpause(self, guest: str) -> None: ...

    def counters(self, host: str) -> HostCounters:
        """Return what the host's Dom0 counts. Raises BackendRefusal where nothing is counted: the host is down."""

    def wanted_vcpus(self, host: str) -> float:
        """Return how many vCPUs of the host's domains, Dom0's included, run now or would if there were a CPU."""

    def domid(self, guest: str) -> int:
        """Return the guest's domain number on its host, -1 when it does not run."""

"""What a pool file says about XAPI's side of the pool, in its `[xapi]` section.

The simulated cluster knows hosts, guests and links; what only XAPI knows of them (storage, networks, groups, ranges of
memory, passed-through devices) stands here, by their names.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from migd_core.errors import ConfigError
from migd_core.units import GIB, MIB, Seconds
from migd_xapi.datamodel.enumerations import ENUMERATIONS
from migd_xapi.sessions import User

NotNegative = Annotated[int, Meta(ge=0)]
COMMON_FEATURES: Final = "1fcbfbff-80b82221-2993fbff-00000403-00000000-00000000-00000000-00000000-00001000-9c000400"
FEATURES: Final = "^[0-9a-f]{8}(-[0-9a-f]{8})*$"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the section; an unknown key is an error."""


class Storage(Part, frozen=True, kw_only=True):
    """A storage repository. One that is not shared exists once on each host.

    `hosts` are the hosts that reach it, or have one of their own; without it, all.
    """

    name: str
    is_shared: bool = True
    type: str = "nfs"
    hosts: tuple[str, ...] | None = None


class Tls(Part, frozen=True, kw_only=True):
    """TLS with the certificate (its chain behind it) and the key in two PEM files; without any, with ones made anew."""

    certificate_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("a certificate needs its key, and a key its certificate: give both files or none")


class Network(Part, frozen=True, kw_only=True):
    """A network besides the management network. `hosts` have an interface on it; without it, all; none: internal."""

    name: str
    hosts: tuple[str, ...] | None = None


class HostSettings(Part, frozen=True, kw_only=True):
    """What XAPI knows of a host. `cpu_features` are the features of its processors as XAPI writes them."""

    is_enabled: bool = True
    cpu_vendor: str = "GenuineIntel"
    cpu_features: Annotated[str, Meta(pattern=FEATURES)] = COMMON_FEATURES


class GuestSettings(Part, frozen=True, kw_only=True):
    """What XAPI knows of a guest.

    `memory_dynamic_min_bytes` is what it may be ballooned down to (0: not at all), `memory_static_max_bytes` what it
    could be given (0: what it has). `storage` and `networks` name where its disks and interfaces are; empty: on the
    first storage, on the management network. `has_tools`: an agent with drivers runs in it. `affinity` names the host
    it prefers to be started on.
    """

    memory_dynamic_min_bytes: NotNegative = 0
    memory_static_max_bytes: NotNegative = 0
    storage: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    has_tools: bool = True
    cannot_suspend_because: str = ""
    domain_type: Literal["hvm", "pv", "pvh"] = "hvm"
    pci_devices: NotNegative = 0
    vgpus: NotNegative = 0
    affinity: str = ""
    ha_restart_priority: Literal["", "best-effort", "restart"] = ""
    blocked_operations: dict[str, str] = {}
    platform: dict[str, str] = {}
    other_config: dict[str, str] = {}


class Group(Part, frozen=True, kw_only=True):
    """A VM group; a guest is in one at most."""

    name: str
    guests: tuple[str, ...]
    placement: Literal["anti_affinity", "normal"] = "anti_affinity"


class HighAvailability(Part, frozen=True, kw_only=True):
    """High availability, where the pool has it: so many hosts may fail without a protected guest being lost."""

    host_failures_to_tolerate: Annotated[int, Meta(ge=1)] = 1
    allow_overcommit: bool = False


class Settings(Part, frozen=True, kw_only=True):
    """How the pool presents itself.

    `refusal_delay_s` is how long a wrong password takes to be refused; `boot_s` passes until the agent of a guest that
    was started reports, `shutdown_s` until a guest that was asked to shut down has done so. Of each host's memory
    `xen_memory_bytes` and `dom0_memory_bytes` are not for guests. `coordinator` names a host; empty: the first.
    Without `tls` the pool speaks plain HTTP, and only on loopback addresses.
    """

    users: tuple[User, ...] = (User(name="root", password="migd"),)
    refusal_delay_s: Seconds = 5.0
    boot_s: Seconds = 3.0
    shutdown_s: Seconds = 1.0
    coordinator: str = ""
    xen_memory_bytes: NotNegative = 128 * MIB
    dom0_memory_bytes: NotNegative = GIB
    storage: tuple[Storage, ...] = (Storage(name="shared"),)
    networks: tuple[Network, ...] = ()
    hosts: dict[str, HostSettings] = {}
    guests: dict[str, GuestSettings] = {}
    groups: tuple[Group, ...] = ()
    templates: tuple[str, ...] = ()
    ha: HighAvailability | None = None
    migration_compression: bool = False
    product_brand: str = "XCP-ng"
    product_version: str = "8.3.0"
    tls: Tls | None = None

    def faster(self, times: float) -> "Settings":
        """Return the same settings for a cluster that is so many times faster: guests boot and shut down faster."""
        return msgspec.structs.replace(self, boot_s=self.boot_s / times, shutdown_s=self.shutdown_s / times)

    def guests_by_uuid(self, uuids: Mapping[str, str]) -> dict[str, GuestSettings]:
        """Return what is said of guests, by the uuids of their names. Raises ConfigError for one that there is not."""
        _check("xapi.guests", self.guests, uuids, "guest")
        return {uuids[name]: guest for name, guest in self.guests.items()}

    def check(self, hosts: Iterable[str], guests: Iterable[str]) -> None:
        """Raise ConfigError where a name leads nowhere, given those of all hosts and guests."""
        hosts, guests = tuple(hosts), tuple(guests)
        storage, networks = [each.name for each in self.storage], [each.name for each in self.networks]
        if self.coordinator:
            _check("xapi.coordinator", (self.coordinator,), hosts, "host")
        _check("xapi.hosts", self.hosts, hosts, "host")
        for name, reached_by in [(each.name, each.hosts) for each in self.storage] + [
            (each.name, each.hosts) for each in self.networks
        ]:
            _check(f"xapi: {name}: hosts", reached_by or (), hosts, "host")
        for name, guest in self.guests.items():
            _check(f"xapi.guests.{name}.storage", guest.storage, storage, "storage")
            _check(f"xapi.guests.{name}.networks", guest.networks, networks, "network")
            operations = ENUMERATIONS["vm_operations"]
            _check(f"xapi.guests.{name}.blocked_operations", guest.blocked_operations, operations, "operation")
            _check(f"xapi.guests.{name}.affinity", filter(None, (guest.affinity,)), hosts, "host")
        members = [name for group in self.groups for name in group.guests]
        _check("xapi.groups", members, guests, "guest")
        twice = {name for name in members if members.count(name) > 1}
        if twice:
            raise ConfigError(f"xapi.groups: guest {min(twice)} is in two groups; XAPI allows one")


def _check(where: str, names: Iterable[str], known: Iterable[str], kind: str) -> None:
    known = tuple(known)
    for name in names:
        if name not in known:
            raise ConfigError(f"{where}: there is no {kind} {name!r}; there is {', '.join(known) or 'none'}")

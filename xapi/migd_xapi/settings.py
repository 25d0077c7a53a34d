"""What a pool file says about the server itself, in its `[xapi]` section."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from migd_core.units import GIB, MIB
from migd_xapi.sessions import User


class Storage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A storage repository. One that is not shared exists once on each host."""

    name: str
    is_shared: bool = True
    type: str = "nfs"


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """TLS with the certificate (its chain behind it) and the key in two PEM files; without any, with ones made anew."""

    certificate_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("a certificate needs its key, and a key its certificate: give both files or none")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the pool presents itself.

    `refusal_delay_s` is how long a wrong password takes to be refused. Of each host's memory `xen_memory_bytes` and
    `dom0_memory_bytes` are not for guests. `coordinator` is the name of a host; empty: the first.
    Without `tls` the pool speaks plain HTTP, and only on loopback addresses.
    """

    users: tuple[User, ...] = (User(name="root", password="migd"),)
    refusal_delay_s: Annotated[float, Meta(ge=0)] = 5.0
    coordinator: str = ""
    xen_memory_bytes: Annotated[int, Meta(ge=0)] = 128 * MIB
    dom0_memory_bytes: Annotated[int, Meta(ge=0)] = GIB
    storage: tuple[Storage, ...] = (Storage(name="shared"),)
    product_brand: str = "XCP-ng"
    product_version: str = "8.3.0"
    tls: Tls | None = None

"""The file that `--hosts` names: which Dom0s there are, how ssh reaches them, and how guests are moved."""

from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from migd_core import config
from migd_core.errors import ConfigError
from migd_core.units import Positive
from migd_xapi.sessions import User
from migd_xapi.settings import Part, Settings, Tls

NAME: Final = r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z"
# No command line holds a NUL.
Word = Annotated[str, Meta(pattern=r"\A[^\x00]+\Z")]


class XlHost(Part, frozen=True, kw_only=True):
    """One Dom0.

    `uuid` is what its agent calls the host (`measure.host_uuid`); without it, both take its machine id. Guests are sent
    to `migration_address`, which is what the other Dom0s reach it by; without it, to `address`.
    """

    name: Annotated[str, Meta(pattern=NAME)]
    address: Annotated[str, Meta(pattern=r"\A[^-\s@\x00][^\s@\x00]*\Z")]
    port: Annotated[int, Meta(ge=1, le=65535)] = 22
    user: Annotated[str, Meta(pattern=r"\A[a-z_][a-z0-9_-]*\Z")] = "root"
    identity: Path | None = None
    uuid: str = ""
    migration_address: Annotated[str, Meta(pattern=r"\A([^-\s\x00][^\s\x00]*)?\Z")] = ""

    @property
    def receives_at(self) -> str:
        """Return the address that guests are sent to."""
        return self.migration_address or self.address


class HostsFile(Part, frozen=True, kw_only=True):
    """A pool of Dom0s. Each is asked every `poll_s` seconds, and is down when it did not answer for `down_after_s`.

    Guest and target's address are appended to `migrate`. XAPI's progress is told by time: xl tells none, so a guest is
    taken to need as long as its memory at `migration_bytes_per_s`. A guest that is gone is shown halted for
    `forget_after_s`: the hosts know no guest that does not run.
    """

    name: str = "xl"
    hosts: Annotated[tuple[XlHost, ...], Meta(min_length=1)]
    users: Annotated[tuple[User, ...], Meta(min_length=1)]
    coordinator: str = ""
    tls: Tls | None = None
    migrate: Annotated[tuple[Word, ...], Meta(min_length=1)] = ("xl", "-v", "migrate")
    migration_bytes_per_s: Positive = 100e6
    ssh_options: tuple[Word, ...] = ()
    poll_s: Positive = 2.0
    timeout_s: Positive = 20.0
    down_after_s: Positive = 30.0
    forget_after_s: Positive = 3600.0

    def __post_init__(self) -> None:
        for what, values in (
            ("name", [host.name for host in self.hosts]),
            ("uuid", [host.uuid for host in self.hosts if host.uuid]),
        ):
            twice = {value for value in values if values.count(value) > 1}
            if twice:
                raise ValueError(f"two hosts have the {what} {min(twice)}")

    def settings(self) -> Settings:
        """Return how the pool presents itself: nothing is claimed that the hosts do not say."""
        return Settings(
            users=self.users,
            coordinator=self.coordinator,
            tls=self.tls,
            storage=(),
            boot_s=0.0,
            shutdown_s=0.0,
            xen_memory_bytes=0,
            product_brand="xl",
            product_version="",
        )


def load(path: Path) -> HostsFile:
    """Return what the file says. Raises ConfigError."""
    file = config.load(path, HostsFile)
    for host in file.hosts:
        if host.identity is not None and not host.identity.is_file():
            raise ConfigError(f"{path}: host {host.name}: identity {host.identity} is no file; name its ssh key")
    return file

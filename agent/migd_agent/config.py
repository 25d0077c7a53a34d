"""The agent's configuration file, one Struct a section. `agent.example.toml` shows every key."""

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from migd_core import config
from migd_core.units import Seconds

DEFAULT_PATH: Final = Path("/etc/migd/agent.toml")

LogLevel = Literal["debug", "info", "warning", "error"]
Optional = Literal["guests", "dirty-curve"]
HealthSource = Literal["hwmon", "ipmi", "edac", "smart", "nics"]
# Reading sensors may wake disks and keeps slow buses busy: nothing is gained by doing it every second.
Slow = Annotated[float, Meta(ge=1, le=86400)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One section of the file; an unknown key is an error."""


class Endpoints(Section, frozen=True, kw_only=True):
    """One controller: where samples go, and where leases to probe guests come from.

    Where `lease_endpoint` is empty, it is the port after that of `endpoint`.
    """

    endpoint: Annotated[str, Meta(pattern=r"^tcp://[^\s/]+:\d{1,5}$", examples=["tcp://controller.example.org:7201"])]
    lease_endpoint: Annotated[
        str, Meta(pattern=r"^(tcp://[^\s/]+:\d{1,5})?$", examples=["tcp://controller.example.org:7202"])
    ] = ""

    def __post_init__(self) -> None:
        for endpoint in (self.endpoint, self.leases_from):
            if not 1 <= (port := int(endpoint.rpartition(":")[2])) <= 65535:
                raise ValueError(f"expected a port from 1 to 65535, found {port} in {endpoint!r}")

    @property
    def leases_from(self) -> str:
        """The endpoint that leases come from."""
        address, _, port = self.endpoint.rpartition(":")
        return self.lease_endpoint or f"{address}:{int(port) + 1}"


class ControllerSection(Endpoints, frozen=True, kw_only=True):
    """Where samples go, and the keys that let them in: the controller's public one, this agent's secret one.

    `others` are controllers of the same key that stand by; each gets every sample.
    """

    public_key_file: str
    secret_key_file: str
    others: tuple[Endpoints, ...] = ()

    @property
    def all(self) -> tuple[Endpoints, ...]:
        """Every controller that samples go to."""
        return self, *self.others


class NoGuests(Section, frozen=True, kw_only=True, tag_field="source", tag="none"):
    """Guests are not measured."""


class AutoGuests(Section, frozen=True, kw_only=True, tag_field="source", tag="auto"):
    """Xen where this is a Dom0, else nothing but this machine."""


class XenGuests(Section, frozen=True, kw_only=True, tag_field="source", tag="xen"):
    """Guests, and the host as a whole, are measured on the Xen that this Dom0 controls."""


class SimGuests(Section, frozen=True, kw_only=True, tag_field="source", tag="sim"):
    """Guests, and the host they run on, are measured on an emulated pool; `url` is its control endpoint."""

    url: Annotated[str, Meta(pattern=r"^http://[^\s/:]+(:\d{1,5})?/?$", examples=["http://127.0.0.1:8081"])]

    def __post_init__(self) -> None:
        if urlsplit(self.url).port == 0:  # beyond 65535 it raises ValueError by itself
            raise ValueError(f"expected a port from 1 to 65535, found 0 in {self.url!r}")


class MeasureSection(Section, frozen=True, kw_only=True):
    """What is measured, and how often.

    `host_uuid` is XAPI's uuid of this host (empty: found on the machine). `nics` are those that carry guests and
    migrations (empty: all physical ones). `flows` names the switch that counts who talks to whom; `auto` is the one
    that a Xen host has.
    """

    period_s: Annotated[float, Meta(ge=0.05, le=60)] = 1.0
    host_uuid: Annotated[str, Meta(max_length=128)] = ""
    nics: tuple[str, ...] = ()
    flows: Literal["auto", "bridge", "openvswitch", "off"] = "auto"
    collectors_off: tuple[Optional, ...] = ()
    guests: AutoGuests | XenGuests | SimGuests | NoGuests = AutoGuests()


class HealthSection(Section, frozen=True, kw_only=True):
    """How often the host's own health is read, and what of it is not.

    The kernel's sensors and counters are read every `every_s`, the board's controller (BMC) every `ipmi_every_s`, disks
    every `smart_every_s`. What is no longer found stands for `recover_s` more, so that a host does not flap. What `off`
    names is never read.
    """

    every_s: Slow = 30.0
    ipmi_every_s: Slow = 120.0
    smart_every_s: Slow = 600.0
    recover_s: Seconds = 300.0
    off: tuple[HealthSource, ...] = ()


class AgentConfig(Section, frozen=True, kw_only=True):
    """The whole file."""

    controller: ControllerSection
    measure: MeasureSection = MeasureSection()
    health: HealthSection = HealthSection()
    log_level: LogLevel = "info"


def load(path: Path) -> AgentConfig:
    """Return the configuration in the file at `path`. Raises ConfigError."""
    return config.load(path, AgentConfig, "`migd-agent join CONTROLLER KEY` writes it; or name another with --config")

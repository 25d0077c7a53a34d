"""What a Dom0 says of itself and its domains, read from the text of `xl`, /proc and /etc. Nothing here touches one."""

import re
import uuid
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from migd_core.errors import MigdError
from migd_core.units import MIB
from migd_xapi.backend import Why

MARK: Final = "== migd "
# Each part of the answer stands behind a line with its name. `timeout` ends what hangs on a host that is still there.
POLL: Final = f"""\
echo '{MARK}machine-id'; cat /etc/machine-id 2>/dev/null
echo '{MARK}cpuinfo'; sed '/^$/q' /proc/cpuinfo
echo '{MARK}info'; timeout 15 xl info || exit 3
echo '{MARK}list'; timeout 15 xl list -l || exit 3
echo '{MARK}states'; timeout 15 xl list || exit 3
echo '{MARK}end'
"""
_KIB: Final = 1024
# libxl's names of a guest in mid-flight (xl_migrate.c): the copy that arrives, the one that is about to be destroyed.
INCOMING, AWAY = "--incoming", "--migratedaway"


class Malformed(MigdError):
    """What a host says cannot be read."""


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain of a guest, as its host has it."""

    uuid: str
    name: str
    domid: int
    type: Literal["hvm", "pv", "pvh"]
    vcpus: int
    memory_bytes: int
    macs: tuple[str, ...] = ()
    pci_devices: int = 0
    is_paused: bool = False

    @property
    def is_in_flight(self) -> bool:
        """Return whether it is no more than a trace of a migration: the guest itself has another domain."""
        return self.name.endswith((INCOMING, AWAY))


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a host says. `uuid` is its machine id's, empty where it has none."""

    uuid: str
    cpus: int
    cpu_mhz: float
    cpu_vendor: str
    cpu_model: str
    cpu_features: str
    capabilities: tuple[str, ...]
    xen_version: str
    memory_bytes: int
    free_bytes: int
    dom0_bytes: int
    domains: tuple[Domain, ...]


class _Created(msgspec.Struct):
    name: str
    type: Literal["hvm", "pv", "pvh"] = "pv"
    uuid: Annotated[str, Meta(pattern=r"\A([0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})?\Z")] = ""


class _Built(msgspec.Struct):
    max_vcpus: Annotated[int, Meta(ge=1)] = 1
    max_memkb: Annotated[int, Meta(ge=0)] = 0
    target_memkb: Annotated[int, Meta(ge=0)] = 0


class _Nic(msgspec.Struct):
    mac: str = ""


class _Config(msgspec.Struct):
    c_info: _Created
    b_info: _Built = msgspec.field(default_factory=_Built)
    nics: list[_Nic] = []
    pcidevs: list[msgspec.Raw] = []


class _Listed(msgspec.Struct):
    domid: Annotated[int, Meta(ge=0)]
    config: _Config


_decode_list: Final = msgspec.json.Decoder(list[_Listed]).decode
_STATE: Final = re.compile(r"^(?P<name>.*\S)\s+(?P<domid>[0-9]{1,9})\s+\d+\s+\d+\s+(?P<state>[a-z-]{6})\s+[\d.]+\s*$")


def parse(text: str) -> Facts:
    """Return what `POLL` prints. Raises Malformed."""
    parts = _parts(text)
    info = _pairs(parts["info"])
    cpu = _pairs(parts["cpuinfo"])
    listed = parse_list(parts["list"], parse_states(parts["states"]))
    try:
        return Facts(
            uuid=_machine_uuid(parts["machine-id"]),
            cpus=int(info["nr_cpus"]),
            cpu_mhz=float(info["cpu_mhz"]),
            cpu_vendor=cpu.get("vendor_id", ""),
            cpu_model=cpu.get("model name", ""),
            cpu_features=info.get("hw_caps", "").replace(":", "-"),
            capabilities=tuple(info.get("xen_caps", "").split()),
            xen_version=info.get("xen_version", ""),
            memory_bytes=int(info["total_memory"]) * MIB,
            free_bytes=int(info["free_memory"]) * MIB,
            dom0_bytes=next((each.memory_bytes for each in listed if each.domid == 0), 0),
            domains=tuple(each for each in listed if each.domid != 0),
        )
    except KeyError as error:
        raise Malformed(f"xl info: expected a line {error.args[0]}, found none") from error
    except ValueError as error:
        raise Malformed(f"xl info: {error}") from error


def parse_list(text: str, states: dict[int, str]) -> list[Domain]:
    """Return the domains of `xl list -l`, Dom0 among them; `states` is what `xl list` says. Raises Malformed."""
    try:
        listed = _decode_list(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Malformed(f"xl list -l: {error}; found {text[:60]!r}") from error
    return [_domain(each, states.get(each.domid, "")) for each in listed]


def parse_states(text: str) -> dict[int, str]:
    """Return the letters of state by domid, as `xl list` writes them: `-b----`."""
    return {int(match["domid"]): match["state"] for line in text.splitlines() if (match := _STATE.match(line))}


def _domain(listed: _Listed, state: str) -> Domain:
    created, built = listed.config.c_info, listed.config.b_info
    if listed.domid != 0 and not created.uuid:
        raise Malformed(f"xl list -l: domain {created.name} has no uuid")
    return Domain(
        uuid=created.uuid.lower(),
        name=created.name,
        domid=listed.domid,
        type=created.type,
        vcpus=built.max_vcpus,
        memory_bytes=(built.target_memkb or built.max_memkb) * _KIB,
        macs=tuple(nic.mac.lower() for nic in listed.config.nics if nic.mac),
        pci_devices=len(listed.config.pcidevs),
        is_paused="p" in state,
    )


def _parts(text: str) -> dict[str, str]:
    """Return the parts of the answer by name. Raises Malformed where one is missing: the answer was cut."""
    parts: dict[str, str] = {}
    for part in text.split(MARK)[1:]:
        name, _, rest = part.partition("\n")
        parts[name.strip()] = rest
    missing = {"machine-id", "cpuinfo", "info", "list", "states", "end"} - parts.keys()
    if missing:
        raise Malformed(f"the host's answer lacks {', '.join(sorted(missing))}; found {text[-60:]!r}")
    return parts


def _pairs(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _machine_uuid(text: str) -> str:
    """Return the machine id written as a uuid, as migd-agent names the host; empty where there is none."""
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        return ""


# What stands in the output of a migration that failed, and what XAPI has for it. The first that is found counts.
_CAUSES: Final = (
    (re.compile(r"failed to suspend at sender|guest didn't acknowledge", re.IGNORECASE), Why.UNACKNOWLEDGED),
    (
        re.compile(r"failed to free memory|cannot allocate memory|(?:out of|not enough) memory", re.IGNORECASE),
        Why.NO_MEMORY,
    ),
    (
        re.compile(r"^ssh: |host key verification failed|permission denied \(|connection refused|no route to host|"
        r"connection timed out|could not resolve", re.IGNORECASE | re.MULTILINE),
        Why.TARGET_UNREACHABLE,
    ),
)  # fmt: skip
ACKNOWLEDGED: Final = "Target has acknowledged transfer"


def why_of(output: str) -> Why:
    """Return what XAPI has for a failure of `xl migrate` that wrote this."""
    return next((why for pattern, why in _CAUSES if pattern.search(output)), Why.OTHER)


def reason_of(output: str, code: str) -> str:
    """Return the part of the output that a person needs."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("xc: detail:")]
    return f"xl migrate ended with exit code {code}: {' | '.join(lines[-6:]) or 'it said nothing'}"

"""Who this agent is: its host's uuid, and the CURVE keys it speaks with."""

import re
import socket
import stat
import uuid
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import zmq
import zmq.auth

from migd_core import systemd
from migd_core.errors import ConfigError

_INSTALLATION_UUID: Final = re.compile(r"^INSTALLATION_UUID=['\"]?([0-9a-fA-F-]{36})['\"]?\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Keys:
    """This agent's CURVE key pair and the controller's public key, each as Z85."""

    controller_public: bytes
    public: bytes
    secret: bytes = field(repr=False)


def host_uuid(configured: str, etc: Path = Path("/etc")) -> str:
    """Return `configured`, else XAPI's uuid of this host, else the machine id written as a uuid. Raises ConfigError."""
    if configured:
        return configured
    inventory, machine_id = etc / "xensource-inventory", etc / "machine-id"
    if inventory.exists():
        return parse_inventory(_text(inventory), str(inventory))
    if machine_id.exists():
        return parse_machine_id(_text(machine_id), str(machine_id))
    raise ConfigError(f"host uuid: neither {inventory} nor {machine_id} exists; set measure.host_uuid")


def claim(host_uuid: str, endpoint: str) -> socket.socket:
    """Return what, while it is open, makes this agent the only one here that speaks for a host to a controller.

    Of two the controller would take each sample for that of an agent begun anew, and never see a trend. The kernel ends
    the claim with the process. Raises ConfigError where another agent has it.
    """
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0migd-agent-{zlib.crc32(f'{host_uuid} {endpoint}'.encode()):08x}")  # a name may have 107 bytes
    except OSError as error:
        mark.close()
        raise ConfigError(
            f"another migd-agent speaks for host {host_uuid} to {endpoint} already; end one of the two"
        ) from error
    return mark


def parse_inventory(text: str, name: str) -> str:
    """Return the uuid in the text of an XAPI host's inventory. Raises ConfigError."""
    if (match := _INSTALLATION_UUID.search(text)) is None:
        raise ConfigError(f"{name}: expected a line INSTALLATION_UUID='…', found none; set measure.host_uuid")
    return match[1].lower()


def parse_machine_id(text: str, name: str) -> str:
    """Return the machine id in `text` in the form of a uuid. Raises ConfigError."""
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError as error:
        raise ConfigError(
            f"{name}: expected 32 hexadecimal digits, found {text.strip()[:40]!r}; set measure.host_uuid"
        ) from error


def load_keys(controller_public_file: Path, secret_file: Path) -> Keys:
    """Return the keys in two ZeroMQ certificate files (`migctl keys new` makes them). Raises ConfigError.

    A secret key that everybody on the machine can read is refused.
    """
    read_from = systemd.secret(secret_file)
    controller_public, _ = _certificate(controller_public_file)
    _, secret = _certificate(read_from)
    if secret is None:
        raise ConfigError(f"{secret_file}: holds no secret key; give the file that ends in .key_secret")
    if (mode := stat.S_IMODE(read_from.stat().st_mode)) & stat.S_IRWXO:
        raise ConfigError(f"{secret_file}: a secret key open to everybody (mode {mode:04o}); chmod 0600 {secret_file}")
    return Keys(controller_public, zmq.curve_public(secret), secret)


def _certificate(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
        for key in (public, secret or public):
            zmq.curve_public(key)  # any 32 bytes are a key, so this refuses exactly what is not 40 characters of Z85
    except (OSError, ValueError, zmq.ZMQError) as error:
        raise ConfigError(f"{path}: no CURVE key can be read: {error}; `migctl keys new` makes one") from error
    return public, secret


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check the path and the permissions") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: byte {error.start} cannot be read") from error

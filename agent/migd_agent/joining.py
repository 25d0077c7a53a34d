"""How a host joins: its agent's own keys, which never leave it, and the configuration that names its controller."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from migd_agent import config, identity
from migd_core import keys
from migd_core.config import parse
from migd_core.errors import ConfigError, MigdError

FOLDER: Final = Path("/etc/migd")
_NAME: Final = "agent"
_NEXT: Final = "agent.next"
_PORT: Final = 7201
_HAS_PORT: Final = re.compile(r"^([^:]+|\[.*\]):\d+$")  # IPv6 addresses stand in brackets
_UNIT: Final = "migd-agent.service"
_SYSTEMD: Final = Path("/run/systemd/system")  # sd_booted(3)
_RESTART_S: Final = 60.0
_CONFIG: Final = """\
# Written by `migd-agent join`, which leaves it alone from then on. agent.example.toml explains every key.

[controller]
endpoint = "{endpoint}"
public_key_file = "{folder}/controller.key"
secret_key_file = "{folder}/secrets/agent.key_secret"
"""
_CONTROLLER_KEY: Final = """\
# The controller's public key, written by `migd-agent join`.
metadata
curve
    public-key = "{key}"
"""


def join(controller: str, key: str, folder: Path = FOLDER) -> str:
    """Write the controller's address and key, make this agent's keys where it has none, and return what to do next.

    A second time the controller's key is replaced, and a configuration that is there must name the same controller.
    Raises MigdError.
    """
    address = controller.removeprefix("tcp://")
    endpoint = f"tcp://{address}" if _HAS_PORT.search(address) else f"tcp://{address}:{_PORT}"
    if not keys.is_public_key(key):
        raise ConfigError(
            f"{key!r} is no public key (40 characters of Z85); `migctl keys list` on the controller shows its own"
        )
    path, text = folder / "agent.toml", _CONFIG.format(endpoint=endpoint, folder=folder)
    parse(text, config.AgentConfig, name="the controller's address")  # what the agent would refuse is not written
    if path.exists() and (there := config.load(path).controller.endpoint) != endpoint:
        raise ConfigError(f"{path}: names another controller, {there}; change it there, or remove the file")
    make_keys(folder)
    try:
        if not path.exists():
            _write(path, text)
        _write(folder / "controller.key", _CONTROLLER_KEY.format(key=key))
    except OSError as error:
        raise MigdError(f"{error.filename}: cannot be written: {error.strerror}; run this as root") from error
    host, public = _host_and_key(path, _NAME, folder)
    return f"on the controller: migctl keys authorise {host} '{public}'\n"


def restart() -> None:
    """Let systemd start the agent anew with what was written, where this machine runs systemd. Raises MigdError."""
    if not _SYSTEMD.is_dir():
        return
    try:
        subprocess.run(["systemctl", "restart", _UNIT], check=True, timeout=_RESTART_S, capture_output=True, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise MigdError(f"{_UNIT} cannot be started ({error}); `journalctl -u {_UNIT}` says why") from error


def make_keys(folder: Path = FOLDER) -> None:
    """Make this agent's keys where it has none. Raises MigdError."""
    if not (folder / f"secrets/{_NAME}.key_secret").exists():
        (folder / f"{_NAME}.key").unlink(missing_ok=True)
        keys.create(folder, _NAME, folder / "secrets")


def who(path: Path, *, is_next: bool = False, folder: Path = FOLDER) -> str:
    """Return this host's uuid and its agent's public key, or its next one; each is made where it is missing.

    Raises MigdError.
    """
    if not is_next:
        make_keys(folder)
    elif not (folder / f"{_NEXT}.key").exists():
        keys.create(folder, _NEXT, folder / "secrets")
    return " ".join(_host_and_key(path, _NEXT if is_next else _NAME, folder)) + "\n"


def use_next(folder: Path = FOLDER) -> None:
    """Put the next key in the place of this agent's key, for good. Raises MigdError."""
    if not (folder / f"{_NEXT}.key").exists():
        raise MigdError(f"{folder}/{_NEXT}.key: there is no next key; `migd-agent key --next` makes one")
    # The secret first: if only that is done, doing it again mends it, as the agent needs no more.
    for name in ("secrets/{}.key_secret", "{}.key"):
        if (folder / name.format(_NEXT)).exists():
            os.replace(folder / name.format(_NEXT), folder / name.format(_NAME))


def _host_and_key(path: Path, name: str, folder: Path) -> tuple[str, str]:
    configured = config.load(path).measure.host_uuid if path.exists() else ""
    return identity.host_uuid(configured), keys.read_public(folder / f"{name}.key")


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(0o644)
    fresh.replace(path)

"""How a host joins: its agent's own keys, which never leave it, and the configuration that names its controllers."""

import os
import re
import subprocess
from collections.abc import Sequence
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
{others}public_key_file = "{folder}/controller.key"
secret_key_file = "{folder}/secrets/agent.key_secret"
"""
_CONTROLLER_KEY: Final = """\
# The controller's public key, written by `migd-agent join`.
metadata
curve
    public-key = "{key}"
"""


def join(controllers: Sequence[str], key: str, folder: Path = FOLDER) -> str:
    """Write the controllers' addresses and key, make this agent's keys where it has none, and return what to do next.

    A second time the controllers' key is replaced. A configuration that is there must name them all, or is given those
    that it lacks where nobody has edited it. Raises MigdError.
    """
    wanted = tuple(dict.fromkeys(_endpoint(each) for each in controllers))
    if not keys.is_public_key(key):
        raise ConfigError(
            f"{key!r} is no public key (40 characters of Z85); `migctl keys list` on the controller shows its own"
        )
    path, text = folder / "agent.toml", _configuration(wanted, folder)
    parse(text, config.AgentConfig, name="the controller's address")  # what the agent would refuse is not written
    is_new = not path.exists() or _lacks_some(path, wanted, folder)
    make_keys(folder)
    try:
        if is_new:
            _write(path, text)
        _write(folder / "controller.key", _CONTROLLER_KEY.format(key=key))
    except OSError as error:
        raise MigdError(f"{error.filename}: cannot be written: {error.strerror}; run this as root") from error
    host, public = _host_and_key(path, _NAME, folder)
    where = "on the controller" if len(wanted) == 1 else "on each controller"
    return f"{where}: migctl keys authorise {host} '{public}'\n"


def _endpoint(controller: str) -> str:
    address = controller.removeprefix("tcp://")
    return f"tcp://{address}" if _HAS_PORT.search(address) else f"tcp://{address}:{_PORT}"


def _configuration(endpoints: Sequence[str], folder: Path) -> str:
    others = f"others = [{_others(endpoints[1:])}]\n" if len(endpoints) > 1 else ""
    return _CONFIG.format(endpoint=endpoints[0], others=others, folder=folder)


def _others(endpoints: Sequence[str]) -> str:
    return ", ".join(f'{{ endpoint = "{each}" }}' for each in endpoints)


def _lacks_some(path: Path, wanted: Sequence[str], folder: Path) -> bool:
    """Return whether a file is to be written anew, to name all of `wanted`. Raises ConfigError where it may not be."""
    there = [each.endpoint for each in config.load(path).controller.all]
    if set(wanted) <= set(there):
        return False
    if not set(there) < set(wanted):
        raise ConfigError(f"{path}: names another controller, {', '.join(there)}; change it there, or remove the file")
    if path.read_text(encoding="utf-8") != _configuration(there, folder):
        others = _others([each for each in wanted if each != there[0]])
        text = f"was edited; put `others = [{others}]` into its section [controller], and join again"
        raise ConfigError(f"{path}: {text}")
    return True


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

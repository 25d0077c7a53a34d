"""The list of agents that are let in, in one TOML file that is read again when it changes.

Host uuid = its agent's public CURVE key; while that is rotated, a list of its last key and its next one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from migd_core import config
from migd_core.errors import ConfigError

Keys = tuple[str, ...]


class AgentsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's one section."""

    agents: dict[str, str | Annotated[list[str], Meta(min_length=1, max_length=2)]] = {}


def keys_of(value: str | Sequence[str]) -> Keys:
    """Return the keys that stand for a host on the list, the newest last."""
    return (value,) if isinstance(value, str) else tuple(value)


def by_key(agents: Mapping[str, str | Sequence[str]], path: Path) -> dict[str, str]:
    """Return the host of each key; `path` stands for the list in errors. Raises ConfigError."""
    host_of_key: dict[str, str] = {}
    for host, value in agents.items():
        for key in keys_of(value):
            if len(key) != 40:
                raise ConfigError(f"{path}: agents.{host}: a public key has 40 characters, found {len(key)}")
            if key in host_of_key:
                raise ConfigError(f"{path}: hosts {host_of_key[key]} and {host} share a key; give each its own")
            host_of_key[key] = host
    return host_of_key


class AllowedAgents:
    """Which key may speak for which host. `refresh` is cheap and is called often; `is_allowed` from any thread."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError."""
        self._path = path
        self._stamp = (0, 0, 0)
        self.host_of_key: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Read the file again if it changed; True if it did. Raises ConfigError and keeps the list it had."""
        try:
            status = self._path.stat()
        except OSError as error:
            raise ConfigError(
                f"{self._path}: cannot be read: {error.strerror}; `migctl keys authorise` creates it and adds "
                "an agent; where no host has one, an empty file will do"
            ) from error
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return False
        self.host_of_key = by_key(config.load(self._path, AgentsFile).agents, self._path)
        self._stamp = stamp
        return True

    def is_allowed(self, key: str) -> bool:
        """True if the key is on the list."""
        return key in self.host_of_key

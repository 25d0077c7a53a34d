"""The list of agents that are let in: host uuid = public CURVE key, in one TOML file, read again when it changes."""

from pathlib import Path

import msgspec

from migd_core import config
from migd_core.errors import ConfigError


class AgentsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's one section."""

    agents: dict[str, str]


class AllowedAgents:
    """Which key may speak for which host. `refresh` is cheap and is called often; `is_allowed` from any thread."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError."""
        self._path = path
        self._stamp = (0, 0)
        self.host_of_key: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Read the file again if it changed; True if it did. Raises ConfigError and keeps the list it had."""
        try:
            status = self._path.stat()
        except OSError as error:
            raise ConfigError(
                f"{self._path}: cannot be read: {error.strerror}; "
                "`migd-controller keys authorize` creates it and adds an agent"
            ) from error
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp == self._stamp:
            return False
        agents = config.load(self._path, AgentsFile).agents
        host_of_key: dict[str, str] = {}
        for host, key in agents.items():
            if len(key) != 40:
                raise ConfigError(f"{self._path}: agents.{host}: a public key has 40 characters, found {len(key)}")
            if key in host_of_key:
                raise ConfigError(f"{self._path}: hosts {host_of_key[key]} and {host} share a key; give each its own")
            host_of_key[key] = host
        self.host_of_key = host_of_key
        self._stamp = stamp
        return True

    def is_allowed(self, key: str) -> bool:
        """True if the key is on the list."""
        return key in self.host_of_key

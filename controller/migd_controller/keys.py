"""CURVE keys in files: make a pair, read one, put an agent on the controller's list."""

import os
from pathlib import Path

import zmq
import zmq.auth

from migd_controller.agents_file import AgentsFile
from migd_core import config
from migd_core.errors import ConfigError, Refused


def create(folder: Path, name: str) -> tuple[Path, Path]:
    """Write `folder/name.key` (public) and `folder/name.key_secret` (mode 0600) and return both paths.

    Raises Refused rather than overwrite a key that something may depend on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    public, secret = folder / f"{name}.key", folder / f"{name}.key_secret"
    for path in (public, secret):
        if path.exists():
            raise Refused(f"{path} exists; remove it first if nothing uses it any more")
    mask = os.umask(0o077)
    try:
        zmq.auth.create_certificates(folder, name)
    finally:
        os.umask(mask)
    public.chmod(0o644)
    return public, secret


def read_public(path: Path) -> str:
    """Return the public key in a key file. Raises ConfigError."""
    return _read(path)[0].decode("ascii")


def read_secret(path: Path) -> tuple[bytes, bytes]:
    """Return the public and the secret key in a secret key file. Raises ConfigError."""
    public, secret = _read(path)
    if secret is None:
        raise ConfigError(f"{path}: holds no secret key; give the file that ends in .key_secret")
    return public, secret


def authorize(agents_file: Path, host_uuid: str, public_key_file: Path) -> None:
    """Let the agent with this key speak for the host, instead of any key the host had. Raises ConfigError."""
    key = read_public(public_key_file)
    agents = dict(config.load(agents_file, AgentsFile).agents) if agents_file.exists() else {}
    agents[host_uuid] = key
    lines = ["# Which agent may speak for which host: host uuid = its public key.", "[agents]"]
    lines += [f'"{host}" = "{public}"' for host, public in sorted(agents.items())]
    written = agents_file.with_suffix(".new")
    written.write_text("\n".join(lines) + "\n", encoding="utf-8")
    written.replace(agents_file)


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no key can be read: {error}; `migd-controller keys new` makes one") from error

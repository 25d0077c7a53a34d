"""CURVE keys in files: make a pair, read one, put an agent on the controller's list."""

import json
import os
from pathlib import Path

import zmq
import zmq.auth

from migd_controller.agents_file import AgentsFile, by_key
from migd_core import config
from migd_core.errors import ConfigError, MigdError, Refused


def create(folder: Path, name: str) -> tuple[Path, Path]:
    """Write `folder/name.key` (public) and `folder/name.key_secret` (mode 0600) and return both paths.

    Raises Refused rather than overwrite a key that something may depend on, MigdError where nothing can be written.
    """
    public, secret = folder / f"{name}.key", folder / f"{name}.key_secret"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (public, secret):
            if path.exists():
                raise Refused(f"{path} exists; remove it first if nothing uses it any more")
        mask = os.umask(0o077)
        try:
            zmq.auth.create_certificates(folder, name)
        finally:
            os.umask(mask)
        public.chmod(0o644)
    except OSError as error:
        raise MigdError(
            f"{public}: cannot be written: {error.strerror}; give a folder that this user may write to"
        ) from error
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
    """Let the agent with this key speak for the host, instead of any key the host had.

    Raises MigdError; the list is then as it was.
    """
    key = read_public(public_key_file)
    agents = dict(config.load(agents_file, AgentsFile).agents) if agents_file.exists() else {}
    agents[host_uuid] = key
    by_key(agents, agents_file)  # what the controller would refuse is not written
    lines = ["# Which agent may speak for which host: host uuid = its public key.", "[agents]"]
    lines += [f"{_toml(host)} = {_toml(public)}" for host, public in sorted(agents.items())]
    written = agents_file.with_suffix(".new")
    try:
        written.write_text("\n".join(lines) + "\n", encoding="utf-8")
        written.replace(agents_file)
    except OSError as error:
        raise MigdError(
            f"{agents_file}: cannot be written: {error.strerror}; check its folder's owner and mode"
        ) from error


def _toml(text: str) -> str:
    """A TOML basic string is written like a JSON string, but for escaped surrogates."""
    return json.dumps(text, ensure_ascii=False)


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no key can be read: {error}; `migd-controller keys new` makes one") from error

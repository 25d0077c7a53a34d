"""CURVE keys in files: make a pair, read one, see to the list of the agents that are let in."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import zmq
import zmq.auth

from migd_core import config
from migd_core.agents_file import AgentsFile, Keys, by_key, keys_of
from migd_core.errors import ConfigError, MigdError, Refused

FOLDER: Final = Path("/etc/migd")


def create(folder: Path, name: str, secrets: Path | None = None) -> tuple[Path, Path]:
    """Write `folder/name.key` (public) and `secrets/name.key_secret` (mode 0600) and return both paths.

    `secrets` is `folder` where it is not given; it is made for its owner alone where it is missing.
    Raises Refused rather than overwrite a key that something may depend on, MigdError where nothing can be written.
    """
    secrets = secrets or folder
    public, secret = folder / f"{name}.key", secrets / f"{name}.key_secret"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if secrets != folder:
            secrets.mkdir(mode=0o700, exist_ok=True)
        for path in (public, secret):
            if path.exists():
                raise Refused(f"{path} exists; remove it first if nothing uses it any more")
        mask = os.umask(0o077)
        try:
            written, _ = zmq.auth.create_certificates(secrets, name)
            while read_public(Path(written)).startswith("-"):  # a command line would take it for an option
                zmq.auth.create_certificates(secrets, name)
        finally:
            os.umask(mask)
        os.replace(written, public)
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


def public_key(text: str) -> str:
    """Return the public key that `text` is, or that is in the file which it names. Raises ConfigError."""
    if is_public_key(text):
        return text
    return read_public(Path(text))


def is_public_key(text: str) -> bool:
    """Return whether a text is a CURVE key: 40 characters of Z85."""
    try:
        zmq.curve_public(text.encode())  # any 32 bytes are a key, so this refuses exactly what is not Z85
    except (ValueError, zmq.ZMQError):
        return False
    return True


def authorised(agents_file: Path) -> dict[str, Keys]:
    """Return the keys of each host whose agent is let in, the newest last. Raises ConfigError."""
    agents = config.load(agents_file, AgentsFile).agents if agents_file.exists() else {}
    by_key(agents, agents_file)
    return {host: keys_of(value) for host, value in agents.items()}


def authorise(agents_file: Path, host_uuid: str, key: str) -> None:
    """Let the agent with this public key speak for the host, instead of any key the host had.

    Raises MigdError; the list is then as it was.
    """
    _write(agents_file, {**authorised(agents_file), host_uuid: (key,)})


def rotate(agents_file: Path, host_uuid: str, key: str) -> str:
    """Let a host's agent in with its next public key, too, and return the one that it uses until then.

    `finish` ends the latter; a next key that was named before no longer counts.

    Raises MigdError; the list is then as it was.
    """
    agents = authorised(agents_file)
    used = _keys_of_host(agents_file, agents, host_uuid)[0]
    if key != used:
        _write(agents_file, {**agents, host_uuid: (used, key)})
    return used


def finish(agents_file: Path, host_uuid: str) -> Keys:
    """Let a host's agent in with its newest key only, and return the keys that no longer count. Raises MigdError."""
    agents = authorised(agents_file)
    *old, newest = _keys_of_host(agents_file, agents, host_uuid)
    if old:
        _write(agents_file, {**agents, host_uuid: (newest,)})
    return tuple(old)


def revoke(agents_file: Path, host_uuid: str) -> Keys:
    """Let no agent speak for the host any more, and return the keys that it had. Raises MigdError."""
    agents = authorised(agents_file)
    had = _keys_of_host(agents_file, agents, host_uuid)
    _write(agents_file, {host: keys for host, keys in agents.items() if host != host_uuid})
    return had


def _keys_of_host(agents_file: Path, agents: Mapping[str, Keys], host_uuid: str) -> Keys:
    if host_uuid not in agents:
        raise MigdError(f"{agents_file}: host {host_uuid} has no key there; `migctl keys list` shows the hosts that do")
    return agents[host_uuid]


def _write(agents_file: Path, agents: Mapping[str, Sequence[str]]) -> None:
    by_key(agents, agents_file)  # what the controller would refuse is not written
    lines = ["# Which agent may speak for which host: host uuid = its public key, or [its last one, its next one]."]
    lines += ["[agents]"]
    lines += [f"{_toml(host)} = {_toml(key[0] if len(key) == 1 else key)}" for host, key in sorted(agents.items())]
    written = agents_file.with_suffix(".new")
    try:
        written.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if agents_file.exists():  # who could read the list still can
            status = agents_file.stat()
            os.chmod(written, status.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(written, status.st_uid, status.st_gid)
        written.replace(agents_file)
    except OSError as error:
        raise MigdError(
            f"{agents_file}: cannot be written: {error.strerror}; check its folder's owner and mode"
        ) from error


def _toml(value: str | Sequence[str]) -> str:
    """TOML basic strings and arrays of them are written like JSON, but for escaped surrogates."""
    return json.dumps(value, ensure_ascii=False)


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no key can be read: {error}; `migctl keys new` makes one") from error

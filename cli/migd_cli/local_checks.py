"""What this machine has of migd: configuration and keys, examined without a controller."""

import re
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from migd_core import config
from migd_core.api import FindingView, Verdict
from migd_core.errors import ConfigError

CONFIG_FOLDER: Final = Path("/etc/migd")
KEY_CHARACTERS: Final = 40  # of a CURVE key in Z85
_PUBLIC: Final = re.compile(r"^\s*public-key\s*=\s*\"(.{40})\"", re.MULTILINE)
_SECRET: Final = re.compile(r"^\s*secret-key\s*=\s*\"(.{40})\"", re.MULTILINE)
_AS_ROOT: Final = "`sudo migctl doctor` examines it"


class _Telemetry(msgspec.Struct):
    secret_key_file: Path
    agents_file: Path


class _Xapi(msgspec.Struct):
    password_file: Path
    ca_file: Path | None = None


class _Controller(msgspec.Struct):
    """What is examined of controller.toml; the rest is the controller's to check."""

    telemetry: _Telemetry
    xapi: _Xapi


class _Reporting(msgspec.Struct):
    public_key_file: Path
    secret_key_file: Path


class _Agent(msgspec.Struct):
    """What is examined of agent.toml."""

    controller: _Reporting


class _Agents(msgspec.Struct):
    agents: dict[str, str | list[str]] = {}


def local_findings(folder: Path) -> list[FindingView]:
    """Return what is to be said of the configuration in `folder`; nothing where there is none."""
    return [*_controller(folder / "controller.toml"), *_agent(folder / "agent.toml")]


def _controller(path: Path) -> Iterator[FindingView]:
    try:
        if not path.exists():
            return
        settings = config.load(path, _Controller)
    except PermissionError:
        yield _closed("config", path)
        return
    except ConfigError as error:
        yield (
            _closed("config", path)
            if isinstance(error.__cause__, PermissionError)
            else _problem(
                "config",
                str(error),
                "put it right, then `systemctl restart migd-controller`; controller.example.toml explains every key",
            )
        )
        return
    yield _ok("config", f"{path} can be read")
    yield from _secret(
        settings.telemetry.secret_key_file,
        _SECRET,
        "the controller's secret key",
        f"`migctl keys new controller --folder {path.parent}`, then give its public key to every agent",
    )
    yield from _agents(settings.telemetry.agents_file)
    yield from _secret(
        settings.xapi.password_file,
        re.compile(r"\S"),
        "the password of the XAPI user",
        f"`install -m 0600 /dev/stdin {settings.xapi.password_file}`, type it, Ctrl-D",
    )
    if settings.xapi.ca_file is not None:
        yield _authorities(settings.xapi.ca_file)


def _agent(path: Path) -> Iterator[FindingView]:
    try:
        if not path.exists():
            return
        settings = config.load(path, _Agent).controller
    except PermissionError:
        yield _closed("config", path)
        return
    except ConfigError as error:
        yield (
            _closed("config", path)
            if isinstance(error.__cause__, PermissionError)
            else _problem("config", str(error), "put it right, then `systemctl restart migd-agent`")
        )
        return
    yield _ok("config", f"{path} can be read")
    yield from _secret(
        settings.secret_key_file,
        _SECRET,
        "the agent's secret key",
        f"`migctl keys new agent --folder {settings.secret_key_file.parent}` makes one; then let it in again",
    )
    yield from _public(settings.public_key_file)


def _secret(path: Path, expected: re.Pattern[str], what: str, mend: str) -> Iterator[FindingView]:
    """Examine a file that nobody else may read."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except PermissionError:
        yield _closed("keys", path)
        return
    except OSError as error:
        yield _problem("keys", f"{path}: {what} is not there: {error.strerror}", mend)
        return
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield _problem("keys", f"{path}: {what} is open to others (mode {mode:04o})", f"`chmod 0600 {path}`")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        yield _closed("keys", path)
        return
    if expected.search(text) is None:
        yield _problem("keys", f"{path}: expected {what}, found something else or nothing", mend)
    elif not mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield _ok("keys", f"{path} holds {what}, and is closed to others")


def _public(path: Path) -> Iterator[FindingView]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except PermissionError:
        yield _closed("keys", path)
        return
    except OSError:
        text = ""
    if _PUBLIC.search(text) is None:
        yield _problem(
            "keys",
            f"{path}: expected the controller's public key, found something else or nothing",
            f"copy controller.key from the controller's machine to {path}",
        )
    else:
        yield _ok("keys", f"{path} holds the controller's public key")


def _agents(path: Path) -> Iterator[FindingView]:
    try:
        agents = config.load(path, _Agents).agents
    except ConfigError as error:
        if isinstance(error.__cause__, PermissionError):
            yield _closed("keys", path)
        else:
            yield _problem("keys", str(error), f"`touch {path}` where no host has an agent; else put it right")
        return
    host_of: dict[str, str] = {}
    for host, value in agents.items():
        for key in [value] if isinstance(value, str) else value:
            if len(key) != KEY_CHARACTERS:
                yield _problem(
                    "keys",
                    f"{path}: host {host} has a key of {len(key)} characters, expected {KEY_CHARACTERS}",
                    f"`migctl keys authorise {host} KEY --folder {path.parent}`",
                )
            elif key in host_of:
                yield _problem(
                    "keys",
                    f"{path}: hosts {host_of[key]} and {host} share a key",
                    "make each agent a key of its own, and authorise that",
                )
            host_of[key] = host
    yield _ok("keys", f"{path} lets in {len(agents)} agent{'' if len(agents) == 1 else 's'}")


def _authorities(path: Path) -> FindingView:
    try:
        ssl.create_default_context(cafile=str(path))
    except OSError as error:
        return _problem(
            "keys",
            f"{path}: expected certificates in PEM, found: {error.strerror or error}",
            "put the authority of the pool's certificates there, or use xapi.fingerprints",
        )
    return _ok("keys", f"{path} holds authorities for the pool's certificates")


def _ok(check: str, text: str) -> FindingView:
    return FindingView(check=check, verdict=Verdict.OK, text=text)


def _problem(check: str, text: str, mend: str) -> FindingView:
    return FindingView(check=check, verdict=Verdict.PROBLEM, text=text, mend=mend)


def _closed(check: str, path: Path) -> FindingView:
    return FindingView(check=check, verdict=Verdict.WARNING, text=f"{path}: you may not read it", mend=_AS_ROOT)

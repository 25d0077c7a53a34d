"""Each step of the quick start done wrong: the message names the thing, and the next step.

A row is what was done wrong, and what the message must hold: what is wrong, and how to mend it.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from migd_controller.config import XapiSection
from migd_controller.xapi import Pool, PoolUnreachable
from migd_core import keys
from migd_xapi.certificate import self_signed

CONTROLLER = """\
state_dir = "{folder}/state"
socket = "{folder}/run/controller.sock"

[telemetry]
listen = "tcp://127.0.0.1:*"
secret_key_file = "{folder}/controller.key_secret"
agents_file = "{folder}/agents.toml"

[xapi]
url = "https://127.0.0.1:1"
username = "migd"
password_file = "{folder}/xapi.password"

[policy]
name = "observe"
"""
AGENT = """\
[controller]
endpoint = "tcp://127.0.0.1:7201"
public_key_file = "{folder}/controller.key"
secret_key_file = "{folder}/agent.key_secret"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A controller and an agent that are configured as the quick start says."""
    for name in ("controller", "agent"):
        keys.create(tmp_path, name)
    (tmp_path / "agents.toml").touch()
    (tmp_path / "xapi.password").write_text("secret\n")
    (tmp_path / "controller.toml").write_text(CONTROLLER.format(folder=tmp_path))
    (tmp_path / "agent.toml").write_text(AGENT.format(folder=tmp_path))
    return tmp_path


def said(*command: str, **environment: str) -> tuple[int, str]:
    """Return the exit code and standard error of one of migd's programs, which must end by itself, with no traceback."""
    variables = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | environment
    ended = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=60, env=variables)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("wrong", "right", "found", "mend"),
    [
        ("agents_file =", "agent_file =", "telemetry.agent_file: unknown key", "did you mean agents_file?"),
        ("controller.key_secret", "c.key_secret", "c.key_secret: no key can be read", "`migctl keys new`"),
        ("controller.key_secret", "controller.key", "holds no secret key", "give the file that ends in .key_secret"),
        ("agents.toml", "absent.toml", "absent.toml: cannot be read", "an empty file will do"),
        ("xapi.password", "absent", "absent cannot be read", "put the password of the XAPI user in it"),
        ('"https://127.0.0.1:1"', '"http://pool.example.org"', "would travel unencrypted", "use https://"),
        ('"https://127.0.0.1:1"', '"pool.example.org"', "found 'pool.example.org'", "expected https://HOST"),
        ("username", 'fingerprints = ["ab"]\nusername', "found 'ab'", "`openssl x509 -noout -fingerprint -sha256`"),
        ("username", 'ca_file = "/dev/null"\nusername', "/dev/null cannot be used", "expected certificates in PEM"),
        ('"observe"', '"obsrve"', "no policy is called 'obsrve'", "did you mean observe?"),
        ('"observe"', '"fastest"', "no policy is called 'fastest'", "there are: observe, "),
        ('"observe"', '"least-loaded"\nconfig = { margin = 1 }', "margin: unknown key", "did you mean margin_ratio?"),
        ('"tcp://127.0.0.1:*"', '"127.0.0.1:7201"', "found '127.0.0.1:7201'", "something like tcp://*:7201"),
        ("state_dir", 'period_s = "5s"\nstate_dir', "found '5s'", "write a plain number of seconds"),
        ("/state", "/xapi.password/state", "state_dir", "check its owner and mode"),
    ],
)
def test_a_controller_that_cannot_start_says_what_to_do(
    folder: Path, wrong: str, right: str, found: str, mend: str
) -> None:
    path = folder / "controller.toml"
    text = path.read_text()
    assert wrong in text
    path.write_text(text.replace(wrong, right, 1))
    code, message = said("migd_controller", "--config", str(path))
    assert code == 1
    assert found in message
    assert mend in message


@pytest.mark.parametrize(
    ("wrong", "right", "found", "mend"),
    [
        ("agent.key_secret", "a.key_secret", "a.key_secret: no CURVE key can be read", "`migctl keys new`"),
        ("agent.key_secret", "agent.key", "holds no secret key", "give the file that ends in .key_secret"),
        ("controller.key", "absent.key", "absent.key: no CURVE key can be read", "`migctl keys new`"),
        ('"tcp://127.0.0.1:7201"', '"controller"', "found 'controller'", "like tcp://controller.example.org:7201"),
        ("endpoint", "endpont", "controller.endpont: unknown key", "did you mean endpoint?"),
    ],
)
def test_an_agent_that_cannot_start_says_what_to_do(
    folder: Path, wrong: str, right: str, found: str, mend: str
) -> None:
    path = folder / "agent.toml"
    path.write_text(path.read_text().replace(wrong, right, 1))
    code, message = said("migd_agent", "--config", str(path))
    assert code == 3
    assert found in message
    assert mend in message


def test_a_secret_key_that_is_open_to_everybody_says_what_to_do(folder: Path) -> None:
    (folder / "agent.key_secret").chmod(0o644)
    _, message = said("migd_agent", "--config", str(folder / "agent.toml"))
    assert f"(mode 0644); chmod 0600 {folder / 'agent.key_secret'}" in message


@pytest.mark.parametrize(
    ("program", "mend"),
    [
        ("migd_controller", "write it, or name the one that is meant"),
        ("migd_agent", "`migd-agent join CONTROLLER KEY` writes it; or name another with --config"),
    ],
)
def test_a_configuration_that_is_not_there_says_what_to_do(program: str, mend: str, tmp_path: Path) -> None:
    _, message = said(program, "--config", str(tmp_path / "absent.toml"))
    assert f"{tmp_path / 'absent.toml'}: there is no such file; {mend}" in message


@pytest.mark.parametrize(
    ("arguments", "found", "mend"),
    [
        (("new", "agent"), "agent.key exists", "remove it first if nothing uses it any more"),
        (("authorise", "xen01", "{folder}/agent.key"), "found 'xen01'", "`migd-agent key` there shows it"),
        (
            ("authorise", "4c4c4544-0000-0000-0000-000000000001", "{folder}/absent.key"),
            "absent.key: no key can be read",
            "`migctl keys new`",
        ),
    ],
)
def test_keys_that_cannot_be_had_say_what_to_do(
    folder: Path, arguments: tuple[str, ...], found: str, mend: str
) -> None:
    filled = [each.format(folder=folder) for each in arguments]
    code, message = said("migd_cli", "keys", *filled, "--folder", str(folder))
    assert code in (1, 2)
    assert found in message
    assert mend in message


@pytest.mark.parametrize(
    ("url", "found", "mend"),
    [
        ("https://127.0.0.1:1", "connection refused", "`systemctl status xapi` on the host tells"),
        ("https://pool.invalid", "is the name in xapi.url right?", "`getent hosts NAME`"),
    ],
)
def test_a_pool_that_is_not_there_says_where_to_look(folder: Path, url: str, found: str, mend: str) -> None:
    pool = Pool(XapiSection(url=url, username="migd", password_file=folder / "xapi.password"))
    with pytest.raises(PoolUnreachable) as refused:
        pool.call("host.get_all")
    assert found in str(refused.value)
    assert mend in str(refused.value)


class Shown:
    """A host that shows a certificate over TLS, and says nothing."""

    def __init__(self, folder: Path) -> None:
        pem, key = self_signed("xen01", ["127.0.0.1"])
        (folder / "shown.pem").write_bytes(pem + key)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SHOW, str(folder / "shown.pem")], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"https://127.0.0.1:{self._process.stdout.readline().strip()}"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


_SHOW = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        try:
            context.wrap_socket(connection, server_side=True).recv(1)
        except OSError:
            connection.close()
"""


@pytest.mark.parametrize(
    ("trust", "found", "mend"),
    [
        ({}, "its certificate is not trusted", "its SHA-256 fingerprint in xapi.fingerprints"),
        ({"fingerprints": ("ab" * 32,)}, "which is none of xapi.fingerprints", "put that one there"),
    ],
)
def test_a_certificate_that_is_not_trusted_says_what_to_do(
    folder: Path, trust: Mapping[str, tuple[str, ...]], found: str, mend: str
) -> None:
    host = Shown(folder)
    try:
        pool = Pool(XapiSection(url=host.url, username="migd", password_file=folder / "xapi.password", **trust))
        with pytest.raises(PoolUnreachable) as refused:
            pool.call("host.get_all")
    finally:
        host.close()
    assert found in str(refused.value)
    assert mend in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "found", "mend"),
    [
        (("status",), "there is no controller socket at", "`systemctl status migd-controller` tells"),
        (("staus",), "No such command 'staus'", "did you mean 'status'?"),
        (("measure",), "Usage: ", "links"),
        (("host", "maintenance", "xen03", "on"), "No such command 'xen03'", "there are: off, on"),
    ],
)
def test_migctl_without_a_controller_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], found: str, mend: str
) -> None:
    code, message = said("migd_cli", *arguments, MIGD_SOCKET=str(tmp_path / "absent"))
    assert code in (2, 3)
    assert found in message
    assert mend in message

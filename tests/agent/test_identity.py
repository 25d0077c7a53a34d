"""Which host this is, and the keys it speaks with."""

import uuid
from pathlib import Path

import pytest
import zmq
import zmq.auth

from migd_agent.identity import host_uuid, load_keys
from migd_core.errors import ConfigError

INVENTORY = """\
PRODUCT_VERSION='8.3.0'
INSTALLATION_UUID='0C2A7B1e-9d53-4f0e-8a55-6a1d2f3b4c5d'
CONTROL_DOMAIN_UUID='b7a3a6a5-5c6e-4c6f-9a58-0d7ad1a5d6d5'
MANAGEMENT_INTERFACE='xenbr0'
"""


def test_the_configured_uuid_wins(tmp_path: Path) -> None:
    (tmp_path / "xensource-inventory").write_text(INVENTORY)
    assert host_uuid("mine", tmp_path) == "mine"


def test_an_xapi_host_has_the_uuid_that_xapi_gave_it(tmp_path: Path) -> None:
    (tmp_path / "xensource-inventory").write_text(INVENTORY)
    (tmp_path / "machine-id").write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    assert host_uuid("", tmp_path) == "0c2a7b1e-9d53-4f0e-8a55-6a1d2f3b4c5d"


def test_another_host_has_its_machine_id_as_uuid(tmp_path: Path) -> None:
    (tmp_path / "machine-id").write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    assert host_uuid("", tmp_path) == "3d1219c7-c4c5-404a-aa1f-6d2a48adfda4"


@pytest.mark.parametrize(
    ("file", "text", "what"),
    [
        ("xensource-inventory", "PRODUCT_VERSION='8.3.0'\n", "expected a line INSTALLATION_UUID='…', found none"),
        ("machine-id", "uninitialized\n", "expected 32 hexadecimal digits, found 'uninitialized'"),
        ("other", "", "neither .*xensource-inventory nor .*machine-id exists"),
    ],
)
def test_a_host_without_uuid_is_told_what_to_set(tmp_path: Path, file: str, text: str, what: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(ConfigError, match=f"{what}; set measure.host_uuid"):
        host_uuid("", tmp_path)


def test_keys_are_read_from_certificate_files(key_folder: Path) -> None:
    keys = load_keys(key_folder / "controller.key", key_folder / "agent.key_secret")
    assert keys.controller_public == zmq.auth.load_certificate(key_folder / "controller.key")[0]
    assert (keys.public, keys.secret) == zmq.auth.load_certificate(key_folder / "agent.key_secret")
    assert keys.secret.decode() not in repr(keys)


def test_a_secret_key_that_everybody_can_read_is_refused(key_folder: Path) -> None:
    secret = key_folder / "agent.key_secret"
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match=rf"open to everybody \(mode 0644\); chmod 0600 {secret}"):
        load_keys(key_folder / "controller.key", secret)


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("agent.key", None, "holds no secret key; give the file that ends in .key_secret"),
        ("absent.key_secret", None, "no CURVE key can be read: .*`migctl keys new` makes one"),
        ("empty.key_secret", "", "no CURVE key can be read: .*`migctl keys new` makes one"),
        (
            "odd.key_secret",
            'metadata\ncurve\n    public-key = "short"\n    secret-key = "short"\n',
            "no CURVE key can be read: .*40 byte z85",
        ),
    ],
)
def test_a_file_that_holds_no_secret_key_is_named(key_folder: Path, name: str, text: str | None, what: str) -> None:
    path = key_folder / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"{path}: {what}"):
        load_keys(key_folder / "controller.key", path)


@pytest.mark.skipif(
    not Path("/etc/machine-id").exists(), reason="this machine has no /etc/machine-id, as a bare chroot"
)
def test_the_machine_at_hand_has_a_uuid() -> None:
    assert uuid.UUID(host_uuid(""))

"""The file that names the Dom0s of a pool without XAPI: what is wrong in it is told before anything is asked of them."""

from pathlib import Path

import pytest

from migd_core.errors import ConfigError
from migd_xapi.xl.hosts_file import load

USERS = 'users = [{ name = "root", password = "migd" }]'
HOST = '[[hosts]]\nname = "node1"\naddress = "192.0.2.1"\n'


def _load(tmp_path: Path, text: str) -> None:
    file = tmp_path / "hosts.toml"
    file.write_text(text)
    load(file)


def test_two_keys_are_enough(tmp_path: Path) -> None:
    _load(tmp_path, f"{USERS}\n{HOST}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HOST, "users"),
        (USERS, "hosts"),
        (f"{USERS}\nhosts = []", "hosts: expected"),
        (f"{USERS}\n{HOST}{HOST}", "two hosts have the name node1"),
        (f"{USERS}\n{HOST}uid = 'x'", "uid: unknown key; did you mean uuid"),
        (f"{USERS}\n{HOST}port = 0", "port"),
        (f"{USERS}\n{HOST}identity = '/nowhere/key'", "host node1: identity /nowhere/key is no file"),
        (f"{USERS}\n{HOST}user = 'root; reboot'", "user"),
        (f"{USERS}\n{HOST}migration_address = '-oProxyCommand=reboot'", "migration_address"),
        (f"{USERS}\n{HOST.replace('192.0.2.1', '-oProxyCommand=reboot')}", "address"),
        (f"{USERS}\n{HOST.replace('192.0.2.1', 'a' + chr(92) + 'u0000b')}", "address"),
        (f"{USERS}\n{HOST.replace('192.0.2.1', 'a' + chr(92) + 'n')}", "address"),
        (f'{USERS}\nssh_options = ["A{chr(92)}u0000=b"]\n{HOST}', "ssh_options"),
        (f'{USERS}\nmigrate = ["xl{chr(92)}u0000"]\n{HOST}', "migrate"),
        (f"{USERS}\nmigrate = []\n{HOST}", "migrate"),
        (f"{USERS}\npoll_s = 0\n{HOST}", "poll_s"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"hosts.toml: .*{told}"):
        _load(tmp_path, text)

"""Keys on the command line: nothing is written that would keep a controller from starting."""

import subprocess
import sys
from pathlib import Path

import pytest

from migd_controller import keys
from migd_controller.agents_file import AllowedAgents
from migd_core.errors import ConfigError, MigdError, Refused

HOST = "5f2b4d7b-9a77-4e1c-8d64-0c5a3e6f1b2a"


def test_a_secret_key_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    _, secret = keys.create(tmp_path, "agent")
    assert secret.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="exists"):
        keys.create(tmp_path, "agent")


def test_one_key_is_not_let_in_for_two_hosts(tmp_path: Path) -> None:
    public, _ = keys.create(tmp_path, "agent")
    agents = tmp_path / "agents.toml"
    keys.authorize(agents, "h1", public)
    before = agents.read_text()
    with pytest.raises(ConfigError, match=r"agents\.toml: hosts h1 and h2 share a key; give each its own"):
        keys.authorize(agents, "h2", public)
    assert agents.read_text() == before


def test_a_host_that_is_authorized_again_has_its_new_key_only(tmp_path: Path) -> None:
    agents = tmp_path / "agents.toml"
    for name in ("old", "new"):
        keys.authorize(agents, "h1", keys.create(tmp_path, name)[0])
    assert AllowedAgents(agents).host_of_key == {keys.read_public(tmp_path / "new.key"): "h1"}


@pytest.mark.parametrize("host", ['a "quoted" host', "back\\slash", "two\nlines", "Wirt ü 😀"])
def test_whatever_a_host_is_called_the_list_of_agents_stays_readable(tmp_path: Path, host: str) -> None:
    public, _ = keys.create(tmp_path, "agent")
    keys.authorize(tmp_path / "agents.toml", host, public)
    assert list(AllowedAgents(tmp_path / "agents.toml").host_of_key.values()) == [host]


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    public, _ = keys.create(tmp_path, "agent")
    for folder in (public, public / "below"):
        with pytest.raises(MigdError, match=f"^{folder}/new.key: cannot be written: .*; give a folder "):
            keys.create(folder, "new")
    nowhere = tmp_path / "nowhere" / "agents.toml"
    with pytest.raises(MigdError, match=f"^{nowhere}: cannot be written: No such file or directory; "):
        keys.authorize(nowhere, "h1", public)


def command_line(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "migd_controller", "keys", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_host_is_named_by_its_uuid_as_xapi_writes_it(tmp_path: Path) -> None:
    public, _ = keys.create(tmp_path, "agent")
    agents = tmp_path / "agents.toml"
    refused = command_line("authorize", agents, "xen01", public)
    assert refused.returncode == 2
    assert "expected the host's uuid, found 'xen01'; `xe host-list` shows the uuids" in refused.stderr
    assert not agents.exists()
    taken = command_line("authorize", agents, HOST.upper(), public)
    assert (taken.returncode, taken.stderr) == (0, "")
    assert list(AllowedAgents(agents).host_of_key.values()) == [HOST]

"""Keys in files: nothing is written that would keep a controller from starting."""

from pathlib import Path

import pytest

from migd_core import keys
from migd_core.agents_file import AllowedAgents
from migd_core.errors import ConfigError, MigdError, Refused


def test_a_secret_key_is_for_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    _, secret = keys.create(tmp_path, "agent")
    assert secret.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="exists"):
        keys.create(tmp_path, "agent")


def test_one_key_is_not_let_in_for_two_hosts(tmp_path: Path) -> None:
    public, _ = keys.create(tmp_path, "agent")
    agents = tmp_path / "agents.toml"
    keys.authorise(agents, "h1", keys.read_public(public))
    before = agents.read_text()
    with pytest.raises(ConfigError, match=r"agents\.toml: hosts h1 and h2 share a key; give each its own"):
        keys.authorise(agents, "h2", keys.read_public(public))
    assert agents.read_text() == before


def test_a_host_that_is_authorised_again_has_its_new_key_only(tmp_path: Path) -> None:
    agents = tmp_path / "agents.toml"
    for name in ("old", "new"):
        keys.authorise(agents, "h1", keys.read_public(keys.create(tmp_path, name)[0]))
    assert AllowedAgents(agents).host_of_key == {keys.read_public(tmp_path / "new.key"): "h1"}


@pytest.mark.parametrize("host", ['a "quoted" host', "back\\slash", "two\nlines", "Wirt ü 😀"])
def test_whatever_a_host_is_called_the_list_of_agents_stays_readable(tmp_path: Path, host: str) -> None:
    public, _ = keys.create(tmp_path, "agent")
    keys.authorise(tmp_path / "agents.toml", host, keys.read_public(public))
    assert list(AllowedAgents(tmp_path / "agents.toml").host_of_key.values()) == [host]


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    public, _ = keys.create(tmp_path, "agent")
    for folder in (public, public / "below"):
        with pytest.raises(MigdError, match=f"^{folder}/new.key: cannot be written: .*; give a folder "):
            keys.create(folder, "new")
    nowhere = tmp_path / "nowhere" / "agents.toml"
    with pytest.raises(MigdError, match=f"^{nowhere}: cannot be written: No such file or directory; "):
        keys.authorise(nowhere, "h1", keys.read_public(public))


def test_while_a_key_is_rotated_both_count_and_then_the_next_one_only(tmp_path: Path) -> None:
    agents = tmp_path / "agents.toml"
    old, new = (keys.read_public(keys.create(tmp_path, name)[0]) for name in ("old", "new"))
    keys.authorise(agents, "h1", old)
    assert keys.rotate(agents, "h1", new) == old
    assert AllowedAgents(agents).host_of_key == {old: "h1", new: "h1"}
    assert keys.rotate(agents, "h1", new) == old  # said twice, it is done once
    assert keys.authorised(agents) == {"h1": (old, new)}
    assert keys.finish(agents, "h1") == (old,)
    assert AllowedAgents(agents).host_of_key == {new: "h1"}
    assert keys.finish(agents, "h1") == ()


def test_a_rotation_that_is_begun_again_forgets_the_key_that_nobody_used(tmp_path: Path) -> None:
    agents = tmp_path / "agents.toml"
    first, lost, second = (keys.read_public(keys.create(tmp_path, name)[0]) for name in ("a", "b", "c"))
    keys.authorise(agents, "h1", first)
    keys.rotate(agents, "h1", lost)
    keys.rotate(agents, "h1", second)
    assert keys.authorised(agents) == {"h1": (first, second)}


def test_a_host_that_is_not_on_the_list_is_neither_rotated_nor_revoked(tmp_path: Path) -> None:
    agents = tmp_path / "agents.toml"
    for change in (
        lambda: keys.rotate(agents, "h1", "k"),
        lambda: keys.finish(agents, "h1"),
        lambda: keys.revoke(agents, "h1"),
    ):
        with pytest.raises(MigdError, match="host h1 has no key there; `migctl keys list` shows the hosts that do"):
            change()
    assert not agents.exists()


def test_who_could_read_the_list_still_can_after_a_change(tmp_path: Path) -> None:
    agents = tmp_path / "agents.toml"
    keys.authorise(agents, "h1", keys.read_public(keys.create(tmp_path, "agent")[0]))
    agents.chmod(0o640)
    keys.revoke(agents, "h1")
    assert (agents.stat().st_mode & 0o777, keys.authorised(agents)) == (0o640, {})


def test_no_public_key_looks_like_an_option_to_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def create(folder: Path, name: str) -> tuple[str, str]:
        public = ("-" if len(made) < 2 else "a") + "x" * 39
        made.append(public)
        (Path(folder) / f"{name}.key_secret").touch()
        path = Path(folder) / f"{name}.key"
        path.write_text(f'metadata\ncurve\n    public-key = "{public}"\n')
        return str(path), ""

    monkeypatch.setattr("zmq.auth.create_certificates", create)
    assert keys.read_public(keys.create(tmp_path, "agent")[0]) == made[-1] == "a" + "x" * 39

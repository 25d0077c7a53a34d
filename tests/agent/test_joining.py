"""How a host joins: what `migd-agent join` and `migd-agent key` write, in a folder instead of /etc/migd."""

from pathlib import Path

import pytest

from migd_agent import config, identity, joining
from migd_agent.__main__ import _parser as parser
from migd_core import keys
from migd_core.errors import ConfigError, MigdError


@pytest.fixture
def controller_key(tmp_path: Path) -> str:
    return keys.read_public(keys.create(tmp_path / "controller", "controller")[0])


def test_after_joining_the_agent_has_a_configuration_and_keys_that_it_takes(
    tmp_path: Path, controller_key: str
) -> None:
    said = joining.join(["controller.example.org"], controller_key, tmp_path)
    settings = config.load(tmp_path / "agent.toml").controller
    assert (settings.endpoint, settings.leases_from) == (
        "tcp://controller.example.org:7201",
        "tcp://controller.example.org:7202",
    )
    loaded = identity.load_keys(Path(settings.public_key_file), Path(settings.secret_key_file))
    assert loaded.controller_public.decode() == controller_key
    assert Path(settings.secret_key_file).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    host = identity.host_uuid("")
    assert said == f"on the controller: migctl keys authorise {host} '{loaded.public.decode()}'\n"
    assert joining.who(tmp_path / "agent.toml", folder=tmp_path) == f"{host} {loaded.public.decode()}\n"


def test_joining_again_keeps_keys_and_configuration_and_takes_the_controllers_new_key(
    tmp_path: Path, controller_key: str
) -> None:
    said = joining.join(["10.0.0.1:7301"], controller_key, tmp_path)
    path = tmp_path / "agent.toml"
    path.write_text(path.read_text() + "\n[measure]\nperiod_s = 2.0\n")
    edited = path.read_text()
    new = keys.read_public(keys.create(tmp_path / "controller", "new")[0])
    assert joining.join(["tcp://10.0.0.1:7301"], new, tmp_path) == said
    assert path.read_text() == edited
    assert keys.read_public(tmp_path / "controller.key") == new


@pytest.mark.parametrize(
    ("controller", "key", "words"),
    [
        ("controller", "abc", "'abc' is no public key"),
        ("controller:99999", None, "expected a port from 1 to 65535, found 99999"),
        ("a b", None, "the controller's address: controller.endpoint"),
        ('x"\ny', None, "the controller's address: is not TOML"),
    ],
)
def test_what_the_agent_would_refuse_is_not_written(
    tmp_path: Path, controller_key: str, controller: str, key: str | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        joining.join([controller], key or controller_key, tmp_path / "etc")
    assert not (tmp_path / "etc").exists()


def test_another_controller_is_not_put_in_the_place_of_the_one_configured(tmp_path: Path, controller_key: str) -> None:
    joining.join(["first"], controller_key, tmp_path)
    with pytest.raises(ConfigError, match=r"agent\.toml: names another controller, tcp://first:7201; change it there"):
        joining.join(["second"], controller_key, tmp_path)


def test_of_several_controllers_each_is_named_in_one_command(tmp_path: Path, controller_key: str) -> None:
    said = joining.join(["ctl1", "ctl2:7301", "ctl1:7201"], controller_key, tmp_path)
    settings = config.load(tmp_path / "agent.toml").controller
    assert [(each.endpoint, each.leases_from) for each in settings.all] == [
        ("tcp://ctl1:7201", "tcp://ctl1:7202"),
        ("tcp://ctl2:7301", "tcp://ctl2:7302"),
    ]
    assert said.startswith("on each controller: migctl keys authorise ")


def test_a_second_controller_is_added_by_joining_again_and_stays(tmp_path: Path, controller_key: str) -> None:
    joining.join(["ctl1"], controller_key, tmp_path)
    for controllers in (["ctl2", "ctl1"], ["ctl1"], ["ctl2"]):
        joining.join(controllers, controller_key, tmp_path)
        settings = config.load(tmp_path / "agent.toml").controller
        assert {each.endpoint for each in settings.all} == {"tcp://ctl1:7201", "tcp://ctl2:7201"}


def test_a_configuration_that_was_edited_is_left_alone_and_it_is_said_what_to_put_there(
    tmp_path: Path, controller_key: str
) -> None:
    joining.join(["ctl1"], controller_key, tmp_path)
    path = tmp_path / "agent.toml"
    path.write_text(edited := path.read_text() + "\n[measure]\nperiod_s = 2.0\n")
    with pytest.raises(
        ConfigError, match=r"agent\.toml: was edited; put `(.*)` into its section \[controller\]"
    ) as found:
        joining.join(["ctl1", "ctl2"], controller_key, tmp_path)
    assert path.read_text() == edited
    line = str(found.value).split("`")[1]
    path.write_text(edited.replace("public_key_file", f"{line}\npublic_key_file", 1))
    joining.join(["ctl1", "ctl2"], controller_key, tmp_path)
    assert [each.endpoint for each in config.load(path).controller.all] == ["tcp://ctl1:7201", "tcp://ctl2:7201"]


def test_the_command_takes_one_controller_or_several() -> None:
    parsed = [parser().parse_args(["join", *names, "KEY"]) for names in (["ctl1"], ["ctl1", "ctl2"])]
    assert [(each.controller, each.key) for each in parsed] == [(["ctl1"], "KEY"), (["ctl1", "ctl2"], "KEY")]


def test_a_next_key_takes_the_place_of_the_present_one_when_it_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    with pytest.raises(MigdError, match="there is no next key; `migd-agent key --next` makes one"):
        joining.use_next(tmp_path)
    now, later = joining.who(path, folder=tmp_path), joining.who(path, is_next=True, folder=tmp_path)
    assert now != later
    assert joining.who(path, is_next=True, folder=tmp_path) == later
    assert joining.who(path, folder=tmp_path) == now
    joining.use_next(tmp_path)
    assert joining.who(path, folder=tmp_path) == later
    secret = keys.read_secret(tmp_path / "secrets/agent.key_secret")[0].decode()
    assert secret == later.split()[1]
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["agent.key", "agent.key_secret", "secrets"]

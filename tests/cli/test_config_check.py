"""`migctl config check`: what a daemon would say of its file, without the daemon."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTROLLER = ROOT / "controller" / "controller.example.toml"
AGENT = ROOT / "agent" / "agent.example.toml"


@pytest.mark.parametrize(("file", "kind"), [(CONTROLLER, "controller"), (AGENT, "agent")])
def test_an_example_is_found_right_and_whose_it_is(file: Path, kind: str, migctl) -> None:
    ended = migctl("config", "check", str(file), MIGD_SOCKET="/nowhere")
    assert (ended.returncode, ended.stdout) == (0, f"ok: {file} is a configuration of the {kind}.\n")
    assert json.loads(migctl("config", "check", "--json", str(file)).stdout) == {
        "file": str(file),
        "kind": kind,
        "ok": True,
    }


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ("[guards]\ncooldwn_s = 3\n", "guards.cooldwn_s: unknown key; did you mean cooldown_s?"),
        ('[automation]\nlevel = "some"\n', "automation.level: expected one of off, recommend, automatic, found 'some'"),
        ('[policy]\nname = "least-laoded"\n', "policy: "),
        ("[guards\n", "is not TOML"),
    ],
)
def test_an_error_names_the_key_and_the_exit_code_is_1(wrong: str, text: str, migctl, tmp_path: Path) -> None:
    file = tmp_path / "controller.toml"
    file.write_text(
        '[telemetry]\nsecret_key_file = "k"\nagents_file = "a"\n[xapi]\nurl = "https://x"\nusername = "u"\n'
        'password_file = "p"\n' + wrong
    )
    ended = migctl("config", "check", str(file))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"migctl: {file}: ")
    assert text in ended.stderr


def test_a_file_of_nobody_and_a_file_that_is_not_there_are_refused(migctl, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[other]\n")
    nobodys = migctl("config", "check", str(tmp_path / "x.toml"))
    absent = migctl("config", "check", str(tmp_path / "y.toml"))
    assert (nobodys.returncode, absent.returncode) == (1, 1)
    assert "or of an agent ([controller]), found [other]; --kind says which" in nobodys.stderr
    assert "there is no such file; write it, or name the one that is meant" in absent.stderr

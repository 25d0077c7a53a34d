"""`migctl keys` as a process, on files of its own."""

import json
from pathlib import Path

import pytest

from migd_core import keys

HOST = "5f2b4d7b-9a77-4e1c-8d64-0c5a3e6f1b2a"


@pytest.fixture
def run(migctl, tmp_path):
    return lambda *arguments: migctl("keys", *arguments, "--folder", str(tmp_path))


@pytest.fixture
def public(tmp_path: Path) -> list[str]:
    """Two public keys of one host's agent."""
    return [keys.read_public(keys.create(tmp_path / "elsewhere", name)[0]) for name in ("agent", "next")]


def test_a_host_is_let_in_its_key_rotated_and_revoked(run, public, tmp_path):
    key, next_key = public
    assert run("new", "controller").returncode == 0
    assert (tmp_path / "secrets/controller.key_secret").stat().st_mode & 0o777 == 0o600
    own = keys.read_public(tmp_path / "controller.key")

    def listed():
        return json.loads(run("list", "--json").stdout)

    assert listed() == {"controller": own, "agents": []}
    assert run("authorise", HOST.upper(), key).stdout == f"the agent of host {HOST} is let in\n"
    assert listed() == {"controller": own, "agents": [{"host": HOST, "keys": [key]}]}
    rotated = run("rotate", HOST, str(tmp_path / "elsewhere/next.key"))
    assert f"migctl keys rotate {HOST} --finish" in rotated.stdout
    assert listed()["agents"] == [{"host": HOST, "keys": [key, next_key]}]
    assert run("rotate", HOST, "--finish").stdout == f"host {HOST}: {key} no longer counts\n"
    assert [line.rstrip() for line in run("list").stdout.splitlines()] == [
        f"controller: {own}",
        "",
        f"HOST{' ' * 34}KEY{' ' * 39}NEXT KEY",
        f"{HOST}  {next_key}  -",
    ]
    assert run("revoke", HOST).returncode == 0
    assert listed()["agents"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ("authorise", "xen01", "{key}"),
            2,
            "expected the host's uuid, found 'xen01'; `migd-agent key` there shows it",
        ),
        (("authorise", HOST, "{folder}/none.key"), 1, "none.key: no key can be read"),
        (("rotate", HOST, "{key}"), 1, f"host {HOST} has no key there; `migctl keys list` shows"),
        (("rotate", HOST), 2, "give the next KEY, or --finish once the agent uses it"),
        (("revoke", HOST), 1, f"host {HOST} has no key there"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(run, public, tmp_path, arguments, code, words):
    ended = run(*(each.format(key=public[0], folder=tmp_path) for each in arguments))
    assert ended.returncode == code
    assert words in " ".join(ended.stderr.replace("│", "").split())
    assert not (tmp_path / "agents.toml").exists()

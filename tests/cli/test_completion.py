"""What the shell completes: commands, options, and what the controller knows."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from migd_cli.commands.completion import SHELLS
from migd_cli.names import LIMIT_S
from terminal import Terminal


def completed(line: str, socket_path: Path) -> list[str]:
    """Return what migctl offers for the last word of a line, in the protocol of its bash script."""
    words = line.split(" ")
    ended = subprocess.run(
        [sys.executable, "-m", "migd_cli"],
        env={
            **os.environ,
            "_MIGCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "MIGD_SOCKET": str(socket_path),
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return [each.partition(",")[2] for each in ended.stdout.splitlines() if each]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("migctl hi", ["history"]),
        ("migctl policy s", ["set", "shadow", "show"]),
        ("migctl status --js", ["--json"]),
        ("migctl migrate ", ["rank0", "rank1", "web"]),
        ("migctl migrate rank0 xen0", ["xen01", "xen02", "xen03"]),
        ("migctl explain w", ["web"]),
        ("migctl job add b --guests rank0,r", ["rank0,rank0", "rank0,rank1"]),
        ("migctl job rm ", ["brams"]),
        ("migctl policy set l", ["least-loaded"]),
        ("migctl policy shadow rm ", ["mine", "patient"]),
        ("migctl cancel D8", ["D812.1"]),
        ("migctl completion z", ["zsh"]),
    ],
)
def test_the_last_word_is_completed(line: str, offered: list[str], controller):
    assert completed(line, controller.socket) == offered


def test_without_a_controller_nothing_is_offered_and_nothing_is_said(tmp_path: Path):
    assert completed("migctl migrate ", tmp_path / "absent.sock") == []


def test_a_controller_that_hangs_is_not_waited_for(tmp_path: Path):
    path = tmp_path / "hangs.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        began_s = time.monotonic()
        assert completed("migctl migrate ", path) == []
        assert time.monotonic() - began_s >= LIMIT_S  # it did ask, and gave up by itself


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_is_printed_and_is_one_of_that_shell(shell: str, tmp_path: Path, migctl):
    ended = migctl("completion", shell)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"_MIGCTL_COMPLETE={shell}_complete" in ended.stdout
    script = tmp_path / "script"
    script.write_text(ended.stdout)
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here that could read it")
    subprocess.run([shell, "-n", str(script)], check=True, timeout=30)


@pytest.fixture
def environment(tmp_path: Path, controller) -> dict[str, str]:
    """What a shell finds migctl and the controller by."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "migctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m migd_cli "$@"\n')
    (folder / "migctl").chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "MIGD_SOCKET": str(controller.socket), "HOME": str(tmp_path), "TERM": "xterm"}


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell} here; `make test` brings it")


@needs("bash")
def test_bash_itself_completes_a_guest(tmp_path: Path, environment: dict[str, str], migctl):
    (tmp_path / "script").write_text(migctl("completion", "bash").stdout)
    program = (
        f". {tmp_path / 'script'}\nCOMP_WORDS=(migctl release ra) COMP_CWORD=2\n"
        '_migctl_completion migctl ra release\nprintf "%s\\n" "${COMPREPLY[@]}"'
    )
    ended = subprocess.run(["bash", "-c", program], env=environment, capture_output=True, text=True, timeout=30)
    assert ended.stdout.splitlines() == ["rank0", "rank1"]


@needs("fish")
def test_fish_itself_completes_a_guest(tmp_path: Path, environment: dict[str, str], migctl):
    (tmp_path / "script").write_text(migctl("completion", "fish").stdout)
    program = f"source {tmp_path / 'script'}; complete --do-complete 'migctl release ra'"
    ended = subprocess.run(["fish", "-c", program], env=environment, capture_output=True, text=True, timeout=30)
    assert ([line.split("\t")[0] for line in ended.stdout.splitlines()], ended.stderr) == (["rank0", "rank1"], "")


@needs("zsh")
def test_zsh_itself_completes_a_guest(tmp_path: Path, environment: dict[str, str], migctl):
    """Zsh completes on a terminal only, so it gets one."""
    (tmp_path / "_migctl").write_text(migctl("completion", "zsh").stdout)
    with Terminal(["zsh", "-f", "-i"], environment) as shown:
        shown.press(f"fpath=({tmp_path} $fpath); autoload -Uz compinit && compinit -u -D; setopt no_list_ambiguous\n")
        shown.press("PS1='rea''dy> '\n")
        shown.shows("ready> ")
        shown.press("migctl release ra\t")
        shown.shows("ready> migctl release rank", "rank0", "rank1")

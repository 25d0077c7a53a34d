"""The playbook is one that Ansible takes, and lets agents in at each controller. `make test-packages` runs all of it."""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from migd_agent import config

FOLDER = Path(__file__).parents[2] / "deploy/ansible"
PROGRAMS = Path(sys.executable).parent
# Packages and units need a machine of their own.
NEEDS_A_MACHINE = ("ansible.builtin.copy", "ansible.builtin.apt", "ansible.builtin.service")


def ansible(tmp_path: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": f"{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [PROGRAMS / "ansible-playbook", *arguments],
        env={**environment, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def test_ansible_finds_no_fault_in_the_playbook_and_its_role(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("[migd_hosts]\nxen01\n[migd_controller]\nctl\n")
    done = ansible(tmp_path, "--syntax-check", "-i", inventory, FOLDER / "agents.yml")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


class Machine:
    """A machine that is this one, but for an /etc of its own, in a mount namespace of each of its shells."""

    def __init__(self, folder: Path, name: str) -> None:
        self.etc, self.shell = folder / name / "etc", folder / name / "sh"
        shutil.copytree("/etc", self.etc, symlinks=True, ignore_dangling_symlinks=True)
        (self.etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        (self.etc / "migd/secrets").mkdir(parents=True, exist_ok=True)
        inside = f'mount --bind {self.etc} /etc && exec /bin/sh "$@"'
        self.shell.write_text(f"#!/bin/sh\nexec unshare -m sh -c '{inside}' sh \"$@\"\n")
        self.shell.chmod(0o755)

    def run(self, command: str) -> str:
        return subprocess.run(
            [self.shell, "-c", command], capture_output=True, text=True, timeout=60, check=True
        ).stdout

    def lets_in(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(f"{PROGRAMS}/migctl keys list --json"))
        return found


@pytest.mark.timeout(400)  # on a machine that is full of other tests
def test_a_host_joins_all_controllers_and_each_lets_it_in_and_the_second_time_nothing_changes(tmp_path: Path) -> None:
    """With the real `migd-agent` and `migctl`, on machines that have but an /etc of their own."""
    if os.getuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("only root may have mount namespaces of its own")
    xen01, ctl1, ctl2 = (Machine(tmp_path, name) for name in ("xen01", "ctl1", "ctl2"))
    for each in (ctl1, ctl2):
        each.run(f"{PROGRAMS}/migctl keys new controller")
    shutil.copytree(FOLDER, tmp_path / "ansible")
    tasks = tmp_path / "ansible/roles/migd_agent/tasks/main.yml"
    parts = re.split(r"(?m)^(?=- name: )", tasks.read_text())
    tasks.write_text("".join(part for part in parts if not any(module in part for module in NEEDS_A_MACHINE)))
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(
        f"[migd_hosts]\nxen01 ansible_shell_executable={xen01.shell}\n[migd_controller]\n"
        f"ctl1 ansible_shell_executable={ctl1.shell} ansible_host=ctl1.example.org\n"
        f"ctl2 ansible_shell_executable={ctl2.shell}\n[all:vars]\nansible_connection=local\nansible_become=false\n"
        f"ansible_python_interpreter={sys.executable}\nmigd_package=none\n"
    )
    playbook = tmp_path / "ansible/agents.yml"
    playbook.write_text(playbook.read_text().replace("  become: true\n", "  gather_facts: false\n"))

    refused = ansible(tmp_path, "-i", inventory, playbook)
    assert "the controllers have different keys; copy /etc/migd/controller.key" in refused.stdout + refused.stderr
    assert not (xen01.etc / "migd/agent.toml").exists()

    for name in ("controller.key", "secrets/controller.key_secret"):
        shutil.copy2(ctl1.etc / "migd" / name, ctl2.etc / "migd" / name)
    done = ansible(tmp_path, "-i", inventory, playbook)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [each.endpoint for each in config.load(xen01.etc / "migd/agent.toml").controller.all]
    assert told == ["tcp://ctl1.example.org:7201", "tcp://ctl2:7201"]
    host, key = xen01.run(f"{PROGRAMS}/migd-agent key").split()
    for each in (ctl1, ctl2):
        assert [(agent["host"], agent["keys"]) for agent in each.lets_in()["agents"]] == [(host, [key])]

    again = ansible(tmp_path, "-i", inventory, playbook)
    assert "changed=0 " in again.stdout, again.stdout

"""The playbook is one that Ansible takes. `make test-packages` runs it."""

import subprocess
import sys
from pathlib import Path

PLAYBOOK = Path(__file__).parents[2] / "deploy/ansible/agents.yml"


def test_ansible_finds_no_fault_in_the_playbook_and_its_role(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("[migd_hosts]\nxen01\n[migd_controller]\nctl\n")
    program = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [program, "--syntax-check", "-i", inventory, PLAYBOOK],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout

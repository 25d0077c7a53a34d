"""Ansible's modules for XenServer, of the collection community.general."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emulated_pool import LIMIT_S, EmulatedPool

pytestmark = pytest.mark.clients
Ansible = Callable[..., dict[str, Any]]


@pytest.fixture
def ansible(pool: EmulatedPool, fetched: Callable[[str], Path], tmp_path: Path) -> Ansible:
    program, collections = Path(sys.prefix, "bin", "ansible"), fetched("ansible_collections").parent
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(tmp_path),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }

    def run(module: str, **arguments: object) -> dict[str, Any]:
        """Return what a module answers."""
        login = {"hostname": pool.url, "username": "root", "password": "migd"}
        command = [program, "localhost", "--connection", "local", "--module-name", f"community.general.{module}"]
        done = subprocess.run(
            [*command, "--args", json.dumps({**login, **arguments})],
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        answer = re.search(r"^localhost \| [A-Z]+!? => (\{.*\})$", done.stdout, re.MULTILINE | re.DOTALL)
        assert answer is not None, done.stdout + done.stderr
        return dict(json.loads(answer[1]))

    return run


def test_it_gathers_what_there_is_to_know_of_a_guest(pool: EmulatedPool, ansible: Ansible) -> None:
    (disk,) = (vbd for vbd in pool.api.VBD.get_all_records().values() if vbd["VM"] == pool.vm("small1"))
    (vif,) = (vif for vif in pool.api.VIF.get_all_records().values() if vif["VM"] == pool.vm("small1"))
    guest = ansible("xenserver_guest_info", name="small1")["instance"]
    assert guest["uuid"] == pool.api.VM.get_uuid(pool.vm("small1"))
    assert (guest["state"], guest["is_template"], guest["domid"]) == ("poweredon", False, "1")
    assert guest["hardware"] == {"memory_mb": 256, "num_cpu_cores_per_socket": 1, "num_cpus": 2}
    assert [(each["os_device"], each["size"], each["sr"]) for each in guest["disks"]] == [
        (disk["device"], int(pool.api.VDI.get_virtual_size(disk["VDI"])), "shared")
    ]
    assert [(each["mac"], each["name"]) for each in guest["networks"]] == [
        (vif["MAC"], pool.api.network.get_name_label(vif["network"]))
    ]


def test_it_finds_no_guest_that_is_not_there(ansible: Ansible) -> None:
    answer = ansible("xenserver_guest_info", name="nobody")
    assert answer["msg"] == "VM search: VM with name 'nobody' not found!"


def test_a_guest_that_runs_is_powered_on_already(ansible: Ansible) -> None:
    answer = ansible("xenserver_guest_powerstate", name="small1", state="powered-on")
    assert (answer["changed"], answer["instance"]["state"]) == (False, "poweredon")


def test_it_is_refused_with_a_wrong_password(ansible: Ansible) -> None:
    answer = ansible("xenserver_guest_info", name="small1", password="wrong")
    assert "SESSION_AUTHENTICATION_FAILED" in answer["msg"]


@pytest.mark.parametrize(
    ("state", "state_of_module", "state_of_pool"),
    [
        ("powered-off", "poweredoff", "Halted"),
        ("shutdown-guest", "poweredoff", "Halted"),
        ("suspended", "suspended", "Suspended"),
    ],
)
def test_it_takes_a_guest_down_and_brings_it_up(
    pool: EmulatedPool, ansible: Ansible, state: str, state_of_module: str, state_of_pool: str
) -> None:
    down = ansible("xenserver_guest_powerstate", name="small2", state=state)
    assert (down["changed"], down["instance"]["state"]) == (True, state_of_module)
    assert pool.power_state("small2") == state_of_pool
    up = ansible("xenserver_guest_powerstate", name="small2", state="powered-on", wait_for_ip_address=True)
    assert (up["changed"], up["instance"]["state"]) == (True, "poweredon")
    assert up["instance"]["networks"][0]["ip"]
    assert pool.power_state("small2") == "Running"


@pytest.mark.parametrize("state", ["restarted", "reboot-guest"])
def test_it_reboots_a_guest(pool: EmulatedPool, ansible: Ansible, state: str) -> None:
    before = pool.api.VM.get_domid(pool.vm("small1"))
    # With a limit, it starts an asynchronous call and polls its task.
    answer = ansible(
        "xenserver_guest_powerstate", name="small1", state=state, state_change_timeout=20, wait_for_ip_address=True
    )
    assert (answer.get("msg"), answer["changed"], pool.power_state("small1")) == (None, True, "Running")
    assert pool.api.VM.get_domid(pool.vm("small1")) != before
    assert pool.api.task.get_all() == []

"""The packages on bare Debian machines: installed, at work, upgraded, removed. As root; systemd itself starts the units.

The machines share a network of their own, in which an emulated pool serves. One has the controller and `migctl`, the
other is the Dom0 of a host of the pool; there is no Xen under it, so its agent measures the machine and its bridge.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from built import NAMES, NEXT, PROJECT, next_release, packages
from machine import Machine, booted, until

from migd_lab.commands import run
from migd_lab.errors import LabError
from terminal import Terminal

pytestmark = [
    pytest.mark.packages,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may boot machines"),
]
CONTROLLER, AGENT = "migd-controller.service", "migd-agent.service"
POOL_ADDRESS = "127.0.0.1:8080"
POOL = """\
name = "small"
[[hosts]]
name = "xen01"
uuid = "{uuid}"
cpus = 2
memory_bytes = 17179869184
[[guests]]
name = "rank0"
host = "xen01"
vcpus = 1
memory_bytes = 1073741824
"""
# A frame from one port of the bridge to the other is counted.
NETWORK = """\
ip link set lo up
ip link add br0 type bridge
ip link add p0 type veth peer name q0
ip link set p0 master br0
ip link set br0 up; ip link set p0 up; ip link set q0 up
"""


@dataclass
class Site:
    controller: Machine
    dom0: Machine
    seconds: dict[str, float]

    def ask(self, *arguments: str) -> Any:
        """Return what `migctl ARGUMENTS --json` answers, None while it does not."""
        try:
            return json.loads(self.controller.run("migctl", *arguments, "--json"))
        except LabError:
            return None

    def host(self) -> Any:
        """Return the host as the controller sees it."""
        return next(iter(self.ask("hosts") or []), None)

    def reports(self) -> Any:
        """Return the host once its agent's samples are what the controller knows it by."""
        found = self.host()
        return found if found and found["source"] == "agent" and found["frozen_because"] is None else None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both machines, with nothing of migd on them, and the pool."""
    shared = tmp_path_factory.mktemp("site")
    shared.chmod(0o755)
    for package in packages().glob("*.deb"):
        shutil.copy(package, shared)
    namespace = f"migd-packages-{os.getpid()}"
    run("ip", "netns", "add", namespace)
    try:
        run("ip", "netns", "exec", namespace, "sh", "-euc", NETWORK)
        with (
            booted("migd-controller-machine", namespace, shared) as controller,
            booted("migd-dom0-machine", namespace, shared) as dom0,
        ):
            pool_file = shared / "pool.toml"
            pool_file.write_text(POOL.format(uuid=dom0.uuid))
            pool = subprocess.Popen(
                [
                    *("ip", "netns", "exec", namespace, sys.executable, "-m", "migd_xapi"),
                    *("--pool", str(pool_file), "--listen", POOL_ADDRESS, "--log-level", "error"),
                ],
                stdout=subprocess.PIPE,
            )
            try:
                assert pool.stdout is not None
                assert pool.stdout.readline()
                yield Site(controller, dom0, {})
            finally:
                pool.terminate()
                pool.communicate(timeout=30)
    finally:
        run("ip", "netns", "del", namespace)


def files(machine: Machine) -> set[str]:
    """Return every file and folder of the machine but those that live for the moment, or are apt's and dpkg's own."""
    fleeting = (
        "/proc",
        "/sys",
        "/dev",
        "/run",
        "/tmp",
        "/mnt",
        "/var/lib/dpkg",
        "/var/lib/apt",
        "/var/cache",
        "/var/log",
    )
    prune = " -o ".join(f"-path {each}" for each in fleeting)
    return set(machine.shell(f"find / \\( {prune} \\) -prune -o -print").splitlines())


@pytest.fixture(scope="module")
def bare(site: Site) -> dict[str, set[str]]:
    """What was on the machines before anything was installed."""
    return {"controller": files(site.controller), "dom0": files(site.dom0)}


@pytest.fixture(scope="module")
def installed(site: Site, bare: dict[str, set[str]]) -> Site:
    """Both daemons at work, by the commands that the README names."""
    controller, dom0 = site.controller, site.dom0
    controller.shell("apt-get install -y /mnt/migd-controller_*.deb /mnt/migctl_*.deb", timeout_s=300)
    config = controller.run("cat", "/etc/migd/controller.toml")
    for old, new in {
        "https://xen01.example.org": f"http://{POOL_ADDRESS}",
        'username = "migd"': 'username = "root"',
        'ca_file = "/etc/migd/pool-ca.pem"': "#",
    }.items():
        assert old in config
        config = config.replace(old, new)
    controller.write("/etc/migd/controller.toml", config)
    controller.write("/etc/migd/secrets/xapi.password", "migd\n", mode=0o600)
    controller.run("systemctl", "restart", CONTROLLER)
    until(
        lambda: (status := site.ask("status")) and status["xapi_connected"], why=lambda: controller.journal(CONTROLLER)
    )
    key = site.ask("keys", "list")["controller"]

    begun_s = time.monotonic()
    dom0.shell("apt-get install -y /mnt/migd-agent_*.deb", timeout_s=300)
    said = dom0.run("migd-agent", "join", "127.0.0.1", key)
    controller.shell(said.removeprefix("on the controller: "))
    until(site.reports, why=lambda: dom0.journal(AGENT) + controller.journal(CONTROLLER))
    site.seconds["from a bare host to an agent that reports"] = time.monotonic() - begun_s
    return site


def test_from_a_bare_host_to_an_agent_that_reports_are_three_commands_and_no_two_minutes(
    installed: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\nseconds: {installed.seconds}\n")
    assert installed.seconds["from a bare host to an agent that reports"] <= 120.0
    assert installed.host()["name"] == "xen01"
    assert [guest["name"] for guest in installed.ask("guests")] == ["rank0"]


@pytest.mark.parametrize("unit", [CONTROLLER, AGENT])
def test_systemd_knows_each_daemon_is_ready_and_watches_it_in_its_sandbox(installed: Site, unit: str) -> None:
    machine = installed.controller if unit == CONTROLLER else installed.dom0
    shown = {name: machine.of_unit(unit, name) for name in ("ActiveState", "Type", "NRestarts", "UnitFileState")}
    assert shown == {"ActiveState": "active", "Type": "notify", "NRestarts": "0", "UnitFileState": "enabled"}
    assert machine.of_unit(unit, "WatchdogTimestampMonotonic") not in ("", "0")
    status = machine.run("cat", f"/proc/{machine.of_unit(unit, 'MainPID')}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert "Operation not permitted" not in machine.journal(unit)
    if unit == CONTROLLER:
        assert int(fields["CapBnd"], 16) == 0
        assert fields["Uid"].split()[0] == machine.run("id", "-u", "migd").strip()


def test_secrets_are_for_root_and_for_the_services_that_systemd_hands_them_to(installed: Site) -> None:
    controller = installed.controller
    assert controller.run(
        "stat", "-c", "%a %U", "/etc/migd/secrets", "/etc/migd/secrets/controller.key_secret"
    ).split() == [*("700", "root", "600", "root")]
    with pytest.raises(LabError, match="Permission denied"):
        controller.run("setpriv", "--reuid=migd", "--regid=migd", "--clear-groups", "ls", "/etc/migd/secrets")
    pid = controller.of_unit(CONTROLLER, "MainPID")
    with pytest.raises(LabError, match=r"Permission denied|No such file"):
        controller.run("cat", f"/proc/{pid}/root/etc/migd/secrets/controller.key_secret")


def test_in_its_sandbox_the_agent_counts_frames_on_bridges_and_takes_its_table_back(installed: Site) -> None:
    dom0 = installed.dom0
    dom0.shell("apt-get install -y nftables", timeout_s=300)
    dom0.shell("printf '\\n[measure]\\nflows = \"bridge\"\\n' >> /etc/migd/agent.toml")
    dom0.run("systemctl", "restart", AGENT)
    until(lambda: "table bridge migd" in dom0.run("nft", "list", "tables"), why=lambda: dom0.journal(AGENT))
    until(installed.reports)
    assert "measurement missing" not in dom0.journal(AGENT)
    dom0.run("systemctl", "stop", AGENT)
    assert "migd" not in dom0.run("nft", "list", "tables")
    dom0.shell("sed -i '/measure/,$d' /etc/migd/agent.toml")
    dom0.run("systemctl", "start", AGENT)


# What only a Dom0 asks of the agent, done by Python in the agent's sandbox: callbacks of shared libraries, memory that
# hypercalls read (less than the unit allows: nspawn keeps its machines to 8 MiB), and other processes of root, which it reads the command line of and signals.
DOM0 = """\
import ctypes, mmap, os, signal, subprocess
assert ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)() == 7
libc = ctypes.CDLL(None, use_errno=True)
memory = mmap.mmap(-1, 4 << 20)
address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
assert libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(4 << 20)) == 0, open("/proc/self/limits").read()
assert b"systemd" in open("/proc/1/cmdline", "rb").read()
child = subprocess.Popen(["sleep", "60"])
os.kill(child.pid, signal.SIGTERM)
assert child.wait() == -signal.SIGTERM
assert os.listdir("/run/migd-agent") is not None
"""


def test_what_a_dom0_needs_of_the_agent_works_in_its_sandbox(installed: Site) -> None:
    dom0 = installed.dom0
    unit = dom0.run("cat", "/lib/systemd/system/migd-agent.service")
    unit = unit.replace("ExecStart=/opt/migd/agent/bin/migd-agent", "ExecStart=/opt/migd/agent/bin/python /run/dom0.py")
    unit = unit.replace("Type=notify", "Type=oneshot").replace("Restart=on-failure", "Restart=no")
    dom0.write("/run/dom0.py", DOM0)
    dom0.write("/run/systemd/system/dom0.service", unit.replace("RuntimeDirectoryPreserve=yes", ""))
    dom0.shell("systemctl daemon-reload; systemctl start dom0 || { journalctl --no-pager -u dom0 >&2; exit 1; }")


@pytest.mark.parametrize("unit", [CONTROLLER, AGENT])
def test_a_daemon_that_hangs_is_restarted_by_systemd_and_goes_on(installed: Site, unit: str) -> None:
    machine = installed.controller if unit == CONTROLLER else installed.dom0
    folder = f"/run/systemd/system/{unit}.d"
    machine.shell(
        f"mkdir -p {folder}; printf '[Service]\\nWatchdogSec=3\\n' > {folder}/soon.conf; systemctl daemon-reload"
    )
    machine.run("systemctl", "restart", unit)
    until(installed.reports)
    hung = machine.of_unit(unit, "MainPID")
    machine.run("kill", "-STOP", hung)
    until(lambda: machine.of_unit(unit, "NRestarts") == "1")
    until(installed.reports, why=lambda: machine.journal(unit))
    assert "Watchdog timeout" in machine.journal(unit)
    assert machine.of_unit(unit, "MainPID") not in (hung, "0")
    machine.shell(f"rm -r {folder}; systemctl daemon-reload; systemctl restart {unit}")
    until(installed.reports)


def test_logs_go_to_a_file_where_somebody_wants_them(installed: Site) -> None:
    controller = installed.controller
    folder = f"/run/systemd/system/{CONTROLLER}.d"
    setting = "[Service]\\nStandardError=append:/var/log/migd/controller.log\\n"
    controller.shell(f"mkdir -p {folder}; printf '{setting}' > {folder}/logs.conf; systemctl daemon-reload")
    controller.run("systemctl", "restart", CONTROLLER)
    until(installed.reports)
    line = controller.run("tail", "-n", "1", "/var/log/migd/controller.log")
    assert json.loads(line)["component"] == "controller"
    controller.shell(f"rm -r {folder}; systemctl daemon-reload; systemctl restart {CONTROLLER}")
    until(installed.reports)


def test_a_key_is_rotated_without_a_gap_and_a_revoked_one_reports_no_more(installed: Site) -> None:
    controller, dom0 = installed.controller, installed.dom0
    uuid, _ = dom0.run("migd-agent", "key").split()
    _, next_key = dom0.run("migd-agent", "key", "--next").split()
    controller.run("migctl", "keys", "rotate", uuid, next_key)
    assert installed.reports()
    dom0.shell("migd-agent key --use-next && systemctl restart migd-agent")
    controller.run("migctl", "keys", "rotate", uuid, "--finish")
    until(installed.reports)
    assert installed.ask("keys", "list")["agents"] == [{"host": uuid, "keys": [next_key]}]
    controller.run("migctl", "keys", "revoke", uuid)
    until(lambda: "taken off the list of agents" in controller.journal(CONTROLLER))
    until(lambda: not installed.reports())
    controller.run("migctl", "keys", "authorise", uuid, next_key)
    until(installed.reports)


def test_migctl_of_the_package_judges_policies_and_answers_at_once(installed: Site) -> None:
    controller = installed.controller
    assert "balance" in controller.run("migctl", "evaluate", "--runs", "1", "--processes", "1", timeout_s=300)
    assert "migctl keys" in controller.shell("zcat /usr/share/man/man1/migctl-keys.1.gz")
    controller.shell("zcat /usr/share/man/man8/migd-controller.8.gz | grep -q controller.toml")
    shown = controller.shell("zcat /usr/share/man/man1/migctl-policy-shadow-add.1.gz")
    assert r"migctl\-policy\-shadow\-add" in shown
    assert "_MIGCTL_COMPLETE=bash_complete" in controller.run("cat", "/usr/share/bash-completion/completions/migctl")


def test_migctl_top_of_the_package_shows_the_cluster_on_a_terminal(installed: Site) -> None:
    with Terminal([*installed.controller.enter, "TERM=xterm-256color", "migctl", "top"], os.environ) as shown:
        shown.shows("▾ xen01", "rank0", "? Help")
        shown.press("q")
        assert shown.ends() == 0


def test_the_playbook_lets_a_bare_host_in_and_changes_nothing_a_second_time(installed: Site, tmp_path: Path) -> None:
    controller, dom0 = installed.controller, installed.dom0
    uuid, _ = dom0.run("migd-agent", "key").split()
    controller.run("migctl", "keys", "revoke", uuid)
    dom0.shell("apt-get purge -y migd-agent; apt-get install -y python3 python3-apt", timeout_s=300)
    until(lambda: not installed.reports())
    (package,) = dom0.files.glob("migd-agent_[0-8]*.deb")
    inventory = tmp_path / "hosts.ini"
    inventory.write_text(
        f"[migd_hosts]\nxen01 ansible_host={dom0.leader}\n[migd_controller]\nctl ansible_host={controller.leader}\n"
        "[all:vars]\nansible_connection=nsenter\nansible_python_interpreter=/usr/bin/python3\n"
    )

    def play() -> str:
        program = Path(sys.executable).with_name("ansible-playbook")
        values = {"migd_package": str(package), "migd_agent_endpoints": ["127.0.0.1"], "ansible_become": False}
        here = {"ANSIBLE_CONNECTION_PLUGINS": str(Path(__file__).parent / "connection_plugins")}
        here |= {"ANSIBLE_HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}
        playbook = PROJECT / "deploy/ansible/agents.yml"
        env = {**os.environ, **here}
        return run(program, "-i", inventory, "-e", json.dumps(values), playbook, env=env, timeout_s=300)

    assert "failed=0" in play()
    until(installed.reports, why=lambda: dom0.journal(AGENT))
    assert "changed=0 " in play()


def test_an_upgrade_keeps_configuration_keys_and_state_and_starts_the_daemons_anew(
    installed: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    controller, dom0 = installed.controller, installed.dom0
    controller.run("migctl", "policy", "set", "least-loaded")
    kept = "cd /etc/migd && sha256sum controller.toml agents.toml controller.key secrets/*"
    before = controller.shell(kept), dom0.shell("cd /etc/migd && sha256sum agent.toml agent.key secrets/*")
    pids = controller.of_unit(CONTROLLER, "MainPID"), dom0.of_unit(AGENT, "MainPID")
    next_release(controller.files)
    controller.shell(
        f"apt-get install -y -o Dpkg::Options::=--force-confold /mnt/migd-controller_{NEXT}.deb /mnt/migctl_{NEXT}.deb",
        timeout_s=300,
    )
    dom0.shell(f"apt-get install -y /mnt/migd-agent_{NEXT}.deb", timeout_s=300)
    until(installed.reports)
    after = controller.shell(kept), dom0.shell("cd /etc/migd && sha256sum agent.toml agent.key secrets/*")
    assert after == before
    assert "explains more" in controller.run("cat", "/etc/migd/controller.toml.dpkg-dist")
    assert installed.ask("status")["policy"] == "least-loaded"
    assert not {controller.of_unit(CONTROLLER, "MainPID"), dom0.of_unit(AGENT, "MainPID")} & set(pids)


def test_a_rollback_is_an_install_of_the_release_before(installed: Site) -> None:
    controller = installed.controller
    older = sorted(path.name for path in controller.files.glob("mig[dc]*.deb") if NEXT not in path.name)
    chosen = " ".join(f"/mnt/{name}" for name in older if not name.startswith("migd-agent"))
    controller.shell(
        f"apt-get install -y --allow-downgrades -o Dpkg::Options::=--force-confold {chosen}", timeout_s=300
    )
    until(installed.reports)
    assert NEXT not in controller.run("dpkg-query", "-W", *NAMES[1:])
    assert installed.ask("status")["policy"] == "least-loaded"


def test_what_is_purged_leaves_nothing(installed: Site, bare: dict[str, set[str]]) -> None:
    for name, machine, chosen in (
        ("controller", installed.controller, "migd-controller migctl"),
        ("dom0", installed.dom0, "migd-agent"),
    ):
        machine.shell(f"apt-get remove -y {chosen}", timeout_s=300)
        assert machine.shell("ls /etc/migd/secrets").split()  # removed, its configuration stays
        machine.shell(f"apt-get purge -y {chosen} && apt-get autoremove --purge -y", timeout_s=300)
        # Each path of these packages, and what they make, has the name of migd or migctl in it.
        assert {path for path in files(machine) - bare[name] if "mig" in path} == set()
        assert machine.shell("find /run /var/lib /var/log /etc -name '*migd*' -o -name '*migctl*'").split() == []
        assert "migd" not in machine.run("cat", "/etc/passwd") + machine.run("cat", "/etc/group")
        assert (
            machine.shell("systemctl list-units --all --plain 'migd*' --no-legend; systemctl --failed --no-legend")
            == ""
        )

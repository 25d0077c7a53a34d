"""What systemd hears of the daemons: that they are ready, that they live, and nothing while they hang."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_cluster import AGENT, CONTROLLER, toml

from migd_core import keys, systemd

LIMIT_S = 30.0
WATCHDOG_S = 0.6


class Manager:
    """The end of the notification socket that systemd has."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
        }

    def heard(self, within_s: float = LIMIT_S) -> str:
        """Return the next message; fail after so long."""
        self.socket.settimeout(within_s)
        return self.socket.recv(4096).decode()

    def falls_silent(self) -> None:
        """Return once nothing was heard for as long as the watchdog waits; fail if that never comes."""
        deadline_s = time.monotonic() + LIMIT_S
        with contextlib.suppress(TimeoutError):
            while self.heard(within_s=WATCHDOG_S):
                assert time.monotonic() < deadline_s, "the watchdog is fed all the time"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.socket.close()


def start(module: str, config: Path, manager: Manager) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", module, "--config", str(config)],
        env=manager.environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def controller_config(folder: Path) -> Path:
    """Write the configuration of a controller whose pool never answers."""
    keys.create(folder, "controller")
    (folder / "agents.toml").touch()
    (folder / "password").write_text("x\n")
    config = folder / "controller.toml"
    values = {"listen": "tcp://127.0.0.1:*", "leases": "tcp://127.0.0.1:*", "url": "http://127.0.0.1:9"}
    files = {"secret_key_file": "controller.key_secret", "agents_file": "agents.toml", "password_file": "password"}
    files |= {"state_dir": "state", "socket": "controller.sock"}
    paths = {key: folder / name for key, name in files.items()}
    config.write_text(toml(CONTROLLER, timeout_s=5.0, settle_s=1.0, settle_ratio=0.0, **values, **paths))
    return config


def test_a_controller_is_ready_then_lives_and_says_when_it_stops(tmp_path: Path, manager: Manager) -> None:
    controller = start("migd_controller", controller_config(tmp_path), manager)
    try:
        heard = [manager.heard() for _ in range(4)]
        assert sorted(heard) == ["READY=1", *["WATCHDOG=1"] * 3]
        controller.send_signal(signal.SIGTERM)
        while (last := manager.heard()) == "WATCHDOG=1":
            pass
        assert last == "STOPPING=1"
        assert controller.wait(LIMIT_S) == 0
    finally:
        controller.kill()
        controller.communicate()


def test_the_watchdog_hears_nothing_of_a_controller_whose_loop_hangs_and_the_log_says_where(
    tmp_path: Path, manager: Manager
) -> None:
    controller = start("migd_controller", controller_config(tmp_path), manager)
    try:
        while manager.heard() != "READY=1":
            pass
        with sqlite3.connect(tmp_path / "state/journal.sqlite", isolation_level=None) as journal:
            journal.execute("BEGIN EXCLUSIVE")  # whatever is to be written now, the loop waits in it for seconds
            manager.falls_silent()
            controller.send_signal(signal.SIGABRT)  # what systemd does then
            _, said = controller.communicate(timeout=LIMIT_S)
        assert controller.returncode == -signal.SIGABRT
        assert "journal.py" in said.partition("Fatal Python error: Aborted")[2]
    finally:
        controller.kill()
        controller.communicate()


def test_an_agent_is_ready_and_lives_though_its_samples_are_rare(tmp_path: Path, manager: Manager) -> None:
    for name in ("controller", "agent"):
        keys.create(tmp_path, name)
    config = tmp_path / "agent.toml"
    text = toml(
        AGENT,
        endpoint="tcp://127.0.0.1:9",
        lease_endpoint="tcp://127.0.0.1:9",
        public_key_file=tmp_path / "controller.key",
        secret_key_file=tmp_path / "agent.key_secret",
        host_uuid="host-of-the-watchdog",
        collectors_off=["dirty-curve"],
        control="http://127.0.0.1:9",
    )
    config.write_text(text.replace("period_s = 0.25", "period_s = 60.0"))
    agent = start("migd_agent", config, manager)
    try:
        assert manager.heard() == "READY=1"
        begun_s = time.monotonic()
        assert [manager.heard() for _ in range(4)] == ["WATCHDOG=1"] * 4
        assert time.monotonic() - begun_s >= WATCHDOG_S
        agent.send_signal(signal.SIGSTOP)
        manager.falls_silent()
        agent.send_signal(signal.SIGCONT)
        assert manager.heard() == "WATCHDOG=1"
        agent.terminate()
        assert agent.wait(LIMIT_S) == 0
        assert manager.heard() == "STOPPING=1"
    finally:
        agent.kill()
        agent.communicate()


@pytest.mark.parametrize(
    ("microseconds", "pid", "period_s"),
    [("", "", None), ("0", "", None), ("soon", "", None), ("60000000", "1", None), ("60000000", "", 30.0)],
)
def test_a_watchdog_that_waits_for_nobody_or_another_is_not_fed(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str, period_s: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert systemd.watchdog_period_s() == period_s


def test_a_secret_comes_from_systemd_where_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path("/etc/migd/secrets/xapi.password")
    assert systemd.secret(file) == file
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert systemd.secret(file) == file
    (tmp_path / "migd_xapi.password").touch()
    assert systemd.secret(file) == tmp_path / "migd_xapi.password"

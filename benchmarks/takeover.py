"""How long a cluster is without a controller, with real processes and the settings that are shipped.

Two controllers and the agents of two hosts on an emulated pool. The leader is killed, stopped (SIGSTOP) and ended by
turns; the time until the other one leads counts in leases, of which a dead leader's last renewal is up to a third old.
A lone controller is killed and started: the time until it has decided with every host in sight counts in periods.
"""

import contextlib
import json
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from migd_cli.client import Client
from migd_cli.demo.children import Brood, Child, brood
from migd_cli.failures import Failure
from migd_core import keys
from migd_core.api import StatusView

T = TypeVar("T")
LIMIT_S: Final = 120.0
LEASE_S, PERIOD_S = 15.0, 5.0  # the defaults
ROUNDS: Final = 2
_HOSTS: Final = ("xen1", "xen2")
_POOL: Final = "\n".join(
    [
        'name = "takeover"',
        *(f'[[hosts]]\nname = "{name}"\nuuid = "{name}"\ncpus = 4\nmemory_bytes = 17179869184' for name in _HOSTS),
        '[[guests]]\nname = "rank0"\nhost = "xen1"\nvcpus = 1\nmemory_bytes = 1073741824\nbase_demand_vcpus = 1.0',
    ]
)
_CONTROLLER: Final = """
state_dir = "{folder}/{name}"
socket = "{folder}/{name}.sock"
[telemetry]
listen = "tcp://127.0.0.1:{port}"
secret_key_file = "{folder}/controller.key_secret"
agents_file = "{folder}/agents.toml"
[probe]
listen = "tcp://127.0.0.1:{lease_port}"
[xapi]
url = "{url}"
username = "root"
password_file = "{folder}/password"
[leader]
name = "{name}"
address = "127.0.0.1"
"""
_AGENT: Final = """
[controller]
endpoint = "tcp://127.0.0.1:{one}"
others = [{{ endpoint = "tcp://127.0.0.1:{other}" }}]
public_key_file = "{folder}/controller.key"
secret_key_file = "{folder}/{host}.key_secret"
[measure]
host_uuid = "{host}"
guests = {{ source = "sim", url = "{control}" }}
"""


@dataclass
class Controller:
    """One controller, and its process."""

    folder: Path
    name: str
    port: int
    children: Brood
    child: Child | None = None

    def start(self) -> None:
        self.child = self.children.start(self.name, "migd_controller", "--config", f"{self.folder}/{self.name}.toml")

    def send(self, number: signal.Signals) -> None:
        assert self.child is not None
        self.child.send(number)

    def gone(self) -> None:
        assert self.child is not None
        assert self.child.wait(LIMIT_S)

    def status(self) -> StatusView | None:
        with contextlib.suppress(Failure):
            answer = Client(f"{self.folder}/{self.name}.sock").ask("GET", "/v1/status")
            return msgspec.json.decode(answer, type=StatusView)
        return None

    def leads(self) -> bool:
        view = self.status()
        return view is not None and view.leader is not None and view.leader.leads

    def decides(self) -> bool:
        view = self.status()
        return view is not None and view.last_decision is not None and (view.hosts, view.hosts_frozen) == (2, 0)

    def follows(self) -> bool:
        view = self.status()
        if view is None or view.leader is None:
            return False
        return view.leader.memory_s is not None and not view.hosts_frozen


def measure() -> dict[str, list[float] | float]:
    """Return takeovers in leases by how the leader went, and first decisions in control periods."""
    with tempfile.TemporaryDirectory() as kept, brood(Path(kept)) as children:
        one, other = _raised(Path(kept), children)
        killed, stopped, ended, restarted = [], [], [], []
        for _ in range(ROUNDS):
            one, other, took_s = _changed(one, other, signal.SIGKILL)
            killed.append(took_s / LEASE_S)
            one, other, took_s = _changed(one, other, signal.SIGSTOP)
            stopped.append(took_s / LEASE_S)
            one, other, took_s = _changed(one, other, signal.SIGTERM)
            ended.append(took_s / LEASE_S)
        other.send(signal.SIGTERM)
        other.gone()
        for _ in range(ROUNDS):
            one.send(signal.SIGKILL)
            one.gone()
            began_s = time.monotonic()
            one.start()
            _until(one.decides)
            restarted.append((time.monotonic() - began_s) / PERIOD_S)
    return {
        "killed_leases": killed,
        "stopped_leases": stopped,
        "ended_leases": ended,
        "restart_to_decision_periods": restarted,
    }


def _changed(leader: Controller, standby: Controller, number: signal.Signals) -> tuple[Controller, Controller, float]:
    """Let the leader go; return who leads then, who stands by once it is back, and how long that took in s."""
    _until(standby.follows)
    began_s = time.monotonic()
    leader.send(number)
    _until(standby.leads)
    took_s = time.monotonic() - began_s
    if number == signal.SIGSTOP:
        leader.send(signal.SIGCONT)
    else:
        leader.gone()
        leader.start()
    _until(leader.follows)
    return standby, leader, took_s


def _raised(folder: Path, children: Brood) -> tuple[Controller, Controller]:
    for name in ("controller", *_HOSTS):
        keys.create(folder, name)
    for host in _HOSTS:
        keys.authorise(folder / "agents.toml", host, keys.read_public(folder / f"{host}.key"))
    (folder / "password").write_text("migd")
    (folder / "pool.toml").write_text(_POOL)
    listen = ("--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--log-level", "error")
    pool = children.start("pool", "migd_xapi", "--pool", f"{folder}/pool.toml", *listen)
    ready = json.loads(_until(lambda: pool.output().partition("\n")[0]))
    pair = Controller(folder, "ctl1", _free_port(), children), Controller(folder, "ctl2", _free_port(), children)
    for each in pair:
        text = _CONTROLLER.format(
            folder=folder, name=each.name, url=ready["url"], port=each.port, lease_port=each.port + 1
        )
        (folder / f"{each.name}.toml").write_text(text)
        each.start()
    for host in _HOSTS:
        text = _AGENT.format(folder=folder, host=host, control=ready["control"], one=pair[0].port, other=pair[1].port)
        (folder / f"{host}.toml").write_text(text)
        children.start(host, "migd_agent", "--config", f"{folder}/{host}.toml")
    _until(lambda: any(each.leads() for each in pair))
    return pair if pair[0].leads() else (pair[1], pair[0])


def _until(look: Callable[[], T]) -> T:
    """Return what `look` finds, once it does."""
    deadline_s = time.monotonic() + LIMIT_S
    while not (found := look()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not within {LIMIT_S:g} s")
        time.sleep(0.05)
    return found


def _free_port() -> int:
    """Return a port that is free, as the one after it is."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port

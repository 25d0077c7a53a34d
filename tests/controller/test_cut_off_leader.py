"""Pool and controllers each in a network namespace: a leader whose cable is pulled is replaced, and comes back as a standby."""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from live_cluster import POOL, LiveCluster, LiveController, until

from migd_cli.demo.children import brood
from migd_core import api

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="only root makes network namespaces, with ip of iproute2"
)
LEASE_S = 3.0
# As in production: a user of the pool who may not administer it.
OPERATOR = 'refusal_delay_s = 0.0, users = [{ name = "migd", password = "migd", role = "pool-operator" }]'
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let this thread, and what it starts, be in another network namespace for a while."""
    with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{namespace}") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@dataclass
class Network:
    """A namespace for the pool and its hosts, and one for each controller, joined by a bridge in that of the pool."""

    pool: str
    controllers: tuple[str, str]

    def cable(self, controller: str, state: str) -> None:
        """Pull the cable of a controller, or plug it in."""
        ip("-n", self.pool, "link", "set", f"to{self.controllers.index(controller)}", state)


@pytest.fixture
def network() -> Iterator[Network]:
    names = [f"migd-{os.getpid()}-{name}" for name in ("pool", "ctl1", "ctl2")]
    pool, *controllers = names
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", pool, "link", "add", "bridge", "type", "bridge")
        ip("-n", pool, "link", "set", "bridge", "up")
        for number in (1, 2):  # one for each host
            ip("-n", pool, "address", "add", f"10.97.0.{number}/24", "dev", "bridge")
        for number, name in enumerate(controllers):
            ip("-n", pool, "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", pool, "link", "set", f"to{number}", "master", "bridge", "up")
            ip("-n", name, "address", "add", f"10.97.0.{number + 11}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        yield Network(pool, (controllers[0], controllers[1]))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=20)


def leads(controller: LiveController) -> bool:
    view = controller.status().leader
    return view is not None and view.leads


def test_a_leader_that_is_cut_off_is_replaced_and_comes_back_as_a_standby(
    network: Network, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("net")
    with brood(folder) as children:
        with inside(network.pool):
            pool = POOL.replace("refusal_delay_s = 0.0", OPERATOR)
            cluster = LiveCluster(folder, children, pool, address="10.97.0.1")
        pair = [cluster.contender(f"ctl{n}", LEASE_S, f"10.97.0.{n + 10}") for n in (1, 2)]
        for each in pair:
            each.config.write_text(each.config.read_text().replace('username = "root"', 'username = "migd"'))
        for each, namespace in zip(pair, network.controllers, strict=True):
            with inside(namespace):
                each.start()
        with inside(network.pool):
            cluster.start_agents(*pair)
        for each in pair:
            each.sees_everything()
        until(lambda: any(leads(each) for each in pair))
        (leader, of_leader), (standby, _) = sorted(
            zip(pair, network.controllers, strict=True), key=lambda each: not leads(each[0])
        )

        network.cable(of_leader, "down")
        cut_s = time.monotonic()
        standby.status(lambda status: status.leader is not None and status.leader.leads)
        took_s = time.monotonic() - cut_s
        assert not leads(leader)
        assert took_s <= 2 * LEASE_S
        views: list[api.GuestView] = standby.ask("GET", "/v1/guests")
        (here,) = (view.host_name for view in views if view.name == "rank0")
        standby.ask("POST", "/v1/migrations", guest="rank0", host="xen2" if here == "xen1" else "xen1")
        standby.history(lambda views: views and views[0].ok)

        network.cable(of_leader, "up")
        name = standby.status().leader
        assert name is not None
        leader.status(lambda status: status.leader is not None and status.leader.leader == name.name)
        leader.sees_everything()
        assert (leads(standby), leads(leader)) == (True, False)
        with inside(network.pool):
            assert [(each["guest"], each["ok"]) for each in cluster.pool.migrations()] == [("rank0", True)]
        for each in (leader, standby):
            each.end(signal.SIGTERM)

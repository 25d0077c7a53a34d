"""One lab: nodes, their network, and migd's daemons, from the first process to the last."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from migd_core import keys
from migd_lab import debian, dom0_image, guest_images, hypervisor, network, payload
from migd_lab.addresses import CONTROLLER, MAX_NODES
from migd_lab.commands import run
from migd_lab.errors import LabError
from migd_lab.guest import Guest
from migd_lab.hypervisor import Domain, Xen
from migd_lab.node import Machine, Node
from migd_lab.processes import Daemon

RUNS: Final = Path("/run/migd-lab")
TELEMETRY_PORT: Final = 7201
BOOT_S: Final = 180.0
MACHINE: Final = Machine()
_AGENT: Final = """\
[controller]
endpoint = "tcp://{controller}:{port}"
public_key_file = "/etc/migd/controller.key"
secret_key_file = "/etc/migd/agent.key_secret"

[measure]
host_uuid = "{uuid}"
period_s = 2.0
nics = ["eth0"]

[measure.guests]
source = "{source}"
"""


@dataclass(frozen=True, slots=True)
class Images:
    """What nodes boot from."""

    xen: Path
    kernel: Path
    dom0: Path


class _State(msgspec.Struct, frozen=True):
    """What a lab that runs tells another process of itself."""

    nodes: int
    xen: Xen


def build(xen: Xen) -> Images:
    """Return what nodes boot from, built now unless it was before. Raises LabError."""
    debian.install_tools()
    if hypervisor.PACKAGE not in debian.candidates([hypervisor.PACKAGE]):
        debian.refresh()
    kernel = hypervisor.kernel()
    return Images(hypervisor.xen(xen), kernel.image, dom0_image.build(kernel, guest_images.build(kernel)))


class Lab:
    """The lab of a name. One that another process started is the same lab."""

    def __init__(self, name: str = "lab") -> None:
        self.name = name
        self.folder = RUNS / name
        self.namespace = f"migd-{name}"
        self.socket = self.folder / "controller.sock"
        self.xapi = Daemon("migd-xapi", self.folder, self.namespace)
        self.controller = Daemon("migd-controller", self.folder, self.namespace)

    @property
    def nodes(self) -> list[Node]:
        """The nodes of the lab, if it was started."""
        return [Node(number, self.folder, self.namespace) for number in range(1, self._state().nodes + 1)]

    @property
    def domain(self) -> Domain:
        """What guests are: with shadow paging PV, otherwise PVH."""
        return "pv" if self._state().xen == "shadow" else "pvh"

    def start(self, nodes: int = 2, xen: Xen = "current", machine: Machine = MACHINE, source: str = "xen") -> float:
        """Boot the nodes and return how long that took in seconds, once all answer. Raises LabError."""
        if os.geteuid() != 0:
            raise LabError("the lab needs root: it makes a network namespace and builds disks of root's files")
        if not 1 <= nodes <= MAX_NODES:
            raise LabError(f"a lab has 1 to {MAX_NODES} nodes, not {nodes}")
        if self.folder.exists():
            raise LabError(f"a lab named {self.name} runs already, or was not stopped; `make lab-stop` ends it")
        images = build(xen)
        with self._or_undone():
            return self._boot(images, nodes, xen, machine, source)

    def _boot(self, images: Images, nodes: int, xen: Xen, machine: Machine, source: str) -> float:
        begun_s = time.monotonic()
        self.folder.mkdir(parents=True, mode=0o700)
        (self.folder / "lab.json").write_bytes(msgspec.json.encode(_State(nodes=nodes, xen=xen)))
        network.create(self.namespace)
        self._make_keys()
        for node in self.nodes:
            archive = self.folder / f"{node.name}.tar"
            payload.write(archive, self._files(node, source))
            node.boot(machine, images.xen, images.kernel, images.dom0, archive)
        deadline_s = time.monotonic() + BOOT_S
        with ThreadPoolExecutor(nodes) as pool:
            list(pool.map(lambda node: node.wait(deadline_s), self.nodes))
        return time.monotonic() - begun_s

    def stop(self) -> None:
        """End every process of the lab and remove its network and files; nothing to do where there is none."""
        for daemon in (self.controller, self.xapi):
            daemon.end()
        with ThreadPoolExecutor(MAX_NODES) as pool:
            list(pool.map(Node.end, self.nodes))
        network.remove(self.namespace)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let this thread and what it starts be in the lab's network. Raises LabError."""
        with network.inside(self.namespace):
            yield

    @contextmanager
    def _or_undone(self) -> Iterator[None]:
        """Leave no half of a lab behind."""
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def create(self, places: Sequence[tuple[Guest, Node]]) -> None:
        """Start guests, on each node one after another and on all nodes at once. Raises LabError."""
        hosts = {guest.name: guest.address for guest, _ in places}

        def create_on(node: Node) -> None:
            with self.inside():
                for guest, place in places:
                    if place == node:
                        guest.create(node, self.domain, hosts)

        with ThreadPoolExecutor(MAX_NODES) as pool:
            list(pool.map(create_on, dict.fromkeys(node for _, node in places)))
        with self.inside():
            for guest, _ in places:
                guest.begin()  # not before: each takes CPU from the start of the others

    def _state(self) -> "_State":
        try:
            return msgspec.json.decode((self.folder / "lab.json").read_bytes(), type=_State)
        except FileNotFoundError:
            return _State(nodes=0, xen="current")

    def _make_keys(self) -> None:
        for name in ("key", "hostkey"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"migd-{name}", "-f", self.folder / name)
        for name in ("controller", *(node.name for node in self.nodes)):
            keys.create(self.folder, name)
        for node in self.nodes:
            keys.authorise(self.folder / "agents.toml", node.uuid, keys.read_public(self.folder / f"{node.name}.key"))

    def _files(self, node: Node, source: str) -> dict[str, str]:
        """Return the files that one node gets, by their paths from the root."""
        names = "".join(f"{each.address} {each.name}\n" for each in self.nodes)
        return {
            "etc/hosts": f"127.0.0.1 localhost\n{names}",
            "etc/machine-id": node.uuid.replace("-", "") + "\n",
            "etc/ssh/ssh_host_ed25519_key": self._text("hostkey"),
            "root/.ssh/authorized_keys": self._text("key.pub"),
            "root/.ssh/id_ed25519": self._text("key"),
            "etc/migd/agent.toml": _AGENT.format(
                controller=CONTROLLER, port=TELEMETRY_PORT, uuid=node.uuid, source=source
            ),
            "etc/migd/controller.key": self._text("controller.key"),
            "etc/migd/agent.key_secret": self._text(f"{node.name}.key_secret"),
        }

    def _text(self, name: str) -> str:
        return (self.folder / name).read_text()

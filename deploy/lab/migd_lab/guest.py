"""Guests: what they are told to do, the file `xl` starts them from, and the way to ask them."""

import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from migd_lab.addresses import guest_address, guest_mac, uuid_of
from migd_lab.errors import LabError
from migd_lab.hypervisor import Domain
from migd_lab.node import Node

_SHELL_PORT: Final = 514
# So long after its start a guest that does not answer is looked at; sooner a look would take CPU from its start.
_LOOK_AFTER_S: Final = 90.0
_PANIC: Final = "Kernel panic"


@dataclass(frozen=True, slots=True)
class Guest:
    """Guest `number` (1 to 99). `runs` are programs of `guest/` with their arguments."""

    name: str
    number: int
    runs: tuple[str, ...] = ()
    memory_mib: int = 112
    image: Literal["base", "mpi"] = "base"

    @property
    def uuid(self) -> str:
        return uuid_of(self.name)

    @property
    def address(self) -> str:
        return guest_address(self.number)

    @property
    def mac(self) -> str:
        return guest_mac(self.number)

    def configuration(self, domain: Domain, hosts: Mapping[str, str]) -> str:
        """Return the file for `xl create`; `hosts` are the names that the guest knows, with their addresses."""
        known = ",".join(f"{address}:{name}" for name, address in {"localhost": "127.0.0.1", **hosts}.items())
        told = f"lab.host={self.name} lab.ip={self.address} lab.hosts={known}"
        return "\n".join(
            [
                f'name = "{self.name}"',
                f'uuid = "{self.uuid}"',
                f'type = "{domain}"',
                'kernel = "/lab/vmlinux"',
                f'ramdisk = "/lab/{self.image}.cpio"',
                f"memory = {self.memory_mib}",
                "vcpus = 1",
                f'vif = ["mac={self.mac},bridge=xenbr0"]',
                f'extra = "console=hvc0 quiet mitigations=off {told}"',
                "",
            ]
        )

    def create(self, node: Node, domain: Domain, hosts: Mapping[str, str], timeout_s: float = 300.0) -> None:
        """Start the guest on the node and wait until it answers. To be called inside the lab's network.

        A guest whose kernel panics while it boots is started again: under emulation one in some dozens does, before
        anything of migd has touched it. Raises LabError.
        """
        file, log = f"/root/{self.name}.cfg", f"/var/log/xen/guest-{self.name}.log"
        start = f"rm -f {log} && xl create -q {file}"
        deadline_s = time.monotonic() + timeout_s
        node.run(f"cat >{file} && {start}", timeout_s=timeout_s, stdin=self.configuration(domain, hosts))
        while True:
            try:
                self.ask("true", max(1.0, min(_LOOK_AFTER_S, deadline_s - time.monotonic())))
                return
            except LabError as error:
                console = node.run(f"tail -c 1000 {log}")
                if time.monotonic() > deadline_s:
                    raise LabError(f"{error}; its console:\n{console}") from error
                if _PANIC in console:
                    node.run(f"xl destroy {self.name} 2>/dev/null; {start}", timeout_s=timeout_s)

    def begin(self) -> None:
        """Let its programs run; what they write is kept in the guest's /tmp/out. Raises LabError."""
        for program in self.runs:
            self.ask(f"setsid {program} >>/tmp/out 2>&1 </dev/null &")

    def destroy(self, node: Node) -> None:
        """End the guest, which runs on this node. Raises LabError."""
        node.run(f"xl destroy {self.name}")

    def ask(self, command: str, timeout_s: float = 20.0) -> str:
        """Return what the shell command writes in the guest, wherever it runs now. Raises LabError.

        To be called inside the lab's network.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return _shell(self.address, command, deadline_s)
            except OSError as error:
                if time.monotonic() > deadline_s:
                    raise LabError(
                        f"guest {self.name}: {command[:80]}: no answer in {timeout_s:g} s: {error}"
                    ) from error
                time.sleep(0.1)

    def cpu(self, node: Node) -> tuple[float, float]:
        """Return the CPU time that `xl` says the guest on this node has had, and Dom0's clock, both in seconds.

        The guest cannot tell: its process clock runs on while others have the CPU, and its ticks miss what is short.
        """
        uptime, *_, domain = node.run(f"cat /proc/uptime; xl list {self.name}").splitlines()
        return float(domain.split()[-1]), float(uptime.split()[0])

    def lines(self, word: str, file: str = "/tmp/out") -> list[dict[str, float]]:
        """Return the lines `WORD NUMBER key=value …` of what its programs wrote; the number is called `line`."""
        return figures(self.ask(f"cat {file}"), word)


def figures(text: str, word: str) -> list[dict[str, float]]:
    """Return each line `WORD NUMBER key=value …` of `text` as figures; the number is called `line`.

    >>> figures("WRITE 3 t=1.5 bad=0", "WRITE")
    [{'line': 3.0, 't': 1.5, 'bad': 0.0}]
    """
    found = []
    for match in re.finditer(rf"^{word} (\d+) (\S+=\S+(?: \S+=\S+)*)$", text, re.MULTILINE):
        pairs = (part.partition("=") for part in match[2].split())
        found.append({"line": float(match[1]), **{key: float(value) for key, _, value in pairs}})
    return found


def _shell(address: str, command: str, deadline_s: float) -> str:
    left_s = max(0.1, deadline_s - time.monotonic())
    with socket.create_connection((address, _SHELL_PORT), timeout=min(2.0, left_s)) as connection:
        connection.settimeout(left_s)
        connection.sendall(f"{command}\nexit\n".encode())
        parts = []
        while data := connection.recv(65536):
            parts.append(data)
    return b"".join(parts).decode(errors="replace")

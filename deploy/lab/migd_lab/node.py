"""One Xen host in QEMU: boot it, run commands in its Dom0, end it."""

import contextlib
import os
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migd_lab import network
from migd_lab.addresses import node_address, node_mac, uuid_of
from migd_lab.commands import run
from migd_lab.errors import LabError

# `-cpu max` crashes Dom0; nested paging (npt) is what PVH guests need.
_CPU: Final = "qemu64,+npt,+fsgsbase,+aes,+sse4.1,+sse4.2,+ssse3,+popcnt,+pclmulqdq,+pdpe1gb"
_READY: Final = "READY node="
_LOG_LINES_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Machine:
    """What every node is given."""

    memory_mib: int = 1536
    dom0_memory_mib: int = 400


@dataclass(frozen=True, slots=True)
class Node:
    """Node `number` of a lab; its files are in `folder`, its network is `namespace`."""

    number: int
    folder: Path
    namespace: str

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def uuid(self) -> str:
        return uuid_of(self.name)

    @property
    def address(self) -> str:
        return node_address(self.number)

    @property
    def console(self) -> Path:
        return self._file("console")

    def boot(self, machine: Machine, xen: Path, kernel: Path, dom0: Path, payload: Path) -> None:
        """Start QEMU and return; the node is not ready yet. Raises LabError."""
        tap = network.add_tap(self.namespace, self.number)
        # loglvl: a hypervisor that says nothing leaves nothing to look at when it dies
        xen_options = (
            "console=com1 com1=115200 loglvl=warning guest_loglvl=warning sync_console=0 spec-ctrl=no xpti=no "
            f"dom0_mem={machine.dom0_memory_mib}M,max:{machine.dom0_memory_mib}M"
        )
        linux_options = f"console=hvc0 quiet mitigations=off audit=0 lab.node={self.number}"
        run(
            *("ip", "netns", "exec", self.namespace, "qemu-system-x86_64", "-name", self.name, "-uuid", self.uuid),
            *("-accel", "tcg,tb-size=256", "-M", "pc,usb=off,vmport=off", "-cpu", _CPU, "-smp", "1"),
            *("-m", str(machine.memory_mib), "-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console"),
            *("-kernel", xen, "-append", xen_options),
            *("-initrd", f"{kernel} {linux_options},{dom0 / 'initrd.cpio'}"),
            *self._disk("system", dom0 / "dom0.ext4"),
            *self._disk("payload", payload),
            *("-netdev", f"tap,id=net,ifname={tap},script=no,downscript=no,vhost=off"),
            *("-device", f"virtio-net-pci,netdev=net,mac={node_mac(self.number)},romfile="),
            *("-pidfile", self._file("pid"), "-daemonize"),
            env={**os.environ, "TMPDIR": str(self.folder)},  # QEMU keeps there what the disks' snapshots differ by
        )

    def wait(self, deadline_s: float) -> None:
        """Wait until commands can be run in Dom0; `deadline_s` is of the monotonic clock. Raises LabError."""
        while _READY not in self.console.read_text(errors="replace"):
            self._check(deadline_s, "is not up")
            time.sleep(0.1)
        while self._open_master() != 0:
            self._check(deadline_s, "does not answer ssh")
            time.sleep(0.2)

    def run(self, command: str, timeout_s: float = 30.0, stdin: str | None = None) -> str:
        """Return what the shell command wrote in Dom0. Raises LabError when it fails or takes longer."""
        bounded = f"timeout -k 2 {timeout_s:g} sh -c {shlex.quote(command)}"
        try:
            return run(*self.ssh(), bounded, timeout_s=timeout_s + 10, stdin=stdin)
        except LabError as error:
            raise LabError(f"{self.name}: {command[:200]}: {error}") from error

    def ssh(self) -> list[str]:
        """Return the command line to which a command in Dom0 is added."""
        return [
            *("ip", "netns", "exec", self.namespace, "ssh", "-q", "-F", "none", "-i", str(self.folder / "key")),
            *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"),
            *("-o", "ConnectTimeout=10", "-o", f"ControlPath={self._file('ssh')}", f"root@{self.address}"),
        ]

    def is_alive(self) -> bool:
        """Return whether QEMU runs."""
        return self._pid() is not None

    def end(self) -> None:
        """End QEMU at once, and the shared connection to its Dom0."""
        if self._file("ssh").exists():
            with contextlib.suppress(LabError):  # it has ended already
                run(*self.ssh()[:-1], "-O", "exit", self.ssh()[-1], timeout_s=10)
        if (pid := self._pid()) is None:
            return
        os.kill(pid, signal.SIGKILL)  # nothing of it is kept
        deadline_s = time.monotonic() + 10
        while self._pid() is not None and time.monotonic() < deadline_s:
            time.sleep(0.02)

    def _open_master(self) -> int:
        """Open the connection that all commands share, so that only one handshake is paid; return ssh's exit code."""
        words = self.ssh()
        # Nothing may hold a pipe of ours: the master outlives this call.
        return subprocess.run(
            [*words[:-1], "-M", "-N", "-f", words[-1]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=30,
        ).returncode

    def _check(self, deadline_s: float, what: str) -> None:
        if not self.is_alive() or time.monotonic() > deadline_s:
            lines = self.console.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
            why = "in time" if self.is_alive() else "and its QEMU has ended"
            raise LabError("\n".join([f"{self.name} {what} {why}; the last lines of its console:", *lines]))

    def _pid(self) -> int | None:
        """Return QEMU's process id, if it is this node's QEMU that has it."""
        file = self._file("pid")
        if not file.exists():
            return None
        pid = int(file.read_text())
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return None
        return pid if str(file).encode() in words else None

    def _file(self, kind: str) -> Path:
        return self.folder / f"{self.name}.{kind}"

    def _disk(self, name: str, file: Path) -> list[str]:
        drive = f"if=none,id={name},file={file},format=raw,snapshot=on,cache=unsafe"
        return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]

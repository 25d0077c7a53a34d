"""Debian machines that are nothing but themselves: systemd-nspawn boots each from one bare tree, and forgets it at the end."""

import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from migd_lab import cache, debian
from migd_lab.commands import run

T = TypeVar("T")
BOOT_S = 90.0
LIMIT_S = 60.0
# What a bare host has, and what its apt has at hand: so nothing is fetched while a test runs.
_BARE = ("systemd", "systemd-sysv", "iproute2", "procps")
_AT_HAND = ("python3", "libstdc++6", "zlib1g", "nftables", "python3-apt")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def bare_tree() -> Path:
    """Return a Debian system on which nobody has installed anything, made once a week."""
    week = time.strftime("%G-%V")
    ingredients = [debian.SUITE, *_BARE, "|", *_AT_HAND, week]

    def make(folder: Path) -> None:
        debian.tree(_BARE, folder / "tree", _AT_HAND, left_out=())

    return cache.step("bare-tree", ingredients, make) / "tree"


@dataclass(frozen=True)
class Machine:
    """One machine that runs; `uuid` is what its agent calls the host."""

    uuid: str
    files: Path
    leader: int

    def run(self, *command: str, timeout_s: float = LIMIT_S, stdin: str | None = None) -> str:
        """Return what a command there prints. Raises LabError where it fails."""
        return run(*self.enter, *command, timeout_s=timeout_s, stdin=stdin)

    def shell(self, script: str, timeout_s: float = LIMIT_S) -> str:
        """Return what a script of the shell there prints. Raises LabError where it fails."""
        return self.run("sh", "-euc", script, timeout_s=timeout_s)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file there."""
        self.run("sh", "-c", f"umask 077; cat > {path}; chmod {mode:o} {path}", stdin=text)

    def of_unit(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def journal(self, unit: str) -> str:
        """Return all that a unit has said."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit)

    @property
    def enter(self) -> tuple[str, ...]:
        """What a command begins with that is to run there; `NAME=VALUE` may follow."""
        enter = ("nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        return (
            *enter,
            "--root",
            "--wd=/",
            "env",
            "-i",
            f"PATH={_PATH}",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        )


@contextlib.contextmanager
def booted(name: str, namespace: str, shared: Path) -> Iterator[Machine]:
    """Boot a machine in a network namespace, with the folder `shared` at /mnt; what it writes elsewhere goes with it."""
    machine_id = uuid.uuid4()
    log = shared / f"{name}.log"
    with log.open("wb") as out:
        nspawn = subprocess.Popen(
            [
                *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--volatile=overlay"),
                "--capability=CAP_IPC_LOCK,CAP_NET_ADMIN,CAP_SYS_RESOURCE",  # a real host has them, nspawn takes them away
                *(f"--directory={bare_tree()}", f"--machine={name}", f"--uuid={machine_id.hex}"),
                *(f"--network-namespace-path=/run/netns/{namespace}", f"--bind-ro={shared}:/mnt"),
                "--console=pipe",
            ],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
        )
    try:
        machine = until(lambda: _machine(nspawn, machine_id, shared), BOOT_S, lambda: log.read_text(errors="replace"))
        until(lambda: _is_up(machine), BOOT_S, lambda: log.read_text(errors="replace"))
        yield machine
    finally:
        nspawn.terminate()  # it lets the machine shut down
        try:
            nspawn.wait(30)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()
        shutil.rmtree(f"/run/systemd/nspawn/propagate/{name}", ignore_errors=True)


def until(look: Callable[[], T | None], limit_s: float = LIMIT_S, why: Callable[[], str] = lambda: "") -> T:
    """Return what `look` finds, looking again until it does; fail after `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < deadline_s, f"not within {limit_s:g} s; {why()[-3000:]}"
        time.sleep(0.05)
    return found


def _machine(nspawn: "subprocess.Popen[bytes]", machine_id: uuid.UUID, shared: Path) -> Machine | None:
    assert nspawn.poll() is None, f"systemd-nspawn has ended with {nspawn.returncode}"
    for child in Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):  # the first child only makes the one that becomes systemd
            if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                return Machine(str(machine_id), shared, int(child))
    return None


def _is_up(machine: Machine) -> bool:
    done = subprocess.run(
        [*machine.enter, "systemctl", "is-system-running"], capture_output=True, text=True, timeout=LIMIT_S
    )
    return done.stdout.strip() in ("running", "degraded")

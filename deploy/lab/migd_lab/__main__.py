"""`python -m migd_lab`: build, start, use and stop a lab."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from migd_lab import lab as labs
from migd_lab.errors import LabError
from migd_lab.guest import Guest
from migd_lab.hypervisor import Xen
from migd_lab.lab import Lab
from migd_lab.migd import start_migd

ENDED, FAILED = 0, 1
FOLDER: Final = Path(__file__).resolve().parents[1]
# What `start` puts on the nodes in turn, so that there is something to look at and to move.
GUESTS = (
    Guest("spinner", 1, ("spin 0.3", "write 8 200")),
    Guest("writer", 2, ("write 16 2000",)),
    Guest("sender", 3, ("send 192.168.77.101 200000",)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    options = _parser().parse_args(arguments)
    lab = Lab(options.name)
    try:
        match options.do:
            case "build":
                begun_s = time.monotonic()
                labs.build(options.xen)
                print(f"built in {time.monotonic() - begun_s:.1f} s")
            case "start":
                _start(lab, options.nodes, options.xen)
            case "stop":
                lab.stop()
            case "ssh":
                _ssh(lab, options.node, options.command)
            case "exec":
                with lab.inside():
                    os.execvp(options.command[0], options.command)
    except (LabError, OSError) as error:
        sys.stderr.write(f"migd_lab: {error}\n")
        return FAILED
    return ENDED


def _start(lab: Lab, nodes: int, xen: Xen) -> None:
    print(f"building what is not cached, then booting {nodes} nodes …", flush=True)
    print(f"{nodes} nodes ready after {lab.start(nodes, xen):.1f} s; starting {len(GUESTS)} guests …", flush=True)
    lab.create([(guest, lab.nodes[number % nodes]) for number, guest in enumerate(GUESTS)])
    start_migd(lab)
    print(use(lab))


def use(lab: Lab) -> str:
    """Return how to use a lab that runs: commands that work in any folder."""
    migd_lab = f"PYTHONPATH={FOLDER} {sys.executable} -m migd_lab --name {lab.name}"
    migctl = f"{Path(sys.executable).with_name('migctl')} --socket {lab.socket}"
    return f"""\
The lab runs. A shell in a Dom0, or one command there:
  {migd_lab} ssh 1
What the controller sees; also hosts, guests, plan, history:
  {migctl} status
Move a guest by hand:
  {migctl} migrate spinner node2
Let migd move them:
  {migctl} policy set least-loaded
End it all (in migd's folder: make lab-stop):
  {migd_lab} stop"""


def _ssh(lab: Lab, number: int, command: Sequence[str]) -> NoReturn:
    nodes = {node.number: node for node in lab.nodes}
    if number not in nodes:
        raise LabError(f"no node {number}: the lab {lab.name} has {len(nodes)} nodes")
    words = nodes[number].ssh()
    os.execvp(words[0], [*words, *command])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="migd_lab", description="Real Xen hosts under QEMU, without KVM.")
    parser.add_argument("--name", default="lab", help="of the lab; several may run, default %(default)s")
    do = parser.add_subparsers(dest="do", required=True)
    for name, text in (("build", "build what is not cached"), ("start", "boot nodes and guests, and migd on them")):
        command = do.add_parser(name, help=text)
        command.add_argument(
            "--xen", choices=("current", "shadow"), default="current", help="shadow: 4.17.5, PV guests"
        )
        if name == "start":
            command.add_argument("--nodes", type=int, default=2)
    do.add_parser("stop", help="end all of it")
    ssh = do.add_parser("ssh", help="a command in a Dom0")
    ssh.add_argument("node", type=int)
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    execute = do.add_parser("exec", help="a command of this machine in the lab's network")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    return parser


if __name__ == "__main__":
    sys.exit(main())

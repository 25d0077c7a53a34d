"""The lab's network: a namespace with one bridge, to which every node has a tap device."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from migd_lab.addresses import CONTROLLER
from migd_lab.commands import run
from migd_lab.errors import LabError

BRIDGE: Final = "xl0"
_NAMESPACES: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def create(namespace: str) -> None:
    """Make the namespace, with a bridge on which the controller has its address."""
    run("ip", "netns", "add", namespace)
    inside = ("ip", "-n", namespace)
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "link", "add", BRIDGE, "type", "bridge")
    run(*inside, "addr", "add", f"{CONTROLLER}/24", "dev", BRIDGE)
    run(*inside, "link", "set", BRIDGE, "up")


def add_tap(namespace: str, number: int) -> str:
    """Return the name of a new tap device on the bridge."""
    name = f"tap{number}"
    inside = ("ip", "-n", namespace)
    run(*inside, "tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr")
    run(*inside, "link", "set", name, "master", BRIDGE, "up")
    return name


def remove(namespace: str) -> None:
    """Remove the namespace and all that is in it, if it is there."""
    if exists(namespace):
        run("ip", "netns", "del", namespace)


def exists(namespace: str) -> bool:
    return (_NAMESPACES / namespace).exists()


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let this thread, and the threads and processes that it starts, be in the namespace. Raises LabError."""
    with open("/proc/thread-self/ns/net", "rb") as outside, _opened(namespace) as target:
        _enter(target.fileno())
        try:
            yield
        finally:
            _enter(outside.fileno())


def _opened(namespace: str) -> BinaryIO:
    try:
        return (_NAMESPACES / namespace).open("rb")
    except FileNotFoundError as error:
        raise LabError(f"no lab of the namespace {namespace} runs; `make lab` starts one") from error


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}; the lab needs root")

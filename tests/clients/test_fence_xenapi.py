"""Debian's fence_xenapi, with the copy of the SDK that it brings along."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emulated_pool import LIMIT_S, EmulatedPool

pytestmark = pytest.mark.clients
Fence = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def fence(pool: EmulatedPool, fetched: Callable[[str], Path]) -> Fence:
    program, modules = fetched("usr/sbin/fence_xenapi"), fetched("usr/share/fence")

    def run(
        action: str, *arguments: str, url: str = pool.url, password: str = "migd"
    ) -> "subprocess.CompletedProcess[str]":
        who = ["--session-url", url, "--username", "root", "--password", password]
        return subprocess.run(
            [sys.executable, program, *who, "--action", action, *arguments],
            env={**os.environ, "PYTHONPATH": str(modules)},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    return run


def test_it_lists_the_guests_and_no_dom0(pool: EmulatedPool, fence: Fence) -> None:
    guests = {f"{pool.api.VM.get_uuid(pool.vm(name))},{name}" for name in ("small1", "small2", "big")}
    listing = fence("list")
    assert (listing.returncode, set(listing.stdout.split())) == (0, guests)


def test_it_sees_that_a_guest_runs(fence: Fence) -> None:
    status = fence("status", "--plug", "small1")
    assert (status.returncode, status.stdout) == (0, "Status: ON\n")


def test_it_knows_no_guest_that_is_not_there(fence: Fence) -> None:
    status = fence("status", "--plug", "nobody")
    assert (status.returncode, status.stdout) == (1, "NAME_INVALID\n")


def test_it_is_refused_with_a_wrong_password(fence: Fence) -> None:
    listing = fence("list", password="wrong")
    assert listing.returncode == 1
    assert "'SESSION_AUTHENTICATION_FAILED', 'root'" in listing.stdout


def test_a_member_tells_it_the_coordinator(pool: EmulatedPool, fence: Fence) -> None:
    listing = fence("list", url=f"http://127.0.0.2:{pool.port}")
    assert (listing.returncode, "['HOST_IS_SLAVE', '127.0.0.1']" in listing.stdout) == (1, True)


def test_it_cuts_and_restores_the_power_of_a_guest(pool: EmulatedPool, fence: Fence) -> None:
    off = fence("off", "--plug", "small2")
    assert (off.returncode, off.stdout, pool.power_state("small2")) == (0, "Success: Powered OFF\n", "Halted")
    status = fence("status", "--plug", "small2")
    assert (status.returncode, status.stdout) == (2, "Status: OFF\n")
    on = fence("on", "--plug", "small2")
    assert (on.returncode, on.stdout, pool.power_state("small2")) == (0, "Success: Powered ON\n", "Running")


def test_it_fences_a_guest_by_a_reboot(pool: EmulatedPool, fence: Fence) -> None:
    before = pool.api.VM.get_domid(pool.vm("small1"))
    reboot = fence("reboot", "--plug", "small1")
    assert (reboot.returncode, reboot.stdout, pool.power_state("small1")) == (0, "Success: Rebooted\n", "Running")
    assert pool.api.VM.get_domid(pool.vm("small1")) != before

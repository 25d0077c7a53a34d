"""migd-xapi as a program of its own, and a session to look at what its other clients did."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import XenAPI

LIMIT_S = 30.0


@dataclass(frozen=True)
class EmulatedPool:
    """A pool that is being served. Names of guests and hosts are taken to be unique."""

    url: str
    api: Any

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def vm(self, name: str) -> str:
        """Return the reference of a guest."""
        (ref,) = self.api.VM.get_by_name_label(name)
        return str(ref)

    def host(self, name: str) -> str:
        """Return the reference of a host."""
        (ref,) = self.api.host.get_by_name_label(name)
        return str(ref)

    def host_of(self, guest: str) -> str:
        """Return the name of the host that a guest is on."""
        return str(self.api.host.get_name_label(self.api.VM.get_resident_on(self.vm(guest))))

    def power_state(self, guest: str) -> str:
        """Return whether a guest is Running, Halted, Paused or Suspended."""
        return str(self.api.VM.get_power_state(self.vm(guest)))

    def wait_until(self, class_name: str, condition: Callable[[], bool]) -> None:
        """Wait until something holds that follows from objects of one class."""
        token, give_up_s = "", time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < give_up_s, f"it does not come true, whatever happens to class {class_name}"
            token = getattr(self.api.event, "from")([class_name], token, 1.0)["token"]


@contextmanager
def emulated_pool(file: Path, *options: str) -> Iterator[EmulatedPool]:
    """Serve a pool file for a while."""
    command = [sys.executable, "-m", "migd_xapi", "--pool", str(file), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--log-level", "error", *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert ready, "migd-xapi has not started; it says why on standard error"
        url = json.loads(ready)["url"]
        session = XenAPI.Session(url, ignore_ssl=True)
        session.xenapi.login_with_password("root", "migd", "1.0", "migd tests")
        yield EmulatedPool(url, session.xenapi)
        session.xenapi.session.logout()
        session("close")()
    finally:
        process.terminate()
        process.communicate(timeout=10)

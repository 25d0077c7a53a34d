"""What a test asks of migd on a lab: its API, and the samples on record."""

import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

import msgspec

from migd_cli.client import Client
from migd_cli.failures import Failure
from migd_controller.events import SampleArrived
from migd_core import api
from migd_core.messages import GuestSample, HostSample
from migd_lab.errors import LabError
from migd_lab.guest import Guest
from migd_lab.lab import Lab

T = TypeVar("T")
# Xen's own weight of a domain, and what the lab's Dom0 gives itself (deploy/lab/dom0/init).
GUEST_WEIGHT: Final = 256
DOM0_WEIGHT: Final = 2048
# Lists the agents of a Dom0, by process id.
AGENTS: Final = "pgrep -f '[p]ython3 -m migd_agent' || true"


def until(look: Callable[[], T | None], what: str, timeout_s: float, every_s: float = 0.5) -> T:
    """Return what `look` finds, looking again and again. Raises LabError after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := look()):
        if time.monotonic() > deadline_s:
            raise LabError(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)
    return found


class Migd:
    """The controller of a lab, asked over its socket."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._client = Client(str(lab.socket))

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """Return the answer, decoded. Raises migctl's failures."""
        takes, answers = api.ROUTES[method, path]
        request = msgspec.convert(body, takes) if body else None
        return msgspec.json.decode(self._client.ask(method, path, request), type=answers)

    def sees(self, hosts: int, guests: int, timeout_s: float = 120.0) -> None:
        """Wait until every host reports and every guest is known, and where it is is agreed upon."""

        def look() -> bool:
            try:
                status = self.ask("GET", "/v1/status")
            except Failure:
                return False  # it is coming up
            return status.xapi_connected and (status.hosts, status.hosts_frozen, status.guests) == (hosts, 0, guests)

        until(look, f"{hosts} hosts that report and {guests} guests", timeout_s)

    @contextmanager
    def with_guests(self, *places: tuple[Guest, int]) -> Iterator[None]:
        """Let guests run meanwhile, each on the node of that number at first, and be known to the controller."""
        nodes = self.lab.nodes
        self.lab.create([(guest, nodes[number - 1]) for guest, number in places])
        try:
            self.sees(hosts=len(nodes), guests=len(places))
            yield
        finally:
            for guest, _ in places:
                for node in nodes:
                    node.run(f"xl destroy {guest.name} 2>/dev/null || true")  # on the one it is on now
            self.sees(hosts=len(nodes), guests=0)

    @contextmanager
    def equal_shares(self) -> Iterator[None]:
        """Let Dom0 have no more of its node's one CPU than a guest meanwhile.

        The lab puts Dom0 first, lest busy guests starve it. Whatever Dom0 has to do then keeps a guest from its turns
        for up to a second: it spins less than it was told to, and a curve is that of a guest that stood still.
        """
        for node in self.lab.nodes:
            node.run(f"xl sched-credit2 -d 0 -w {GUEST_WEIGHT}")
        try:
            yield
        finally:
            for node in self.lab.nodes:
                node.run(f"xl sched-credit2 -d 0 -w {DOM0_WEIGHT}")

    def probe_often(self) -> None:
        """Start the controller anew, so that it probes a guest again once there was time to restart its agent."""
        config = self.lab.folder / "controller.toml"
        config.write_text(f"{config.read_text()}\n[probe]\napart_s = 40.0\nguest_time_ratio = 1.0\n")
        self.lab.controller.end()
        self.lab.controller.start("migd_controller", "--config", config)
        self.lab.controller.says("controller ready")

    def restart_agents(self) -> None:
        """End the agents, which init starts again; then they do not know any more when they probed a guest last."""
        for node in self.lab.nodes:
            node.run(f"kill $({AGENTS})")

    def guest(self, guest: Guest) -> api.GuestView:
        """Return the guest as the controller sees it."""
        (found,) = [each for each in self.ask("GET", "/v1/guests") if each.uuid == guest.uuid]
        return found

    def migrated(self, guest: Guest, timeout_s: float = 240.0) -> api.MigrationView:
        """Return the newest migration of a guest once it is over."""

        def look() -> api.MigrationView | None:
            ended = [m for m in self.ask("GET", "/v1/migrations") if m.guest == guest.uuid]
            return ended[0] if ended and ended[0].ok is not None else None

        return until(look, f"the end of a migration of {guest.name}", timeout_s)

    def samples(self) -> list[tuple[float, HostSample]]:
        """Return every sample on record with the time of its arrival (Unix time, seconds), oldest first."""
        found: list[tuple[float, HostSample]] = []
        with closing(sqlite3.connect(f"file:{self.lab.folder / 'state/journal.sqlite'}?mode=ro", uri=True)) as journal:
            for (body,) in journal.execute("SELECT body FROM log WHERE kind = 'Samples' ORDER BY id"):
                arrived = msgspec.msgpack.decode(zlib.decompress(body), type=list[tuple[float, SampleArrived]])
                found += [(at, event.sample) for at, event in arrived]
        return found

    def of_guest(self, guest: Guest, since: float = 0.0) -> list[tuple[HostSample, GuestSample]]:
        """Return each sample since then (Unix time, seconds) that speaks of the guest, with what it says."""
        return [
            (sample, spoken_of)
            for at, sample in self.samples()
            for spoken_of in sample.guests
            if at >= since and spoken_of.uuid == guest.uuid
        ]

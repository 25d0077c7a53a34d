"""A guest is probed on a lease of the controller, and on nothing else."""

import random
import re
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from conftest import LIMIT_S, Granter, Pool
from log_dirty_model import ModelXen
from msgspec.structs import replace
from readings import HOST
from structlog.testing import capture_logs

from migd_agent.collectors.sim import EmulatedPool
from migd_agent.failures import Failures
from migd_agent.guest_source import GuestSource, PendingCurve
from migd_agent.identity import Keys
from migd_agent.lease_inbox import LeaseInbox
from migd_agent.probing import NAME, Probing
from migd_agent.xen.log_dirty import LogDirtyProbes
from migd_agent.xen.probe_records import ProbeRecords
from migd_core.frames import encode_request
from migd_core.messages import DirtyCurve, ProbeLease, ProbeReport, ProbeRevoked

BOOT = "boot-1"
GUESTS = {"a": 1, "b": 2}
CURVE = DirtyCurve((0.05, 1.0), (10, 20))


def lease(name: str = "P1", guest: str = "a", until_s: float = 6.0, **differs: Any) -> ProbeLease:
    whole = ProbeLease(
        lease=name, host_uuid=HOST, guest_uuid=guest, boot_id=BOOT, until_s=until_s, ages_s=(0.05, 1.0), sessions=1
    )
    return replace(whole, **differs)


class Handed:
    """An inbox that a test fills by hand."""

    def __init__(self) -> None:
        self.waiting: list[ProbeLease | ProbeRevoked] = []
        self.due_s = float("inf")
        self.sockets: tuple[zmq.Socket[Any], ...] = ()

    def follow(self, now_s: float) -> list[ProbeLease | ProbeRevoked]:
        taken, self.waiting = self.waiting, []
        return taken


class Host:
    """An agent's probing on a clock that the test turns."""

    def __init__(self, source: GuestSource) -> None:
        self.failures, self.inbox = Failures(), Handed()
        self.probing = Probing(source, [self.inbox], BOOT, self.failures)

    def take(self, *requests: ProbeLease | ProbeRevoked, now_s: float = 0.0) -> None:
        self.inbox.waiting += requests
        self.probing.follow(GUESTS, now_s)

    def answered(self, now_s: float = 1.0) -> None:
        """Wait until what was asked for is answered, and take it."""
        assert select.select(self.probing.readable, [], [], LIMIT_S)[0]
        self.probing.follow(GUESTS, now_s)

    @property
    def state(self) -> str | None:
        report = self.probing.probed.report
        return report.state if report is not None else None

    @property
    def text(self) -> str:
        report = self.probing.probed.report
        return report.text if report is not None else ""


@pytest.fixture
def host(pool: Pool) -> Iterator[Host]:
    source = EmulatedPool(HOST, pool.url)
    host = Host(source)
    yield host
    host.probing.close()
    source.close()


def test_without_a_lease_no_guest_is_probed(pool: Pool, host: Host) -> None:
    for now_s in range(100):
        host.take(now_s=float(now_s))
    assert pool.asked == []
    assert host.probing.probed.report is None


def test_a_lease_becomes_a_curve_and_a_report(pool: Pool, host: Host) -> None:
    host.take(lease())
    assert host.state == "under-way"
    host.answered(now_s=3.0)
    assert host.probing.probed.curves == {"a": replace(CURVE, measured_s=3.0)}
    assert host.probing.probed.report == ProbeReport(lease="P1", guest_uuid="a", state="done")
    assert pool.asked == [f"/dom0/{HOST}/dirty/a?ages=0.05,1"]


@pytest.mark.parametrize(
    ("differs", "why"),
    [
        ({"boot_id": "boot-0"}, r"for another run of the agent \(boot-0\), this is boot-1"),
        ({"until_s": 4.0}, "came 1.0 s after its end"),
        ({"guest_uuid": "c"}, "the guest is not on this host"),
    ],
)
def test_a_lease_that_is_not_for_this_moment_is_refused(
    pool: Pool, host: Host, differs: dict[str, Any], why: str
) -> None:
    host.take(lease(**differs), now_s=5.0)
    assert host.state == "refused"
    assert pool.asked == []
    assert re.search(why, host.text)


def test_a_second_lease_waits_for_nothing_and_changes_nothing(pool: Pool, host: Host) -> None:
    host.take(lease("P1", "a"), lease("P2", "b"))
    assert host.probing.probed.report == ProbeReport(lease="P1", guest_uuid="a", state="under-way")
    host.answered()
    assert set(host.probing.probed.curves) == {"a"}


def test_a_lease_that_comes_twice_is_acted_on_once(pool: Pool, host: Host) -> None:
    host.take(lease())
    host.answered()
    host.take(lease(), now_s=2.0)
    assert host.state == "done"
    assert len(pool.asked) == 1


def test_a_revoked_lease_is_given_up_at_once(pool: Pool, host: Host) -> None:
    may_answer = threading.Event()
    pool.answer = lambda path: (may_answer.wait(LIMIT_S), (200, b""))[1]
    host.take(lease())
    host.take(ProbeRevoked(lease="P0", host_uuid=HOST))
    assert host.state == "under-way"
    host.take(ProbeRevoked(lease="P1", host_uuid=HOST))
    assert host.state == "revoked"
    assert host.probing.readable == ()
    may_answer.set()


def test_one_that_does_not_come_is_given_up_by_the_end_of_the_lease(pool: Pool, host: Host) -> None:
    may_answer = threading.Event()
    pool.answer = lambda path: (may_answer.wait(LIMIT_S), (200, b""))[1]
    host.take(lease(until_s=6.0))
    assert host.probing.due_s == 6.0
    host.take(now_s=5.9)
    assert host.state == "under-way"
    host.take(now_s=6.0)
    assert host.state == "expired"
    may_answer.set()


def test_a_guest_that_migrates_is_left_alone_without_failure(pool: Pool, host: Host) -> None:
    pool.answer = lambda path: (409, b"guest a is being migrated")
    host.take(lease())
    host.answered()
    assert (host.state, host.text) == ("stood-back", "guest a is being migrated")
    assert host.failures.names() == ()


def test_a_failure_is_named_until_a_curve_comes(pool: Pool, host: Host) -> None:
    answer, pool.answer = pool.answer, lambda path: (200, b"garbage")
    host.take(lease("P1"))
    host.answered()
    assert (host.state, host.failures.names()) == ("failed", (NAME,))
    pool.answer = answer
    host.take(lease("P2"))
    host.answered()
    assert (host.state, host.failures.names()) == ("done", ())


def test_a_pool_that_is_down_refuses_the_lease(pool: Pool, host: Host) -> None:
    pool.stop()
    host.take(lease())
    assert host.state == "refused"


@pytest.mark.parametrize("guests", [{"b": 2}, {"a": 9, "b": 2}])
def test_the_curve_of_a_guest_that_left_or_booted_anew_is_forgotten(
    pool: Pool, host: Host, guests: dict[str, int]
) -> None:
    host.take(lease())
    host.answered()
    host.probing.follow(guests, 2.0)
    assert host.probing.probed.curves == {}


class XenGuests:
    """A host whose guest is domain 7 of a model Xen."""

    supplies = ("guests",)
    can_probe = True

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self.xen, self.records = ModelXen(), ProbeRecords(folder)
        self._probes = LogDirtyProbes(self.xen, self.records, random.Random(1), clock)

    def begin_curve(self, guest_uuid: str, ages_s: tuple[float, ...], sessions: int, until_s: float) -> PendingCurve:
        return self._probes.begin(7, ages_s, sessions, until_s)

    def collect(self, so_far: Any) -> Any:
        raise AssertionError("no tick comes in these tests")

    def close(self) -> None:
        self.records.close()


@pytest.mark.parametrize("ends_by", ["itself", "its time", "revocation", "SIGTERM"])
def test_log_dirty_is_off_however_a_probe_ends(tmp_path: Path, ends_by: str) -> None:
    now_s = 0.0
    source = XenGuests(tmp_path / "probes", lambda: now_s)
    host = Host(source)
    host.take(lease())
    while not source.xen.is_on:
        now_s = host.probing.due_s
        host.take(now_s=now_s)
    match ends_by:
        case "itself":
            while host.state == "under-way":
                now_s = host.probing.due_s
                host.take(now_s=now_s)
            assert host.state == "done"
        case "its time":
            now_s = 10.0
            host.take(now_s=now_s)
            assert host.state in ("expired", "done")
        case "revocation":
            host.take(ProbeRevoked(lease="P1", host_uuid=HOST), now_s=now_s)
        case "SIGTERM":
            host.probing.close()
    assert not source.xen.is_on
    source.close()


def test_leases_come_in_over_the_wire_and_others_do_not(key_folder: Path, keys: Keys) -> None:
    granter, context = Granter(key_folder), zmq.Context()
    inbox = LeaseInbox(context, granter.endpoint, keys, HOST)
    assert granter.subscribed() == b"\x01" + HOST.encode()
    wanted, found = [lease(), ProbeRevoked(lease="P1", host_uuid=HOST)], list[ProbeLease | ProbeRevoked]()
    with capture_logs() as lines:
        granter.socket.send_multipart([HOST.encode(), b"1", b"garbage"])
        granter.socket.send_multipart(encode_request(lease(host_uuid=HOST + "0")))
        for request in wanted:
            granter.socket.send_multipart(encode_request(request))
        until_s = time.monotonic() + LIMIT_S
        while len(found) < 2:
            assert time.monotonic() < until_s
            select.select(inbox.sockets, [], [], 0.05)
            found += inbox.follow(time.monotonic())
    assert found == wanted
    assert [line["event"] for line in lines] == ["a lease was refused"]
    inbox.close()
    context.term()
    granter.close()

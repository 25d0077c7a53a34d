"""Leases over real sockets: the pool is kept from migrating a guest from before its agent hears of it until after."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from migd_controller.commands import BeginProbe, EndProbe, RevokeProbe
from migd_controller.config import TelemetrySection, XapiSection
from migd_controller.events import AgentListens, ProbeEnded
from migd_controller.intake import Intake
from migd_controller.lease_outbox import LeaseOutbox
from migd_controller.leases import Lease
from migd_controller.pool_calls import PoolCalls
from migd_controller.probe_executor import ProbeExecutor
from migd_controller.xapi import Pool
from migd_core import keys
from migd_core.errors import MigdError
from migd_core.frames import decode_request
from migd_core.messages import ProbeLease, ProbeRevoked
from migd_xapi.sessions import User
from migd_xapi.settings import Settings
from scripted_pool import USERS, ServedPool, backend_of
from tcp_proxy import CuttingProxy

LIMIT_S = 15.0
OURS = "migd counts its dirty pages: lease D1.p1"
LEASE = Lease(
    lease="D1.p1",
    guest="guest-0",
    host="host-0",
    asked_at=1000.0,
    over_at=1012.0,
    boot_id="boot",
    until_s=507.0,
    ages_s=(0.05, 4.0),
    guest_name="rank0",
    host_name="xen0",
)


class Rig:
    """What the daemon joins, and the agent of host-0 at the other end."""

    def __init__(self, url: str, folder: Path, username: str = "root") -> None:
        password_file = folder / "password"
        password_file.write_text("migd\n")
        for name in ("controller", "agent"):
            keys.create(folder, name)
        keys.authorise(folder / "agents.toml", "host-0", keys.read_public(folder / "agent.key"))
        section = TelemetrySection(
            secret_key_file=folder / "controller.key_secret",
            agents_file=folder / "agents.toml",
            listen="tcp://127.0.0.1:*",
        )
        self.pool = Pool(XapiSection(url=url, username=username, password_file=password_file, timeout_s=5.0))
        self.calls = PoolCalls(self.pool)
        self.events: list[Any] = []
        self.intake = Intake(section, lambda sample: None)
        self.outbox = LeaseOutbox(
            self.intake.context, "tcp://127.0.0.1:*", section.secret_key_file, self._take, self.intake.host_of
        )
        self.agent = zmq.Context()
        self.inbox = self.agent.socket(zmq.SUB)
        self.inbox.curve_publickey, self.inbox.curve_secretkey = keys.read_secret(folder / "agent.key_secret")
        self.inbox.curve_serverkey, _ = keys.read_secret(folder / "controller.key_secret")
        self.inbox.linger = 0
        self.inbox.subscribe(b"host-0")
        self._tasks, self._news = asyncio.TaskGroup(), asyncio.Event()

    async def __aenter__(self) -> "Rig":
        await self._tasks.__aenter__()
        self.probes = ProbeExecutor(self.calls, self.outbox, self._take, self._tasks)
        self._running = [self._tasks.create_task(run()) for run in (self.intake.run, self.outbox.run)]
        self.inbox.connect(self.outbox.endpoint)
        await self.until(lambda: AgentListens(host="host-0", listens=True) in self.events)
        return self

    async def __aexit__(self, *error: Any) -> None:
        for task in self._running:
            task.cancel()
        self.probes.leave()
        self.inbox.close()
        self.agent.term()
        self.outbox.close()
        await asyncio.to_thread(self._close)
        await self._tasks.__aexit__(*error)

    def _close(self) -> None:
        self.intake.close()
        self.pool.close()
        self.calls.close()

    def _take(self, event: Any) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Return what `condition` finds, looking again after each event and a little later."""
        async with asyncio.timeout(LIMIT_S):
            while not (found := condition()):
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.02)
        return found

    async def heard(self) -> ProbeLease | ProbeRevoked:
        """Return what the agent hears next."""
        await self.until(lambda: self.inbox.poll(0))
        return decode_request(self.inbox.recv_multipart())

    async def ended(self) -> ProbeEnded:
        found: ProbeEnded = await self.until(
            lambda: next((event for event in self.events if isinstance(event, ProbeEnded)), None)
        )
        return found


@pytest.fixture
def served() -> Iterator[ServedPool]:
    served = ServedPool(backend_of(), Settings(users=USERS, refusal_delay_s=0.0))
    yield served
    served.close()


@pytest.fixture
async def rig(served: ServedPool, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(served.url, tmp_path) as rig:
        yield rig


def guest(served: ServedPool) -> Any:
    return next(row for row in served.server.pool.db.rows("VM") if row["uuid"] == "guest-0")


def blocks(served: ServedPool) -> dict[str, str]:
    return dict(guest(served)["blocked_operations"])


def change(served: ServedPool, **values: Any) -> None:
    served.do(lambda: served.server.pool.db.update(guest(served), **values))


async def test_the_agent_hears_of_a_lease_once_the_pool_is_kept_from_migrating(served: ServedPool, rig: Rig) -> None:
    rig.probes.submit(BeginProbe(lease=LEASE))
    heard = await rig.heard()
    assert blocks(served) == {"pool_migrate": OURS}
    assert heard == ProbeLease(
        lease="D1.p1",
        host_uuid="host-0",
        guest_uuid="guest-0",
        boot_id="boot",
        until_s=507.0,
        ages_s=(0.05, 4.0),
        sessions=1,
    )
    rig.probes.submit(RevokeProbe(lease=LEASE))
    assert await rig.heard() == ProbeRevoked(lease="D1.p1", host_uuid="host-0")
    assert blocks(served) == {"pool_migrate": OURS}
    rig.probes.submit(EndProbe(lease=LEASE, text="revoked"))
    assert await rig.ended() == ProbeEnded(lease="D1.p1", text="revoked")
    assert blocks(served) == {}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"current_operations": {"OpaqueRef:task": "snapshot"}}, "guest rank0 is busy with snapshot"),
        ({"resident_on": "OpaqueRef:elsewhere"}, "guest rank0 is on OpaqueRef:elsewhere, not on "),
        ({"scheduled_to_be_resident_on": "OpaqueRef:there"}, "guest rank0 is expected on OpaqueRef:there"),
    ],
)
async def test_a_guest_that_is_not_idle_is_not_probed(
    served: ServedPool, rig: Rig, changes: dict[str, Any], why: str
) -> None:
    change(served, **changes)
    rig.probes.submit(BeginProbe(lease=LEASE))
    assert why in (await rig.ended()).text
    assert blocks(served) == {}
    assert not rig.inbox.poll(0)


async def test_a_migration_that_begins_before_the_block_is_there_is_left_alone(served: ServedPool, rig: Rig) -> None:
    call = rig.calls.call

    def then_somebody_migrates(method: str, *args: Any) -> Any:
        if method == "VM.add_to_blocked_operations":
            change(served, current_operations={"OpaqueRef:task": "pool_migrate"})
        return call(method, *args)

    rig.calls.call = then_somebody_migrates  # type: ignore[method-assign]
    rig.probes.submit(BeginProbe(lease=LEASE))
    assert "guest rank0 is busy with pool_migrate" in (await rig.ended()).text
    assert blocks(served) == {}
    assert not rig.inbox.poll(0)


async def test_somebody_elses_block_is_neither_overwritten_nor_taken_away(served: ServedPool, rig: Rig) -> None:
    change(served, blocked_operations={"pool_migrate": "backup"})
    rig.probes.submit(BeginProbe(lease=LEASE))
    assert "MAP_DUPLICATE_KEY" in (await rig.ended()).text
    rig.events.clear()
    rig.probes.submit(EndProbe(lease=LEASE))
    await rig.ended()
    assert blocks(served) == {"pool_migrate": "backup"}
    assert not rig.inbox.poll(0)


async def test_a_pool_that_refuses_the_block_is_quoted_and_no_guest_probed(tmp_path: Path) -> None:
    users = (*USERS, User(name="operator", password="migd", role="vm-operator"))
    served = ServedPool(backend_of(), Settings(users=users, refusal_delay_s=0.0))
    try:
        async with Rig(served.url, tmp_path, username="operator") as rig:
            rig.probes.submit(BeginProbe(lease=LEASE))
            assert "RBAC_PERMISSION_DENIED" in (await rig.ended()).text
            assert not rig.inbox.poll(0)
        assert blocks(served) == {}
    finally:
        served.close()


async def test_the_block_of_another_lease_stays(served: ServedPool, rig: Rig) -> None:
    change(served, blocked_operations={"pool_migrate": OURS + "0", "suspend": "why not"})
    rig.probes.submit(EndProbe(lease=LEASE))
    await rig.ended()
    assert blocks(served) == {"pool_migrate": OURS + "0", "suspend": "why not"}


async def test_a_guest_that_is_gone_needs_no_block_taken_away(served: ServedPool, rig: Rig) -> None:
    rig.probes.submit(BeginProbe(lease=LEASE))
    await rig.heard()
    served.do(lambda: served.server.pool.db.delete(guest(served)))
    rig.probes.submit(EndProbe(lease=LEASE))
    assert await rig.ended() == ProbeEnded(lease="D1.p1")


async def test_an_end_waits_for_the_beginning(served: ServedPool, rig: Rig) -> None:
    """Else it would find no block, and the beginning set one that nobody takes away."""
    rig.probes.submit(BeginProbe(lease=LEASE))
    rig.probes.submit(EndProbe(lease=LEASE))
    await rig.ended()
    assert blocks(served) == {}


@pytest.mark.parametrize("lost", ["lose_request_with", "lose_answer_to"])
async def test_whatever_gets_lost_on_the_way_no_block_stays_behind(
    served: ServedPool, tmp_path: Path, lost: str
) -> None:
    async with (
        CuttingProxy(int(served.url.rpartition(":")[2])) as proxy,
        Rig(f"http://127.0.0.1:{proxy.port}", tmp_path) as rig,
    ):
        setattr(proxy, lost, b"VM.add_to_blocked_operations")
        rig.probes.submit(BeginProbe(lease=LEASE))
        assert (await rig.ended()).text
        assert not rig.inbox.poll(0)
    assert proxy.cuts == 1
    assert blocks(served) == {}


async def test_the_pool_is_asked_to_allow_migrations_until_it_has_answered(served: ServedPool, tmp_path: Path) -> None:
    async with (
        CuttingProxy(int(served.url.rpartition(":")[2])) as proxy,
        Rig(f"http://127.0.0.1:{proxy.port}", tmp_path) as rig,
    ):
        rig.probes.submit(BeginProbe(lease=LEASE))
        await rig.heard()
        proxy.lose_request_with = b"VM.remove_from_blocked_operations"
        rig.probes.submit(EndProbe(lease=LEASE))
        await rig.ended()
    assert proxy.cuts == 1
    assert blocks(served) == {}


async def test_an_agent_whose_key_is_not_listed_hears_nothing(rig: Rig, tmp_path: Path) -> None:
    keys.create(tmp_path, "stranger")
    stranger = rig.agent.socket(zmq.SUB)
    stranger.linger = 0
    stranger.curve_publickey, stranger.curve_secretkey = keys.read_secret(tmp_path / "stranger.key_secret")
    stranger.curve_serverkey, _ = keys.read_secret(tmp_path / "controller.key_secret")
    monitor = stranger.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    stranger.subscribe(b"")
    stranger.connect(rig.outbox.endpoint)
    await rig.until(lambda: monitor.poll(0))
    assert [event.host for event in rig.events if isinstance(event, AgentListens)] == ["host-0"]
    stranger.disable_monitor()
    monitor.close(linger=0)
    stranger.close()


@contextlib.contextmanager
def another(rig: Rig, folder: Path, topic: bytes, then: bytes = b"") -> Iterator[zmq.Socket[bytes]]:
    """The agent of another host, which subscribes, and `then` says more of it; yields what tells of its connections."""
    keys.create(folder, "another")
    keys.authorise(folder / "agents.toml", "host-1", keys.read_public(folder / "another.key"))
    with rig.agent.socket(zmq.XSUB) as socket:
        socket.linger = 0
        socket.curve_publickey, socket.curve_secretkey = keys.read_secret(folder / "another.key_secret")
        socket.curve_serverkey, _ = keys.read_secret(folder / "controller.key_secret")
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        socket.connect(rig.outbox.endpoint)
        socket.send(b"\x01" + topic)
        if then:
            socket.send(then + topic)
        try:
            yield monitor
        finally:
            socket.disable_monitor()
            monitor.close(linger=0)


@pytest.mark.parametrize("topic", [b"host-0", b"host", b"", b"host-1" * 50])
async def test_an_agent_that_wants_another_hosts_leases_is_cut_off(rig: Rig, tmp_path: Path, topic: bytes) -> None:
    with another(rig, tmp_path, topic) as monitor:
        await rig.until(lambda: monitor.poll(0) and recv_monitor_message(monitor)["event"] == zmq.EVENT_DISCONNECTED)
    rig.inbox.close()  # and what the other wanted has not kept this one from being known
    await rig.until(lambda: AgentListens(host="host-0", listens=False) in rig.events)
    told = [event for event in rig.events if isinstance(event, AgentListens)]
    assert told == [AgentListens(host="host-0", listens=True), AgentListens(host="host-0", listens=False)]


@pytest.mark.parametrize("then", [b"\x00", b"\x01"], ids=["takes it back", "wants it twice"])
async def test_an_agent_that_wants_another_hosts_leases_and_more_hides_nobodys_end(
    rig: Rig, tmp_path: Path, then: bytes
) -> None:
    """All in one go, before it is cut off."""
    with another(rig, tmp_path, b"host-0", then) as monitor:
        await rig.until(lambda: monitor.poll(0) and recv_monitor_message(monitor)["event"] == zmq.EVENT_DISCONNECTED)
    rig.inbox.close()
    await rig.until(lambda: AgentListens(host="host-0", listens=False) in rig.events)
    told = [event for event in rig.events if isinstance(event, AgentListens)]
    assert told == [AgentListens(host="host-0", listens=True), AgentListens(host="host-0", listens=False)]


async def test_an_agent_whose_key_is_revoked_is_cut_off_though_it_says_nothing(rig: Rig, tmp_path: Path) -> None:
    with another(rig, tmp_path, b"host-1") as monitor:
        await rig.until(lambda: AgentListens(host="host-1", listens=True) in rig.events)
        keys.revoke(tmp_path / "agents.toml", "host-1")
        heard = []
        await rig.until(
            lambda: monitor.poll(0) and heard.append(recv_monitor_message(monitor)["event"]) is None and len(heard) > 1
        )
        await rig.until(lambda: AgentListens(host="host-1", listens=False) in rig.events)
    assert heard[:2] == [zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_AUTH]


async def test_an_agent_that_goes_listens_no_longer(rig: Rig) -> None:
    rig.inbox.close()
    await rig.until(lambda: AgentListens(host="host-0", listens=False) in rig.events)


async def test_an_address_that_is_taken_is_named(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(MigdError, match=r"probe\.listen = .*: cannot be bound: Address already in use"):
        LeaseOutbox(
            rig.intake.context,
            rig.outbox.endpoint,
            tmp_path / "controller.key_secret",
            lambda event: None,
            rig.intake.host_of,
        )

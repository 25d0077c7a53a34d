"""Whatever is asked of a pool in whatever order, its records stay true to where guests are, and every call ends."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from virtual_time import VirtualLoop

from migd_core.units import GIB, MIB
from migd_sim.model import Cluster, PoolSpec
from migd_sim.model.spec import GuestSpec, HostSpec
from migd_xapi import memory
from migd_xapi.database import Row
from migd_xapi.dispatch import Dispatcher
from migd_xapi.failure import Failure
from migd_xapi.faults import (
    AnyFault,
    CoordinatorChanges,
    FaultRefused,
    HostDies,
    HostReturns,
    LinkRecovers,
    LinkSlows,
    SuspendHangs,
    ToolstackRestarts,
)
from migd_xapi.injector import Injector
from migd_xapi.methods import all_methods
from migd_xapi.server import Server
from migd_xapi.sessions import Session
from migd_xapi.settings import Settings
from migd_xapi.sim_backend import SimBackend

NULL = "OpaqueRef:NULL"
HOSTS, GUESTS = 3, 5
# Longer than XAPI tries again to begin an operation.
LONG_S = 3 * 3600.0
METHODS = all_methods()
WITHOUT_ARGUMENTS = (
    "clean_shutdown",
    "shutdown",
    "hard_shutdown",
    "clean_reboot",
    "hard_reboot",
    "pause",
    "unpause",
    "suspend",
)
down = st.sampled_from([1.0, 10.0])
hosts, guests = st.integers(0, HOSTS - 1), st.integers(0, GUESTS - 1)


class Calls(RuleBasedStateMachine):
    """Calls of several clients, whatever runs the guests."""

    server: Server
    expected: tuple[str, ...] = ()
    room = 3  # guests that a host has memory for, so that it is scarce

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.server = self.make_server()
        self.pool = self.server.pool
        self.hosts = list(self.pool.db.rows("host"))
        self.vms = [vm for vm in self.pool.db.rows("VM") if not vm["is_control_domain"]]
        for host in self.hosts:
            room = self.room * memory.needed_bytes(self.vms[0])
            free = memory.free_bytes(self.pool, host) + memory.needed_bytes(self.vms[0]) * len(self.guests_on(host))
            self.pool.db.update(host, memory_overhead=host["memory_overhead"] + free - room)
        self.dispatcher = self.server.dispatcher = Dispatcher(self.pool, METHODS)
        self.log_in()

    def make_server(self) -> Server:
        raise NotImplementedError

    def host_of(self, vm: Row) -> str | None:
        """Return the uuid of the host where the guest really is."""
        raise NotImplementedError

    def end_all(self) -> None:
        """Let all that is under way with guests and hosts come to its end."""
        raise NotImplementedError

    def is_told_of(self, vm: Row) -> bool:
        """Return whether the toolstack can know where the guest is."""
        return True

    def is_allowed(self, host: Row, excess_bytes: int) -> bool:
        """Return whether a host may have promised so much more memory than it has."""
        return excess_bytes <= 0

    def log_in(self) -> None:
        self.session: Session = self.run(self.pool.sessions.log_in("root", "migd", "test", self.pool.coordinator))

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def call(self, name: str, *arguments: Any) -> None:
        with contextlib.suppress(Failure):
            self.run(self.dispatcher.call(name, (self.session.ref, *arguments), self.pool.coordinator))
        self.run(asyncio.sleep(0.001))

    def guests_on(self, host: Row) -> list[Row]:
        return [vm for vm in self.vms if vm["resident_on"] == host.ref]

    @rule(guest=guests, host=hosts, force=st.sampled_from(["false", "true"]))
    def migrate(self, guest: int, host: int, force: str) -> None:
        self.call("Async.VM.pool_migrate", self.vms[guest].ref, self.hosts[host].ref, {"force": force})

    @rule(guest=guests, method=st.sampled_from(WITHOUT_ARGUMENTS))
    def do(self, guest: int, method: str) -> None:
        self.call(f"Async.VM.{method}", self.vms[guest].ref)

    @rule(guest=guests, method=st.sampled_from(["start", "resume"]), start_paused=st.booleans())
    def start(self, guest: int, method: str, start_paused: bool) -> None:
        self.call(f"Async.VM.{method}", self.vms[guest].ref, start_paused, False)

    @rule(guest=guests, host=hosts, method=st.sampled_from(["start_on", "resume_on"]))
    def start_on(self, guest: int, host: int, method: str) -> None:
        self.call(f"Async.VM.{method}", self.vms[guest].ref, self.hosts[host].ref, False, False)

    @rule(host=hosts, batch=st.integers(0, 2))
    def evacuate(self, host: int, batch: int) -> None:
        self.call("Async.host.evacuate", self.hosts[host].ref, NULL, batch)

    @rule(host=hosts, method=st.sampled_from(["enable", "disable"]))
    def switch(self, host: int, method: str) -> None:
        self.call(f"host.{method}", self.hosts[host].ref)

    @precondition(lambda self: self.pool.db.tables["task"])
    @rule(data=st.data(), method=st.sampled_from(["cancel", "destroy"]))
    def end_task(self, data: st.DataObject, method: str) -> None:
        task = data.draw(st.sampled_from(list(self.pool.db.tables["task"])))
        self.call(f"task.{method}", task)

    @rule(seconds=st.sampled_from([0.05, 3.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @invariant()
    def a_guest_that_runs_is_on_one_host_and_that_is_its_own(self) -> None:
        for vm in self.vms:
            there = self.host_of(vm)
            known = {ref: self.pool.db.get("host", ref)["uuid"] for ref in places(vm)}
            if not self.is_told_of(vm):
                pass  # what is true may be written down later
            elif not vm["current_operations"]:
                assert vm["scheduled_to_be_resident_on"] == NULL
                assert [there] == ([*known.values()] or [None])
                assert (vm["domid"] == -1) == (there is None)
            elif there is not None:
                assert there in known.values()
            assert (vm["resident_on"] == NULL) == (vm["power_state"] in ("Halted", "Suspended"))
            assert (vm["suspend_VDI"] == NULL) == (vm["power_state"] != "Suspended")

    @invariant()
    def no_host_promises_more_memory_than_it_has(self) -> None:
        for host in self.hosts:
            total = self.pool.db.get("host_metrics", host["metrics"])["memory_total"] - host["memory_overhead"]
            counted = [vm for vm in self.pool.db.rows("VM") if host.ref in places(vm)]
            assert self.is_allowed(host, sum(map(memory.needed_bytes, counted)) - int(total))
            assert set(host["resident_VMs"]) == {vm.ref for vm in counted if vm["resident_on"] == host.ref}

    @invariant()
    def no_call_fails_by_a_fault_of_the_server(self) -> None:
        for task in self.pool.db.rows("task"):
            code, *reasons = task["error_info"] or ("",)
            assert code != "INTERNAL_ERROR" or reasons[0].startswith(self.expected), reasons

    @invariant()
    def what_is_under_way_has_a_task_that_runs(self) -> None:
        for row in (*self.vms, *self.hosts):
            for task in row["current_operations"]:
                assert self.pool.tasks.running(task) is not None

    @invariant()
    def a_task_that_has_not_ended_is_that_of_a_call(self) -> None:
        for task in self.pool.db.rows("task"):
            assert task["status"] != "pending" or self.pool.tasks.running(task.ref) is not None

    def teardown(self) -> None:
        try:
            self.end_all()
            self.run(asyncio.sleep(LONG_S))
            assert [task["name_label"] for task in self.pool.db.rows("task") if task["status"] == "pending"] == []
            assert [row for row in (*self.vms, *self.hosts) if row["current_operations"]] == []
            self.a_guest_that_runs_is_on_one_host_and_that_is_its_own()
            assert self.loop.faults == []
        finally:
            self.run(self.close())
            self.loop.close()
            asyncio.set_event_loop(None)

    async def close(self) -> None:
        await self.server.stop()


class CallsAndFate(Calls):
    """Calls, and migrations that end as fate will have it."""

    make: Callable[..., Server]
    # What fate does to migrations, and what an evacuation says when somebody has moved a guest back meanwhile.
    expected = ("fails", "is lost", "the guest was stopped", "evacuate: ")

    def make_server(self) -> Server:
        server = self.make((HOSTS, GUESTS), boot_s=5.0, shutdown_s=2.0)
        self.backend: Any = server.pool.backend
        self.backend.ends_at_once = False
        return server

    def host_of(self, vm: Row) -> str | None:
        return cast(str | None, self.backend.host_of(vm["uuid"]))

    def open_migrations(self) -> list[Any]:
        return [migration for migration in self.backend.migrations if not migration.has_ended]

    def end_all(self) -> None:
        for _ in range(50):
            for migration in self.open_migrations():
                self.backend.end(migration)
            self.run(asyncio.sleep(10.0))
            if not self.open_migrations():
                break

    @precondition(lambda self: self.open_migrations())
    @rule(data=st.data(), how=st.sampled_from(["arrives", "fails", "is lost", "reboots", "will not stop"]))
    def end_migration(self, data: st.DataObject, how: str) -> None:
        migration = data.draw(st.sampled_from(self.open_migrations()))
        match how:
            case "arrives":
                self.backend.end(migration)
            case "will not stop":
                migration.may_be_cancelled = False
            case "reboots":
                self.backend.reboot(migration)
            case _:
                self.backend.fail(migration, how, is_suspended=how == "is lost")
        self.run(asyncio.sleep(0.001))


class VirtualCluster(SimBackend):
    """A simulated cluster in the loop's time, brought up to now whenever something falls due in it."""

    def __init__(self, cluster: Cluster, loop: VirtualLoop) -> None:
        super().__init__(cluster)
        self.stirred = asyncio.Event()
        self._loop = loop

    def settle(self) -> None:
        self.cluster.run_until(max(self.cluster.now_s, self._loop.time()))
        self.stirred.set()

    async def run(self) -> None:
        while True:
            self.settle()
            self.stirred.clear()
            due_s = self.cluster.next_event_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if due_s is None else max(due_s, self._loop.time() + 0.001)):
                    await self.stirred.wait()
                    await asyncio.sleep(0.001)  # whoever has stirred it changes something now


class CallsAndFaults(Calls):
    """Calls, and faults of hosts, links, guests and toolstacks, as the injector makes them happen."""

    expected = ("host ", "guest ", "cancelled", "the guest ", "evacuate: ")
    room = 2

    def make_server(self) -> Server:
        spec = PoolSpec(
            name="faulty",
            hosts=tuple(HostSpec(name=f"xen{n}", cpus=4, memory_bytes=8 * GIB) for n in range(HOSTS)),
            guests=tuple(
                GuestSpec(name=f"rank{n}", host=f"xen{n % HOSTS}", vcpus=1, memory_bytes=256 * MIB)
                for n in range(GUESTS)
            ),
        )
        self.backend = VirtualCluster(Cluster(spec), self.loop)
        server = Server(self.backend, "faulty", Settings(boot_s=5.0, shutdown_s=2.0, refusal_delay_s=0.0))
        self.run(server.listener.start("127.0.0.1", 0, None))
        self.injector = Injector(server, self.backend)
        self.cluster = self.loop.create_task(self.backend.run())
        self.answers_at_s = 0.0
        self.adrift: dict[str, str] = {}
        self.allowed_bytes: dict[str, int] = {}
        self.logs = contextlib.ExitStack()
        self.logged = self.logs.enter_context(structlog.testing.capture_logs())
        return server

    def host_of(self, vm: Row) -> str | None:
        return self.backend.cluster.guests[vm["uuid"]].host

    def is_up(self, ref: str) -> bool:
        return self.backend.cluster.hosts[self.pool.db.get("host", ref)["uuid"]].is_up

    def answers(self) -> bool:
        return self.loop.time() > self.answers_at_s and self.is_up(self.pool.coordinator.ref)

    def call(self, name: str, *arguments: Any) -> None:
        if self.is_up(self.pool.coordinator.ref):
            self.run(asyncio.sleep(max(0.0, self.answers_at_s - self.loop.time()) + 0.01))
            if self.pool.db.find("session", self.session.ref) is None:
                self.log_in()
            super().call(name, *arguments)

    def happen(self, fault: AnyFault) -> None:
        """Let a fault happen, and remember whose place was forgotten: such a migration may go on all the same."""
        reserved = {vm.ref: vm["scheduled_to_be_resident_on"] for vm in self.vms}
        with contextlib.suppress(FaultRefused):
            self.run(self.injector.inject(fault))
            if isinstance(fault, (CoordinatorChanges, ToolstackRestarts)):
                self.answers_at_s = self.loop.time() + (fault.down_s or 0.0)
        self.adrift |= {
            ref: host
            for ref, host in reserved.items()
            if host != NULL and self.pool.db.get("VM", ref)["scheduled_to_be_resident_on"] == NULL
        }
        self.run(asyncio.sleep(0.01))

    @precondition(lambda self: all(self.is_up(host.ref) for host in self.hosts))
    @rule(host=hosts, noticed_after_s=st.sampled_from([0.0, 10.0, 600.0]))
    def host_dies(self, host: int, noticed_after_s: float) -> None:
        self.happen(HostDies(host=f"xen{host}", noticed_after_s=noticed_after_s))

    @precondition(lambda self: not all(self.is_up(host.ref) for host in self.hosts))
    @rule(host=hosts)
    def host_returns(self, host: int) -> None:
        self.happen(HostReturns(host=f"xen{host}"))

    @rule(host=hosts, down_s=down)
    def coordinator_changes(self, host: int, down_s: float) -> None:
        self.happen(CoordinatorChanges(host=f"xen{host}", down_s=down_s))

    @rule(down_s=down, migrations=st.sampled_from(["go-on", "fail"]))
    def toolstack_restarts(self, down_s: float, migrations: Any) -> None:
        if self.is_up(self.pool.coordinator.ref):
            self.happen(ToolstackRestarts(down_s=down_s, migrations=migrations))

    @rule(host=hosts, factor=st.sampled_from([0.02, 0.3]), lasts_s=st.sampled_from([None, 5.0]))
    def link_slows(self, host: int, factor: float, lasts_s: float | None) -> None:
        self.happen(LinkSlows(host=f"xen{host}", factor=factor, lasts_s=lasts_s))

    @rule(host=hosts)
    def link_recovers(self, host: int) -> None:
        self.happen(LinkRecovers(host=f"xen{host}"))

    @rule(guest=guests, lasts_s=st.sampled_from([5.0, 60.0]))
    def suspend_hangs(self, guest: int, lasts_s: float) -> None:
        self.happen(SuspendHangs(guest=f"rank{guest}", lasts_s=lasts_s))

    @rule(host=hosts, order=st.permutations(range(GUESTS)))
    def crowd(self, host: int, order: list[int]) -> None:
        """Let more guests set out for a host than it has room for, with a restart in between: rare by chance alone."""
        self.link_slows(host, 0.02, None)
        self.migrate(order[0], host, "false")
        self.toolstack_restarts(1.0, "go-on")
        for guest in order[1:3]:
            self.migrate(guest, host, "false")

    def is_told_of(self, vm: Row) -> bool:
        return self.answers() and (vm["resident_on"] == NULL or self.is_up(vm["resident_on"]))

    def is_allowed(self, host: Row, excess_bytes: int) -> bool:
        """Return whether the excess came with guests whose places were forgotten; it may only shrink after that."""
        for ref, target in list(self.adrift.items()):
            vm = self.pool.db.get("VM", ref)
            has_arrived = vm["resident_on"] == target
            if has_arrived:
                self.allowed_bytes[target] = self.allowed_bytes.get(target, 0) + memory.needed_bytes(vm)
            if has_arrived or (self.is_told_of(vm) and not self.is_migrated(vm)):
                del self.adrift[ref]
        was_allowed = self.allowed_bytes.get(host.ref, 0)
        self.allowed_bytes[host.ref] = max(0, min(was_allowed, excess_bytes))
        return excess_bytes <= was_allowed

    def is_migrated(self, vm: Row) -> bool:
        return self.backend.cluster.guests[vm["uuid"]].migration is not None

    def end_all(self) -> None:
        for number in range(HOSTS):
            self.host_returns(number)
            self.link_recovers(number)
        self.run(asyncio.sleep(LONG_S))
        assert self.answers()
        self.no_host_promises_more_memory_than_it_has()
        assert self.adrift == {}
        assert [entry for entry in self.logged if entry["log_level"] == "error"] == []

    async def close(self) -> None:
        self.logs.close()
        self.cluster.cancel()
        await self.injector.close()
        await super().close()


def places(vm: Row) -> list[str]:
    """Where the records say that the VM is, or will be."""
    return [ref for ref in dict.fromkeys((vm["resident_on"], vm["scheduled_to_be_resident_on"])) if ref != NULL]


def test_a_pool_stays_true_to_its_guests(unserved: Callable[..., Server]) -> None:
    check(type("CallsAndFate", (CallsAndFate,), {"make": staticmethod(unserved)}))


def test_a_pool_stays_true_to_its_guests_whatever_goes_wrong() -> None:
    check(CallsAndFaults)


def check(machine: type[Calls]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))

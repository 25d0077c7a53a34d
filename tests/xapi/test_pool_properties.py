"""Whatever is asked of a pool in whatever order, its records stay true to where guests are, and every call ends."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from virtual_time import VirtualLoop

from migd_xapi import memory
from migd_xapi.database import Row
from migd_xapi.dispatch import Dispatcher
from migd_xapi.failure import Failure
from migd_xapi.methods import all_methods
from migd_xapi.residence import resync
from migd_xapi.server import Server
from migd_xapi.sessions import Session

NULL = "OpaqueRef:NULL"
HOSTS, GUESTS = 3, 5
# Longer than XAPI tries again to begin an operation.
LONG_S = 3 * 3600.0
METHODS = all_methods()
# What fate does to migrations, and what an evacuation says when somebody has moved a guest back meanwhile.
EXPECTED = ("fails", "is lost", "the guest was stopped", "evacuate: ")
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
hosts, guests = st.integers(0, HOSTS - 1), st.integers(0, GUESTS - 1)


class Calls(RuleBasedStateMachine):
    """Calls of several clients, and migrations that end as fate will have it."""

    make: Callable[..., Server]
    expected = EXPECTED

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.server = self.make((HOSTS, GUESTS), boot_s=5.0, shutdown_s=2.0)
        self.pool = self.server.pool
        self.backend: Any = self.pool.backend
        self.backend.ends_at_once = False
        self.hosts = list(self.pool.db.rows("host"))
        self.vms = [vm for vm in self.pool.db.rows("VM") if not vm["is_control_domain"]]
        for host in self.hosts:  # room for three guests, so that it is scarce
            room = 3 * memory.needed_bytes(self.vms[0])
            free = memory.free_bytes(self.pool, host) + memory.needed_bytes(self.vms[0]) * len(self.guests_on(host))
            self.pool.db.update(host, memory_overhead=host["memory_overhead"] + free - room)
        self.dispatcher = self.server.dispatcher = Dispatcher(self.pool, METHODS)
        self.session: Session = self.run(self.pool.sessions.log_in("root", "migd", "test", self.hosts[0]))

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def call(self, name: str, *arguments: Any) -> None:
        with contextlib.suppress(Failure):
            self.run(self.dispatcher.call(name, (self.session.ref, *arguments), self.hosts[0]))
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

    @precondition(lambda self: self.open_migrations())
    @rule(data=st.data(), how=st.sampled_from(["arrives", "fails", "is lost", "reboots", "will not stop"]))
    def end_migration(self, data: st.DataObject, how: str) -> None:
        migration = data.draw(st.sampled_from(self.open_migrations()))
        match how:
            case "arrives":
                self.close(migration)
            case "will not stop":
                migration.may_be_cancelled = False
            case "reboots":
                self.backend.reboot(migration)
            case _:
                self.backend.fail(migration, how, is_suspended=how == "is lost")
        self.run(asyncio.sleep(0.001))

    @rule(seconds=st.sampled_from([0.05, 3.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    def is_counted(self, host: Row) -> bool:
        """Whether the toolstack knows of all that arrives at the host."""
        return True

    def open_migrations(self) -> list[Any]:
        return [migration for migration in self.backend.migrations if not migration.has_ended]

    def close(self, migration: Any) -> None:
        self.backend.end(migration)

    @invariant()
    def a_guest_that_runs_is_on_one_host_and_that_is_its_own(self) -> None:
        for vm in self.vms:
            there = self.backend.host_of(vm["uuid"])
            known = {ref: self.pool.db.get("host", ref)["uuid"] for ref in places(vm)}
            if not vm["current_operations"]:
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
            assert sum(map(memory.needed_bytes, counted)) <= total or not self.is_counted(host)
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

    def teardown(self) -> None:
        try:
            for _ in range(50):
                for migration in self.open_migrations():
                    self.close(migration)
                self.run(asyncio.sleep(10.0))
                if not self.open_migrations():
                    break
            self.run(asyncio.sleep(LONG_S))
            assert [task["name_label"] for task in self.pool.db.rows("task") if task["status"] == "pending"] == []
            assert [row for row in (*self.vms, *self.hosts) if row["current_operations"]] == []
            self.a_guest_that_runs_is_on_one_host_and_that_is_its_own()
            assert self.loop.faults == []
        finally:
            self.run(self.dispatcher.close())
            for timer in self.pool.booting.values():
                timer.cancel()
            self.loop.close()
            asyncio.set_event_loop(None)


class CallsAndRestarts(Calls):
    """The same, and toolstacks that restart: migrations go on that nobody follows, and for which nobody keeps a place."""

    expected = (*EXPECTED, "guest ")  # such a guest is migrated again, or stopped, by somebody who does not know

    def __init__(self) -> None:
        super().__init__()
        self.adrift: list[Any] = []

    @rule()
    def restart(self) -> None:
        self.adrift += self.open_migrations()
        self.run(self.server.forget())
        self.run(asyncio.sleep(0.001))
        resync(self.pool, self.vms)
        self.session = self.run(self.pool.sessions.log_in("root", "migd", "test", self.hosts[0]))

    def is_counted(self, host: Row) -> bool:
        return host["uuid"] not in {migration.target for migration in self.adrift}


def places(vm: Row) -> list[str]:
    """Where the records say that the VM is, or will be."""
    return [ref for ref in dict.fromkeys((vm["resident_on"], vm["scheduled_to_be_resident_on"])) if ref != NULL]


def test_a_pool_stays_true_to_its_guests(unserved: Callable[..., Server]) -> None:
    check(Calls, unserved)


def test_a_pool_stays_true_to_its_guests_although_its_toolstack_restarts(unserved: Callable[..., Server]) -> None:
    check(CallsAndRestarts, unserved)


def check(calls: type[Calls], unserved: Callable[..., Server]) -> None:
    machine = type(calls.__name__, (calls,), {"make": staticmethod(unserved)})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))

"""The steps of VM.pool_migrate one by one, as the database takes them: what no client may see in another order."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from virtual_time import VirtualLoop

from migd_core.units import GIB
from migd_xapi import memory
from migd_xapi.database import Row
from migd_xapi.dispatch import Dispatcher
from migd_xapi.methods import all_methods
from migd_xapi.server import Server
from migd_xapi.settings import GuestSettings, HostSettings

NULL = "OpaqueRef:NULL"
SMALL = GuestSettings(memory_dynamic_min_bytes=GIB)


class Steps:
    """A pool without a socket in virtual time, whose database notes each change: the row, and its fields' new values."""

    def __init__(self, server: Server) -> None:
        self.pool = server.pool
        self.backend: Any = server.pool.backend
        self.taken: list[tuple[Row, dict[str, Any]]] = []
        self._loop = VirtualLoop()
        self._dispatcher = Dispatcher(self.pool, all_methods())
        self._session = self._run(self.pool.sessions.log_in("root", "migd", "test", self.pool.coordinator))
        self._update = self.pool.db.update

    @property
    def vm(self) -> Row:
        return self.pool.db.by_uuid("VM", "guest-0")

    def host(self, number: int) -> Row:
        return self.pool.db.by_uuid("host", f"host-{number}")

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a method, and let all happen that then happens by itself."""
        value = self._run(self._dispatcher.call(name, (self._session.ref, *arguments), self.pool.coordinator))
        self.settle()
        return value

    def settle(self) -> None:
        self._run(asyncio.sleep(1.0))

    def migrate(self, target: int = 1, guest: str = "guest-0", **options: str) -> Row:
        """Begin a migration, and return its task."""
        vm = self.pool.db.by_uuid("VM", guest)
        return self.pool.db.get("task", self.call("Async.VM.pool_migrate", vm.ref, self.host(target).ref, options))

    def hold(self) -> None:
        """Let migrations end when a test says so."""
        self.backend.ends_at_once = False

    def end(self, migration: Any) -> None:
        self.backend.end(migration)
        self.settle()

    def note(self, row: Row, **values: Any) -> None:
        before = {name: row[name] for name in values}
        self._update(row, **values)
        changed = {name: value for name, value in values.items() if before[name] != value}
        if changed:
            self.taken.append((row, changed))

    def close(self) -> None:
        self._run(self._dispatcher.close())
        self._loop.close()
        assert self._loop.faults == []

    def _run(self, coroutine: Any) -> Any:
        return self._loop.run_until_complete(coroutine)


@pytest.fixture
def steps(unserved: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Steps]]:
    made: list[Steps] = []

    def make(**settings: Any) -> Steps:
        made.append(Steps(unserved(**settings)))
        monkeypatch.setattr(made[-1].pool.db, "update", made[-1].note)
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_each_step_follows_the_one_before(steps: Callable[..., Steps]) -> None:
    a = steps(guests={"rank0": SMALL})
    a.pool.clock.ahead_s = 60.0
    task = a.migrate()
    assert a.taken[0] == (task, {**a.taken[0][1], "name_label": "Async.VM.pool_migrate"})  # it was made
    vm, target = a.vm, a.host(1)
    names = {vm.ref: "vm", vm["metrics"]: "metrics", target.ref: "target", task.ref: "task"}
    seen = [(names[row.ref], *changed) for row, changed in a.taken[1:] if row.ref in names]
    assert seen == [
        ("task", "allowed_operations"),
        ("vm", "current_operations"),
        ("vm", "allowed_operations"),
        ("target", "current_operations"),
        ("target", "allowed_operations"),
        ("vm", "scheduled_to_be_resident_on"),
        ("vm", "memory_target"),
        ("metrics", "memory_actual"),
        ("task", "allowed_operations"),
        ("task", "progress"),
        ("task", "progress"),
        ("task", "progress"),
        ("vm", "resident_on", "scheduled_to_be_resident_on"),  # in one step
        ("vm", "domid"),
        ("metrics", "last_updated"),
        ("vm", "memory_target"),
        ("metrics", "memory_actual"),
        ("target", "current_operations"),
        ("target", "allowed_operations"),
        ("vm", "current_operations"),
        ("vm", "allowed_operations"),
        ("task", "finished", "status", "progress", "result"),
    ]
    (message,) = a.pool.db.rows("message")
    assert (message["name"], vm.changed < message.created < task.changed) == ("VM_MIGRATED", True)
    assert [changed["progress"] for row, changed in a.taken if row is task and "progress" in changed] == [
        1.0,
        0.1,
        0.6,
        1.0,
    ]


def test_a_guest_is_ballooned_down_while_it_moves(steps: Callable[..., Steps]) -> None:
    a = steps(guests={"rank0": SMALL})
    a.hold()
    a.migrate()
    (migration,) = a.backend.migrations
    assert (migration.memory_bytes, a.vm["memory_target"]) == (GIB, GIB)
    a.end(migration)
    assert a.vm["memory_target"] == 2 * GIB


def test_a_migration_to_its_own_host_takes_no_memory_of_anybody(steps: Callable[..., Steps]) -> None:
    a = steps(guests={"rank0": SMALL})
    a.hold()
    free = memory.free_bytes(a.pool, a.host(0))
    task = a.migrate(target=0)
    (migration,) = a.backend.migrations
    assert (memory.free_bytes(a.pool, a.host(0)), migration.memory_bytes) == (free, 2 * GIB)
    a.end(migration)
    assert (task["status"], a.vm["resident_on"]) == ("success", a.host(0).ref)


def test_a_host_moves_four_guests_at_once_and_the_fifth_waits(steps: Callable[..., Steps]) -> None:
    a = steps(size=(2, 10), guests={f"rank{number}": SMALL for number in range(10)})
    a.hold()
    tasks = [a.migrate(guest=f"guest-{number}") for number in range(0, 10, 2)]
    fifth = a.pool.db.by_uuid("VM", "guest-8")
    assert (len(a.backend.migrations), fifth["scheduled_to_be_resident_on"]) == (4, a.host(1).ref)
    a.end(a.backend.migrations[0])
    for migration in a.backend.migrations[1:5]:
        a.end(migration)
    assert [task["status"] for task in tasks] == ["success"] * 5


def test_four_guests_arrive_at_a_host_at_once_from_wherever_and_the_fifth_waits(steps: Callable[..., Steps]) -> None:
    a = steps(size=(3, 9), guests={f"rank{number}": SMALL for number in range(9)})
    a.hold()
    tasks = [a.migrate(guest=f"guest-{number}") for number in (0, 3, 6, 2, 5)]  # three of one host, two of another
    assert [migration.guest for migration in a.backend.migrations] == ["guest-0", "guest-3", "guest-6", "guest-2"]
    a.end(a.backend.migrations[0])
    for migration in a.backend.migrations[1:5]:
        a.end(migration)
    assert [task["status"] for task in tasks] == ["success"] * 5


def test_one_that_waits_for_a_worker_can_be_cancelled(steps: Callable[..., Steps]) -> None:
    a = steps(size=(2, 10), guests={f"rank{number}": SMALL for number in range(10)})
    a.hold()
    *_, last = (a.migrate(guest=f"guest-{number}") for number in range(0, 10, 2))
    a.call("task.cancel", last.ref)
    fifth = a.pool.db.by_uuid("VM", "guest-8")
    assert (last["status"], fifth["scheduled_to_be_resident_on"], fifth["current_operations"]) == (
        "cancelled",
        NULL,
        {},
    )
    a.end(a.backend.migrations[0])
    assert len(a.backend.migrations) == 4


def test_what_fails_after_the_guest_was_stopped_ends_the_guest(steps: Callable[..., Steps]) -> None:
    a = steps()
    a.hold()
    task = a.migrate()
    a.backend.fail(a.backend.migrations[0], "the link went down", is_suspended=True)
    a.settle()
    assert (task["status"], task["error_info"]) == ("failure", ("INTERNAL_ERROR", "the link went down"))
    assert (a.vm["power_state"], a.vm["resident_on"], a.vm["domid"]) == ("Halted", NULL, -1)
    assert (a.vm["scheduled_to_be_resident_on"], a.vm["current_operations"]) == (NULL, {})
    assert "start" in a.vm["allowed_operations"]
    assert not list(a.pool.db.rows("message"))


@pytest.mark.parametrize(("reboots", "status", "host"), [(2, "success", 1), (3, "failure", 0)])
def test_a_guest_that_reboots_meanwhile_is_tried_three_times(
    steps: Callable[..., Steps], reboots: int, status: str, host: int
) -> None:
    a = steps()
    a.hold()
    task, domid = a.migrate(), a.vm["domid"]
    for _ in range(reboots):
        a.backend.reboot(a.backend.migrations[-1])
        a.settle()
    if status == "success":
        a.end(a.backend.migrations[-1])
    assert (task["status"], len(a.backend.migrations)) == (status, 3)
    assert (a.vm["power_state"], a.vm["resident_on"], a.vm["current_operations"]) == ("Running", a.host(host).ref, {})
    assert a.vm["domid"] > domid


def test_another_processor_is_refused_before_anything_is_held_unless_forced(steps: Callable[..., Steps]) -> None:
    a = steps(hosts={"xen1": HostSettings(cpu_features="00000001")})
    a.call("VM.add_to_blocked_operations", a.vm.ref, "pool_migrate", "also blocked")
    assert a.migrate()["error_info"][:3] == ("VM_INCOMPATIBLE_WITH_THIS_HOST", a.vm.ref, a.host(1).ref)
    assert not any("current_operations" in changed for _, changed in a.taken)
    a.call("VM.remove_from_blocked_operations", a.vm.ref, "pool_migrate")
    assert a.migrate(force="true")["status"] == "success"


def test_a_migration_is_tried_again_until_the_one_before_is_over(steps: Callable[..., Steps]) -> None:
    a = steps()
    a.hold()
    first, second = a.migrate(), a.migrate(target=2)
    assert (second["status"], second["allowed_operations"]) == ("pending", ("cancel",))
    a.end(a.backend.migrations[0])
    a.end(a.backend.migrations[1])
    assert (first["status"], second["status"]) == ("success", "success")
    assert a.vm["resident_on"] == a.host(2).ref

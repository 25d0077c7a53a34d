"""Migrations carried out over real sockets: what becomes of them is told as events, whatever becomes of the pool."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from migd_controller.commands import CancelMigration, FollowMigration, StartMigration
from migd_controller.config import XapiSection
from migd_controller.events import (
    InventoryChanged,
    MigrationAccepted,
    MigrationEnded,
    MigrationProgressed,
    MigrationTaskLost,
    PoolReachability,
)
from migd_controller.executor import Executor
from migd_controller.inventory import Inventory
from migd_controller.leases import block_text
from migd_controller.pool_calls import PoolCalls
from migd_controller.pool_records import MIGRATE, NULL_REF
from migd_controller.pool_watch import PoolWatch
from migd_controller.xapi import Pool
from migd_xapi.backend import MigrationOutcome
from migd_xapi.settings import Settings
from scripted_pool import USERS, ScriptedMigration, ServedPool, backend_of
from tcp_proxy import CuttingProxy

LIMIT_S = 15.0
START = StartMigration(cause="D1.1", guest="guest-0", source="host-0", target="host-1")
SETTINGS = Settings(users=USERS, refusal_delay_s=0.0)


class Rig:
    """An executor and a watch as the daemon joins them, and the events that come out."""

    def __init__(self, url: str, folder: Path, username: str = "root", password: str = "migd") -> None:
        self.settle_s = 0.3
        password_file = folder / "password"
        password_file.write_text(f"{password}\n")
        self.section = XapiSection(url=url, username=username, password_file=password_file, timeout_s=5.0)
        self.pool = Pool(self.section)
        self.calls = PoolCalls(self.pool)
        self.events: list[Any] = []
        self._news = asyncio.Event()
        self.watch = PoolWatch(self.pool, self._take)
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> "Rig":
        await self._tasks.__aenter__()
        self.executor = Executor(
            self.calls, self.watch, self._take, self._tasks, replace(self.section, settle_s=self.settle_s)
        )
        self._watching = self._tasks.create_task(self.watch.run())
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._watching.cancel()
        self.watch.stop()
        self.executor.leave()
        await asyncio.to_thread(self._close)
        await self._tasks.__aexit__(*error)

    def _close(self) -> None:
        self.pool.close()
        self.watch.close()
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
                    await asyncio.wait_for(self._news.wait(), 0.05)
        return found

    async def first(self, type_: type, **values: Any) -> Any:
        """Return the first event of that type with these values."""
        return await self.until(lambda: next(iter(self.of(type_, **values)), None))

    def of(self, type_: type, **values: Any) -> list[Any]:
        found = [event for event in self.events if isinstance(event, type_)]
        return [event for event in found if all(getattr(event, key) == value for key, value in values.items())]


@pytest.fixture
def served() -> Iterator[ServedPool]:
    served = ServedPool(backend_of(), SETTINGS)
    yield served
    served.close()


@pytest.fixture
async def rig(served: ServedPool, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(served.url, tmp_path) as rig:
        await rig.first(PoolReachability, is_reachable=True)
        yield rig


async def begun(served: ServedPool, number: int = 1) -> ScriptedMigration:
    """Return the first (second, ...) migration that the pool has begun."""
    migrations = served.backend.migrations

    def wait() -> ScriptedMigration:
        with served.backend.begun:
            assert served.backend.begun.wait_for(lambda: len(migrations) >= number, LIMIT_S)
        return migrations[number - 1]

    return await asyncio.to_thread(wait)


def port_of(served: ServedPool) -> int:
    return int(served.url.rpartition(":")[2])


def ask_for_migration(pool: Pool, guest: str = "guest-0", target: str = "host-1") -> str:
    """Ask as an earlier life of the controller did, or as somebody else does."""
    vm, host = pool.call("VM.get_by_uuid", guest), pool.call("host.get_by_uuid", target)
    return str(pool.call("Async.VM.pool_migrate", vm, host, {}))


def row(served: ServedPool, name: str, uuid: str) -> Any:
    return next(row for row in served.server.pool.db.rows(name) if row["uuid"] == uuid)


async def test_a_migration_is_accepted_then_ended_where_the_guest_is(served: ServedPool, rig: Rig) -> None:
    rig.executor.submit(START)
    ended = await rig.first(MigrationEnded)
    assert ended == MigrationEnded(cause="D1.1", host_now="host-1")
    (accepted,) = rig.of(MigrationAccepted)
    assert accepted.task.startswith("OpaqueRef:")
    assert len(served.backend.migrations) == 1


async def test_progress_is_told_while_it_goes_on(served: ServedPool, rig: Rig) -> None:
    served.backend.ends_at_once = False
    rig.executor.submit(START)
    migration = await begun(served)
    migration.progress_ratio = 0.5
    told = await rig.until(lambda: [e for e in rig.of(MigrationProgressed) if 0.4 < e.progress_ratio < 0.5])
    assert told[0].cause == "D1.1"
    served.do(lambda: served.backend.end(migration))
    await rig.first(MigrationEnded, host_now="host-1", code="")


async def test_what_the_pool_would_refuse_is_not_asked_of_it(served: ServedPool, rig: Rig) -> None:
    served.do(lambda: served.server.pool.db.update(row(served, "host", "host-1"), enabled=False))
    rig.executor.submit(START)
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "HOST_DISABLED")
    assert rig.of(MigrationAccepted) == []
    assert served.backend.migrations == []


async def test_a_guest_that_somebody_else_is_moving_is_left_to_them(served: ServedPool, rig: Rig) -> None:
    """XAPI would queue the request, and move the guest on as soon as it has arrived."""
    served.backend.ends_at_once = False
    await asyncio.to_thread(ask_for_migration, rig.pool)
    migration = await begun(served)
    rig.executor.submit(StartMigration(cause="D1.1", guest="guest-0", source="host-0", target="host-2"))
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "CHANGED_MEANWHILE")
    served.do(lambda: served.backend.end(migration))
    assert len(served.backend.migrations) == 1


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"resident_on": "host-2"}, "is on xen2, not on xen0"),
        ({"scheduled_to_be_resident_on": "host-2"}, "is expected on xen2"),
        ({"current_operations": {"OpaqueRef:other": "snapshot"}}, "is busy with snapshot"),
        ({"blocked_operations": {"pool_migrate": block_text("D7.p1")}}, "is being probed by migd (D7.p1)"),
    ],
)
async def test_a_guest_that_is_not_as_the_plan_took_it_is_not_moved(
    served: ServedPool, rig: Rig, changes: dict[str, Any], found: str
) -> None:
    vm, other = row(served, "VM", "guest-0"), row(served, "host", "host-2")
    values = {key: other.ref if value == "host-2" else value for key, value in changes.items()}
    served.do(lambda: served.server.pool.db.update(vm, **values))
    rig.executor.submit(START)
    ended = await rig.first(MigrationEnded)
    assert (ended.code, ended.text) == ("CHANGED_MEANWHILE", f"CHANGED_MEANWHILE(rank0, {found})")
    assert served.backend.migrations == []


async def test_a_refusal_that_comes_in_the_task_is_told_with_its_parameters(served: ServedPool, rig: Rig) -> None:
    vm = row(served, "VM", "guest-0")
    served.do(lambda: served.server.pool.db.update(vm, blocked_operations={"pool_migrate": "backup"}))
    rig.executor.submit(START)
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "OPERATION_BLOCKED")
    assert ended.text == "OPERATION_BLOCKED(rank0, backup)"
    assert served.backend.migrations == []


async def test_a_migration_that_is_cancelled_ends_with_the_guest_where_it_was(served: ServedPool, rig: Rig) -> None:
    served.backend.ends_at_once = False
    rig.executor.submit(START)
    await begun(served)
    accepted = await rig.first(MigrationAccepted)
    rig.executor.submit(CancelMigration(cause="D1.1", task=accepted.task))
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "CANCELLED")


async def test_a_cancellation_that_comes_too_late_changes_nothing(served: ServedPool, rig: Rig) -> None:
    served.backend.ends_at_once = False
    rig.executor.submit(START)
    migration = await begun(served)
    migration.may_be_cancelled = False
    accepted = await rig.first(MigrationAccepted)
    rig.executor.submit(CancelMigration(cause="D1.1", task=accepted.task))
    await rig.until(lambda: served.server.pool.db.get("task", accepted.task)["current_operations"])
    served.do(lambda: served.backend.end(migration))
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-1", "")


async def test_a_cancellation_is_asked_for_again_until_the_pool_has_heard_it(
    served: ServedPool, tmp_path: Path
) -> None:
    served.backend.ends_at_once = False
    async with CuttingProxy(port_of(served)) as proxy, Rig(f"http://127.0.0.1:{proxy.port}", tmp_path) as rig:
        await rig.first(PoolReachability, is_reachable=True)
        rig.executor.submit(START)
        await begun(served)
        accepted = await rig.first(MigrationAccepted)
        proxy.lose_request_with = b"task.cancel"
        rig.executor.submit(CancelMigration(cause="D1.1", task=accepted.task))
        await rig.first(MigrationEnded, host_now="host-0", code="CANCELLED")
    assert proxy.cuts == 1


async def test_a_guest_that_does_not_exist_is_gone_with_the_pools_reason(rig: Rig) -> None:
    rig.executor.submit(StartMigration(cause="D1.1", guest="nobody", source="host-0", target="host-1"))
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == (None, "UUID_INVALID")


async def test_a_migration_that_fails_half_way_leaves_the_guest_where_it_was(served: ServedPool, rig: Rig) -> None:
    served.backend.ends_at_once = False
    rig.executor.submit(START)
    migration = await begun(served)
    served.do(lambda: migration.on_end(MigrationOutcome(ok=False, reason="connection to the target lost")))
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "INTERNAL_ERROR")
    assert "connection to the target lost" in ended.text


async def test_a_migration_that_somebody_cancels_in_the_pool_has_stayed(served: ServedPool, rig: Rig) -> None:
    served.backend.ends_at_once = False
    rig.executor.submit(START)
    await begun(served)
    accepted = await rig.first(MigrationAccepted)
    await asyncio.to_thread(rig.pool.call, "task.cancel", accepted.task)
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "CANCELLED")


async def test_a_guest_that_is_shut_down_while_it_moves_is_gone(served: ServedPool, rig: Rig) -> None:
    served.backend.ends_at_once = False
    rig.executor.submit(START)
    migration = await begun(served)

    def shut_down() -> None:
        db, vm = served.server.pool.db, row(served, "VM", "guest-0")
        db.update(vm, power_state="Halted", resident_on=NULL_REF)
        migration.on_end(MigrationOutcome(ok=False, reason="the domain has gone"))

    served.do(shut_down)
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == (None, "INTERNAL_ERROR")


async def test_a_guest_that_is_destroyed_while_it_moves_is_gone(served: ServedPool, rig: Rig) -> None:
    served.backend.ends_at_once = False
    rig.executor.submit(START)
    migration = await begun(served)

    def destroy() -> None:
        served.server.pool.db.delete(row(served, "VM", "guest-0"))
        migration.on_end(MigrationOutcome(ok=False, reason="the guest has gone"))

    served.do(destroy)
    ended = await rig.first(MigrationEnded)
    assert ended.host_now is None


async def test_a_migration_whose_answer_was_lost_is_found_and_not_asked_for_again(
    served: ServedPool, tmp_path: Path
) -> None:
    served.backend.ends_at_once = False
    async with CuttingProxy(port_of(served)) as proxy, Rig(f"http://127.0.0.1:{proxy.port}", tmp_path) as rig:
        await rig.first(PoolReachability, is_reachable=True)
        proxy.lose_answer_to = b"Async.VM.pool_migrate"
        rig.executor.submit(START)
        migration = await begun(served)
        await rig.first(MigrationAccepted)
        served.do(lambda: served.backend.end(migration))
        await rig.first(MigrationEnded, host_now="host-1", code="")
    assert (proxy.cuts, len(served.backend.migrations)) == (1, 1)


async def test_a_pool_that_is_lost_before_it_is_asked_need_not_be_waited_for(
    served: ServedPool, tmp_path: Path
) -> None:
    async with CuttingProxy(port_of(served)) as proxy:
        rig = Rig(f"http://127.0.0.1:{proxy.port}", tmp_path)
        rig.settle_s = 10 * LIMIT_S
        async with rig:
            await rig.first(PoolReachability, is_reachable=True)
            proxy.lose_answer_to = b"VM.assert_can_boot_here"
            rig.executor.submit(START)
            ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "NOT_ASKED")
    assert (proxy.cuts, served.backend.migrations) == (1, [])


async def test_a_request_that_never_arrived_is_over_and_not_asked_for_again(served: ServedPool, tmp_path: Path) -> None:
    async with CuttingProxy(port_of(served)) as proxy, Rig(f"http://127.0.0.1:{proxy.port}", tmp_path) as rig:
        await rig.first(PoolReachability, is_reachable=True)
        proxy.lose_request_with = b"Async.VM.pool_migrate"
        rig.executor.submit(START)
        ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "ANSWER_LOST")
    assert (proxy.cuts, served.backend.migrations) == (1, [])


async def test_a_migration_that_waits_in_the_pool_when_its_answer_is_lost_is_waited_for(
    served: ServedPool, tmp_path: Path
) -> None:
    """XAPI holds a request back while another operation has the guest; only its task tells that it was taken."""
    served.backend.ends_at_once = False
    vm = row(served, "VM", "guest-0")

    def busy() -> None:
        served.do(lambda: served.server.pool.db.update(vm, current_operations={"OpaqueRef:other": "snapshot"}))

    async with CuttingProxy(port_of(served)) as proxy, Rig(f"http://127.0.0.1:{proxy.port}", tmp_path) as rig:
        await rig.first(PoolReachability, is_reachable=True)
        rig.executor._calls._pool = Meddled(rig.pool, busy)
        proxy.lose_answer_to = b"Async.VM.pool_migrate"
        rig.executor.submit(START)
        await rig.until(lambda: served.do(lambda: served.server.pool.db.tables["task"]))
        served.do(lambda: served.server.pool.db.update(vm, current_operations={}))
        migration = await begun(served)
        await rig.first(MigrationAccepted)  # it is not over before it was found
        served.do(lambda: served.backend.end(migration))
        ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-1", "")


@pytest.mark.parametrize(("arrived", "host_now"), [(True, "host-1"), (False, "host-0")])
async def test_after_a_restart_of_the_pool_its_word_counts_for_where_the_guest_is(
    tmp_path: Path, arrived: bool, host_now: str
) -> None:
    backend = backend_of()
    backend.ends_at_once = False
    served = ServedPool(backend, SETTINGS)
    async with Rig(served.url, tmp_path) as rig:
        await rig.first(PoolReachability, is_reachable=True)
        rig.executor.submit(START)
        migration = await begun(served)
        await rig.first(MigrationAccepted)
        await asyncio.to_thread(served.close)
        await rig.first(PoolReachability, is_reachable=False)
        assert rig.of(MigrationEnded) == []
        if arrived:
            backend.end(migration)
        back = ServedPool(backend, SETTINGS, port_of(served))
        ended = await rig.first(MigrationEnded)
        assert (ended.host_now, ended.code) == (host_now, "TASK_VANISHED")
    await asyncio.to_thread(back.close)
    assert len(backend.migrations) == 1


async def lost(served: ServedPool, rig: Rig, start: StartMigration) -> ScriptedMigration:
    """Return a migration that goes on although the toolstack that began it, and its task with it, is gone."""
    served.backend.ends_at_once = False
    rig.executor.submit(start)
    migration = await begun(served)
    accepted = await rig.first(MigrationAccepted)
    await asyncio.to_thread(served.forget)
    await rig.until(lambda: accepted.task not in rig.watch.view.tasks)
    return migration


async def test_a_guest_is_waited_for_whose_task_was_lost_with_the_toolstack_that_began_it(
    served: ServedPool, tmp_path: Path
) -> None:
    """Nothing shows that it moves: no task, no operation of the guest."""
    rig = Rig(served.url, tmp_path)
    rig.settle_s = LIMIT_S
    async with rig:
        migration = await lost(served, rig, START)
        assert rig.of(MigrationEnded) == []
        served.do(lambda: served.backend.end(migration))
        ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-1", "TASK_VANISHED")
    assert len(served.backend.migrations) == 1


async def test_a_guest_whose_task_was_lost_is_waited_for_as_long_as_its_migration_may_take(
    served: ServedPool, rig: Rig
) -> None:
    """`settle_s` is 0.3 s here; it stands for a migration that takes longer than the time given to any."""
    migration = await lost(served, rig, replace(START, predicted_at_most_s=LIMIT_S))
    await rig.first(MigrationTaskLost, cause=START.cause)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(4 * rig.settle_s):
            await rig.first(MigrationEnded)
    served.do(lambda: served.backend.end(migration))
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-1", "TASK_VANISHED")


async def test_a_guest_whose_task_was_lost_has_stayed_after_twice_what_its_migration_may_take(
    served: ServedPool, rig: Rig
) -> None:
    await lost(served, rig, replace(START, predicted_at_most_s=0.4))
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "TASK_VANISHED")


def toolstacks_of_pool(rig: Rig) -> str:
    inventory = Inventory()
    for event in rig.of(InventoryChanged):
        inventory.apply(event)
    return inventory.toolstacks


async def test_a_request_that_the_pool_never_heard_of_is_over_while_no_toolstack_has_restarted(
    served: ServedPool, rig: Rig
) -> None:
    """A controller that dies right before it asks has its request on record, and nobody else has."""
    await rig.first(PoolReachability, is_reachable=True)
    toolstacks = toolstacks_of_pool(rig)
    assert toolstacks
    follow = FollowMigration(
        cause="D1.1", guest="guest-0", target="host-1", task=None, predicted_at_most_s=LIMIT_S, toolstacks=toolstacks
    )
    rig.executor.submit(follow)
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "ANSWER_LOST")


async def test_a_request_that_a_toolstack_of_before_may_have_heard_is_waited_for(served: ServedPool, rig: Rig) -> None:
    """That one may have begun it, and nothing shows that the guest moves; so it is with one that tells no start."""
    await rig.first(PoolReachability, is_reachable=True)
    for toolstacks in ("", "0badcafe"):
        follow = FollowMigration(
            cause="D1.1",
            guest="guest-0",
            target="host-1",
            task=None,
            predicted_at_most_s=LIMIT_S,
            toolstacks=toolstacks,
        )
        rig.executor.submit(follow)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(6 * rig.settle_s):
            await rig.first(MigrationEnded)


async def test_somebody_elses_migration_that_waits_in_the_pool_is_not_taken_for_a_request_that_never_arrived(
    served: ServedPool, tmp_path: Path
) -> None:
    """A queued migration names no guest until it begins, so only its age tells that it is not ours."""
    served.backend.ends_at_once = False
    async with CuttingProxy(port_of(served)) as proxy, Rig(f"http://127.0.0.1:{proxy.port}", tmp_path) as rig:
        await rig.first(PoolReachability, is_reachable=True)
        vm = row(served, "VM", "guest-1")
        served.do(lambda: served.server.pool.db.update(vm, current_operations={"OpaqueRef:other": "snapshot"}))
        await asyncio.to_thread(ask_for_migration, rig.pool, "guest-1", "host-2")
        proxy.lose_request_with = b"Async.VM.pool_migrate"
        rig.executor.submit(START)
        ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "ANSWER_LOST")
    assert served.backend.migrations == []


async def test_a_pool_that_never_comes_back_is_waited_for_and_the_end_is_clean(tmp_path: Path) -> None:
    backend = backend_of()
    backend.ends_at_once = False
    served = ServedPool(backend, SETTINGS)
    async with asyncio.timeout(LIMIT_S), Rig(served.url, tmp_path) as rig:
        await rig.first(PoolReachability, is_reachable=True)
        rig.executor.submit(START)
        await rig.first(MigrationAccepted)
        await asyncio.to_thread(served.close)
        await rig.first(PoolReachability, is_reachable=False)
        rig.executor.submit(FollowMigration(cause="D0.1", guest="guest-1", target="host-2", task=None))
    assert rig.of(MigrationEnded) == []


async def test_a_task_that_is_lost_does_not_end_a_migration_that_goes_on(served: ServedPool, rig: Rig) -> None:
    served.backend.ends_at_once = False
    rig.executor.submit(START)
    migration = await begun(served)
    accepted = await rig.first(MigrationAccepted)
    db = served.server.pool.db
    served.do(lambda: db.delete(db.get("task", accepted.task)))
    rig.executor.submit(StartMigration(cause="D2.1", guest="guest-1", source="host-1", target="host-2"))
    other = await begun(served, 2)
    served.do(lambda: served.backend.end(other))
    await rig.first(MigrationEnded, cause="D2.1")
    assert rig.of(MigrationEnded, cause="D1.1") == []
    served.do(lambda: served.backend.end(migration))
    ended = await rig.first(MigrationEnded, cause="D1.1")
    assert ended.host_now == "host-1"
    assert len(rig.of(MigrationAccepted, cause="D1.1")) == 1


async def test_a_migration_of_an_earlier_life_is_followed_by_its_task(served: ServedPool, rig: Rig) -> None:
    served.backend.ends_at_once = False
    task = await asyncio.to_thread(ask_for_migration, rig.pool)
    migration = await begun(served)
    rig.executor.submit(FollowMigration(cause="D1.1", guest="guest-0", target="host-1", task=task))
    await rig.first(MigrationAccepted, task=task)
    served.do(lambda: served.backend.end(migration))
    await rig.first(MigrationEnded, host_now="host-1", code="")
    assert len(served.backend.migrations) == 1


async def test_a_migration_of_an_earlier_life_without_a_task_is_found_by_its_guest(
    served: ServedPool, rig: Rig
) -> None:
    served.backend.ends_at_once = False
    task = await asyncio.to_thread(ask_for_migration, rig.pool)
    migration = await begun(served)
    rig.executor.submit(FollowMigration(cause="D1.1", guest="guest-0", target="host-1", task=None))
    await rig.first(MigrationAccepted, task=task)
    served.do(lambda: served.backend.end(migration))
    await rig.first(MigrationEnded, host_now="host-1", code="")


async def test_a_migration_of_an_earlier_life_that_never_began_is_over(served: ServedPool, rig: Rig) -> None:
    rig.executor.submit(FollowMigration(cause="D1.1", guest="guest-0", target="host-1", task=None))
    ended = await rig.first(MigrationEnded)
    assert (ended.host_now, ended.code) == ("host-0", "ANSWER_LOST")
    assert served.backend.migrations == []


async def test_the_inventory_tells_what_guests_need_and_hosts_have(served: ServedPool, rig: Rig) -> None:
    db = served.server.pool.db
    pbd = next(row for row in db.rows("PBD") if db.get("host", row["host"])["uuid"] == "host-2")

    def change() -> None:
        db.update(pbd, currently_attached=False)
        group = db.create("VM_group", name_label="apart", placement="anti_affinity")
        db.update(row(served, "VM", "guest-0"), groups=(group.ref,))

    served.do(change)
    told = await rig.until(lambda: [event for event in rig.of(InventoryChanged)[1:] if event.hosts and event.guests])
    (host,), (guest,) = told[0].hosts, told[0].guests
    (first,) = rig.of(InventoryChanged, is_complete=True)
    needed = {(storage.name, network.name) for storage in guest.storages for network in guest.networks}
    assert needed == {("shared", "Pool-wide network associated with eth0")}
    assert guest.group is not None
    assert guest.group.name == "apart"
    assert {each.storages for each in first.hosts} == {(guest.storages[0].uuid,)}
    assert (host.uuid, host.storages, host.networks) == ("host-2", (), (guest.networks[0].uuid,))
    assert host.cpu_features_hvm != ""


async def test_a_pool_that_comes_late_is_seen_in_full(tmp_path: Path) -> None:
    served = ServedPool(backend_of(), SETTINGS)
    await asyncio.to_thread(served.close)
    async with Rig(served.url, tmp_path) as rig:
        problem = (await rig.first(PoolReachability, is_reachable=False)).problem
        assert problem.startswith(f"{served.url} does not answer: connection refused; is the toolstack running?")
        back = ServedPool(backend_of(), SETTINGS, port_of(served))
        await rig.first(PoolReachability, is_reachable=True)
        (inventory,) = rig.of(InventoryChanged, is_complete=True)
        assert (len(inventory.hosts), len(inventory.guests)) == (3, 4)
    await asyncio.to_thread(back.close)


class Meddled:
    """A pool in which something happens just before a request to migrate reaches it."""

    def __init__(self, pool: Pool, meddle: Callable[[], None]) -> None:
        self._pool, self._meddle = pool, meddle

    def call(self, method: str, *args: Any) -> Any:
        if method == MIGRATE:
            self._meddle()
        return self._pool.call(method, *args)


class Spoiled:
    """A pool whose answers to `event.from` a test alters."""

    def __init__(self, pool: Pool, spoil: Callable[[dict[str, Any]], None]) -> None:
        self._pool, self._spoil = pool, spoil

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def call(self, method: str, *args: Any, **wait: float) -> Any:
        answer = self._pool.call(method, *args, **wait)
        if method == "event.from":
            self._spoil(answer)
        return answer


def once(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    changes = iter([change])
    return lambda answer: next(changes, lambda answer: None)(answer)


async def test_a_token_that_the_pool_refuses_leads_to_a_full_inventory_not_to_alarm(
    served: ServedPool, tmp_path: Path
) -> None:
    rig = Rig(served.url, tmp_path)
    rig.watch._pool = Spoiled(rig.pool, once(lambda answer: answer.update(token="no token")))
    async with rig:
        await rig.until(lambda: len(rig.of(InventoryChanged, is_complete=True)) == 2)
    assert rig.of(PoolReachability, is_reachable=False) == []


async def test_a_session_that_was_lost_leads_to_a_full_inventory_not_to_alarm(served: ServedPool, rig: Rig) -> None:
    sessions = served.server.pool.sessions
    served.do(lambda: [sessions.log_out(sessions.get(ref)) for ref in list(served.server.pool.db.tables["session"])])
    await rig.until(lambda: len(rig.of(InventoryChanged, is_complete=True)) == 2)
    assert rig.of(PoolReachability, is_reachable=False) == []


async def test_a_deletion_that_was_never_told_is_found_by_the_counts(served: ServedPool, tmp_path: Path) -> None:
    """XAPI remembers a bounded number of deletions; after a long silence only its counts tell of the others."""

    def forget(answer: dict[str, Any]) -> None:
        answer["events"] = [event for event in answer["events"] if event["operation"] != "del"]

    rig = Rig(served.url, tmp_path)
    rig.watch._pool = Spoiled(rig.pool, forget)
    async with rig:
        await rig.first(PoolReachability, is_reachable=True)
        served.do(lambda: served.server.pool.db.delete(row(served, "VM", "guest-3")))
        again = await rig.until(lambda: rig.of(InventoryChanged, is_complete=True)[1:])
    assert "guest-3" not in {guest.uuid for guest in again[0].guests}


@pytest.mark.parametrize(
    ("username", "password", "why"),
    [
        ("root", "wrong", "the password in {file} is not root's; put the right one there"),
        ("nobody", "migd", "nobody has no role in the pool; give it vm-power-admin (SESSION_AUTHORIZATION_FAILED("),
    ],
)
async def test_a_login_that_is_refused_names_the_user_and_the_file(
    served: ServedPool, tmp_path: Path, username: str, password: str, why: str
) -> None:
    async with Rig(served.url, tmp_path, username=username, password=password) as rig:
        problem = (await rig.first(PoolReachability)).problem
    assert problem.startswith(f"{served.url} does not let {username} in: {why.format(file=tmp_path / 'password')}")


async def test_a_password_that_is_mended_in_its_file_is_taken_up(served: ServedPool, tmp_path: Path) -> None:
    async with Rig(served.url, tmp_path, password="wrong") as rig:
        await rig.first(PoolReachability, is_reachable=False)
        (tmp_path / "password").write_text("migd\n")
        await rig.first(PoolReachability, is_reachable=True)


async def test_an_answer_that_is_no_xml_is_an_unreachable_pool_with_its_reason(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 14\r\n\r\n<html>busy</p>")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Rig(url, tmp_path) as rig:
        problem = (await rig.first(PoolReachability)).problem
    assert problem == f"{url} does not speak XenAPI: ExpatError: mismatched tag: line 1, column 12; is xapi.url right?"

"""The lease and its fence against an emulated pool, over real connections."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from faulty_pool import FaultyPool
from migd_controller.config import LeaderSection, XapiSection
from migd_controller.leader import Deposed, Leader, NotLeading, _seat_of
from migd_controller.leader_claims import PREFIX, Seal, claims_in
from migd_controller.leadership import Told
from migd_controller.pool_records import MIGRATE
from migd_controller.xapi import PoolUnreachable
from migd_core import keys
from tcp_proxy import CuttingProxy

LEASE_S = 1.0
LIMIT_S = 20.0


@pytest.fixture
def pool() -> Iterator[FaultyPool]:
    pool = FaultyPool()
    yield pool
    pool.close()


@asynccontextmanager
async def contender(
    folder: Path,
    name: str,
    port: int,
    lease_s: float = LEASE_S,
    crashes: bool = False,
    leave: Callable[[], bytes] = lambda: b"",
) -> AsyncIterator[Leader]:
    """A controller's part in who leads, at work; it gives the lease back in the end, unless it crashes."""
    (folder / name).mkdir(exist_ok=True)
    (folder / "password").write_text("migd")
    if not (folder / "both.key").exists():
        keys.create(folder, "both")
    leader = Leader(
        LeaderSection(name=name, lease_s=lease_s),
        XapiSection(url=f"http://127.0.0.1:{port}", username="root", password_file=folder / "password", timeout_s=5.0),
        Seal(folder / "both.key_secret"),
        folder / name,
        lambda: Told(name=name, at=1.0),
        leave,
        lambda: (),
        lambda: None,
    )
    task = asyncio.create_task(leader.run())
    try:
        yield leader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await (asyncio.to_thread(leader._end) if crashes else leader.close())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is in the pool, or in another process's place
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_taken_over", [True, False])
async def test_a_migration_that_is_late_by_a_change_of_leaders_is_refused_by_the_pool(
    pool: FaultyPool, tmp_path: Path, is_taken_over: bool
) -> None:
    """It had left its controller while that one led. Without another leader it is taken, however late it is."""
    api = pool.client().xenapi
    (guest,), (target,) = api.VM.get_by_name_label("rank0"), api.host.get_by_name_label("xen2")
    async with CuttingProxy(pool.port) as proxy, contender(tmp_path, "one", proxy.port) as one:
        await asyncio.wait_for(one.begins(), LIMIT_S)
        proxy.hold = MIGRATE.partition(".")[2].encode()
        with pytest.raises(PoolUnreachable):
            await one.change(MIGRATE, guest, target, {"live": "true"})
        assert proxy.holds.is_set()
        if is_taken_over:
            proxy.hold = b"methodCall"  # nothing gets through any more
            async with contender(tmp_path, "two", pool.port) as two:
                await asyncio.wait_for(two.begins(), LIMIT_S)
                proxy.let_go.set()
                await until(lambda: proxy.forwarded)
        else:
            proxy.let_go.set()
            await until(lambda: pool.host_of("rank0") == "xen2")
    begun = [(each["guest"], each["ok"]) for each in pool.ask("GET", "/truth")["migrations"]]
    assert begun == ([] if is_taken_over else [("rank0", True)])


async def test_before_the_pool_hears_of_a_migration_it_has_what_the_next_leader_must_know_of_it(
    pool: FaultyPool, tmp_path: Path
) -> None:
    """Whenever the leader dies: the claim that says so is there before the request is."""
    api = pool.client().xenapi
    (guest,), (target,) = api.VM.get_by_name_label("rank0"), api.host.get_by_name_label("xen2")
    (ref,), left = api.pool.get_all(), [b"nothing is under way"]
    async with contender(tmp_path, "two", pool.port) as two:  # whoever comes after it need not wait for a lease
        await asyncio.wait_for(two.begins(), LIMIT_S)
    async with (
        CuttingProxy(pool.port) as proxy,
        contender(tmp_path, "one", proxy.port, lease_s=600.0, leave=lambda: left[0]) as one,
    ):
        await asyncio.wait_for(one.begins(), LIMIT_S)
        proxy.hold = MIGRATE.partition(".")[2].encode()
        left[0] = b"rank0 goes to xen2"
        with pytest.raises(PoolUnreachable):
            await one.change(MIGRATE, guest, target, {"live": "true"})
        assert proxy.holds.is_set(), "the request is on its way, and the pool has not heard of it"
        newest = max(claims_in(api.pool.get_other_config(ref)), key=lambda claim: claim.number)
        assert one.left_by(newest) == left[0]


async def test_a_lease_that_runs_out_while_its_thread_is_busy_lets_nothing_be_asked_for(
    pool: FaultyPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a process that stood still between the renewal and the request."""
    async with contender(tmp_path, "one", pool.port) as one:
        await asyncio.wait_for(one.begins(), LIMIT_S)
        in_thread = one._in_thread

        async def late(function: Callable[..., Any], *args: object) -> Any:
            if function == one._change:
                await until(lambda: not one.leads)
            return await in_thread(function, *args)

        monkeypatch.setattr(one, "_in_thread", late)
        with pytest.raises(NotLeading, match="the lease ran out before the pool was asked"):
            await one.change("pool.get_all")


async def test_who_was_passed_over_asks_for_nothing_and_says_who_leads(pool: FaultyPool, tmp_path: Path) -> None:
    async with CuttingProxy(pool.port) as proxy, contender(tmp_path, "one", proxy.port) as one:
        await asyncio.wait_for(one.begins(), LIMIT_S)
        proxy.hold = b"pool.add_to_other_config"
        await asyncio.wait_for(proxy.holds.wait(), LIMIT_S)
        async with contender(tmp_path, "two", pool.port) as two:
            await asyncio.wait_for(two.begins(), LIMIT_S)
            assert not one.leads
            proxy.hold = b""
            proxy.let_go.set()
            with pytest.raises((NotLeading, Deposed)):
                await one.change("pool.get_all")
            await until(lambda: one.holder is not None and one.holder.told.name == "two")
            assert two.leads


async def test_a_leader_that_ended_or_that_is_started_anew_is_waited_for_by_nobody(
    pool: FaultyPool, tmp_path: Path
) -> None:
    async with contender(tmp_path, "two", pool.port) as two:
        await asyncio.wait_for(two.begins(), LIMIT_S)
    for _ in range(2):
        async with contender(tmp_path, "one", pool.port, lease_s=600.0, crashes=True) as one:
            await asyncio.wait_for(one.begins(), LIMIT_S)


async def test_controllers_of_one_disk_image_do_not_take_each_other_for_themselves(
    pool: FaultyPool, tmp_path: Path
) -> None:
    """Whoever was cloned with its state has the other's seat, and a name of its own."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "seat").write_text("5eaf" * 8)
    async with contender(tmp_path, "one", pool.port) as one:
        await asyncio.wait_for(one.begins(), LIMIT_S)
        async with contender(tmp_path, "two", pool.port) as two:
            await until(lambda: two.holder is not None and two.holder.told.name == "one")
            assert two.holder is not None
            assert not two.was_here(two.holder)
            for _ in range(3):
                await one.renewed()
            assert (one.leads, two.leads) == (True, False)


@pytest.mark.parametrize("left", [b"", b"\n", b"\x00" * 32, b"\xff"])
def test_a_seat_that_power_loss_has_emptied_is_made_anew(left: bytes, tmp_path: Path) -> None:
    """Otherwise all such controllers, and whatever claim cannot be read, would be one."""
    (tmp_path / "seat").write_bytes(left)
    found = _seat_of(tmp_path)
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert _seat_of(tmp_path) == found


async def test_claims_that_count_no_more_are_cleared_away(pool: FaultyPool, tmp_path: Path) -> None:
    api = pool.client().xenapi
    (ref,) = api.pool.get_all()
    api.pool.add_to_other_config(ref, "wlb_timeout", "30")
    async with contender(tmp_path, "one", pool.port) as one:
        await asyncio.wait_for(one.begins(), LIMIT_S)
        for _ in range(3):
            await one.renewed()
        await until(lambda: sum(key.startswith(PREFIX) for key in api.pool.get_other_config(ref)) == 1)
    assert api.pool.get_other_config(ref)["wlb_timeout"] == "30"


async def test_a_leader_without_its_session_leads_on_in_a_new_one(pool: FaultyPool, tmp_path: Path) -> None:
    async with contender(tmp_path, "one", pool.port) as one:
        await asyncio.wait_for(one.begins(), LIMIT_S)
        first = one.holder
        assert first is not None
        pool.fault("toolstack-restarts", down_s=0.1)
        await until(lambda: one.leads and one.holder is not None and one.holder.sessions[0] != first.sessions[0])
        assert await one.change("pool.get_all")

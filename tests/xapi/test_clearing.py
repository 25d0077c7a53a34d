"""What the pool clears up by itself: sessions that idle, tasks that are over."""

from collections.abc import Callable

import pytest

from migd_xapi import clearing, sessions
from migd_xapi.failure import Failure
from migd_xapi.pool import Pool
from migd_xapi.server import Server
from migd_xapi.sessions import Session

HOUR_S = 3600.0


@pytest.fixture
def pool(unserved: Callable[..., Server]) -> Pool:
    return unserved().pool


async def log_in(pool: Pool, name: str = "root", originator: str = "test") -> Session:
    return await pool.sessions.log_in(name, "migd", originator, pool.coordinator)


def later(pool: Pool, seconds: float) -> None:
    pool.clock.ahead_s += seconds


async def test_a_session_that_idles_for_a_day_ends(pool: Pool) -> None:
    idle, busy = await log_in(pool), await log_in(pool)
    later(pool, 23 * HOUR_S)
    pool.sessions.get(busy.ref)
    later(pool, 2 * HOUR_S)
    clearing.clear_up(pool)
    assert pool.sessions.get(busy.ref) is busy
    with pytest.raises(Failure, match="SESSION_INVALID"):
        pool.sessions.get(idle.ref)


async def test_of_too_many_sessions_alike_the_longest_idle_end(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_ALIKE", 2)
    alike = []
    for _ in range(3):
        alike.append(await log_in(pool, originator="one"))
        later(pool, 1.0)
    others = [
        await log_in(pool, originator="two"),
        await log_in(pool, "operator", "one"),
        await log_in(pool, "operator"),
    ]
    clearing.clear_up(pool)
    assert set(pool.db.tables["session"]) == {each.ref for each in (*alike[1:], *others)}


def test_tasks_go_an_hour_after_their_end_and_a_day_after_their_beginning(pool: Pool) -> None:
    pending, done = (pool.tasks.begin("test", pool.coordinator, None) for _ in range(2))
    done.succeed("", "void")
    later(pool, 1.05 * HOUR_S)
    clearing.clear_up(pool)
    assert set(pool.db.tables["task"]) == {pending.ref, done.ref}
    later(pool, 0.1 * HOUR_S)
    clearing.clear_up(pool)
    assert set(pool.db.tables["task"]) == {pending.ref}
    later(pool, 24 * HOUR_S)
    clearing.clear_up(pool)
    assert not pool.db.tables["task"]


def test_of_too_many_tasks_the_oldest_that_are_over_go(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "MOST_TASKS", 3)
    pending = [pool.tasks.begin("test", pool.coordinator, None).ref for _ in range(2)]
    done = []
    for _ in range(3):
        run = pool.tasks.begin("test", pool.coordinator, None)
        run.succeed("", "void")
        done.append(run.ref)
        later(pool, 1.0)
    clearing.clear_up(pool)
    assert set(pool.db.tables["task"]) == {*pending, done[-1]}

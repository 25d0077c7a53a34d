"""Guests are sampled one at a time, in turn, without holding up the ticks."""

import select
import threading
import time
from collections.abc import Iterator

import pytest
from conftest import LIMIT_S, Pool
from readings import HOST

from migd_agent.collectors.sim import EmulatedPool
from migd_agent.config import DirtyCurvesSection
from migd_agent.dirty_curves import NAME, PATIENCE_S, DirtyCurves
from migd_agent.failures import Failures
from migd_core.messages import DirtyCurve

SETTINGS = DirtyCurvesSection(every_s=10.0, last_age_s=1.0)
CURVE = b'{"ages_s":[0.05,1.0],"unique_pages":[10,20]}'


class Sampling:
    """Dirty curves of a pool, on a clock that the test turns."""

    def __init__(self, pool: Pool) -> None:
        self.failures = Failures()
        self.source = EmulatedPool(HOST, pool.url)
        self.curves = DirtyCurves(self.source, SETTINGS, self.failures, now_s=0.0)

    def step(self, now_s: float, *guests: str) -> None:
        """Start what is due at `now_s`, and wait for its answer."""
        self.curves.advance(guests, now_s)
        if self.curves.pending is not None:
            assert select.select([self.curves.pending], [], [], LIMIT_S)[0]
            self.curves.advance(guests, now_s, is_readable=True)


@pytest.fixture
def sampling(pool: Pool) -> Iterator[Sampling]:
    sampling = Sampling(pool)
    yield sampling
    sampling.curves.close()
    sampling.source.close()


def asked(pool: Pool) -> list[str]:
    return [path.split("/dirty/")[1].split("?")[0] for path in pool.asked]


def test_guests_take_turns(pool: Pool, sampling: Sampling) -> None:
    for now_s in (0.0, 5.0, 10.0, 20.0, 30.0):
        sampling.step(now_s, "b", "c", "a")
    assert asked(pool) == ["a", "b", "c", "a"]
    assert sampling.curves.curves["b"] == DirtyCurve((0.05, 1.0), (10, 20), measured_s=10.0)


def test_the_turn_passes_over_guests_that_came_and_went(pool: Pool, sampling: Sampling) -> None:
    sampling.step(0.0, "a", "c")
    sampling.step(10.0, "b", "c")
    sampling.step(20.0, "a", "b")
    assert asked(pool) == ["a", "b", "a"]
    assert set(sampling.curves.curves) == {"a", "b"}


def test_a_guest_that_migrates_is_passed_over_without_failure(pool: Pool, sampling: Sampling) -> None:
    pool.answer = lambda path: (409, b"migrating") if "/a?" in path else (200, CURVE)
    sampling.step(0.0, "a", "b")
    sampling.step(10.0, "a", "b")
    assert set(sampling.curves.curves) == {"b"}
    assert sampling.failures.names() == ()


def test_a_failure_is_named_until_a_curve_comes(pool: Pool, sampling: Sampling) -> None:
    pool.answer = lambda path: (200, b"garbage")
    sampling.step(0.0, "a")
    assert sampling.failures.names() == (NAME,)
    pool.stop()
    sampling.step(10.0, "a")
    assert sampling.failures.names() == (NAME,)
    pool.answer = lambda path: (200, CURVE)
    pool.start()
    sampling.step(20.0, "a")
    assert sampling.failures.names() == ()


def test_one_that_does_not_come_is_given_up(pool: Pool, sampling: Sampling) -> None:
    may_answer = threading.Event()
    pool.answer = lambda path: (may_answer.wait(LIMIT_S), (200, CURVE))[1]
    curves = sampling.curves
    curves.advance(["a", "b"], 0.0)
    pending = curves.pending
    assert pending is not None
    assert curves.due_s == SETTINGS.last_age_s + PATIENCE_S
    curves.advance(["a", "b"], curves.due_s - 0.1)
    assert curves.pending is pending
    curves.advance(["a", "b"], curves.due_s)
    assert curves.pending is None
    assert sampling.failures.names() == (NAME,)
    may_answer.set()
    sampling.step(10.0, "a", "b")
    assert set(curves.curves) == {"b"}


def test_starting_one_does_not_wait_for_it(pool: Pool, sampling: Sampling) -> None:
    may_answer = threading.Event()
    pool.answer = lambda path: (may_answer.wait(LIMIT_S), (200, CURVE))[1]
    started_s = time.monotonic()
    sampling.curves.advance(["a"], 0.0)
    assert time.monotonic() - started_s < 1.0
    may_answer.set()


def test_without_guests_nothing_is_asked(pool: Pool, sampling: Sampling) -> None:
    sampling.step(0.0)
    assert pool.asked == []
    assert sampling.curves.due_s == 10.0

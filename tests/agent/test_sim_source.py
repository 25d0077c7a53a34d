"""What an emulated pool may answer, and what is made of it."""

import re
import select
import time
from collections.abc import Iterator

import msgspec
import pytest
from conftest import LIMIT_S, Pool
from readings import HOST, busy_host

from migd_agent.collectors.sim import EmulatedPool, UnusableAnswer, parse, parse_curve
from migd_agent.control_endpoint import MAX_BODY_BYTES, Answer, EndpointError
from migd_agent.xen.log_dirty import StoodBack
from migd_core.messages import DirtyCurve

URL = f"http://pool/dom0/{HOST}"


@pytest.fixture
def source(pool: Pool) -> Iterator[EmulatedPool]:
    source = EmulatedPool(HOST, pool.url)
    yield source
    source.close()


def test_counters_are_read_over_one_kept_connection(pool: Pool, source: EmulatedPool) -> None:
    readings = [source.collect(None) for _ in range(5)]
    assert [len(reading.guests) for reading in readings] == [3] * 5
    assert pool.asked == [f"/dom0/{HOST}"] * 5
    assert pool.connections == 1


def test_a_pool_that_was_restarted_is_read_again_at_once(pool: Pool, source: EmulatedPool) -> None:
    source.collect(None)
    pool.stop()
    pool.start()
    assert source.collect(None).host_uuid == HOST


def test_a_pool_that_is_down_is_named_with_what_to_look_at(pool: Pool, source: EmulatedPool) -> None:
    pool.stop()
    with pytest.raises(
        EndpointError, match=re.escape(f"GET {pool.url}/dom0/{HOST}: [Errno 111] Connection refused; is the")
    ):
        source.collect(None)


def test_a_pool_that_hangs_costs_less_than_a_second(pool: Pool, source: EmulatedPool) -> None:
    pool.answer = lambda path: time.sleep(2) or (200, b"")
    started_s = time.monotonic()
    with pytest.raises(EndpointError, match="timed out"):
        source.collect(None)
    assert time.monotonic() - started_s < 1.0


def test_an_endless_answer_is_cut_off(pool: Pool, source: EmulatedPool) -> None:
    pool.answer = lambda path: (200, b" " * (MAX_BODY_BYTES + 1))
    with pytest.raises(EndpointError, match=f"more than {MAX_BODY_BYTES} bytes"):
        source.collect(None)
    pool.answer = lambda path: (200, msgspec.json.encode(busy_host(1.0)))
    assert source.collect(None).at_s == 1.0


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (500, b"oops", "expected status 200, found 500: 'oops'"),
        (404, b"no such host", "expected status 200, found 404: 'no such host'"),
        (200, b"<html>", "expected counters of a host as JSON: .*; found '<html>'"),
        (200, b"\xff\xfe\x00", r"expected counters of a host as JSON: .*; found '\\\\xff\\\\xfe"),
        (200, b"", "expected counters of a host as JSON: .*; found ''"),
        (200, b'{"host_uuid": 5}', r"Expected `str`, got `int` - at `\$.host_uuid`"),
        (200, b'{"host_uuid": "h"}', "Object missing required field `boot_id`"),
        (200, b'{"guests": [{"uuid": null}]}', r"Expected `str`, got `null` - at `\$.guests\[0\].uuid`"),
        (
            200,
            msgspec.json.encode(busy_host(1.0)).replace(HOST.encode(), b"another"),
            f"expected counters of host {HOST}, found another",
        ),
    ],
)
def test_garbage_is_a_clear_failure(status: int, body: bytes, why: str) -> None:
    with pytest.raises(UnusableAnswer, match=f"GET {URL}: {why}" if not why.startswith(("Exp", "Obj")) else why):
        parse(Answer(URL, status, body), HOST)


def test_a_curve_is_asked_for_by_its_ages(pool: Pool, source: EmulatedPool) -> None:
    pending = source.begin_curve("g 1/2", (0.05, 0.1, 4.0), 1, time.monotonic() + LIMIT_S)
    assert select.select([pending], [], [], LIMIT_S)[0]
    assert pending.advance(time.monotonic())
    assert pending.take() == DirtyCurve((0.05, 1.0), (10, 20))
    assert pool.asked == [f"/dom0/{HOST}/dirty/g%201%2F2?ages=0.05,0.1,4"]


def test_a_guest_that_is_gone_has_no_curve_and_one_that_migrates_is_told_apart() -> None:
    assert parse_curve(Answer(URL, 404, b"not here")) is None
    with pytest.raises(StoodBack, match="it migrates"):
        parse_curve(Answer(URL, 409, b"it migrates"))


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (500, b"", "expected status 200, 404 or 409, found 500"),
        (200, b"[]", "expected a dirty curve as JSON: .*; found '\\[\\]'"),
        (200, b'{"ages_s":[],"unique_pages":[]}', "expected a dirty curve as JSON: .*length >= 1"),
        (200, b'{"ages_s":[1,2],"unique_pages":[1]}', "an impossible curve: 2 ages but 1 counts"),
        (200, b'{"ages_s":[1,2],"unique_pages":[5,1]}', "an impossible curve: unique pages fall with age"),
    ],
)
def test_a_curve_that_cannot_be_is_a_clear_failure(status: int, body: bytes, why: str) -> None:
    with pytest.raises(UnusableAnswer, match=f"GET {URL}: {why}"):
        parse_curve(Answer(URL, status, body))

"""Readings in, rows out: the archives against a plain consolidation of everything that was ever measured."""

from dataclasses import dataclass
from math import inf, isnan, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migd_xapi.rrd.archive import Archive, Function, Timescale
from migd_xapi.rrd.round_robin import STEP_S, RoundRobin
from migd_xapi.rrd.source import Kind, Source

COUNTER = Source("counter", "", "B/s", Kind.DERIVE, 0.0)
CPU = Source("cpu", "", "(fraction)", Kind.DERIVE, 0.0, 1.0)
LEVEL = Source("level", "", "B", Kind.GAUGE)


def same(found: float, expected: float) -> bool:
    """Rows are kept in single precision."""
    return (isnan(found) and isnan(expected)) or found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def rows_of(archive: Archive, function: Function, column: int = 0) -> list[float]:
    return [row[column] for row in archive.rows[function]]


def consolidated(steps: list[float], function: Function, length: int, unknown_ratio: float) -> float:
    known = [value for value in steps if not isnan(value)]
    if not known or length - len(known) > unknown_ratio * length:
        return nan
    return {Function.AVERAGE: sum(known) / len(known), Function.MIN: min(known), Function.MAX: max(known)}[function]


values = st.floats(-1e6, 1e6, width=32) | st.just(nan)


@given(
    begins=st.integers(0, 20),
    pushes=st.lists(st.tuples(values, st.integers(1, 12)), max_size=30),
    timescale=st.builds(Timescale, st.integers(1, 6), st.integers(1, 5)),
    unknown_ratio=st.sampled_from([0.5, 1.0]),
)
def test_an_archive_has_the_newest_rows_of_a_plain_consolidation(
    begins: int, pushes: list[tuple[float, int]], timescale: Timescale, unknown_ratio: float
) -> None:
    archive = Archive(timescale, tuple(Function), unknown_ratio, 1)
    steps = [nan] * begins  # before the archive nothing was known
    for value, times in pushes:
        archive.push(len(steps), [value], times)
        steps += [value] * times
    length = timescale.steps
    first, last = begins // length, len(steps) // length
    for function in Function:
        expected = [
            consolidated(steps[row * length : (row + 1) * length], function, length, unknown_ratio)
            for row in range(first, last)
        ][-timescale.rows :]
        found = rows_of(archive, function)
        assert len(found) == len(expected)
        assert all(map(same, found, expected))


@dataclass
class Reading:
    """A reading `after_s` the one before: how much the counter rose, or None where it was not read."""

    after_s: float
    rise: float | None
    counts_anew: bool = False


# Quarters of a second, so that no interval has a rounding error for its length.
readings = st.builds(
    Reading,
    after_s=st.integers(1, 60).map(lambda quarters: quarters / 4) | st.just(400.0),
    rise=st.none() | st.floats(0, 1e6, width=32),
    counts_anew=st.booleans(),
)


@given(begins_s=st.integers(0, 40).map(lambda quarters: 1e6 + quarters / 4), course=st.lists(readings, max_size=30))
def test_a_step_has_the_mean_of_the_rates_that_held_in_it(begins_s: float, course: list[Reading]) -> None:
    database = RoundRobin(begins_s, with_extremes=False, sources=[COUNTER], timescales=[Timescale(1, 10_000)])
    database.update(begins_s, {"counter": 0.0})
    rates: list[tuple[float, float, float]] = []  # from, to, rate
    at_s, counter, was_read = begins_s, 0.0, True
    for each in course:
        before = counter
        if each.rise is not None:
            counter = each.rise if each.counts_anew else counter + each.rise
        database.update(
            at_s + each.after_s, {"counter": counter} if each.rise is not None else {}, count_from_zero=each.counts_anew
        )
        is_known = each.rise is not None and (was_read or each.counts_anew) and each.after_s <= 300
        risen = counter if each.counts_anew else counter - before
        rates.append((at_s, at_s + each.after_s, risen / each.after_s if is_known else nan))
        at_s, was_read = at_s + each.after_s, each.rise is not None
    expected = []
    for step in range(int(begins_s // STEP_S), int(at_s // STEP_S)):
        held = [
            (rate, min(to, (step + 1) * STEP_S) - max(since, step * STEP_S))
            for since, to, rate in rates
            if since < (step + 1) * STEP_S and to > step * STEP_S and not isnan(rate)
        ]
        known_s = sum(seconds for _, seconds in held)
        expected.append(sum(rate * seconds for rate, seconds in held) / known_s if known_s else nan)
    found = rows_of(database.archives[0], Function.AVERAGE)
    assert len(found) == len(expected)
    assert all(map(same, found, expected))


def test_what_a_counter_rose_by_is_what_its_steps_add_up_to() -> None:
    database = RoundRobin(0.0, with_extremes=False, sources=[COUNTER])
    for number in range(101):
        database.update(number * 3.7, {"counter": float(number**2)})
    steps = rows_of(database.archives[0], Function.AVERAGE)
    assert sum(steps) * STEP_S == pytest.approx(100**2, rel=1e-5)  # 370 s: the last step has just ended


def test_a_gauge_is_as_it_was_read_last() -> None:
    database = RoundRobin(0.0, with_extremes=False, sources=[LEVEL])
    for at_s, level in ((1.0, 10.0), (6.0, 20.0), (7.0, 25.0), (11.0, 30.0)):
        database.update(at_s, {"level": level})
    assert rows_of(database.archives[0], Function.AVERAGE) == [20.0, 30.0]


def test_a_rate_a_little_above_what_can_be_is_cut_and_a_greater_one_is_unknown() -> None:
    database = RoundRobin(0.0, with_extremes=False, sources=[CPU])
    for number, used in enumerate((0.0, 5.2, 12.0, 13.0)):
        database.update(number * 5.0, {"cpu": used})
    first, second, third = rows_of(database.archives[0], Function.AVERAGE)
    assert (first, isnan(second), same(third, 0.2)) == (1.0, True, True)


def test_the_time_that_was_skipped_is_unknown_and_counting_begins_anew() -> None:
    database = RoundRobin(0.0, with_extremes=False, sources=[COUNTER, LEVEL])
    database.update(0.0, {"counter": 0.0, "level": 1.0})
    database.update(5.0, {"counter": 50.0, "level": 1.0})
    database.skip(20.0)
    database.update(20.0, {"counter": 5.0, "level": 2.0})
    database.update(25.0, {"counter": 15.0, "level": 2.0})
    assert [str(value) for value in rows_of(database.archives[0], Function.AVERAGE, 0)] == [
        "10.0",
        "nan",
        "nan",
        "nan",
        "2.0",
    ]
    assert [str(value) for value in rows_of(database.archives[0], Function.AVERAGE, 1)] == [
        "1.0",
        "nan",
        "nan",
        "nan",
        "2.0",
    ]


def test_a_clock_that_is_set_back_loses_nothing_that_was_recorded() -> None:
    database = RoundRobin(1000.0, with_extremes=False, sources=[COUNTER])
    for at_s, counter in ((1000.0, 0.0), (1005.0, 50.0), (605.0, 100.0), (610.0, 150.0)):
        database.update(at_s, {"counter": counter})
    assert rows_of(database.archives[0], Function.AVERAGE) == [10.0, 10.0]


def test_a_clock_that_is_set_far_ahead_leaves_nothing_known() -> None:
    database = RoundRobin(1000.0, with_extremes=True, sources=[COUNTER])
    database.update(1000.0, {"counter": 0.0})
    database.update(1005.0, {"counter": 50.0})
    database.update(1005.0 + 3e9, {"counter": 100.0})
    assert all(isnan(value) for archive in database.archives for value in rows_of(archive, Function.AVERAGE))


def test_a_source_that_is_recorded_later_is_unknown_before_and_one_that_is_forgotten_takes_no_other_with_it() -> None:
    database = RoundRobin(0.0, with_extremes=True, sources=[COUNTER])
    database.update(0.0, {"counter": 0.0})
    database.update(5.0, {"counter": 5.0})
    database.record(LEVEL)
    database.update(10.0, {"counter": 15.0, "level": 7.0})
    assert [str(value) for value in rows_of(database.archives[0], Function.AVERAGE, 1)] == ["nan", "7.0"]
    database.forget("counter")
    assert [source.name for source in database.sources] == ["level"]
    assert [str(value) for value in rows_of(database.archives[0], Function.AVERAGE)] == ["nan", "7.0"]
    database.update(60.0, {"level": 9.0})
    assert rows_of(database.archives[1], Function.MAX) == [9.0]
    assert database.latest("level") == 9.0
    with pytest.raises(KeyError):
        database.latest("counter")


def test_extremes_are_of_the_steps_and_only_longer_rows_have_them() -> None:
    database = RoundRobin(0.0, with_extremes=True, sources=[LEVEL])
    for number in range(1, 13):
        database.update(number * 5.0, {"level": float(number)})
    steps, minutes = database.archives[:2]
    assert set(steps.rows) == {Function.AVERAGE}
    assert {function: rows_of(minutes, function) for function in Function} == {
        Function.AVERAGE: [6.5],
        Function.MIN: [1.0],
        Function.MAX: [12.0],
    }
    plain = RoundRobin(0.0, with_extremes=False, sources=[LEVEL])
    assert all(set(archive.rows) == {Function.AVERAGE} for archive in plain.archives)


def test_bounds_may_be_infinite() -> None:
    assert LEVEL.bounded(-1e300) == -1e300
    assert isnan(COUNTER.bounded(-1.0))
    assert (LEVEL.lowest, LEVEL.highest) == (-inf, inf)

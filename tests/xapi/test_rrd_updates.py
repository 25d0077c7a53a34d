"""Which rows a client is given, and how they are written."""

import json
from math import inf, isnan, nan
from xml.etree import ElementTree

import pytest

from migd_xapi.rrd import text
from migd_xapi.rrd.archive import Function
from migd_xapi.rrd.round_robin import RoundRobin
from migd_xapi.rrd.source import Kind, Source
from migd_xapi.rrd.updates import NoArchive, Updates, updates

LEVEL = Source("level", "", "B", Kind.GAUGE)
OTHER = Source("other", "", "B", Kind.GAUGE)
NOW_S = 1_000_002  # two seconds into a step


def recorded(steps: int, *, until_s: int = NOW_S, with_extremes: bool = True, source: Source = LEVEL) -> RoundRobin:
    """A database whose newest step has the value 0, the one before it 1, and so on."""
    database = RoundRobin(until_s - 5 * steps, with_extremes=with_extremes, sources=[source])
    for left in range(steps - 1, -1, -1):
        database.update(until_s - 5 * left, {source.name: float(left)})
    return database


def test_rows_are_those_since_the_start_the_newest_first() -> None:
    found = updates([("host:h:", recorded(50))], NOW_S - 16)
    assert found == Updates(
        start_s=999_990,
        step_s=5,
        end_s=1_000_000,
        legend=("AVERAGE:host:h:level",),
        rows=((1_000_000, (0.0,)), (999_995, (1.0,)), (999_990, (2.0,))),
    )


def test_a_negative_start_is_before_the_last_update() -> None:
    assert updates([("", recorded(50))], -16) == updates([("", recorded(50))], NOW_S - 16)


def test_a_start_to_come_has_no_rows() -> None:
    assert updates([("", recorded(50))], NOW_S + 100).rows == ()


@pytest.mark.parametrize(
    ("since_s", "interval_s", "step_s"),
    [
        (60, 0, 5),
        (60, 5, 5),
        (60, 6, 5),  # whole steps only
        (60, 10, 60),
        (60, 3600, 3600),
        (601, 0, 5),  # ten minutes before the last whole step
        (602, 0, 60),
        (7201, 0, 60),
        (7202, 0, 3600),
        (8 * 86400, 0, 86400),
        (400 * 86400, 0, 86400),  # nothing reaches so far back: the longest rows
    ],
)
def test_the_step_follows_from_how_far_back_and_how_coarse(since_s: int, interval_s: int, step_s: int) -> None:
    assert updates([("", recorded(2))], NOW_S - since_s, interval_s).step_s == step_s


def test_no_archive_has_rows_longer_than_a_day_and_nothing_answers_for_nobody() -> None:
    with pytest.raises(NoArchive):
        updates([("", recorded(2))], -60, 2 * 86400)
    with pytest.raises(NoArchive):
        updates([], -60)


def test_all_functions_that_the_rows_have_answer_unless_one_is_asked_for() -> None:
    database = recorded(200)
    assert updates([("", database)], -60).legend == ("AVERAGE:level",)
    found = updates([("", database)], -90, 60)
    assert found.legend == ("AVERAGE:level", "MIN:level", "MAX:level")
    # The minute until 999,960: its steps had the values 8 to 19.
    assert found.rows == ((999_960, (13.5, 8.0, 19.0)),)
    # Steps have no extremes: the next longer rows answer.
    lows = updates([("", database)], -90, 0, Function.MIN)
    assert (lows.step_s, lows.legend, lows.rows) == (60, ("MIN:level",), ((999_960, (8.0,)),))


def test_rows_of_one_time_stand_side_by_side() -> None:
    ahead = recorded(20, until_s=NOW_S + 5, source=OTHER)
    behind = recorded(20, until_s=NOW_S - 5, source=OTHER)
    found = updates([("host:h:", recorded(20)), ("vm:a:", ahead), ("vm:b:", behind)], NOW_S - 11)
    assert found.legend == ("AVERAGE:host:h:level", "AVERAGE:vm:a:other", "AVERAGE:vm:b:other")
    (newest, first), (_, second) = found.rows
    assert newest == 1_000_000
    assert (first[:2], isnan(first[2])) == ((0.0, 1.0), True)
    assert second == (1.0, 2.0, 0.0)


def test_who_has_no_such_rows_is_left_out() -> None:
    found = updates([("a:", recorded(20)), ("b:", recorded(20, with_extremes=False))], -90, 0, Function.MAX)
    assert found.legend == ("MAX:a:level",)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0.0"),
        (-0.0, "0.0"),
        (0.1, "0.1"),
        (1 / 3, "0.333333333333333"),
        (117000000.0, "117000000"),
        (1e-7, "1e-07"),
        (1e22, "1e+22"),
        (nan, "NaN"),
        (inf, "Infinity"),
        (-inf, "-Infinity"),
    ],
)
def test_numbers_are_written_as_xcp_rrdd_prints_them(value: float, written: str) -> None:
    assert text.number(value) == written


FOUND = Updates(5, 5, 10, ("AVERAGE:vm:a:cpu0", "AVERAGE:vm:a:cpu1"), ((10, (0.5, nan)), (5, (0.0, 1.0))))


def test_rows_are_an_xport_in_xml() -> None:
    assert text.updates_xml(FOUND) == (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<xport><meta><start>5</start><step>5</step><end>10</end><rows>2</rows>'
        b"<columns>2</columns><legend><entry>AVERAGE:vm:a:cpu0</entry><entry>AVERAGE:vm:a:cpu1</entry></legend></meta>"
        b"<data><row><t>10</t><v>0.5</v><v>NaN</v></row><row><t>5</t><v>0.0</v><v>1</v></row></data></xport>"
    )


def test_every_number_in_json_is_a_string() -> None:
    assert json.loads(text.updates_json(FOUND)) == {
        "meta": {
            "start": "5",
            "step": "5",
            "end": "10",
            "rows": "2",
            "columns": "2",
            "legend": ["AVERAGE:vm:a:cpu0", "AVERAGE:vm:a:cpu1"],
        },
        "data": [{"t": "10", "values": ["0.5", "NaN"]}, {"t": "5", "values": ["0.0", "1"]}],
    }


def test_a_whole_history_has_all_rows_of_all_archives_the_oldest_first() -> None:
    database = recorded(3)
    tree = ElementTree.fromstring(text.history_xml(database))
    assert [tree.findtext(name) for name in ("version", "step", "lastupdate")] == ["0003", "5", str(NOW_S)]
    assert [[tag.text for tag in source] for source in tree.findall("ds")] == [
        ["level", "GAUGE", "300", "-Infinity", "Infinity", "0.0", "0.0", "0"]
    ]
    archives = tree.findall("rra")
    assert [(rra.findtext("cf"), rra.findtext("pdp_per_row")) for rra in archives] == [
        ("AVERAGE", "1"),
        *[(name, steps) for steps in ("12", "720", "17280") for name in ("AVERAGE", "MIN", "MAX")],
    ]
    assert [len(rra.findall("database/row")) for rra in archives] == [120] + [120] * 3 + [168] * 3 + [366] * 3
    assert [row.findtext("v") for row in archives[0].findall("database/row")][-4:] == ["NaN", "2", "1", "0.0"]


def test_a_whole_history_is_the_same_in_json() -> None:
    database = recorded(3)
    tree, document = ElementTree.fromstring(text.history_xml(database)), json.loads(text.history_json(database))
    for name, rra in zip(tree.findall("rra"), document["rra"], strict=True):
        assert [[v.text for v in row] for row in name.findall("database/row")] == rra["database"]
        assert [{tag.tag: tag.text for tag in ds} for ds in name.findall("cdp_prep/ds")] == rra["cdp_prep"]["ds"]
    assert [{tag.tag: tag.text for tag in ds} for ds in tree.findall("ds")] == [
        {key: value for key, value in source.items() if key != "last_updated"} for source in document["ds"]
    ]

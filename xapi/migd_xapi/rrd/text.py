"""How histories are written down: XML and JSON as xcp-rrdd writes them (rrd.ml, rrd_updates.ml).

In JSON every number is a string since XAPI 23.31, so that NaN can be one.
"""

from collections.abc import Iterator
from math import isnan, nan
from typing import Final

import msgspec

from migd_xapi.rrd.archive import Archive, Function
from migd_xapi.rrd.round_robin import HEARTBEAT_S, STEP_S, RoundRobin
from migd_xapi.rrd.source import Kind
from migd_xapi.rrd.updates import Updates

VERSION: Final = "0003"
_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'


def number(value: float) -> str:
    """Return a value as xcp-rrdd prints it."""
    if isnan(value):
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return f"{value:.15g}" if value else "0.0"


def updates_xml(updates: Updates) -> bytes:
    """Return rows as an rrdtool xport."""
    entries = "".join(f"<entry>{entry}</entry>" for entry in updates.legend)
    rows = "".join(
        f"<row><t>{time}</t>{''.join(f'<v>{number(value)}</v>' for value in values)}</row>"
        for time, values in updates.rows
    )
    return (
        f"{_DECLARATION}<xport><meta><start>{updates.start_s}</start><step>{updates.step_s}</step>"
        f"<end>{updates.end_s}</end><rows>{len(updates.rows)}</rows><columns>{len(updates.legend)}</columns>"
        f"<legend>{entries}</legend></meta><data>{rows}</data></xport>"
    ).encode()


def updates_json(updates: Updates) -> bytes:
    """Return rows as the JSON of the same structure."""
    return msgspec.json.encode(
        {
            "meta": {
                "start": str(updates.start_s),
                "step": str(updates.step_s),
                "end": str(updates.end_s),
                "rows": str(len(updates.rows)),
                "columns": str(len(updates.legend)),
                "legend": updates.legend,
            },
            "data": [{"t": str(time), "values": [*map(number, values)]} for time, values in updates.rows],
        }
    )


def history_xml(database: RoundRobin) -> bytes:
    """Return a whole database, all archives, the oldest row of each first."""
    return (
        f"{_DECLARATION}<rrd><version>{VERSION}</version><step>{STEP_S}</step>"
        f"<lastupdate>{int(database.updated_s)}</lastupdate>{_tags('ds', _sources(database))}"
        + "".join(
            f"<rra><cf>{function.value}</cf><pdp_per_row>{archive.timescale.steps}</pdp_per_row>"
            f"<params><xff>{number(archive.unknown_ratio)}</xff></params>"
            f"<cdp_prep>{_tags('ds', _gathered(archive, function))}</cdp_prep><database>"
            + "".join(f"<row>{''.join(f'<v>{value}</v>' for value in row)}</row>" for row in _rows(archive, function))
            + "</database></rra>"
            for archive, function in _archives(database)
        )
        + "</rrd>"
    ).encode()


def history_json(database: RoundRobin) -> bytes:
    """Return a whole database as the JSON of the same structure."""
    return msgspec.json.encode(
        {
            "version": VERSION,
            "step": str(STEP_S),
            "lastupdate": number(database.updated_s),
            "ds": [{**source, "last_updated": number(database.updated_s)} for source in _sources(database)],
            "rra": [
                {
                    "cf": function.value,
                    "pdp_per_row": str(archive.timescale.steps),
                    "params": {"xff": number(archive.unknown_ratio)},
                    "cdp_prep": {"ds": [*_gathered(archive, function)]},
                    "database": [*_rows(archive, function)],
                }
                for archive, function in _archives(database)
            ],
        }
    )


def _archives(database: RoundRobin) -> Iterator[tuple[Archive, Function]]:
    return ((archive, function) for archive in database.archives for function in archive.rows)


def _sources(database: RoundRobin) -> Iterator[dict[str, str]]:
    """What is known of each data source and of its present step."""
    for column, source in enumerate(database.sources):
        reading, amount, known_s = database.present(column)
        yield {
            "name": source.name,
            "type": source.kind.value,
            "minimal_heartbeat": number(HEARTBEAT_S),
            "min": number(source.lowest),
            "max": number(source.highest),
            "last_ds": "0.0" if isnan(reading) else number(reading),
            "value": number(amount if source.kind is Kind.DERIVE else reading),
            "unknown_sec": str(int(database.updated_s % STEP_S - known_s)),
        }


def _gathered(archive: Archive, function: Function) -> Iterator[dict[str, str]]:
    """What will become of the present row."""
    for column in range(archive.columns):
        value, unknown = archive.gathered(function, column)
        yield {
            "primary_value": "0.0",
            "secondary_value": "0.0",
            "value": number(value),
            "unknown_datapoints": str(unknown),
        }


def _rows(archive: Archive, function: Function) -> Iterator[list[str]]:
    rows = archive.rows[function]
    for _ in range(archive.timescale.rows - len(rows)):
        yield [number(nan)] * archive.columns
    for row in rows:
        yield [*map(number, row)]


def _tags(name: str, things: Iterator[dict[str, str]]) -> str:
    return "".join(
        f"<{name}>{''.join(f'<{key}>{value}</{key}>' for key, value in thing.items())}</{name}>" for thing in things
    )

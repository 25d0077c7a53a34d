"""Which rows answer `/rrd_updates`: one archive of each database, side by side, the newest row first."""

from collections.abc import Sequence
from dataclasses import dataclass

from migd_xapi.rrd.archive import Archive, Function
from migd_xapi.rrd.round_robin import STEP_S, RoundRobin


class NoArchive(Exception):
    """No database has an archive that could answer."""


@dataclass(frozen=True, slots=True)
class Updates:
    """What rrdtool calls an xport: a value for each entry of the legend in each row. Seconds since 1970."""

    start_s: int
    step_s: int
    end_s: int
    legend: tuple[str, ...]
    rows: tuple[tuple[int, tuple[float, ...]], ...]


def updates(
    members: Sequence[tuple[str, RoundRobin]], start_s: int, interval_s: int = 0, function: Function | None = None
) -> Updates:
    """Return the rows since `start_s` of databases by their prefix (`host:UUID:`); negative: before the last update.

    The finest archive that reaches back so far and whose rows last `interval_s` or longer answers, by all functions
    that it has unless one is asked for. Raises NoArchive.
    """
    start_s = min((start_s + int(each.updated_s) if start_s < 0 else start_s for _, each in members), default=start_s)
    chosen = [(prefix, each, _best(each, start_s, interval_s // STEP_S, function)) for prefix, each in members]
    first = next(((each, archive) for _, each, archive in chosen if archive is not None), None)
    if first is None:
        raise NoArchive("no archive can answer: nothing is recorded here, or no row is so long")
    timescale = first[1].timescale
    step_s = timescale.steps * STEP_S
    end_s = _floor(int(first[0].updated_s), step_s)
    legend: list[str] = []
    columns: list[tuple[Archive, Function, int, int]] = []
    for prefix, each, archive in chosen:
        if archive is None or archive.timescale != timescale:
            continue  # as rrd_updates.ml: who has no such rows is left out
        newer = (_floor(int(each.updated_s), step_s) - end_s) // step_s  # rows that it has and the first one has not
        for name in archive.rows if function is None else (function,):
            for column, source in enumerate(each.sources):
                legend.append(f"{name.value}:{prefix}{source.name}")
                columns.append((archive, name, newer, column))
    count = min(timescale.rows, max(0, (end_s - start_s) // step_s + 1))
    return Updates(
        start_s=_floor(start_s, step_s) + step_s,
        step_s=step_s,
        end_s=end_s,
        legend=tuple(legend),
        rows=tuple(
            (
                end_s - age * step_s,
                tuple(archive.value(name, age + newer, column) for archive, name, newer, column in columns),
            )
            for age in range(count)
        ),
    )


def _best(database: RoundRobin, start_s: int, steps: int, function: Function | None) -> Archive | None:
    """Return the archive to answer from: the finest that will do, else the coarsest (rrd.ml, find_best_rras)."""
    usable = [each for each in database.archives if function is None or function in each.rows]
    now_s = _floor(int(database.updated_s), STEP_S)
    for archive in usable:
        timescale = archive.timescale
        if timescale.steps >= steps and start_s > now_s - STEP_S * timescale.rows * timescale.steps:
            return archive
    return usable[-1] if usable and usable[-1].timescale.steps >= steps else None


def _floor(seconds: int, step_s: int) -> int:
    return seconds - seconds % step_s

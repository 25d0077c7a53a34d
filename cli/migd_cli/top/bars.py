"""Bars that are read without colour: what is had, what is waited for, what is idle."""

from typing import Final

from rich.text import Text

HAS, WAITS, IDLE, ALL = "█", "░", "·", "│"
LEGEND: Final = f"CPU: {HAS} gets  {WAITS} waits for  {IDLE} idle  {ALL} all it has"


def cpu_bar(gets_ratio: float, wants_ratio: float, full: int) -> Text:
    """Return a bar: all the CPUs that there are in `full` columns, the mark, and half as much again that is wanted."""
    gets = _columns(min(gets_ratio, 1.0), full)
    wants = max(gets, _columns(min(wants_ratio, 1.0), full))
    room = full // 2
    beyond = min(room, _columns(max(wants_ratio - 1.0, 0.0), full))
    bar = Text(HAS * gets, style="green").append(WAITS * (wants - gets), style="red")
    bar.append(IDLE * (full - wants), style="dim")
    bar.append(ALL, style="bold" if wants_ratio > 1.0 else "dim").append(WAITS * beyond, style="red")
    return bar.append(" " * (room - beyond))


def progress_bar(ratio: float, columns: int) -> Text:
    """Return a bar of what is done."""
    done = _columns(min(max(ratio, 0.0), 1.0), columns)
    return Text(HAS * done, style="cyan").append(IDLE * (columns - done), style="dim")


def _columns(ratio: float, columns: int) -> int:
    return round(ratio * columns)

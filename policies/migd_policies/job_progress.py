"""How fast a job iterates, from what is told of its progress.

A `Track` is the progress of one job since it last started anew, as its newest teller told it, bounded. From it come the
iteration time of late (a median over a window, so that one history dump or one migration does not move it) and how the
iterations of a migration compare with those before.
"""

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

import msgspec
from msgspec.structs import replace

from migd_core.progress import Progress
from migd_core.units import format_duration

# Reports nearer together than this count as one, so that a job of fast iterations has a window of minutes, too.
SPACING_S: Final = 5.0
# Less than this is no progress, as it is none in the text that a guest writes.
LEAST_DONE: Final = 1e-6
KEPT: Final = 48
# A teller that usually speaks every minute may be late; after so many of its usual gaps it is no longer counted on.
SILENT_GAPS: Final = 10.0
SILENT_S: Final = 60.0
SILENT_BY_HAND_S: Final = 3600.0
# An iteration time is taken over a stretch of this part of the window: from one report to the next, whole iterations
# would round it; over half of the window, one pause would be in every stretch.
STRETCHES: Final = 6
# Iteration times of the window are not those of the rest of the run: no interval is narrower than this.
LEAST_SPREAD_RATIO: Final = 0.1
BY_HAND: Final = ""


class Report(msgspec.Struct, frozen=True, array_like=True):
    """So much was done at `at_s` (Unix time)."""

    at_s: float
    done: float


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """A job's progress. `teller` is the guest (uuid) that tells it, or BY_HAND; `turn` says why it started anew.

    `reports` rise in time and in what is done, the newest last. `first_total` is the total that was told first.
    """

    teller: str = BY_HAND
    reports: tuple[Report, ...] = ()
    total: float | None = None
    first_total: float | None = None
    turn: str = ""

    @property
    def progress(self) -> Progress | None:
        """The newest progress; None where nothing was told."""
        return Progress(self.reports[-1].done, self.total) if self.reports else None


@dataclass(frozen=True, slots=True)
class Pace:
    """The time of one iteration of late, in s: median, and what all but one in ten stay above, or below."""

    median_s: float
    least_s: float
    most_s: float


def following(track: Track, told: Progress, at_s: float, teller: str = BY_HAND) -> Track:
    """Return the track once `told` was told at `at_s`.

    Progress that falls is a restart or a new phase, so nothing told before counts any more; neither does what somebody
    else told, who may count in other units.
    """
    last = track.reports[-1] if track.reports else None
    if last is None or teller != track.teller:
        turn = "its progress is told by somebody else than before" if last is not None else ""
        return _anew(told, at_s, teller, turn)
    if told.done < last.done:
        turn = f"progress went back from {last.done:g} to {told.done:g}: a restart, or a new phase"
        return _anew(told, at_s, teller, turn)
    if told.total is not None and told.total != track.total:
        turn = track.turn
        if track.total is not None:
            changed = "grew" if told.total > track.total else "fell"
            turn = f"the total {changed} from {track.total:g} to {told.total:g}"
        track = replace(
            track, total=told.total, first_total=told.total if track.total is None else track.first_total, turn=turn
        )
    elif track.total is not None and told.done > track.total:
        track = replace(track, total=None, first_total=None, turn=f"it went beyond its total of {track.total:g}")
    if told.done - last.done < LEAST_DONE or at_s <= last.at_s:
        return track
    kept = track.reports
    if len(kept) > 1 and last.at_s - kept[-2].at_s < SPACING_S:
        kept = kept[:-1]
    return replace(track, reports=(*kept, Report(at_s, told.done))[-KEPT:])


def silence(track: Track, now_s: float) -> str:
    """Say for how long the teller has been silent, if that is too long to count on what it told; empty if not."""
    if not track.reports:
        return ""
    gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(track.reports)]
    usual_s = median(gaps) if gaps else 0.0
    limit_s = max(SILENT_GAPS * usual_s, SILENT_BY_HAND_S if track.teller == BY_HAND else SILENT_S)
    silent_s = now_s - track.reports[-1].at_s
    if silent_s <= limit_s:
        return ""
    return f"no progress for {format_duration(silent_s)} (limit {format_duration(limit_s)})"


def pace(track: Track) -> Pace | None:
    """Return the iteration time of the window; None before two reports."""
    reports = track.reports
    if len(reports) < 2:
        return None
    first, last = reports[0], reports[-1]
    apart = max(1, (len(reports) - 1) // STRETCHES)
    times = [
        (later.at_s - earlier.at_s) / (later.done - earlier.done)
        for earlier, later in zip(reports, reports[apart:], strict=False)
    ]
    # A few long iterations weigh little in a median and much in the time that is left.
    mean_s = (last.at_s - first.at_s) / (last.done - first.done)
    middle_s = median(times)
    return Pace(
        median_s=middle_s,
        least_s=min(quantile(times, 0.1), mean_s, middle_s * (1.0 - LEAST_SPREAD_RATIO)),
        most_s=max(quantile(times, 0.9), mean_s, middle_s * (1.0 + LEAST_SPREAD_RATIO)),
    )


def quantile(values: list[float], share: float) -> float:
    """Return the value below which `share` (0..1) of `values` lie, between two of them where it falls there."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _anew(told: Progress, at_s: float, teller: str, turn: str) -> Track:
    return Track(teller=teller, reports=(Report(at_s, told.done),), total=told.total, first_total=told.total, turn=turn)

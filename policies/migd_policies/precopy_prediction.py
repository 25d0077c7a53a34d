"""How long live migrations take and how long their guests stand still: medians with 10-90 % intervals.

    total = set-up + Σ t_i + suspend + V_f / B + resume        pause = suspend / 2 + V_f / B + resume

Rounds t_i and rest V_f after `precopy_rounds`, D(t) after `dirty_fit`. Nothing is drawn at random: each migration is
worked out seven times, as expected and with one thing at a time a standard deviation off (the bandwidth, the curve, its
part beyond what was counted). Their distances to the expected one, squared and added up, times a factor that finished
migrations have taught (`learned`), make the interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from migd_core.learned import ASSUMED, NOTHING_LEARNED, Correction, Expected, Widening
from migd_core.messages import DirtyCurve
from migd_core.precopy import StopRules
from migd_core.pricing import Interval
from migd_core.units import PAGE_BYTES, format_duration, format_ratio
from migd_policies.dirty_fit import fit, shrinking, usable
from migd_policies.precopy_rounds import AGES_S, Floats, at, run

# Which of a fit's curves is taken, and by how many standard deviations the bandwidth is off: see DirtyFit.
_VARIANTS: Final = ((0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0), (4, 0.0), (0, -1.0), (0, 1.0))
# What is left to chance where nothing is off: set-up and ends, as seconds and as a ratio, and a twentieth of what
# sending again adds (half of it once the first round is over), because which pages are written when is more than a
# curve can tell.
TOTAL_FLOOR: Final = (0.06, 0.004)
PAUSE_FLOOR: Final = (0.02, 0.01)
RESEND_RATIO: Final = 0.05
# The relative error of a bandwidth that the first round has shown, and how many times shorter an age must be for what
# the first round wrote to say nothing of it.
SEEN_BANDWIDTH_SD: Final = 0.005
FIRST_ROUND_REACH: Final = 8.0
# How far from `few_pages` a rest must lie to be on one side of it for sure, as a standard deviation of its logarithm.
FEW_PAGES_FLOOR: Final = 0.3

# Without a curve a guest is taken to be as busy as HPL, which filled half of the paper's guests (8000² doubles over 3
# ranks, 163 of 320 MiB) and went through all of it every few seconds. Too dear for an idle guest: a move left undone
# harms less than one that stops a job for longer than it was told.
ASSUMED_WRITABLE_RATIO: Final = 0.5
ASSUMED_SWEEP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Overheads:
    """What a migration costs besides sending pages, in seconds.

    An idle guest of 320 MiB takes about 30 s at 11.7 MB/s (Neves et al. 2007, section 5.4), of which its memory is
    28.7; set-up and ends share the rest. A pause without pages is 0.15 to 0.3 s (XCP-ng 8.3 notes: a few hundred ms).
    """

    setup_s: float = 1.0
    suspend_s: float = 0.1
    resume_s: float = 0.15


@dataclass(frozen=True, slots=True)
class FirstRound:
    """What the first round of a running migration has shown.

    How long it took, the bytes it sent (0: not known), and the pages that the guest has written meanwhile (None: not
    known).
    """

    took_s: float
    sent_bytes: float
    written_pages: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One migration to be predicted.

    `curves` are the guest's, oldest first; `since_s` is when it was booted and `begins_s` when the migration would
    begin, by their clock (None: as the newest was counted). `bandwidth_bytes_per_s` is what is assumed, `correction`
    what finished migrations say of it.
    """

    memory_bytes: int
    curves: tuple[DirtyCurve, ...]
    bandwidth_bytes_per_s: float
    correction: Correction = ASSUMED
    since_s: float = 0.0
    first_round: FirstRound | None = None
    begins_s: float | None = None


@dataclass(frozen=True, slots=True)
class MigrationPrediction:
    """What is expected of one migration. `rounds` counts the live ones; `basis` says what the figures rest on.

    `forced_probability` is how likely it is that a limit ends the live phase and not few pages left: that the guest
    writes faster than it is copied. `expected` is what to hold the outcome against.
    """

    total_s: Interval
    pause_s: Interval
    sent_bytes: Interval
    rounds: Interval
    forced_probability: float
    basis: str
    expected: Expected


def predict(
    memory_bytes: int,
    curves: Sequence[DirtyCurve],
    bandwidth_bytes_per_s: float,
    rules: StopRules,
    overheads: Overheads = Overheads(),
) -> MigrationPrediction:
    """Return what migrating a guest of `memory_bytes` is expected to take at this bandwidth under these stop rules.

    Raises ValueError for a bandwidth that is not positive: nothing can be said of such a migration but that it must not
    be started. Curves that cannot be believed are left out, and `basis` says why.
    """
    (found,) = predict_many([Request(memory_bytes, tuple(curves), bandwidth_bytes_per_s)], rules, overheads)
    return found


def predict_many(
    requests: Sequence[Request],
    rules: StopRules,
    overheads: Overheads = Overheads(),
    widening: Widening = NOTHING_LEARNED.widening,
) -> list[MigrationPrediction]:
    """Return what each migration is expected to take; for many at once, much faster than one by one.

    Raises ValueError as `predict` does.
    """
    written = [_written(request) for request in requests]
    rows, bases = [rows for rows, _ in written], [basis for _, basis in written]
    return _predict(requests, rows, bases, rules, overheads, widening)


@lru_cache(maxsize=4096)  # the same for every guest of one size, and asked for in every control cycle
def predict_bounds(
    memory_bytes: int, bandwidth_bytes_per_s: float, rules: StopRules, overheads: Overheads = Overheads()
) -> tuple[MigrationPrediction, MigrationPrediction]:
    """Return what migrating a guest of which no dirty page was ever counted takes at the least and at the most.

    At the least it writes nothing, at the most all of its memory every `ASSUMED_SWEEP_S`. Raises ValueError as
    `predict` does.
    """
    request = Request(memory_bytes, (), bandwidth_bytes_per_s)
    rows = [np.tile(_swept(ratio * (memory_bytes // PAGE_BYTES)), (5, 1)) for ratio in (0.0, 1.0)]
    bases = ["it writes nothing", f"it writes all of its memory every {format_duration(ASSUMED_SWEEP_S)}"]
    least, most = _predict([request] * 2, rows, bases, rules, overheads, NOTHING_LEARNED.widening)
    return least, most


def _predict(
    requests: Sequence[Request],
    written: Sequence[Floats],
    bases: Sequence[str],
    rules: StopRules,
    overheads: Overheads,
    widening: Widening,
) -> list[MigrationPrediction]:
    """Work each request out in every variant, and put the figures of each together."""
    if not requests:
        return []
    links = [_bandwidth(request, rules) for request in requests]
    variants, offs = np.array([row for row, _ in _VARIANTS]), np.array([off for _, off in _VARIANTS])
    curves = np.concatenate([rows[variants] for rows in written])
    memory_pages = np.repeat([request.memory_bytes / PAGE_BYTES for request in requests], len(_VARIANTS))
    bytes_per_s = np.concatenate([bandwidth * np.exp(sd * offs) for bandwidth, sd in links])
    rounds = run(memory_pages, curves, bytes_per_s / PAGE_BYTES, rules)
    stop_s = rounds.left_pages * PAGE_BYTES / bytes_per_s
    fixed_s = overheads.setup_s + overheads.suspend_s + overheads.resume_s
    shape = (len(requests), len(_VARIANTS))
    total_s = (fixed_s + rounds.live_s + stop_s).reshape(shape)
    pause_s = (overheads.suspend_s / 2 + overheads.resume_s + stop_s).reshape(shape)
    sent = ((rounds.live_s + stop_s) * bytes_per_s).reshape(shape)
    counts, left = rounds.count.reshape(shape), rounds.left_pages.reshape(shape)
    once_s = fixed_s + np.array([r.memory_bytes / link[0] for r, link in zip(requests, links, strict=True)])
    resent = RESEND_RATIO * np.log(np.maximum(1.0, total_s[:, 0] / once_s))
    resent *= [0.5 if request.first_round is not None else 1.0 for request in requests]
    own_sd = np.array([request.correction.total_sd for request in requests])
    total_spread = _spread(total_s, np.hypot(np.hypot(resent, own_sd), _floor(total_s, TOTAL_FLOOR)))
    pause_spread = _spread(pause_s, np.hypot(resent, _floor(pause_s, PAUSE_FLOOR)))
    sent_spread = _spread(sent, resent)
    forced = _forced_probability(left, rules)
    found = []
    for n, request in enumerate(requests):
        ratio, (bandwidth, sd) = request.correction.total_ratio, links[n]
        slope = float(np.log(total_s[n, -2] / total_s[n, -1])) / (2 * sd) if sd > 0 else 1.0
        median_s = float(total_s[n, 0]) * ratio
        expected = Expected(
            total_s=median_s,
            pause_s=float(pause_s[n, 0]),
            bandwidth_bytes_per_s=bandwidth,
            total_spread=total_spread[n],
            pause_spread=pause_spread[n],
            slope=slope,
            bandwidth_ratio=bandwidth / request.bandwidth_bytes_per_s,
            total_ratio=ratio,
        )
        found.append(
            MigrationPrediction(
                total_s=_interval(median_s, total_spread[n], widening.total),
                pause_s=_interval(expected.pause_s, pause_spread[n], widening.pause),
                sent_bytes=_interval(float(sent[n, 0]), sent_spread[n], widening.total),
                rounds=Interval(float(counts[n].min()), float(counts[n, 0]), float(counts[n].max())),
                forced_probability=forced[n],
                basis=bases[n],
                expected=expected,
            )
        )
    return found


def _bandwidth(request: Request, rules: StopRules) -> tuple[float, float]:
    """Return the bandwidth to reckon with, in bytes per second, and its relative error."""
    assumed, correction, first = request.bandwidth_bytes_per_s, request.correction, request.first_round
    if not assumed > 0:
        raise ValueError(f"bandwidth is {assumed} bytes/s; a migration needs more than 0")
    if first is not None and first.took_s > 0:
        sent = first.sent_bytes if first.sent_bytes > 0 or rules.skips_redirtied else request.memory_bytes
        if sent > 0:
            return sent / first.took_s, SEEN_BANDWIDTH_SD
    return assumed * correction.bandwidth_ratio, correction.bandwidth_sd


def _written(request: Request) -> tuple[Floats, str]:
    """Return the five curves to reckon with (see DirtyFit), and what they rest on."""
    memory_pages = request.memory_bytes // PAGE_BYTES
    curves, problems = usable(request.curves, request.since_s)
    if not curves:
        why = f"no dirty curve ({problems[-1]})" if problems else "no dirty curve"
        share, sweep = format_ratio(ASSUMED_WRITABLE_RATIO), format_duration(ASSUMED_SWEEP_S)
        parts = (ASSUMED_WRITABLE_RATIO, 0.0, 1.0, ASSUMED_WRITABLE_RATIO, ASSUMED_WRITABLE_RATIO)
        rows = np.vstack([_swept(part * memory_pages) for part in parts])
        basis = f"{why}: {share} of memory taken as rewritten every {sweep}"
    else:
        known = fit(curves, memory_pages)
        window = format_duration(known.window_s)
        rows, basis = known.rows, f"dirty curve of {len(curves[-1].ages_s)} points up to {window}"
        if len(curves) > 1:
            basis = f"{len(curves)} sessions, the newest a {basis}"
        if (ratio := shrinking(curves, _middle_s(request, curves))) < 1.0:
            rows = rows * ratio
            basis = f"{basis}, of which {format_ratio(ratio)} as it shrinks"
    first = request.first_round
    if first is not None and first.written_pages is not None and first.took_s > 0:
        rows = _through(rows, first.took_s, min(first.written_pages, memory_pages))
        basis = f"{basis}, and its first round"
    return rows, basis


def _middle_s(request: Request, curves: Sequence[DirtyCurve]) -> float:
    """Return when the first round is half done; what is written then decides most."""
    begins_s = curves[-1].measured_s if request.begins_s is None else request.begins_s
    per_s = request.bandwidth_bytes_per_s
    return begins_s + (request.memory_bytes / per_s / 2 if per_s > 0 else math.inf)


def _through(rows: Floats, took_s: float, written_pages: float) -> Floats:
    """Bend curves so that the expected one passes through what the first round has shown, and shorter ages less so."""
    expected = at(rows, np.full(len(rows), took_s))
    ratio = np.log((written_pages + 1.0) / (expected + 1.0))
    near = np.clip(1.0 + np.log(np.maximum(AGES_S, 1e-9) / took_s) / math.log(FIRST_ROUND_REACH), 0.0, 1.0)
    bent = rows * np.exp(ratio[:, None] * near)
    bent[1:3] = np.sqrt(bent[0] * rows[1:3] * np.exp(ratio[0] * near))
    rising: Floats = np.maximum.accumulate(bent, axis=1)
    return rising


def _swept(pages: float) -> Floats:
    """The curve of a guest that goes through so many pages every `ASSUMED_SWEEP_S`."""
    swept: Floats = pages * np.minimum(1.0, AGES_S / ASSUMED_SWEEP_S)
    return swept


def _spread(figures: Floats, floor: Floats) -> list[tuple[float, float]]:
    """Return how far below and above the first variant the others fall together, as logarithms, `floor` included."""
    known = np.maximum(figures, 1e-6)  # where nothing is sent and ends take no time
    off = np.log(known[:, 1:] / known[:, :1])
    below = np.sqrt((np.minimum(off, 0.0) ** 2).sum(axis=1) + floor**2)
    above = np.sqrt((np.maximum(off, 0.0) ** 2).sum(axis=1) + floor**2)
    return list(zip(below.tolist(), above.tolist(), strict=True))


def _floor(figures_s: Floats, floor: tuple[float, float]) -> Floats:
    """Return the least spread of each request's figure, of so many seconds and of so much of it."""
    found: Floats = np.hypot(floor[0] / np.maximum(figures_s[:, 0], floor[0]), floor[1])
    return found


def _interval(median: float, spread: tuple[float, float], times: float) -> Interval:
    return Interval(median * math.exp(-times * spread[0]), median, median * math.exp(times * spread[1]))


def _forced_probability(left_pages: Floats, rules: StopRules) -> list[float]:
    """Return how likely more than few pages are left after the last round, by how far the variants lie from few."""
    beyond = np.log((left_pages + 1.0) / (rules.few_pages + 1.5))
    sd = np.sqrt(((beyond[:, 1:] - beyond[:, :1]) ** 2).sum(axis=1) / 2 + FEW_PAGES_FLOOR**2)
    return [0.5 * math.erfc(-at_middle / math.sqrt(2)) for at_middle in (beyond[:, 0] / sd).tolist()]

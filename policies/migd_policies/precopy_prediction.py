"""How long a live migration takes and how long the guest stands still, from its dirty curve and the stop rules.

D(t) is the number of unique pages written in t seconds, M the guest's pages, B the bandwidth in pages per second.

    round 1 sends M; round i + 1 sends what was written in round i: V_{i+1} = D(t_i)
    without skipping   t_i = V_i / B
    with skipping      pages written again before their turn are left out: ∫0^{t_i} B ds / m_i(s) = 1, where
                       m_1(s) = M − D(s) and m_{i+1}(s) = D(t_i + s) − D(s), the pages of the last round not yet written
                       again: two windows of t_i and s seconds share D(t_i) + D(s) − D(t_i + s) pages
    the live phase ends at the rule set's limits; what D(t_last) left dirty is sent while the guest stands still
    total = set-up + Σ t_i + suspend + V_f / B + resume        pause = suspend / 2 + V_f / B + resume

Equations after `tools/libs/guest/xg_sr_save.c` (Xen >= 4.6) and `tools/libxc/xc_domain_save.c` (Xen <= 4.5). This is
the first predictor: one number each, no interval, and nothing learned from past migrations.
"""

import math
from dataclasses import dataclass
from typing import Final

from migd_core.messages import DirtyCurve
from migd_core.precopy import StopRules
from migd_core.units import PAGE_BYTES, format_duration, format_ratio
from migd_policies.written_pages import WrittenPages


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
class MigrationPrediction:
    """What is expected of one migration. `rounds` counts the live ones; `basis` says what the figures rest on."""

    total_s: float
    pause_s: float
    sent_bytes: float
    rounds: int
    basis: str


# Without a curve a guest is taken to be as busy as HPL, which filled half of the paper's guests (8000² doubles over 3
# ranks, 163 of 320 MiB) and went through all of it every few seconds. Too dear for an idle guest: a move left undone
# harms less than one that stops a job for longer than it was told.
ASSUMED_WRITABLE_RATIO: Final = 0.5
ASSUMED_SWEEP_S: Final = 5.0


def predict(
    memory_bytes: int,
    curve: DirtyCurve | None,
    bandwidth_bytes_per_s: float,
    rules: StopRules,
    overheads: Overheads = Overheads(),
) -> MigrationPrediction:
    """Return what migrating a guest of `memory_bytes` is expected to take at this bandwidth under these stop rules.

    Raises ValueError for a bandwidth that is not positive: nothing can be said of such a migration but that it must not
    be started.
    """
    if not bandwidth_bytes_per_s > 0:
        raise ValueError(f"bandwidth is {bandwidth_bytes_per_s} bytes/s; a migration needs more than 0")
    memory_pages = memory_bytes / PAGE_BYTES
    written, basis = _written_pages(curve, memory_pages)
    pages_per_s = bandwidth_bytes_per_s / PAGE_BYTES
    rounds, live_s, left_pages = _live_phase(memory_pages, written, pages_per_s, rules)
    stop_s = left_pages / pages_per_s
    return MigrationPrediction(
        total_s=overheads.setup_s + live_s + overheads.suspend_s + stop_s + overheads.resume_s,
        pause_s=overheads.suspend_s / 2 + stop_s + overheads.resume_s,
        sent_bytes=(live_s + stop_s) * bandwidth_bytes_per_s,
        rounds=rounds,
        basis=basis,
    )


def predict_bounds(
    memory_bytes: int, bandwidth_bytes_per_s: float, rules: StopRules, overheads: Overheads = Overheads()
) -> tuple[MigrationPrediction, MigrationPrediction]:
    """Return what migrating a guest of which no dirty page was ever counted takes at the least and at the most.

    At the least it writes nothing, at the most all of its memory every `ASSUMED_SWEEP_S`. Raises ValueError as
    `predict` does.
    """
    pages = memory_bytes // PAGE_BYTES
    return (
        predict(memory_bytes, _swept(0), bandwidth_bytes_per_s, rules, overheads),
        predict(memory_bytes, _swept(pages), bandwidth_bytes_per_s, rules, overheads),
    )


def _live_phase(
    memory_pages: float, written: WrittenPages, pages_per_s: float, rules: StopRules
) -> tuple[int, float, float]:
    """Return the rounds, the seconds they take together, and the pages left dirty after the last."""
    cap_s = math.inf
    if rules.volume_cap_memories is not None:
        cap_s = rules.volume_cap_memories * memory_pages / pages_per_s  # the link is never idle: volume is time
    rounds, live_s, round_s, dirty = 0, 0.0, 0.0, memory_pages
    while True:
        if rules.skips_redirtied:
            round_s = _skipping_round_s(dirty, written, pages_per_s, round_s if rounds else math.inf)
        else:
            round_s = dirty / pages_per_s
        rounds, live_s, dirty = rounds + 1, live_s + round_s, written.after(round_s)
        if rounds >= rules.max_rounds or dirty <= rules.few_pages or live_s >= cap_s:
            return rounds, live_s, dirty


def _skipping_round_s(dirty: float, written: WrittenPages, pages_per_s: float, last_round_s: float) -> float:
    """Return the seconds of a round that leaves out what is written again before its turn.

    `last_round_s` is how long the `dirty` pages were being collected: infinite for the first round, which has them all.
    Between two bends of the curve the pages to send, m(s), fall on a straight line, so the integral is a logarithm.
    """

    def to_send(s: float) -> float:
        if math.isinf(last_round_s):
            return dirty - written.after(s)
        return written.after(last_round_s + s) - written.after(s)

    bends = sorted({age for bend in written.ages_s for age in (bend, bend - last_round_s) if age > 0})
    rest_s = 1.0 / pages_per_s  # what is left of ∫ ds / m(s)
    start_s, start = 0.0, to_send(0.0)
    for end_s in bends:
        if start <= 0:
            return start_s
        end = max(0.0, to_send(end_s))
        span_s = end_s - start_s
        slope = (end - start) / span_s
        takes_s = math.inf if end == 0 else span_s / start if slope == 0 else math.log(end / start) / slope
        if takes_s >= rest_s:
            return start_s + (rest_s * start if slope == 0 else start * math.expm1(slope * rest_s) / slope)
        rest_s -= takes_s
        start_s, start = end_s, end
    return start_s + rest_s * start


def _written_pages(curve: DirtyCurve | None, memory_pages: float) -> tuple[WrittenPages, str]:
    problem = "no dirty curve"
    if curve is not None:
        try:
            written = WrittenPages(curve, memory_pages)
        except ValueError as error:
            problem = f"no dirty curve (the measured one is impossible: {error})"
        else:
            window = format_duration(curve.ages_s[-1])
            return written, f"dirty curve of {len(curve.ages_s)} points up to {window}"
    assumed = _swept(round(ASSUMED_WRITABLE_RATIO * memory_pages))
    share, sweep = format_ratio(ASSUMED_WRITABLE_RATIO), format_duration(ASSUMED_SWEEP_S)
    return WrittenPages(assumed, memory_pages), f"{problem}: {share} of memory taken as rewritten every {sweep}"


def _swept(pages: int) -> DirtyCurve:
    """The curve of a guest that goes through so many pages every `ASSUMED_SWEEP_S`."""
    return DirtyCurve(ages_s=(ASSUMED_SWEEP_S, 2 * ASSUMED_SWEEP_S), unique_pages=(pages, pages))

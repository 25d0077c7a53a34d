"""The rounds of many pre-copies at once: how long each lasts, and what is left for the stop.

D(t) is the number of unique pages written in t seconds, M the guest's pages, B the bandwidth in pages per second.

    round 1 sends M; round i + 1 sends what was written in round i: V_{i+1} = D(t_i)
    without skipping   t_i = V_i / B
    with skipping      pages written again before their turn are left out: ∫0^{t_i} B ds / m_i(s) = 1, where
                       m_1(s) = M − D(s) and m_{i+1}(s) = D(t_i + s) − D(s), the pages of the last round not yet written
                       again: two windows of t_i and s seconds share D(t_i) + D(s) − D(t_i + s) pages
    the live phase ends at the rule set's limits; what D(t_last) left dirty is sent while the guest stands still

Equations after `tools/libs/guest/xg_sr_save.c` (Xen >= 4.6) and `tools/libxc/xc_domain_save.c` (Xen <= 4.5). One row of
an array is one pre-copy; there is no loop over them.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from migd_core.precopy import StopRules

Floats = NDArray[np.float64]

# Ages at which curves are tabulated: from a millisecond to more than an hour, each an eighth above the last. Straight
# lines between them come within 0.2 % of any concave curve.
_FIRST_AGE_S: Final = 1e-3
_STEP: Final = 0.118
AGES_S: Final = np.concatenate(([0.0], _FIRST_AGE_S * np.exp(_STEP * np.arange(130))))
_PER_STEP: Final = 1.0 / np.diff(AGES_S)
# Legacy Xen looks for pages to skip before each batch (tools/libxc/xc_domain_save.c, MAX_BATCH_SIZE).
BATCH_PAGES: Final = 1024
# Where a round with skipping is looked at, as parts of the longest that it can take: close together at its start,
# when pages that are written all the time drop out.
_PARTS: Final = np.array([0.0, 0.001, 0.004, 0.012, 0.03, 0.06, 0.1, 0.16, 0.24, 0.34, 0.46, 0.6, 0.74, 0.87, 1.0])


@dataclass(frozen=True, slots=True)
class Rounds:
    """Of each pre-copy: live rounds, their seconds together, pages left for the stop, and the first round's seconds."""

    count: NDArray[np.int64]
    live_s: Floats
    left_pages: Floats
    first_s: Floats


def run(memory_pages: Floats, written: Floats, pages_per_s: Floats, rules: StopRules) -> Rounds:
    """Return the rounds of pre-copies of `memory_pages[n]` at `pages_per_s[n]`, of guests with curves `written[n]`.

    `written` has D at `AGES_S` in its columns.
    """
    size = len(memory_pages)
    count = np.zeros(size, dtype=np.int64)
    live_s, left, first_s = np.zeros(size), memory_pages.astype(float), np.zeros(size)
    cap_s = np.full(size, np.inf)
    if rules.volume_cap_memories is not None:
        cap_s = rules.volume_cap_memories * memory_pages / pages_per_s  # the link is never idle: volume is time
    going = np.arange(size)
    round_s = np.full(size, np.inf)
    for number in range(1, rules.max_rounds + 1):
        curves, rate, dirty = written[going], pages_per_s[going], left[going]
        if rules.skips_redirtied:
            round_s = _skipping_round_s(dirty, memory_pages[going], curves, rate, round_s)
        else:
            round_s = dirty / rate
        live_s[going] += round_s
        left[going] = dirty = np.minimum(at(curves, round_s), memory_pages[going])
        count[going] = number
        if number == 1:
            first_s[going] = round_s
        goes_on = (dirty > rules.few_pages) & (live_s[going] < cap_s[going])
        going, round_s = going[goes_on], round_s[goes_on]
        if not len(going):
            break
    return Rounds(count, live_s, left, first_s)


def at(written: Floats, age_s: Floats) -> Floats:
    """Return D at `age_s`, of shape (rows,) or (rows, ages), for the curves in `written`'s rows."""
    # This is where nearly all time goes, hence no array more than it takes.
    place = np.log(np.maximum(age_s, 1e-300))
    place *= 1.0 / _STEP
    place += 1.0 - np.log(_FIRST_AGE_S) / _STEP
    np.clip(place, 0.0, len(AGES_S) - 2, out=place)
    index = place.astype(np.intp)
    part = age_s - AGES_S.take(index)
    part *= _PER_STEP.take(index)
    np.clip(part, 0.0, 1.0, out=part)
    rows = np.arange(len(written)) * written.shape[1]
    index += rows if index.ndim == 1 else rows[:, None]
    flat = written.ravel()
    low = flat.take(index)
    index += 1
    found: Floats = flat.take(index)
    found -= low
    found *= part
    found += low
    return found


def _skipping_round_s(dirty: Floats, memory: Floats, written: Floats, rate: Floats, last_round_s: Floats) -> Floats:
    """Return the seconds of rounds that leave out what is written again before its batch.

    `last_round_s` is how long the `dirty` pages were being collected: infinite for the first round, which has them all.
    Few batches are gone through one by one: each is chosen at its start. Of many, a page is chosen half a batch before
    its turn on average, and between two looks m(s) is taken to fall by an even factor.
    """
    batch_s = (BATCH_PAGES / rate)[:, None]
    is_short = (dirty <= BATCH_PAGES * (len(_PARTS) - 1))[:, None]
    age_s = np.where(is_short, batch_s * np.arange(len(_PARTS)), (dirty / rate)[:, None] * _PARTS)
    chosen_s = np.where(is_short, age_s, np.maximum(0.0, age_s - batch_s / 2))
    whole = np.where(np.isinf(last_round_s), 0.0, last_round_s)[:, None]
    collected = np.where(whole > 0.0, at(written, whole + chosen_s), memory[:, None])
    to_send = np.maximum(collected - at(written, chosen_s), 1e-3)
    span_s = np.diff(age_s, axis=1)
    # m(s) = m_0 e^{−fall s} over a stretch, so ∫0^x ds/m = (e^{fall x} − 1) / (fall m_0)
    fall = np.where(is_short, 1e-9, np.maximum(np.log(to_send[:, :-1] / to_send[:, 1:]), 1e-9)) / span_s
    passed = np.cumsum(rate[:, None] * np.expm1(fall * span_s) / (fall * to_send[:, :-1]), axis=1)
    stretch = np.minimum((passed < 1.0).sum(axis=1), passed.shape[1] - 1)
    rows = np.arange(len(dirty))
    rest = 1.0 - np.where(stretch > 0, passed[rows, stretch - 1], 0.0)
    fall, start = fall[rows, stretch], to_send[rows, stretch]
    inside_s = np.log1p(rest * fall * start / rate) / fall
    found: Floats = age_s[rows, stretch] + np.clip(inside_s, 0.0, span_s[rows, stretch])
    return found

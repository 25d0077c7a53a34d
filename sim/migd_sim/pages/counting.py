"""A guest's dirty curve as the agent's probe counts it: late by milliseconds, in straight lines between its peeks."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from migd_core.messages import DirtyCurve
from migd_sim.pages.writers import PagedGuest

# The probe looks at its ages and at least so often between them (migd_agent.xen.log_dirty.WATCH_S).
WATCH_S: Final = 0.25
# How late a peek is, and how far the middle of its call lies from the moment that it counts: a few milliseconds on
# Xen 4.17, where a peek walks the bitmap of the whole guest.
LATE_S: Final = 0.004
OFF_S: Final = 0.001


def counted_curve(guest: PagedGuest, ages_s: Sequence[float], start_s: float, rng: np.random.Generator) -> DirtyCurve:
    """Return what one session that begins at `start_s` reports for `ages_s`."""
    watched = np.arange(WATCH_S, ages_s[-1], WATCH_S)
    due_s = np.unique(np.concatenate((watched, ages_s)))
    peeked_s = due_s + rng.uniform(0.0, LATE_S, len(due_s))
    written_s = np.sort(guest.next_writes_s(start_s, rng) - start_s)
    counts = np.searchsorted(written_s, peeked_s, side="right")
    noted_s = np.maximum.accumulate(peeked_s + rng.uniform(-OFF_S, OFF_S, len(due_s)))
    pages = np.interp(ages_s, np.concatenate(([0.0], noted_s)), np.concatenate(([0], counts)))
    rising = np.maximum.accumulate(np.rint(pages)).astype(int)
    return DirtyCurve(ages_s=tuple(ages_s), unique_pages=tuple(rising.tolist()), measured_s=start_s + ages_s[-1])

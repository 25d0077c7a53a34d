"""When the next tick is due."""

import math


def next_due_s(start_s: float, period_s: float, now_s: float) -> float:
    """Return the first multiple of `period_s` after `start_s` that lies ahead of `now_s`.

    Counted from the start, so that ticks do not drift; those that were missed are skipped, never made up for.
    """
    due_s = start_s + period_s * (math.floor((now_s - start_s) / period_s) + 1)
    return due_s if due_s > now_s else due_s + period_s  # rounding may put the multiple on `now_s` itself

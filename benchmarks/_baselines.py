"""What else a migration's time could be predicted by, from the same curve: yardsticks of `benchmarks.prediction`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from migd_core.messages import DirtyCurve
from migd_core.precopy import StopRules
from migd_core.units import PAGE_BYTES
from migd_policies.precopy_prediction import Overheads
from migd_policies.precopy_rounds import AGES_S, Floats, run

Baseline = Callable[[DirtyCurve, float], Floats]


def memory_over_bandwidth(curve: DirtyCurve, memory_pages: float) -> Floats:
    """Nothing is written."""
    del curve, memory_pages
    return np.zeros(len(AGES_S))


def constant_rate(curve: DirtyCurve, memory_pages: float) -> Floats:
    """So many pages a second, all different (Akoush et al. 2010, AVG)."""
    return np.minimum(_pages_per_s(curve) * AGES_S, memory_pages)


def rate_and_working_set(curve: DirtyCurve, memory_pages: float) -> Floats:
    """So many pages a second, but no more than were ever seen."""
    del memory_pages
    return np.minimum(_pages_per_s(curve) * AGES_S, curve.unique_pages[-1])


BASELINES: Final[Mapping[str, Baseline]] = MappingProxyType(
    {
        "memory_over_bandwidth": memory_over_bandwidth,
        "constant_rate": constant_rate,
        "rate_and_working_set": rate_and_working_set,
    }
)


def total_s(
    baseline: Baseline, curve: DirtyCurve, memory_pages: int, bytes_per_s: float, rules: StopRules, overheads: Overheads
) -> float:
    """Return the seconds that `baseline` predicts of a migration, by the same rounds as everybody's."""
    pages_per_s = bytes_per_s / PAGE_BYTES
    written = baseline(curve, memory_pages)
    rounds = run(np.array([float(memory_pages)]), written[None, :], np.array([pages_per_s]), rules)
    copied_s = float(rounds.live_s[0] + rounds.left_pages[0] / pages_per_s)
    return overheads.setup_s + overheads.suspend_s + overheads.resume_s + copied_s


def _pages_per_s(curve: DirtyCurve) -> float:
    """The pages of one second."""
    return float(np.interp(1.0, (0.0, *curve.ages_s), (0, *curve.unique_pages)))

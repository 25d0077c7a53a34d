"""The paper's migrations, from what it says before them: an idle guest takes 30 s; HPL has N = 8000; SP is class B.

Neves et al. 2007, section 5.4 and Figs. 7 and 8: Xen 3.0.3, guests of 320 MiB. The bandwidth follows from the idle
guest. What HPL writes is its matrix, 8000² doubles over three ranks. How fast, the paper does not say: at its 2.35
GFlop/s, 125 steps of 64 columns take 1.2 s on average and the first ones three times that, so passes of 2.5 to 8 s are
tried. SP class B has 102³ points of about 40 doubles on four guests, all written in each of 400 iterations of 3.2 s.
"""

from typing import Any, Final

from migd_core.messages import DirtyCurve
from migd_core.precopy import RULE_SETS
from migd_core.units import MIB, PAGE_BYTES
from migd_policies.dirty_fit import probe_ages_s
from migd_policies.precopy_prediction import MigrationPrediction, predict

RULES: Final = RULE_SETS["xen-legacy"]
MEMORY_BYTES: Final = 320 * MIB
IDLE_S: Final = 30.0
# About 75 pages a second, the same few hundred over and over.
IDLE_PAGES: Final = 300
HPL_PAGES: Final = 8000**2 * 8 // 3 // PAGE_BYTES
HPL_PASSES_S: Final = (2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0)
SP_PAGES: Final = 102**3 * 40 * 8 // 4 // PAGE_BYTES
SP_ITERATION_S: Final = 1267.0 / 400
# What the migration cost SP, 1409 s less 1267 and the 4 % that Xen itself cost: about the time that it took, since SP
# waits for its neighbours several times an iteration and goes on no faster than the guest that is copied.
SP_LOST_S: Final = 91.0


def paper_figures() -> dict[str, Any]:
    """Return seconds: the idle guest, HPL's least and most over its passes, and SP's low, median and high."""
    bytes_per_s = _bandwidth()
    hpl = [_predicted(HPL_PAGES, pass_s, bytes_per_s).total_s.median for pass_s in HPL_PASSES_S]
    sp = _predicted(SP_PAGES, SP_ITERATION_S, bytes_per_s).total_s
    return {
        "bandwidth_bytes_per_s": bytes_per_s,
        "idle_s": _predicted(IDLE_PAGES, 4.0, bytes_per_s).total_s.median,
        "hpl_s": [min(hpl), max(hpl)],
        "sp_total_s": [sp.low, sp.median, sp.high],
        "sp_holds": sp.low <= SP_LOST_S <= sp.high,
    }


def _predicted(pages: int, pass_s: float, bytes_per_s: float) -> MigrationPrediction:
    ages_s = probe_ages_s(MEMORY_BYTES, bytes_per_s)
    curve = DirtyCurve(ages_s, tuple(round(pages * min(1.0, age_s / pass_s)) for age_s in ages_s))
    return predict(MEMORY_BYTES, (curve,), bytes_per_s, RULES)


def _bandwidth() -> float:
    """Return the bandwidth at which the idle guest takes as long as it did, by bisection."""
    low, high = 1e6, 1e9
    while high - low > 1.0:
        middle = (low + high) / 2
        slow = _predicted(IDLE_PAGES, 4.0, middle).total_s.median > IDLE_S
        low, high = (middle, high) if slow else (low, middle)
    return (low + high) / 2

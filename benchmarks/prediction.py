"""How well migrations are predicted: `python -m benchmarks prediction [--seed N]`.

Guests are drawn afresh by the seed, measured as the agent measures, and copied page by page (`migd_sim.pages`), by
nothing that the predictor knows but the stop rules. Two of the families stood aside while it was developed.

`python -m benchmarks.prediction --calibrate` prints the prior scores of `migd_core.learned`, from the development
families only.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from time import process_time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks._baselines import BASELINES, total_s
from benchmarks._migrations import SESSIONS, Measured, measured
from benchmarks._paper import paper_figures
from migd_core.precopy import RULE_SETS
from migd_core.units import PAGE_BYTES
from migd_policies.dirty_fit import fit
from migd_policies.precopy_prediction import FirstRound, MigrationPrediction, Overheads, Request, predict_many
from migd_sim.pages import DEVELOPMENT, HELD_OUT

Floats = NDArray[np.float64]

EACH: Final = 45
CALIBRATION_EACH: Final = 100
CALIBRATION_SEED: Final = 20_261_126
LEGACY: Final = "xen-legacy"
PARTS: Final = 20
# How many guests one decision is about: 64 hosts, 256 guests.
GUESTS: Final = 256


def measure(seed: int) -> dict[str, Any]:
    """Return the table of goals: errors by rule set, against baselines, intervals, the paper, and the time it takes."""
    guests = list(measured((*DEVELOPMENT, *HELD_OUT), EACH, seed))
    figures: dict[str, Any] = {"seed": seed, "workloads": len(guests)}
    for name in RULE_SETS:
        figures[name] = _figures(guests, name)
    figures["paper"] = paper_figures()
    figures["decision"] = _times_s(guests)
    return figures


def text(figures: dict[str, Any]) -> str:
    """Return what the goals do not say: errors in other circumstances (median / p90 / p95), and the time it takes."""
    lines = [f"prediction: {figures['workloads']} workloads, --seed {figures['seed']}; errors of total time"]
    for name in RULE_SETS:
        found = figures[name]
        lines.append(
            f"    {name:12} families held out {_three(found['held_out_total'])}, from one session "
            f"{_three(found['total_by_sessions']['1'])}, after the first round {_three(found['after_first_round'])}"
        )
    low_s, median_s, high_s = figures["paper"]["sp_total_s"]
    lines.append(f"    the paper's SP lost 91 s: migrates in {low_s:.0f} … {median_s:.0f} … {high_s:.0f} s")
    took = ", ".join(f"{name} {took_s:.3g} s" for name, took_s in figures["decision"].items())
    return "\n".join([*lines, f"    {GUESTS} guests, curves known, CPU time: {took}"])


def _three(errors: dict[str, float]) -> str:
    return " / ".join(f"{error:.1%}" for error in errors.values())


def _figures(guests: Sequence[Measured], rule_set: str) -> dict[str, Any]:
    rules = RULE_SETS[rule_set]
    found = predict_many([_request(guest) for guest in guests], rules)
    again = predict_many([_request(guest, rule_set) for guest in guests], rules)
    totals = np.array([guest.total_s(rule_set) for guest in guests])
    pauses = np.array([guest.pause_s(rule_set) for guest in guests])
    off = _off(found, totals)
    off_again = _off(again, totals)
    off_by_one = _off(predict_many([_request(guest, sessions=1) for guest in guests], rules), totals)
    pause_off_s = np.abs(np.array([one.pause_s.median for one in found]) - pauses)
    is_held_out = np.array([guest.family in HELD_OUT for guest in guests])
    forced = np.array([guest.copied[rule_set].is_forced for guest in guests])
    told = np.array([one.forced_probability > 0.5 for one in found])
    others = {
        name: np.array(
            [
                abs(total_s(one, g.curves[-1], g.memory_pages, g.known_bytes_per_s, rules, Overheads()) / truth - 1)
                for g, truth in zip(guests, totals, strict=True)
            ]
        )
        for name, one in BASELINES.items()
    }
    return {
        "total": _quantiles(off),
        "held_out_total": _quantiles(off[is_held_out]),
        "total_by_family": {
            family: _quantiles(off[[guest.family == family for guest in guests]])
            for family in dict.fromkeys(guest.family for guest in guests)
        },
        "total_by_sessions": {
            "1": _quantiles(off_by_one),
            **{str(count): _quantiles(off[[len(guest.curves) == count for guest in guests]]) for count in SESSIONS},
        },
        "after_first_round": _quantiles(off_again),
        "pause": {
            "median": float(np.median(pause_off_s / pauses)),
            "p90_s": float(np.quantile(pause_off_s, 0.9)),
            "p95_s": float(np.quantile(pause_off_s, 0.95)),
        },
        "baselines": {name: _quantiles(errors) for name, errors in others.items()},
        "times_better": {
            name: float(np.quantile(errors, 0.95) / np.quantile(off, 0.95)) for name, errors in others.items()
        },
        "held_total": _held(found, totals, "total_s"),
        "held_total_after_first_round": _held(again, totals, "total_s"),
        "held_pause": _held(found, pauses, "pause_s"),
        "held_total_of_held_out": _held(
            [one for one, out in zip(found, is_held_out, strict=True) if out], totals[is_held_out], "total_s"
        ),
        "forced": float(forced.mean()),
        "forced_recall": float((forced & told).sum() / max(1, forced.sum())),
        "forced_precision": float((forced & told).sum() / max(1, told.sum())),
    }


def _request(guest: Measured, again_under: str | None = None, sessions: int = max(SESSIONS)) -> Request:
    """Return what is known of a guest by its newest sessions, and by its first round under `again_under`."""
    first = None
    if again_under is not None:
        copied = guest.copied[again_under]
        sent_bytes = copied.round_s[0] * guest.bytes_per_s
        first = FirstRound(copied.round_s[0], sent_bytes, copied.left_pages[0])
    known = guest.memory_bytes, guest.curves[-sessions:], guest.known_bytes_per_s
    return Request(*known, first_round=first, begins_s=guest.start_s)


def _off(found: Sequence[MigrationPrediction], totals: Floats) -> Floats:
    return np.abs(np.array([one.total_s.median for one in found]) / totals - 1)


def _held(found: Sequence[MigrationPrediction], actual: Floats, what: str) -> float:
    intervals = [getattr(one, what) for one in found]
    return float(np.mean([one.low <= seen <= one.high for one, seen in zip(intervals, actual, strict=True)]))


def _quantiles(errors: Floats) -> dict[str, float]:
    return {name: float(np.quantile(errors, at)) for name, at in (("median", 0.5), ("p90", 0.9), ("p95", 0.95))}


def _times_s(guests: Sequence[Measured]) -> dict[str, float]:
    """Return the CPU seconds of 256 predictions from curves that were seen before, and of fitting one new curve."""
    requests = [_request(guest) for guest in (list(guests) * 2)[:GUESTS]]
    took = {}
    for name in ("xen-4.6", LEGACY):
        predict_many(requests, RULE_SETS[name])
        took[f"predicted_{name}_s"] = min(_took_s(partial(predict_many, requests, RULE_SETS[name])) for _ in range(5))
    fit.cache_clear()
    fitting_s = _took_s(lambda: [fit(request.curves, request.memory_bytes // PAGE_BYTES) for request in requests])
    took["fitting_one_new_curve_s"] = fitting_s / GUESTS
    return took


def _took_s(what: Callable[[], object]) -> float:
    start_s = process_time()
    what()
    return process_time() - start_s


def calibrated() -> dict[str, list[float]]:
    """Return the prior scores: middles of equal parts of how far outcomes fell from medians, in predicted spreads."""
    scores: dict[str, list[Floats]] = {"total": [], "pause": []}
    guests = list(measured(tuple(DEVELOPMENT), CALIBRATION_EACH, CALIBRATION_SEED))
    for name, sessions in product(("xen-4.6", LEGACY), (1, max(SESSIONS))):
        found = predict_many([_request(guest, sessions=sessions) for guest in guests], RULE_SETS[name])
        totals, pauses = [guest.total_s(name) for guest in guests], [guest.pause_s(name) for guest in guests]
        for what, actual in (("total", totals), ("pause", pauses)):
            medians = np.array([getattr(one, f"{what}_s").median for one in found])
            spreads = np.array([getattr(one.expected, f"{what}_spread") for one in found])
            off = np.log(np.array(actual) / medians)
            scores[what].append(np.abs(off) / np.where(off > 0, spreads[:, 1], spreads[:, 0]))
    middles = (np.arange(PARTS) + 0.5) / PARTS
    return {what: np.quantile(np.concatenate(parts), middles).round(2).tolist() for what, parts in scores.items()}


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calibrate", action="store_true")
    options.add_argument("--seed", type=int)
    asked = options.parse_args()
    print(calibrated() if asked.calibrate else text(measure(asked.seed)))

"""How good migd is to be: the goals, and what each is held against in the benchmarks' own figures.

A goal that no figure is found for is not met, and says why; one whose benchmark was not asked for has no row.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Figures = Mapping[str, Any]

LEGACY: Final = ("xen-legacy",)
MODERN: Final = ("xen-4.6", "xenserver", "xcp-ng")
# The policy of an evaluation that is held against the goals.
JUDGED: Final = "job-time"
# Fewer runs cannot show that one in 100 is harmed at most.
LEAST_RUNS: Final = 100


class Unmeasured(LookupError):
    """The benchmark ran without what this goal is about; the text says why."""


@dataclass(frozen=True, slots=True)
class Goal:
    """One row. `value` takes a benchmark's figures; each number that it gives lies within `least` and `most`."""

    benchmark: str
    what: str
    value: Callable[[Figures], Sequence[float]]
    least: float = -math.inf
    most: float = math.inf
    unit: str = "%"

    def row(self, figures: Figures | None, problem: str = "") -> dict[str, Any]:
        """Return the row as plain values: what is wanted, what was measured (a range has two numbers), if that is met.

        `problem` says why there are no `figures`.
        """
        measured: list[float] = []
        if figures is not None:
            try:
                measured = sorted({float(number) for number in self.value(figures)})
            except Unmeasured as why:
                problem = str(why)
            except Exception as error:  # noqa: BLE001 - one row that cannot be formed must not hide the others
                problem = f"{type(error).__name__}: {error}"
            if any(math.isnan(number) for number in measured):
                measured, problem = [], "the benchmark has no number for it"
        return {
            "benchmark": self.benchmark,
            "goal": self.what,
            "at_least": None if self.least == -math.inf else self.least,
            "at_most": None if self.most == math.inf else self.most,
            "unit": self.unit,
            "measured": [measured[0], measured[-1]] if len(measured) > 1 else measured,
            "met": bool(measured) and self.least <= measured[0] and measured[-1] <= self.most,
            "problem": problem,
        }


def table(names: Iterable[str], figures: Mapping[str, Figures], problems: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the rows of the benchmarks called `names`; `problems` says why some have no `figures`."""
    return [
        goal.row(figures.get(goal.benchmark), problems.get(goal.benchmark, ""))
        for name in names
        for goal in GOALS
        if goal.benchmark == name
    ]


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a table for people."""
    lines = [f"{'':12}{'goal':70}{'wanted':>18}{'measured':>20}", ""]
    before = ""
    for row in rows:
        name = row["benchmark"] if row["benchmark"] != before else ""
        before = row["benchmark"]
        measured = " – ".join(shown(number, row["unit"]) for number in row["measured"]) or "–"
        verdict = "met" if row["met"] else "MISSED" if row["measured"] else f"NOT MEASURED: {row['problem']}"
        lines.append(f"{name:12}{row['goal']:70}{_wanted(row):>18}{measured:>20}   {verdict}")
    met = sum(row["met"] for row in rows)
    return "\n".join([*lines, "", f"{met} of {len(rows)} goals met"])


def shown(value: float, unit: str) -> str:
    """Return a figure as people read it."""
    if unit == "%":
        return f"{value:.2%}" if 0 < abs(value) < 0.01 else f"{value:.1%}"
    return f"{value:.3g} {unit}".rstrip()


def _wanted(row: Mapping[str, Any]) -> str:
    least, most, unit = row["at_least"], row["at_most"], row["unit"]
    if least is None:
        return f"≤ {shown(most, unit)}"
    if most is None:
        return f"≥ {shown(least, unit)}"
    return shown(least, unit) if least == most else f"{shown(least, unit)} – {shown(most, unit)}"


# What goals are held against, by benchmark.


def _of(*path: str) -> Callable[[Figures], Sequence[float]]:
    def value(figures: Figures) -> Sequence[float]:
        found: Any = figures
        for key in path:
            if key not in found:
                raise Unmeasured(figures.get("skipped", f"the benchmark has no figure {'.'.join(path)}"))
            found = found[key]
        return found if isinstance(found, list) else [found]

    return value


def _least(*path: str, rules: Sequence[str] = (*LEGACY, *MODERN)) -> Callable[[Figures], Sequence[float]]:
    return lambda figures: [min(_of(name, *path)(figures)[0] for name in rules)]


def _most(*path: str, rules: Sequence[str] = (*LEGACY, *MODERN)) -> Callable[[Figures], Sequence[float]]:
    return lambda figures: [max(_of(name, *path)(figures)[0] for name in rules)]


def _each(*path: str) -> Callable[[Figures], Sequence[float]]:
    return lambda figures: [_of(name, *path)(figures)[0] for name in (*LEGACY, *MODERN)]


def _sp_within(figures: Figures) -> Sequence[float]:
    return [float(figures["paper"]["sp_holds"])]


def _judged(played: str, figure: str) -> Callable[[Figures], Sequence[float]]:
    """Return what the judged policy reached in a set, with what jobs report: `mixed progress`."""

    def value(figures: Figures) -> Sequence[float]:
        found = figures["sets"][played]["policies"][JUDGED][figure]
        if found is None:
            raise Unmeasured("nothing could be gained in these runs; take more")
        return [found]

    return value


def _harmed(played: str) -> Callable[[Figures], Sequence[float]]:
    """Return the share of runs of a set that the judged policy made more than 5 % slower, if they are enough."""

    def value(figures: Figures) -> Sequence[float]:
        if (runs := figures["runs_a_set"]) < LEAST_RUNS:
            raise Unmeasured(f"{runs} runs cannot show it: MIGD_EVALUATE_RUNS={LEAST_RUNS} or more")
        return _judged(played, "slower_runs_ratio")(figures)

    return value


def _harm() -> Iterator[Goal]:
    """Yield two rows a set: how many runs are harmed, and the worst of them."""
    sets = {
        "mixed progress": "mixed",
        "mixed wall-time": "mixed, wall time only",
        "seed-like progress": "seed-like",
        "communication progress": "communication",
        "failing progress": "failing",
        "adversarial progress": "adversarial",
    }
    for played, name in sets.items():
        slower, worst = (0.03, 0.25) if name == "seed-like" else (0.01, 0.15)
        yield Goal("evaluate", f"harm, {name}: runs more than 5 % slower", _harmed(played), most=slower)
        yield Goal("evaluate", "… the worst is slower by", _judged(played, "worst_slowdown_ratio"), most=worst)


def _share(count: str) -> Callable[[Figures], Sequence[float]]:
    """Return for how many of a benchmark's clusters something held."""
    return lambda figures: [_of(count)(figures)[0] / _of("clusters")(figures)[0]]


def _colocated(kind: str, figure: str) -> Callable[[Figures], Sequence[float]]:
    return lambda figures: [_of(kind, figure)(figures)[0] / _of(kind, "clusters")(figures)[0]]


def _moved_ratio(figures: Figures) -> Sequence[float]:
    return [_of("large", "moved")(figures)[0] / _of("large", "their_moved")(figures)[0]]


def _agents(figure: str) -> Callable[[Figures], Sequence[float]]:
    """Return a figure of the agent that counts no flows, and of those beside which each guest talks to so many."""
    names = ("agent", "agent_each_guest_talks_to_16", "agent_each_guest_talks_to_63")

    def value(figures: Figures) -> Sequence[float]:
        if missing := [name for name in names if name not in figures]:
            raise Unmeasured(f"no {missing[0]}: what flows cost is measured by root only")
        return [figures[name][figure] for name in names]

    return value


def _agents_over_node_exporter(figures: Figures) -> Sequence[float]:
    return [ratio / figures["node_exporter"]["cpu_ratio"] for ratio in _agents("cpu_ratio")(figures)]


def _times(figures: Figures) -> Sequence[float]:
    return [figures["1000_hosts_12000_guests_all_cpu_s"]]


def _every(*names: str) -> Callable[[Figures], Sequence[float]]:
    return lambda figures: [number for name in names for number in figures[name]]


GOALS: Final = (
    Goal("agent", "64 guests at 1 Hz, without flows and with: CPU of one core", _agents("cpu_ratio"), most=0.005),
    Goal("agent", "… over that of node_exporter, scraped at 1 Hz", _agents_over_node_exporter, most=3, unit="×"),
    Goal("agent", "… resident", _agents("resident_mb"), most=35, unit="MB"),
    Goal("prediction", "random guests copied page by page", _of("workloads"), least=300, unit=""),
    Goal(
        "prediction", "total time, Xen 4.6 and later: median error", _most("total", "median", rules=MODERN), most=0.03
    ),
    Goal("prediction", "… 90 % of guests", _most("total", "p90", rules=MODERN), most=0.09),
    Goal("prediction", "… 95 %", _most("total", "p95", rules=MODERN), most=0.11),
    Goal("prediction", "total time, legacy Xen: median error", _most("total", "median", rules=LEGACY), most=0.03),
    Goal("prediction", "… 90 %", _most("total", "p90", rules=LEGACY), most=0.09),
    Goal("prediction", "… 95 %", _most("total", "p95", rules=LEGACY), most=0.15),
    Goal(
        "prediction",
        "families held out, Xen 4.6 and later: 95 %",
        _most("held_out_total", "p95", rules=MODERN),
        most=0.11,
    ),
    Goal("prediction", "families held out, legacy Xen: 95 %", _most("held_out_total", "p95", rules=LEGACY), most=0.15),
    Goal("prediction", "pause: median error", _most("pause", "median"), most=0.05),
    Goal("prediction", "pause: 95 %", _most("pause", "p95_s"), most=1.5, unit="s"),
    Goal(
        "prediction",
        "times better than memory / bandwidth, 95 %",
        _least("times_better", "memory_over_bandwidth"),
        least=3,
        unit="×",
    ),
    Goal(
        "prediction",
        "times better than a constant rate, 95 %",
        _least("times_better", "constant_rate"),
        least=5,
        unit="×",
    ),
    Goal(
        "prediction",
        "times better than rate and working set, 95 %",
        _least("times_better", "rate_and_working_set"),
        least=2,
        unit="×",
    ),
    Goal("prediction", "interval of total time holds the truth", _each("held_total"), 0.75, 0.90),
    Goal("prediction", "interval of pause holds the truth", _each("held_pause"), 0.75, 0.90),
    Goal("prediction", "guests that do not converge, recalled", _least("forced_recall"), least=0.90),
    Goal("prediction", "the paper: idle guest, 30 s", _of("paper", "idle_s"), 28.5, 31.5, "s"),
    Goal("prediction", "the paper: HPL, 104 s", _of("paper", "hpl_s"), 98.8, 109.2, "s"),
    Goal("prediction", "the paper: SP's 91 s inside the interval", _sp_within, 1, 1, ""),
    Goal(
        "evaluate",
        "mixed, progress reported: captured of the clairvoyant gain",
        _judged("mixed progress", "captured_at_least_ratio"),
        least=0.80,
    ),
    Goal(
        "evaluate", "mixed, wall time only: captured", _judged("mixed wall-time", "captured_at_least_ratio"), least=0.65
    ),
    Goal("evaluate", "seed-like: captured", _judged("seed-like progress", "captured_at_least_ratio"), least=0.40),
    Goal("evaluate", "seed-like: mean gain", _judged("seed-like progress", "mean_gain_ratio"), least=0.0),
    *_harm(),
    Goal("evaluate", "moves made that break even after their job ends", _of("moves_that_pay_too_late"), 0, 0, ""),
    Goal("balance", "clusters with a final score not above hbal's", _share("score_not_higher"), least=1.0),
    Goal("balance", "clusters with no more moves than hbal", _share("no_more_moves"), least=1.0),
    Goal(
        "balance",
        "CPU time less than hbal's from 32 nodes up, times",
        _of("cpu_ratio_from_32_hosts_least"),
        least=100,
        unit="×",
    ),
    Goal("balance", "1,000 hosts and 12,000 guests, all moves: CPU time", _times, most=2.0, unit="s"),
    Goal("decision", "64 hosts and 256 guests, all gates: CPU time, median", _of("median_ms"), most=100, unit="ms"),
    Goal("decision", "… worst", _of("worst_ms"), most=100, unit="ms"),
    Goal("colocate", "cost over brute force's: median", _of("small", "cost_ratio_median"), most=1.05, unit="×"),
    Goal("colocate", "small clusters within 5 % of brute force", _colocated("small", "within_five_percent"), least=1.0),
    Goal("colocate", "cost over METIS's: median", _of("large", "cost_ratio_median"), most=1.05, unit="×"),
    Goal("colocate", "cost over METIS's: worst", _of("large", "cost_ratio_worst"), most=1.05, unit="×"),
    Goal("colocate", "guests moved over METIS's, all clusters", _moved_ratio, most=1.0, unit="×"),
    Goal("colocate", "clusters with no more guests moved than METIS", _colocated("large", "no_more_moved"), least=1.0),
    Goal("colocate", "hosts filled beyond their CPUs, clusters with any", _of("large", "overfull"), 0, 0, ""),
    Goal("brams", "48-hour forecast: captured of the clairvoyant gain", _of("captured_ratio"), least=0.75),
    Goal("brams", "forecasts slower than with nobody", _of("slower_than_nobody"), 0, 0, ""),
    Goal("brams", "forecasts slower than with greedy or Xen Orchestra's rule", _of("slower_than_others"), 0, 0, ""),
    Goal(
        "takeover",
        "leader killed or stopped: leases until another leads",
        _every("killed_leases", "stopped_leases"),
        most=2.0,
        unit="×",
    ),
    Goal("takeover", "leader ended: leases until another leads", _every("ended_leases"), most=1.0, unit="×"),
    Goal(
        "takeover",
        "restart: control periods until all hosts are decided about",
        _every("restart_to_decision_periods"),
        most=2.0,
        unit="×",
    ),
)

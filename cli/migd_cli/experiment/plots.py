"""The results drawn, in the style of the paper's figures, with matplotlib where it is installed."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from migd_cli.experiment.runs import Arm, Run
from migd_cli.experiment.summary import Summary
from migd_cli.failures import Failure

if TYPE_CHECKING:
    from migd_core.api import DirtyView

WIDTH_IN, HEIGHT_IN, DPI = 6.4, 4.2, 120
SUFFIXES: Final = (".png", ".svg", ".pdf")
COLOURS: Final = {Arm.BASELINE: "#8c8c8c", Arm.WITHOUT: "#4c72b0", Arm.WITH: "#c44e52"}
NAMES: Final = {Arm.BASELINE: "baseline", Arm.WITHOUT: "without\nmigration", Arm.WITH: "with\nmigration"}
DOT: Final = "#333333"


def require(path: Path | None = None) -> None:
    """Raises Failure where nothing can be drawn, or not to this file, before anything is measured."""
    if importlib.util.find_spec("matplotlib") is None:
        raise Failure("plots need matplotlib, which is not installed; `pip install 'migd[report]'` brings it")
    if path is not None and path.suffix not in SUFFIXES:
        raise Failure(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}; name the plot so")
    if path is not None and not path.parent.is_dir():
        raise Failure(f"{path}: there is no folder {path.parent}; make it, or name another")


def draw(folder: Path, found: Summary, runs: Sequence[Run]) -> list[Path]:
    """Draw run times, and migrations if there were any; return the files."""
    drawn = [_run_times(folder / "run-time.png", found, runs)]
    if any(run.move is not None and run.counts for run in runs):
        drawn.append(_migrations(folder / "migrations.png", found, runs))
    return drawn


def _run_times(path: Path, found: Summary, runs: Sequence[Run]) -> Path:
    """Bars of mean run times with their 95 % confidence and every run as a dot; beside them the runs in their order."""
    figure, (bars, course) = _figure(2, ratios=(3, 2))
    for place, arm in enumerate(found.arms):
        times = [run.took_s for run in runs if run.arm is arm.arm and run.counts]
        if arm.run_time_s is None:
            continue
        mean, colour = arm.run_time_s.mean, COLOURS[arm.arm]
        half = arm.run_time_s.high - mean if arm.run_time_s.high is not None else 0.0
        bars.bar(place, mean, 0.6, color=colour, yerr=half, capsize=6, zorder=2, error_kw={"zorder": 5})
        spread = [place + 0.22 * ((7 * n) % 11 - 5) / 5 for n in range(len(times))]
        bars.plot(spread, times, ".", color=DOT, alpha=0.5, markersize=4, zorder=3)
        bars.annotate(
            f"{mean:.1f} s", (place, mean + half), xytext=(0, 6), textcoords="offset points", ha="center", zorder=4
        )
        numbers = [run.number for run in runs if run.arm is arm.arm and run.counts]
        course.plot(numbers, times, "o", color=colour, markersize=3.5)
    bars.set_xticks(range(len(found.arms)), [NAMES[arm.arm] for arm in found.arms])
    bars.set_ylabel("run time (s)")
    bars.margins(y=0.12)
    bars.set_ylim(bottom=0)
    course.set_xlabel("run, in order")
    course.set_ylabel("run time (s)")
    bars.set_title(_title(found), fontsize=10, loc="left")
    return _saved(figure, path)


def _migrations(path: Path, found: Summary, runs: Sequence[Run]) -> Path:
    """How long each migration took, and how long the guest stood still, with what was expected."""
    moves = list(enumerate([run.move for run in runs if run.move is not None and run.counts], start=1))
    has_pause = found.pause_s is not None
    figure, axes = _figure(2 if has_pause else 1)
    panels: list[tuple[Any, str, list[tuple[int, float | None, float | None]]]] = [
        (axes[0], "migration (s)", [(number, move.took_s, move.predicted_s) for number, move in moves])
    ]
    if has_pause:
        panels.append((axes[1], "pause (s)", [(n, move.pause_s, move.predicted_pause_s) for n, move in moves]))
    for axis, label, points in panels:
        known = [(number, took) for number, took, _ in points if took is not None]
        axis.bar([n for n, _ in known], [took for _, took in known], 0.8, color=COLOURS[Arm.WITH], label="measured")
        expected = [(number, predicted) for number, _, predicted in points if predicted is not None]
        if expected:
            axis.plot(*zip(*expected, strict=True), "_", color=DOT, markersize=9, label="expected")
            axis.legend(frameon=False, fontsize=8)
        axis.set_xlabel("migration, in order")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
    axes[0].set_title(f"{found.plan.guest}, {found.plan.home} to {found.plan.target}", fontsize=10, loc="left")
    return _saved(figure, path)


def draw_dirty(path: Path, view: "DirtyView") -> Path:
    """Draw a guest's dirty curve: what was counted, and what is expected of other ages."""
    figure, (axis,) = _figure(1)
    if view.fit is not None:
        axis.fill_between(
            view.fit.ages_s, view.fit.least_pages, view.fit.most_pages, color="#4c72b0", alpha=0.2, linewidth=0
        )
        axis.plot(view.fit.ages_s, view.fit.expected_pages, color="#4c72b0", label="expected")
        axis.axvline(view.fit.window_s, color="#8c8c8c", linestyle=":", label="end of what was counted")
    for number, curve in enumerate(view.curves):
        is_newest = number == len(view.curves) - 1
        axis.plot(
            curve.ages_s,
            curve.unique_pages,
            "o" if is_newest else ".",
            color=DOT,
            alpha=1.0 if is_newest else 0.4,
            markersize=5 if is_newest else 4,
            label="counted" if is_newest else None,
        )
    axis.set_xlabel("age (s)")
    axis.set_ylabel("different pages written")
    axis.set_title(f"{view.guest_name}: how it dirties {view.memory_pages} pages of memory", fontsize=10, loc="left")
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    axis.set_ylim(bottom=0)
    return _saved(figure, path)


def _title(found: Summary) -> str:
    plan = found.plan
    if plan.simulated:
        return f"{Path(plan.simulated).stem}, simulated"
    return " ".join(plan.command)[:60]


def _figure(panels: int, ratios: tuple[int, ...] | None = None) -> tuple[Any, Sequence[Any]]:
    """Return a figure that needs no display, and its axes side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN * (1.4 if panels > 1 else 1.0), HEIGHT_IN), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False, width_ratios=ratios)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.3)
        axis.set_axisbelow(True)
    return figure, list(axes)


def _saved(figure: Any, path: Path) -> Path:
    try:
        figure.savefig(path)
    except OSError as error:
        raise Failure(f"{path}: cannot be written: {error}") from error
    return path

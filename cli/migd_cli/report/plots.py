"""The plots of the report, as SVG that stands in the page and takes its colours.

Matplotlib knows colours only. Each that it is given here stands for a property of the page's style, and is replaced by
it in what it draws: so one picture is right on a dark screen, on a light one and on paper.
"""

import io
import re
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

import matplotlib as mpl
import matplotlib.dates as mdates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, MultipleLocator, NullLocator

from migd_core.api import CourseView, HistoryView, JobTimelineView, ReportedMoveView
from migd_core.units import format_duration

INK, SOFT, LINE, GOOD, BAD, CARD = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
SERIES: Final = tuple(f"#0a0a0{number}" for number in range(1, 7))
_PROPERTIES: Final = {
    INK: "text",
    SOFT: "soft",
    LINE: "line",
    GOOD: "good",
    BAD: "bad",
    CARD: "card",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, start=1)},
}
# A line is told from the next by more than its colour.
DASHES: Final = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 2)))
# Durations that a tick may stand at on a logarithmic scale, and steps between ticks on a linear one.
ROUND_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 60, 120, 300, 600, 1200, 3600, 7200, 18000, 36000, 86400)
STEPS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000, 36000, 86400, 604800)
MOST_TICKS: Final = 6
WIDTH_IN, HEIGHT_IN = 9.0, 2.8
SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "migd",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.01,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "figure.facecolor": "none",
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
}


def moves_plot(history: HistoryView) -> str:
    """Return how many migrations began when, those that failed on top."""

    def draw(axes: Axes) -> None:
        at, width = _dates(history.bucket_at), history.bucket_s / 86400.0
        axes.bar(at, history.moved, width=width * 0.9, align="edge", color=SERIES[0], label="moved")
        if any(history.failed):
            axes.bar(
                at, history.failed, width=width * 0.9, align="edge", bottom=history.moved, color=BAD, label="failed"
            )
        axes.set_ylabel(f"migrations in {format_duration(history.bucket_s)}")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _over_time(axes, history)
        _legend(axes)

    return _svg(draw, f"Migrations over time: {sum(history.moved)} moved, {sum(history.failed)} failed")


def gains_plot(history: HistoryView, moves: Sequence[ReportedMoveView]) -> str:
    """Return what moves were to gain, upwards, and to cost, downwards, when they began."""

    def draw(axes: Axes) -> None:
        first, size = history.bucket_at[0], len(history.bucket_at)
        gains_s, costs_s = [0.0] * size, [0.0] * size
        for each in moves:
            place = int((each.migration.started_at - first) // history.bucket_s)
            if 0 <= place < size:
                costs_s[place] -= each.cost_s
                gains_s[place] += each.gain_s if each.migration.ok is not False else 0.0
        at, half = _dates(history.bucket_at), history.bucket_s / 86400.0 * 0.45
        axes.bar(at, gains_s, width=half, align="edge", color=GOOD, label="gain that was promised")
        axes.bar([each + half for each in at], costs_s, width=half, align="edge", color=BAD, label="cost of copying")
        axes.axhline(0.0, color=SOFT, linewidth=0.8)
        _durations(axes)
        axes.set_ylabel("job time")
        _over_time(axes, history)
        _legend(axes)

    return _svg(draw, "Gain that was promised for moves, and what they were to cost, over time")


def predicted_plot(moves: Sequence[ReportedMoveView]) -> str:
    """Return what migrations took against what they were predicted to; the bars are where 8 of 10 were to be."""
    found = [each for each in moves if each.predicted is not None and each.migration.ok and each.migration.actual_s]

    def draw(axes: Axes) -> None:
        for each in found:
            said, took_s = each.predicted, each.migration.actual_s
            assert said is not None
            assert took_s is not None
            colour = SERIES[0] if said.low <= took_s <= said.high else BAD
            axes.plot([took_s, took_s], [said.low, said.high], color=colour, linewidth=1.0, alpha=0.5)
            axes.plot([took_s], [said.median], "o", color=colour)
        least = min(min(each.predicted.low, each.migration.actual_s or 0.0) for each in found if each.predicted)
        most = max(max(each.predicted.high, each.migration.actual_s or 0.0) for each in found if each.predicted)
        ends = (max(0.05, 0.8 * least), 1.25 * most)
        axes.plot(ends, ends, color=SOFT, linewidth=0.8, linestyle="--")
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(ROUND_S))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda seconds, _: format_duration(seconds)))
        axes.set_xlabel("took")
        axes.set_ylabel("predicted")

    return _svg(draw, f"Predicted against actual duration of {len(found)} migrations", (5.2, 3.8))


def courses_plot(history: HistoryView, courses: Sequence[CourseView]) -> str:
    """Return what each policy has come to, net, over time; the one in use first."""

    def draw(axes: Axes) -> None:
        for number, each in enumerate(courses):
            style: dict[str, Any] = {"color": SERIES[number % len(SERIES)], "linestyle": DASHES[number % len(DASHES)]}
            in_use = " (in use)" if number == 0 else ""
            axes.plot(
                _dates(each.at), each.net_s, label=each.label + in_use, linewidth=2.0 if number == 0 else 1.4, **style
            )
        axes.axhline(0.0, color=SOFT, linewidth=0.8)
        _durations(axes)
        axes.set_ylabel("job time gained, net")
        _over_time(axes, history)
        _legend(axes)

    return _svg(draw, "Job time gained by each policy over time, net of what copying costs", (WIDTH_IN, 3.4))


def load_plot(history: HistoryView, moves: Sequence[ReportedMoveView]) -> str:
    """Return mean, highest and lowest load of the hosts over time, with migrations as ticks below."""

    def draw(axes: Axes) -> None:
        at = _dates(history.at)
        mean, most, least = (
            [None if each is None else 100.0 * each for each in line]
            for line in (history.load_mean_ratio, history.load_most_ratio, history.load_least_ratio)
        )
        nan = float("nan")
        low, high = [nan if e is None else e for e in least], [nan if e is None else e for e in most]
        axes.fill_between(at, low, high, color=SERIES[0], alpha=0.18, linewidth=0, label="from the least to the most")
        axes.plot(at, [nan if e is None else e for e in mean], color=SERIES[0], label="mean of all hosts")
        axes.axhline(100.0, color=SOFT, linewidth=0.8, linestyle="--")
        axes.set_ylim(bottom=0.0)
        axes.set_ylabel("CPU wanted, % of a host")
        _mark(axes, moves)
        _over_time(axes, history)
        _legend(axes)

    return _svg(draw, "Load of the hosts over time")


def job_plot(history: HistoryView, job: JobTimelineView, moves: Sequence[ReportedMoveView]) -> str:
    """Return how fast a job went, or how much of the CPU that it wanted it got, with its migrations as ticks below."""
    has_speed = any(each is not None for each in job.speed_per_s)

    def draw(axes: Axes) -> None:
        line = job.speed_per_s if has_speed else [None if e is None else 100.0 * e for e in job.served_ratio]
        told = [(at, value) for at, value in zip(job.at, line, strict=True) if value is not None]
        axes.plot(_dates([at for at, _ in told]), [value for _, value in told], color=SERIES[0])
        axes.set_ylim(bottom=0.0)
        axes.set_ylabel("iterations a second" if has_speed else "CPU got, % of wanted")
        causes = {each.cause for each in job.migrations}
        _mark(axes, [each for each in moves if each.migration.cause in causes])
        _over_time(axes, history)

    what = "iterations a second" if has_speed else "share of the CPU that its worst guest wanted and got"
    return _svg(draw, f"Job {job.name}: {what}, over time", (WIDTH_IN, 2.0))


def _mark(axes: Axes, moves: Sequence[ReportedMoveView]) -> None:
    """Draw migrations as ticks at the foot, those that failed in another colour."""
    for ok, colour, label in ((True, GOOD, "a migration"), (False, BAD, "one that failed")):
        at = [each.migration.started_at for each in moves if (each.migration.ok is not False) is ok]
        if at:
            axes.plot(
                _dates(at), [0.03] * len(at), "|", color=colour, transform=axes.get_xaxis_transform(), label=label
            )


def known_since(history: HistoryView) -> float:
    """Return from when on anything is known of the period (Unix time)."""
    counted = zip(history.bucket_at, history.moved, history.failed, strict=True)
    known = [*history.at[:1], *(at for at, moved, failed in counted if moved or failed)]
    return max(history.since, min(known, default=history.since))


def _over_time(axes: Axes, history: HistoryView) -> None:
    begins = min(known_since(history), history.until - 1.0)  # what is known may be of one moment
    axes.set_xlim(*_dates([begins, history.until]))
    locator = mdates.AutoDateLocator(minticks=5, maxticks=12)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _durations(axes: Axes) -> None:
    """Let the heights be durations, at round ones."""
    least, most = axes.get_ylim()
    steps = [each for each in STEPS_S if (most - least) / each <= MOST_TICKS]
    axes.yaxis.set_major_locator(MultipleLocator(steps[0] if steps else (most - least) / MOST_TICKS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _signed(seconds)))


def _signed(seconds: float) -> str:
    if abs(seconds) < 1e-9:
        return "0"
    return format_duration(seconds).removesuffix(" 0 s")


def _legend(axes: Axes) -> None:
    """Put the legend above, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, borderaxespad=0.2)


def _dates(at: Sequence[float]) -> Sequence[float]:
    """Return Unix times as days of local time, as Matplotlib counts them: with the offset from UTC at each."""
    offsets_s = ((datetime.fromtimestamp(each).astimezone().utcoffset(), each) for each in at)
    return [(each + (offset.total_seconds() if offset else 0.0)) / 86400.0 for offset, each in offsets_s]


def _svg(draw: Callable[[Axes], None], title: str, size: tuple[float, float] = (WIDTH_IN, HEIGHT_IN)) -> str:
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return _for_the_page(written.getvalue(), title)


def _for_the_page(svg: str, title: str) -> str:
    """Return a picture without what makes it a file of its own, with the page's colours and letters and a title."""
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    # Ids are unique in a file, and many stand in one page; nothing but clip paths is referred to.
    name = f"p{zlib.crc32(title.encode()):x}-"
    body = re.sub(r'id="([^"]+)"', rf'id="{name}\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}\1)", body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}\1"', body)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", body)
    for colour, of in _PROPERTIES.items():
        body = body.replace(colour, f"var(--{of})")
    label = escape(title, quote=True)
    return body.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)

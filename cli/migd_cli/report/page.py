"""The report as HTML: one file that asks nobody for anything, has no script, and is read in light, in dark, printed."""

import time
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Final

from migd_cli.comparison import error_text, settings_text, signed
from migd_cli.report import plots
from migd_core.api import ComparisonView, ReportedMoveView, ReportView
from migd_core.units import format_bytes, format_duration, format_ratio

# Rows of a table; the newest are shown, and the pictures have them all.
MOST_ROWS: Final = 200
NOTHING: Final = "–"
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
Cell = tuple[str, str]  # a class, and what stands in it, as HTML


def page(view: ReportView) -> str:
    """Return the file."""
    title = f"migd, {_time(view.history.since)} to {_time(view.history.until)}"
    style = files("migd_cli.report").joinpath("report.css").read_text(encoding="utf-8")
    parts = [_summary(view), _moved(view), _gained(view), _predicted(view), _policies(view), _load(view), _jobs(view)]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title><style>{style}</style></head><body><main>",
            *parts,
            _happened(view),
            "</main></body></html>\n",
        ]
    )


def _summary(view: ReportView) -> str:
    history, over = view.history, [each for each in view.moves if each.migration.ok is not None]
    moved = [each for each in over if each.migration.ok]
    took_s = sum(each.migration.actual_s or 0.0 for each in over)
    copied = sum(each.memory_bytes for each in moved)
    tiles = [
        ("Migrations", f"{len(moved)}", f"{len(over) - len(moved)} failed, {len(view.moves) - len(over)} under way"),
        ("Memory moved", format_bytes(copied), f"in {format_duration(took_s)} of copying"),
        ("Promised", signed(sum(each.gain_s for each in moved)), "of job time to be gained"),
        ("Cost", format_duration(sum(each.cost_s for each in over)), "of job time lost to copying, as predicted"),
        ("Predictions", _hits(view), "took as long as was predicted; 8 of 10 are to"),
    ]
    if view.comparison.contenders:
        active = view.comparison.contenders[0]
        tiles.append(("Gained", signed(active.net_s), f"net, by loads measured in {format_duration(active.watched_s)}"))
    body = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(text)}</small></dd></div>"
        for name, value, text in tiles
    )
    period = f"{_time(history.since)} to {_time(history.until)} ({format_duration(history.until - history.since)})"
    policies = ", then ".join(view.policies)
    known_s = plots.known_since(history)
    words = (
        f"Nothing is known of the time before {_time(known_s)}. "
        if known_s - history.since > 0.02 * (history.until - history.since)
        else ""
    )
    words += "Job time is the time that jobs take to run, each job counted for itself."
    return (
        f"<h1>What migd did</h1><p class='soft'>{escape(period)}. Policy {escape(policies)}. Made of "
        f"{escape(view.source)} by migd {escape(view.version)}. {words}</p>"
        f"{_section('summary', 'At a glance', f'<dl>{body}</dl>')}"
    )


def _moved(view: ReportView) -> str:
    if not view.moves:
        return _section("moved", "What was moved", "<p>Nothing was moved in this time.</p>")
    shown = view.moves[-MOST_ROWS:][::-1]
    words = f"The newest {len(shown)} of {len(view.moves)}." if len(shown) < len(view.moves) else ""
    if view.are_moves_left_out:
        words += f" There were more before {_time(view.moves[0].migration.started_at)}, which no figure here counts."
    heads = (
        "When",
        "Id",
        "Guest",
        "Job",
        "From",
        "To",
        "Asked for by",
        "Outcome",
        "#Predicted",
        "#Took",
        "#Cost",
        "#Promised",
    )
    rows = _table(heads, [_row(each) for each in shown])
    return _section("moved", "What was moved", _figure(plots.moves_plot(view.history)) + _words(words) + rows)


def _row(each: ReportedMoveView) -> list[Cell]:
    found, said = each.migration, each.predicted
    predicted = NOTHING if found.predicted_s is None else format_duration(found.predicted_s)
    if said is not None:
        predicted = f"{format_duration(said.low)} to {format_duration(said.high)}"
    outcome = ("good", "moved") if found.ok else ("bad", found.state) if found.ok is False else ("", found.state)
    text = f" <small class='soft'>{escape(found.text)}</small>" if found.text else ""
    return [
        ("whole", escape(_time(found.started_at))),
        ("whole", escape(found.cause)),
        ("", escape(found.guest_name)),
        ("", escape(each.job or NOTHING)),
        ("", escape(found.source_name)),
        ("", escape(found.target_name)),
        ("", escape(found.requested_by)),
        (outcome[0], escape(outcome[1]) + text),
        ("number", escape(predicted)),
        ("number", escape(NOTHING if found.actual_s is None else format_duration(found.actual_s))),
        ("number", escape(format_duration(each.cost_s))),
        ("number", escape(signed(each.gain_s) if each.gain_s else NOTHING)),
    ]


def _gained(view: ReportView) -> str:
    if not view.moves:
        words = "Nothing was moved, so nothing was gained or lost by it."
        return _section("gained", "Gained and lost", _words(words))
    jobs: dict[str, list[ReportedMoveView]] = {}
    for each in view.moves:
        jobs.setdefault(each.job or f"{each.migration.guest_name} (of no job)", []).append(each)
    rows = [
        [
            ("", escape(name)),
            ("number", str(sum(each.migration.ok is True for each in moves))),
            ("number", str(sum(each.migration.ok is False for each in moves))),
            ("number", format_duration(sum(each.migration.actual_s or 0.0 for each in moves))),
            (
                "number",
                format_duration(sum(each.migration.predicted_pause_s or 0.0 for each in moves if each.migration.ok)),
            ),
            ("number", format_duration(sum(each.cost_s for each in moves))),
            ("number", signed(sum(each.gain_s for each in moves if each.migration.ok))),
        ]
        for name, moves in sorted(jobs.items())
    ]
    heads = ("Job", "#Moved", "#Failed", "#Copying", "#Standing still", "#Cost", "#Promised")
    words = (
        "Cost and gain are job time, as the ledger reckoned when the moves began; how long guests stood still is as "
        "predicted, too. A gain is promised for as long as the imbalance that it answers is taken to last."
    )
    figure = _figure(plots.gains_plot(view.history, view.moves))
    return _section("gained", "Gained and lost", _words(words) + figure + _table(heads, rows))


def _predicted(view: ReportView) -> str:
    history = view.history
    if not history.predicted:
        words = "No migration with a prediction has arrived in this time."
        return _section("predicted", "Predicted against actual", _words(words))
    words = f"{_hits(view)} migrations took as long as was predicted, where 8 of 10 are to"
    if history.error_ratio is not None:
        words += f"; half of the predictions were off by {format_ratio(history.error_ratio)} or less"
    words += ". A bar is where 8 of 10 were to be, a dot the median; on the dashed line a prediction is right."
    if view.comparison.contenders:
        words += f" {error_text(view.comparison)}"
    return _section(
        "predicted", "Predicted against actual", _words(words) + _figure(plots.predicted_plot(view.moves), "narrow")
    )


def _policies(view: ReportView) -> str:
    comparison = view.comparison
    words = _words(_capital(comparison.text) + ".")
    if not comparison.contenders:
        return _section("policies", "What each policy would have done", words)
    figure = _figure(plots.courses_plot(view.history, view.courses)) if view.courses else ""
    heads = (
        "Policy",
        "#Ahead by",
        "#Net",
        "#Gained",
        "#Promised",
        "#Cost",
        "#Moves",
        "#Standing still",
        "#Watched",
        "Settings",
    )
    more = _words(
        "All but the policy in use only proposed; what would have come of it goes by the loads that were measured "
        "since, and by what the ledger says that copying costs. Moves of these never fail. Who is ahead is told by the "
        "time in which both could be watched; the other columns are of all of each one's own."
    )
    return _section(
        "policies", "What each policy would have done", words + figure + _table(heads, _rows(comparison)) + more
    )


def _rows(comparison: ComparisonView) -> list[list[Cell]]:
    return [
        [
            ("", escape(each.label) + (f" <small class='bad'>{escape(each.problem)}</small>" if each.problem else "")),
            ("number", "in use" if each.is_active else signed(each.ahead_s)),
            ("number", signed(each.net_s)),
            ("number", signed(each.gained_s)),
            ("number", signed(each.due_s)),
            ("number", format_duration(each.cost_s)),
            ("number", f"{each.moves} ({each.failed} failed)" if each.failed else str(each.moves)),
            ("number", format_duration(each.pause_s)),
            ("number", format_duration(each.watched_s)),
            ("", escape(settings_text(each.config) or NOTHING)),
        ]
        for each in comparison.contenders
    ]


def _load(view: ReportView) -> str:
    if not any(each is not None for each in view.history.load_mean_ratio):
        return _section("load", "Load", _words("No host reported in this time."))
    return _section("load", "Load", _figure(plots.load_plot(view.history, view.moves)))


def _jobs(view: ReportView) -> str:
    parts = [
        f"<h3>{escape(job.name)}</h3>" + _figure(plots.job_plot(view.history, job, view.moves))
        for job in view.jobs
        if any(each is not None for each in (*job.speed_per_s, *job.served_ratio))
    ]
    return _section("jobs", "Jobs", "".join(parts) or _words("No job was known in this time."))


def _happened(view: ReportView) -> str:
    rows: list[list[Cell]] = [
        [("whole", escape(_time(each.at))), ("", escape(each.text))] for each in view.history.happenings[:MOST_ROWS]
    ]
    text = _table(("When", "What"), rows) if rows else _words("Nobody steered migd, and no host changed its health.")
    return _section("happened", "What else happened", text)


def _hits(view: ReportView) -> str:
    history = view.history
    return f"{history.within} of {history.predicted}" if history.predicted else NOTHING


def _section(name: str, title: str, body: str) -> str:
    return f'<section id="{name}"><h2>{escape(title)}</h2>{body}</section>'


def _words(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def _figure(svg: str, kind: str = "") -> str:
    return f'<figure class="{kind}" tabindex="0">{svg}</figure>'


def _table(heads: Iterable[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table; a head that begins with # is of numbers."""
    top = "".join(
        f'<th class="number" scope="col">{escape(each[1:])}</th>'
        if each[0] == "#"
        else f'<th scope="col">{escape(each)}</th>'
        for each in heads
    )
    body = "".join("<tr>" + "".join(f'<td class="{kind}">{text}</td>' for kind, text in row) + "</tr>" for row in rows)
    return f'<div class="scrolls" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

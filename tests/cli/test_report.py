"""`migctl report`: the file that it writes, of what a controller answers or of a record, and what it refuses."""

import re
from html import escape
from pathlib import Path

import msgspec
import pytest

from migd_cli.report.page import page
from migd_core.api import (
    ComparisonView,
    HappeningView,
    HistoryView,
    IntervalView,
    MigrationView,
    ReportedMoveView,
    ReportView,
)
from migd_sim.run import recorded
from migd_sim.run.replay.redeciding import Other
from migd_sim.run.replay.reporting import report as report_of

SCENARIO = Path(__file__).parents[1] / "scenarios" / "a-shadow-would-have-done-better"
SECTIONS = ["summary", "moved", "gained", "predicted", "policies", "load", "jobs", "happened"]
ROUTE = ("GET", "/v1/report")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of ten minutes with one migration."""
    folder = tmp_path_factory.mktemp("record") / "run"
    recorded.run(SCENARIO, folder)
    return folder


@pytest.fixture(scope="module")
def view(run: Path) -> ReportView:
    found, notes = report_of(run, [Other("job-time", "job-time")])
    assert notes == []
    return found


def nothing(at: list[float]) -> ReportView:
    history = HistoryView(
        since=1000.0,
        until=2000.0,
        at=at,
        load_mean_ratio=[None] * len(at),
        load_most_ratio=[None] * len(at),
        load_least_ratio=[None] * len(at),
        bucket_s=60.0,
        bucket_at=[960.0, 1020.0],
        moved=[0, 0],
        failed=[0, 0],
        within=0,
        predicted=0,
    )
    return ReportView(
        version="0.1.0",
        source="a test",
        policies=["observe"],
        history=history,
        moves=[],
        are_moves_left_out=False,
        comparison=ComparisonView(text="no policy runs beside the active one"),
    )


def test_the_report_of_a_controller_is_asked_for_once_and_written(view, controller, migctl, tmp_path):
    controller.answers[ROUTE] = view
    ended = migctl("report", "--since", "2d12h", "-o", str(tmp_path / "r.html"))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert controller.asked == [("GET", "/v1/report?hours=60", None)]
    assert ended.stdout.startswith(f"{tmp_path}/r.html: 1 migration in 10 min. job-time would have saved ")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page(view)
    assert migctl("report", "--json").stdout == msgspec.json.encode(view).decode() + "\n"


def test_a_record_is_reported_without_a_controller_and_its_end_alone_if_asked(run, view, migctl, tmp_path):
    ended = migctl(
        *("report", "--record", str(run), "--policy", "job-time", "-o", str(tmp_path / "r.html")),
        MIGD_SOCKET="/nowhere",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page(view)
    last = migctl("report", "--record", str(run), "--since", "2m", "--json")
    found = msgspec.json.decode(last.stdout, type=ReportView)
    assert (found.history.until - found.history.since, found.moves) == (120.0, [])
    assert [each.label for each in found.comparison.contenders] == ["least-loaded", "job-time", "nobody"]


def test_a_time_with_one_control_period_in_it_is_drawn(run):
    found, _ = report_of(run, [], 1.0)
    assert len(found.history.at) == 1
    assert "<svg" in page(found)


def test_the_file_is_whole_by_itself(view):
    text = page(view)
    assert re.findall('<section id="([a-z]+)">', text) == SECTIONS
    assert "<script" not in text
    outside = re.findall(r"""(?:href|src|url)\s*[=(]\s*["']?([^"')\s>]+)""", text)
    assert [each for each in outside if not each.startswith(("#", "data:"))] == []
    assert [each for each in re.findall(r"https?://[^\s\"'<>]+", text) if "www.w3.org" not in each] == []
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"#0[0-9a-f]0[0-9a-f]0[0-9a-f]\b", text)) == set()  # every colour is the page's own


def test_the_figures_are_those_of_the_view(view):
    text = re.sub(r"<[^>]+>", " ", page(view))
    (move,) = view.moves
    for shown in (move.migration.cause, move.migration.guest_name, "1 of 1", "+4 min 47 s", view.comparison.text[9:]):
        assert shown in text
    for each in view.comparison.contenders:
        assert each.label in text


def test_the_same_figures_make_the_same_file(view):
    assert page(view) == page(view)


def test_nothing_that_anybody_named_becomes_markup(view):
    name = "<img src=x onerror=alert(1)> $x^2$ & \"'"
    hostile = msgspec.json.decode(
        msgspec.json.encode(view)
        .decode()
        .replace('"rank0"', msgspec.json.encode(name).decode())
        .replace('"brams"', msgspec.json.encode(name).decode())
        .replace('"job-time"', msgspec.json.encode(name).decode()),
        type=ReportView,
    )
    text = page(hostile)
    assert "<img" not in text
    assert text.count(escape(name)) + text.count(escape(name, quote=False)) > 4


def test_a_time_in_which_nothing_happened_says_so_in_each_section():
    text = page(nothing([1500.0]))
    for words in (
        "Nothing was moved in this time.",
        "so nothing was gained or lost",
        "No migration with a prediction",
        "No policy runs beside the active one.",
        "No host reported in this time.",
        "No job was known in this time.",
        "Nobody steered migd",
    ):
        assert words in text
    assert "<svg" not in text


def test_failed_and_hand_made_moves_and_those_under_way_are_told_apart():
    view = nothing([1500.0])
    migrations = [
        MigrationView(
            cause=f"D{number}.1",
            guest="g",
            guest_name="g",
            source="a",
            source_name="a",
            target="b",
            target_name="b",
            state=state,
            started_at=1000.0 + number,
            requested_by="by hand, anna",
            ok=ok,
            actual_s=actual_s,
            text=text,
        )
        for number, (state, ok, actual_s, text) in enumerate(
            [("moved", True, 20.0, ""), ("stayed", False, 3.0, "it is full"), ("running", None, None, "")]
        )
    ]
    moves = [
        ReportedMoveView(migration=each, job="", memory_bytes=1 << 30, cost_s=5.0, gain_s=50.0, predicted=None)
        for each in migrations
    ]
    moves[0] = msgspec.structs.replace(moves[0], predicted=IntervalView(low=10.0, median=15.0, high=19.0))
    history = msgspec.structs.replace(
        view.history,
        moved=[0, 1],
        failed=[0, 1],
        predicted=1,
        error_ratio=0.33,
        happenings=[HappeningView(at=1200.0, kind="paused", text="paused by an operator")],
    )
    text = page(msgspec.structs.replace(view, moves=moves, history=history, are_moves_left_out=True))
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    assert "1 1 failed, 1 under way" in plain
    assert "stayed it is full" in plain
    assert "0 of 1 migrations took as long as was predicted" in plain
    assert "There were more before" in plain
    assert "paused by an operator" in plain
    assert "+50 s" in plain  # of the one that moved alone


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--since", "yesterday"), 2, "'yesterday' is not a duration; write it like 90s, 15min, 6h or 1d12h"),
        (("--since", "1s"), 2, "--since: expected 36 s to 31 d, which is what the controller keeps, found 1.0 s"),
        (("--since", "40d"), 2, "expected 36 s to 31 d"),
        (("--policy", "job-time"), 2, "--policy asks a policy about a record: name one with --record"),
        (("--record", "/nowhere"), 1, "/nowhere: cannot be read: No such file or directory"),
        (("--record", "RUN", "--policy", "job-tim"), 1, "did you mean job-time"),
        (("--record", "RUN", "--policy", "job-time,fast"), 2, "expected KEY=VALUE after the comma, found 'fast'"),
        (("--record", "RUN", "-o", "/nowhere/r.html"), 1, "/nowhere/r.html: cannot be written"),
    ],
)
def test_what_cannot_be_reported_is_refused(arguments, code, text, run, migctl):
    ended = migctl("report", *(str(run) if each == "RUN" else each for each in arguments), COLUMNS="400")
    assert (ended.returncode, ended.stdout) == (code, "")
    assert text in ended.stderr


def test_a_time_of_which_nothing_is_known_is_no_report(controller, migctl, tmp_path):
    controller.answers[ROUTE] = nothing([])
    ended = migctl("report", "-o", str(tmp_path / "r.html"))
    assert (ended.returncode, (tmp_path / "r.html").exists()) == (1, False)
    assert "nothing is known of the last 17 min: no control period and no migration" in ended.stderr

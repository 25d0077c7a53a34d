"""`migctl top` against a real controller and an emulated pool: by textual's pilot, and on a real pseudo-terminal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from live_cluster import LIMIT_S, POOL, LiveCluster, LiveController
from rich.text import Text
from textual.pilot import Pilot
from textual.widgets import Input, Static

from migd_cli.client import Client
from migd_cli.demo.children import brood
from migd_cli.top.app import Top
from migd_cli.top.dialogs import Filter, Question, Reader
from migd_cli.top.row_list import RowList
from migd_cli.top.rows import Row
from terminal import Terminal

JOB = """
[[jobs]]
name = "brams"
ranks = ["rank0", "rank1"]
work_s = 1.0
steps = 100000
reports_progress = true
"""


@pytest.fixture
def live(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[LiveController]:
    """A controller that sees two hosts, three guests and one job, and moves nothing by itself.

    Its pool's time passes ten times as fast as anybody's, or as fast as a test asks for.
    """
    faster = getattr(request, "param", 10)
    folder = tmp_path_factory.mktemp("t")  # short: sockets live in it
    with brood(folder) as children:
        pool = POOL.replace("faster = 10", f"faster = {faster}") + JOB
        cluster = LiveCluster(folder, children, pool=pool)
        controller = cluster.controller()
        controller.start()
        cluster.start_agents(controller)
        controller.sees_everything()
        controller.ask("POST", "/v1/jobs", name="brams", guests=["rank0", "rank1"])
        yield controller


async def until(pilot: Pilot[None], look: Callable[[], object], what: str) -> None:
    """Return once `look` finds something; fail after LIMIT_S."""
    deadline_s = time.monotonic() + LIMIT_S
    while not look():
        assert time.monotonic() < deadline_s, f"{what} was not to be seen within {LIMIT_S} s"
        await pilot.pause(0.02)


def lines(app: Top, name: str) -> list[str]:
    """What one of the lists shows, a line each, as wide as need be."""
    rows = app.screen_stack[0].query_one(f"#{name}", RowList)
    return [row.draw(200).plain for row in rows.rows]


def words(app: Top, name: str) -> str:
    """What one of the lines around the lists says; empty where it is hidden."""
    line = app.screen_stack[0].query_one(f"#{name}", Static)
    return str(line.content) if line.display else ""


def under_cursor(app: Top) -> str:
    row = app.screen_stack[0].query_one("#hosts", RowList).row
    return "" if row is None else row.key


async def test_the_screen_shows_the_cluster_and_its_keys_steer_it(live: LiveController) -> None:
    app = Top(Client(str(live.socket)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(lines(app, "hosts")) == 5, "two hosts with three guests")
        assert [line.split()[:2] for line in lines(app, "hosts")[0::4]] == [["▾", "xen1"], ["▾", "xen2"]]
        await until(pilot, lambda: "it/s" in "".join(lines(app, "jobs")), "the job's speed")
        assert "2 guests" in lines(app, "jobs")[0]
        assert words(app, "banner") == ""

        await pilot.press("p")
        await until(pilot, lambda: "P A U S E D" in words(app, "banner"), "the pause")
        assert live.status().is_paused
        await pilot.press("p", "r")
        await until(pilot, lambda: words(app, "banner") == "", "the end of the pause")
        assert not live.status().is_paused

        await pilot.press("end", "up", "e")
        assert under_cursor(app) == "guest-1"
        await until(pilot, lambda: isinstance(app.screen, Reader), "the explanation")
        assert "guest rank1 is on host xen1" in str(app.screen.query_one("VerticalScroll Static", Static).content)
        await pilot.press("escape")

        await pilot.press("s", "s", "s")
        assert words(app, "hosts-title").startswith("Hosts and guests by memory")
        assert "big" in lines(app, "hosts")[1]
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.screen, Filter), "the question for a name")
        app.screen.query_one(Input).value = "RANK1"
        await pilot.press("enter")
        await until(pilot, lambda: [line.split()[1] for line in lines(app, "hosts")][0:1] == ["xen1"], "the filter")
        assert len(lines(app, "hosts")) == 2
        assert words(app, "hosts-title").endswith("only 'RANK1' (Esc shows all)")
        await pilot.press("escape", "home", "enter")
        assert len(lines(app, "hosts")) == 2, "xen1 is folded, xen2 has no guests"


# Half a minute under way: it is not over while a busy machine takes its time to draw the screen.
@pytest.mark.parametrize("live", [1], indirect=True, ids=["as-fast-as-life"])
async def test_a_migration_is_cancelled_after_a_question_and_only_then(live: LiveController) -> None:
    app = Top(Client(str(live.socket)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(lines(app, "hosts")) == 5, "two hosts with three guests")
        live.ask("POST", "/v1/migrations", guest="big", host="xen2")
        await until(pilot, lambda: "→ xen2" in lines(app, "hosts")[1], "the migration beside its guest")
        await pilot.press("down", "c")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press("enter", "n")
        assert not isinstance(app.screen, Question)
        assert not live.status().migrations[0].is_cancelling
        await pilot.press("tab", "tab", "c")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press("y")
        (ended,) = live.history(lambda each: each[0].ok is not None)
        assert (ended.state, ended.is_cancelling) == ("stayed", True)
        await until(pilot, lambda: "stayed after" in lines(app, "migrations")[0], "how it ended")


async def test_what_is_recommended_is_approved_or_refused_after_a_question(live: LiveController) -> None:
    live.ask("PUT", "/v1/automation", level="recommend")
    live.ask("PUT", "/v1/policy", name="least-loaded", config={"sustained_periods": 1})
    app = Top(Client(str(live.socket)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: lines(app, "recommendations"), "a recommendation")
        (waits,) = live.ask("GET", "/v1/recommendations")
        assert lines(app, "recommendations")[0].startswith(f"{waits.name}  {waits.moves[0].guest_name}  xen1 → xen2")
        assert ", automation recommend" in words(app, "headline")
        assert words(app, "recommendations-title") == "Waits for your word: a approve, x refuse"
        await pilot.press("tab", "tab", "x")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press("n", "enter")
        await until(pilot, lambda: isinstance(app.screen, Reader), "what is recommended, in full")
        await pilot.press("escape", "x", "y")
        await until(
            pilot, lambda: waits.name not in "".join(lines(app, "recommendations")), "the end of what is refused"
        )
        assert live.ask("GET", "/v1/migrations") == []
        live.ask("PUT", "/v1/policy", name="evacuate", config={"hosts": "xen1"})
        await until(pilot, lambda: lines(app, "recommendations"), "who is to leave for their safety")
        (waits,) = live.ask("GET", "/v1/recommendations")
        await pilot.press("tab", "tab", "a", "y")
        (begun,) = live.history(lambda each: each and each[-1].ok is not None)[-1:]
        assert (begun.guest, begun.state) == (waits.moves[0].guest, "moved")
        await until(pilot, lambda: app.focused is app.query_one("#hosts") or lines(app, "recommendations"), "the next")
        await pilot.press("home", "v")
        await until(pilot, lambda: isinstance(app.screen, Question), "the question")
        await pilot.press("y")
        await until(pilot, lambda: live.status().hosts_in_maintenance == 1, "the evacuation")
        live.ask("PUT", "/v1/automation", level="off")
        title = app.query_one("#recommendations-title")
        await until(pilot, lambda: not title.display, "the end of all recommendations")
        assert app.focused is app.query_one("#hosts"), "the cursor has gone where something is"
        await until(pilot, lambda: "moved in" in "".join(lines(app, "migrations")), "how it ended")


async def test_nothing_is_lost_when_the_controller_is_away_and_no_key_waits_for_it(live: LiveController) -> None:
    app = Top(Client(str(live.socket)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(lines(app, "hosts")) == 5, "two hosts with three guests")
        await pilot.press("s", "end", "up")
        chosen = under_cursor(app)
        live.end(signal.SIGKILL)
        await until(pilot, lambda: "NOT CONNECTED" in words(app, "banner"), "the lost connection")
        assert "nobody listens on" in words(app, "banner")
        assert len(lines(app, "hosts")) == 5, "the last that was known stays on the screen"
        live.start()
        await until(pilot, lambda: words(app, "banner") == "", "the controller")
        await until(pilot, lambda: len(lines(app, "hosts")) == 5, "two hosts with three guests")
        assert (under_cursor(app), words(app, "hosts-title")[:24]) == (chosen, "Hosts and guests by load")

        assert live.child is not None
        live.child.send(signal.SIGSTOP)
        try:
            await until(pilot, lambda: "no answer for" in words(app, "banner"), "the silence")
            began_s = time.monotonic()
            await pilot.press("s", "home")
            assert words(app, "hosts-title").startswith("Hosts and guests by waiting")
            assert time.monotonic() - began_s < 5.0, "a key waited for the controller"
        finally:
            live.child.send(signal.SIGCONT)
        await until(pilot, lambda: words(app, "banner") == "", "the controller's answer")


async def test_the_cursor_returns_to_what_it_was_put_on_and_else_stays_with_its_row(tmp_path: Path) -> None:
    app = Top(Client(str(tmp_path / "nobody.sock")))
    async with app.run_test(size=(80, 24)) as pilot:
        hosts = app.query_one("#hosts", RowList)

        def key_of(keys: str) -> str | None:
            hosts.show([Row(key, None, 1, lambda columns, key=key: Text(key)) for key in keys], "none")
            return hosts.row.key if hosts.row is not None else None

        assert key_of("abc") == "a"
        await pilot.press("end")
        assert [key_of(keys) for keys in ("abcd", "dcba", "", "ab", "xab", "bcd")] == ["c", "c", None, "a", "a", "c"]


async def test_a_terminal_that_is_resized_is_filled_or_told_what_room_is_needed(live: LiveController) -> None:
    app = Top(Client(str(live.socket)))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.resize_terminal(40, 10)
        assert words(app, "too-small") == "terminal too small: 40×10, needs 60×16; enlarge it, or q to quit"
        await pilot.resize_terminal(132, 40)
        assert words(app, "too-small") == ""
        await until(pilot, lambda: app.query_one("#hosts", RowList).size.width == 132, "the whole width in use")


@contextmanager
def terminal(socket: Path, **environment: str) -> Iterator[Terminal]:
    """`migctl top` on a terminal of 80 × 24."""
    variables = {name: text for name, text in os.environ.items() if name != "NO_COLOR"}
    command = [sys.executable, "-m", "migd_cli", "--socket", str(socket), "top"]
    with Terminal(command, {**variables, **environment}) as shown:
        yield shown


COLOURS = {"TERM": "xterm-256color"}
MONOCHROME = [{"TERM": "xterm-256color", "NO_COLOR": "1"}, {"TERM": "vt220"}]


@pytest.mark.parametrize("environment", [COLOURS, *MONOCHROME], ids=["colours", "NO_COLOR", "vt220"])
def test_everything_is_readable_on_80_by_24_with_colours_and_without(live: LiveController, environment) -> None:
    with terminal(live.socket, **environment) as shown:
        lines = shown.shows("▾ xen1", "▾ xen2", "rank0", "rank1", "brams  slowest", "? Help")
        assert lines[0].startswith("migd ")
        assert lines[1].startswith("Hosts and guests by name   CPU: █ gets  ░ waits for  · idle")
        assert lines[2].startswith("> ▾ xen1    ██")
        assert lines[-1].startswith("q Quit p Pause r Resume e Explain c Cancel s Sort / Filter ? Help")
        assert shown.screen.buffer[2][0].reverse, "the cursor is seen without colour"
        shown.press("p")
        lines = shown.shows("P A U S E D", "no migration is started until you press r.")
        row = next(number for number, line in enumerate(lines) if "P A U S E D" in line)
        assert {shown.screen.buffer[row][column].reverse for column in range(80)} == {True}
        cells = [shown.screen.buffer[y][x] for y in range(24) for x in range(80)]
        colours = {(cell.fg, cell.bg) for cell in cells} - {("default", "default")}
        assert bool(colours) is (environment == COLOURS)
        assert [pair for pair in colours if pair[0] == pair[1]] == []
        shown.press("q")
        assert shown.ends() == 0


def test_without_textual_or_a_terminal_it_says_what_is_missing_and_ends() -> None:
    def ended(*, hidden: tuple[str, ...]) -> tuple[int, str]:
        program = f"import sys; sys.modules.update(dict.fromkeys({hidden})); sys.argv = ['migctl', 'top']\n"
        program += "from migd_cli.__main__ import main; main()"
        variables = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
        command = [sys.executable, "-c", program]
        run = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=LIMIT_S)
        return run.returncode, run.stderr

    missing = "migctl: migctl top draws with textual, which is not installed; pip install 'migd[top]' brings it\n"
    piped = "migctl: migctl top needs a terminal; `migctl status` and `migctl hosts` can be piped\n"
    assert ended(hidden=("textual",)) == (1, missing)
    assert ended(hidden=()) == (1, piped)


def test_it_waits_for_a_controller_that_is_not_there_yet(live: LiveController) -> None:
    live.end()
    with terminal(live.socket, **COLOURS) as shown:
        shown.shows("NOT CONNECTED, trying again.", "there is no controller socket at")
        live.start()
        lines = shown.shows("▾ xen1", "rank0")
        assert not any("NOT CONNECTED" in line for line in lines)
        shown.press("\x03")
        assert shown.ends() == 0

"""The core goes through storms of faults; cases are drawn by their seed alone, become short, and can be seen again."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from migd_controller.core import Core
from migd_controller.events import JobAdded, Tick
from migd_controller.migration import Migration, State
from migd_core.errors import ConfigError
from migd_core.progress import Progress
from migd_sim.run.soak.__main__ import main
from migd_sim.run.soak.case import Case, Happening, read, write
from migd_sim.run.soak.deeds import DEEDS
from migd_sim.run.soak.drawing import WEIGHTS, draw
from migd_sim.run.soak.known import Known, Told
from migd_sim.run.soak.loop import Loop
from migd_sim.run.soak.past import Past
from migd_sim.run.soak.shrink import fewest, shrunk
from migd_sim.run.soak.soak import _some
from migd_sim.run.soak.violation import Violation


@pytest.mark.parametrize("first", range(1, 25, 3))
def test_nothing_is_wrong_with_these_seeds(first: int) -> None:
    for seed in range(first, first + 3):
        assert Loop(draw(seed)).run().violation is None


@pytest.mark.parametrize(
    "seed",
    [
        99000009,  # guests of a group came together one by one, each from no better: the checker took them for there already
        1210587141,  # a job was at a tenth when it was to end: the checker took the word of who had named it
        1210587456,  # the clock was set back: what was no longer owed for was held against a move by the checker
        1210588206,  # a guest was let leave a host for its safety after the host's maintenance was over
        1210588942,  # and after the pool had given up evacuating it
        1210587618,  # a set began without the guest that had no room in the end, and whose turn had not come
        1079121972,  # a late lease was taken when it was over, for its end was reckoned from an absurd clock
        1079121489,  # a failure was long forgotten when the clock was set back: the checker counted it again
        1618251721,  # an operator spoke to a controller that had just died of what an agent told: the simulation failed
        1618252030,  # a lease was refused before a restart, and its end told after it: the checker took it for a probe
        1618253268,  # and here
        677180897,  # two guests of a group were to go to a host with a set under way, and a third was let go there too
        63603,  # a host was to be emptied right after its maintenance had ended: what was asked for ended with that
    ],
)
def test_what_seeds_have_found_is_mended(seed: int) -> None:
    assert Loop(draw(seed)).run().violation is None


def test_a_job_ends_when_it_was_said_to_or_when_its_own_progress_says_so_as_slow_as_it_ever_was() -> None:
    known = Known(draw(1), "observe")
    known.take(JobAdded(name="j", guests=("g",), remaining_s=100.0), 0.0)
    assert known.ends_in_s("nobody", 0.0) is None
    assert known.ends_in_s("j", 10.0) == 90.0
    told = known.told["g"] = Told(Progress(1.0, 100.0), 10.0)
    told.follow(Progress(2.0, 100.0), 30.0)
    told.follow(Progress(4.0, 100.0), 40.0)
    assert known.ends_in_s("j", 50.0) == 96 * 20.0 - 10.0
    told.follow(Progress(1.0, 100.0), 60.0)
    assert known.ends_in_s("j", 60.0) == 40.0


def test_what_is_of_no_account_any_more_stays_so_when_the_clock_is_set_back() -> None:
    migration = Migration(
        cause="D1.1",
        guest="g",
        source="a",
        target="b",
        requested_by="balance",
        asked_at=0.0,
        job="j",
        state=State.STAYED,
        ended_at=10.0,
        predicted_s=10.0,
        cost_s=5.0,
    )
    past = Past(draw(1).guards)
    past.ended(migration, 10.0)
    past.heard(Tick(), 3000.0)
    assert past.behind_s("j", 3000.0) == (5.0, 2990.0)
    past.heard(Tick(), 4000.0)
    past.restarted(400.0)
    assert past.behind_s("j", 400.0) == (0.0, 0.0)


def test_a_case_goes_the_same_way_each_time() -> None:
    told, again = (Loop(draw(7), logs=True).run() for _ in range(2))
    assert told.log == again.log
    assert len(told.log) > 100


def test_a_case_is_drawn_by_its_seed_and_survives_its_file(tmp_path: Path) -> None:
    case = draw(11)
    assert draw(11) == case != draw(12)
    write(case, tmp_path / "case.json")
    assert read(tmp_path / "case.json") == case


def test_a_file_that_is_no_case_is_named(tmp_path: Path) -> None:
    case = draw(1)
    unlike = msgspec.json.encode(replace(case, pool=replace(case.pool, hosts=case.pool.hosts[:1])))
    for content in (b'{"seed": 1, "storm": 2}', b'{"seed": "\xff\xfe"}', b"[" * 5000, b"", unlike):
        (tmp_path / "case.json").write_bytes(content)
        with pytest.raises(ConfigError, match=r"case\.json: expected a case that `make soak` has written"):
            read(tmp_path / "case.json")


def test_everything_that_can_happen_is_drawn_sometimes() -> None:
    assert {*WEIGHTS, "clock-slow"} == DEEDS.keys()
    drawn = {happening.what for seed in range(60) for happening in draw(seed).happenings}
    assert drawn == DEEDS.keys()


def test_the_fewest_that_fail_together_are_found() -> None:
    tried: list[Any] = []

    def fails(some: Any) -> bool:
        tried.append(some)
        return {3, 40, 41} <= set(some)

    assert fewest(range(64), fails) == [3, 40, 41]
    assert len(tried) < 64


def test_a_failing_case_becomes_short_and_fails_in_the_same_way() -> None:
    """Whoever stops g0 after the hog has begun is to blame; what goes on meanwhile is not."""
    case = draw(5)
    blamed = (
        Happening(at_s=400.0, what="hog", of="g0", value=1.0, lasts_s=60.0),
        Happening(at_s=900.0, what="guest-stops", of="g0"),
    )
    case = replace(case, happenings=tuple(sorted((*case.happenings, *blamed), key=lambda each: each.at_s)))

    def run(some: Case) -> Violation | None:
        found = [each for each in some.happenings if each in blamed]
        is_there = any(guest.name == "g0" for guest in some.pool.guests)
        is_wrong = is_there and len(found) == 2 and some.until_s > 900.0
        return Violation(invariant="blame", at_s=900.0, text="") if is_wrong else None

    short = shrunk(case, "blame", run)
    assert short.happenings == blamed
    assert [guest.name for guest in short.pool.guests] == ["g0"]
    assert short.until_s == 901.0


def test_the_command_tells_figures_as_json_and_its_exit_code_says_that_nothing_is_wrong() -> None:
    command = [sys.executable, "-m", "migd_sim.run.soak", "--first", "3", "--seeds", "2", "--processes", "1"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    figures = msgspec.json.decode(found.stdout)
    assert (found.returncode, figures["first_seed"], figures["seeds"], figures["failures"]) == (0, 3, 2, [])
    assert figures["cluster_hours"] >= 10.0
    assert "0 violations" in found.stderr


def test_where_the_simulation_itself_fails_the_seed_is_named_and_its_case_becomes_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(*_: Any) -> None:
        raise KeyError("nobody")

    monkeypatch.setitem(DEEDS, "hog", fails)
    code = main(f"--first 4 --seeds 2 --processes 1 --folder {tmp_path}".split())
    said = capsys.readouterr()
    figures = msgspec.json.decode(said.out)
    assert (code, figures["seeds"], [each["seed"] for each in figures["failures"]]) == (1, 2, [4, 5])
    assert re.search(r"^seed 4: simulation: KeyError: 'nobody' \(test_soak\.py:\d+\)$", said.err, re.MULTILINE)
    assert [each.what for each in read(tmp_path / "simulation-4.json").happenings] == ["hog"]


def test_a_core_that_fails_as_it_starts_is_a_crash_of_that_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise KeyError("nobody")

    monkeypatch.setattr(Core, "adopt", fails)
    violation = Loop(draw(3)).run().violation
    assert violation == Violation(invariant="crash", at_s=0.0, text="starting: KeyError: 'nobody'")


def test_a_short_case_that_cannot_be_written_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(Core, "adopt", lambda *_: 1 / 0)
    folder = tmp_path / "file"
    folder.write_text("")
    assert main(["--seed", "3", "--folder", str(folder)]) == 1
    said = capsys.readouterr().err
    assert f"{folder / 'crash-3.json'}: cannot be written: File exists; --folder names another place" in said


@pytest.mark.parametrize(
    "words", ["--minutes nan", "--minutes -1", "--minutes 0", "--processes 0", "--seed -5", "--first -7", "--seeds -3"]
)
def test_what_would_run_nothing_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words.split())
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_every_seed_that_is_asked_for_is_run() -> None:
    seeds = iter(range(3, 13))
    assert [_some(seeds) for _ in range(4)] == [[3, 4, 5, 6], [7, 8, 9, 10], [11, 12], []]


def test_a_soak_that_ran_nothing_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "1e-9", "--processes", "1"]) == 1
    assert "no case was run" in capsys.readouterr().err


def test_a_file_that_cannot_be_replayed_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--replay", "nowhere.json"]) == 2
    assert "nowhere.json: expected a case" in capsys.readouterr().err

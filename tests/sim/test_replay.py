"""Every run that is recorded can be made again, and what is wrong with a record is told by the first thing that is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest
import zstandard

from migd_controller.core import Core
from migd_controller.record.core_state import CoreState, state_of
from migd_controller.record.format import FIRST_LINE, RecordError
from migd_controller.record.parts import Parts, part_files
from migd_core import __version__
from migd_policies.second_thoughts import Copying
from migd_sim.run import recorded, scenario
from migd_sim.run.replay import replaying
from migd_sim.run.replay.replaying import Difference, Replayed, replay

SCENARIOS: Final = Path(__file__).parents[1] / "scenarios"
HOG: Final = SCENARIOS / "a-hog-drives-ranks-away"
SHADOW: Final = SCENARIOS / "a-shadow-would-have-done-better"


def in_parts(name: Path, folder: Path, part_bytes: int) -> Path:
    """Record a scenario in parts of a size."""
    parts = Parts(folder, part_bytes)
    scenario.run(name, parts)
    parts.close()
    return folder


def complaint(path: Path) -> str:
    """Return what a replay says first that is wrong with a file."""
    try:
        found = replay(path)
    except RecordError as error:
        return str(error)
    assert found.difference is None
    return found.notes[0]


@pytest.fixture(scope="module")
def hog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of one run, whole, in one part."""
    folder = tmp_path_factory.mktemp("hog") / "run"
    recorded.run(HOG, folder)
    return folder


@pytest.fixture(scope="module")
def hog_in_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of the same run in many parts."""
    return in_parts(HOG, tmp_path_factory.mktemp("hog") / "parts", 5_000)


@pytest.mark.parametrize("name", [HOG, SHADOW], ids=lambda name: name.name)
def test_parts_that_follow_on_each_other_begin_with_the_state_that_the_one_before_ends_with(
    name: Path, tmp_path: Path
) -> None:
    folder = in_parts(name, tmp_path / "run", 5_000)
    assert len(part_files(folder)) > 3
    whole = replay(folder)
    assert (whole.difference, whole.notes) == (None, [])
    counted = Replayed()
    for path in part_files(folder):
        alone = replay(path)
        assert (alone.difference, alone.notes) == (None, [])
        counted.events += alone.events
        counted.decisions += alone.decisions
    assert (counted.events, counted.decisions) == (whole.events, whole.decisions)


def test_a_part_that_begins_with_another_state_than_the_one_before_led_to_is_a_difference(
    hog_in_parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(core: Core) -> CoreState:
        return msgspec.structs.replace(state_of(core), copying={"D9.1": Copying()})

    monkeypatch.setattr(replaying, "state_of", other)
    found = replay(hog_in_parts).difference
    assert found is not None
    assert (found.path.name, found.number, found.event) == ("000002.record", 0, "the state that the part begins with")
    assert found.lines[0].startswith("state.copying.D9.1 was not there, is ")


def test_a_part_that_is_missing_is_a_note_and_the_rest_replays(hog_in_parts: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(hog_in_parts, tmp_path / "run")
    second = part_files(folder)[1]
    second.unlink()
    found = replay(folder)
    assert found.difference is None
    assert found.notes == [
        f"{folder}/000003.record: does not follow on {folder}/000001.record; begun anew with the state recorded there"
    ]


def test_a_part_whose_writer_was_killed_as_it_began_hides_no_other(hog_in_parts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(part_files(hog_in_parts)[0], folder)
    events = replay(folder).events
    last = folder / "000002.record"
    for body in (b"", FIRST_LINE, FIRST_LINE + b"\x28\xb5"):
        last.write_bytes(body)
        found = replay(folder)
        assert (found.events, found.difference) == (events, None)
        assert found.notes == [f"{last}: was cut off or damaged before anything was recorded in it"]
        with pytest.raises(RecordError, match="before anything was recorded"):
            replay(last)


def test_of_parts_that_are_too_large_together_the_newest_are_kept(hog_in_parts: Path, tmp_path: Path) -> None:
    whole = part_files(hog_in_parts)
    keep_bytes = sum(path.stat().st_size for path in whole) * 2 // 3
    parts = Parts(tmp_path / "run", 5_000, keep_bytes)
    scenario.run(HOG, parts)
    parts.close()
    kept = part_files(tmp_path / "run")
    assert sum(path.stat().st_size for path in kept) <= keep_bytes
    assert [path.name for path in kept] == [path.name for path in whole[-len(kept) :]]
    assert 0 < len(kept) < len(whole)
    assert replay(tmp_path / "run").difference is None


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_a_file_that_was_cut_off_replays_up_to_there_and_says_so(share: float, hog: Path, tmp_path: Path) -> None:
    (whole,) = part_files(hog)
    cut = tmp_path / "000001.record"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    found = replay(cut)
    assert found.difference is None
    assert found.notes == [f"{cut}: was cut off, or is being written; {found.events} events can be read"]
    assert 0 < found.events < replay(whole).events


def test_every_cut_of_a_file_is_told_and_never_a_surprise(hog: Path, tmp_path: Path) -> None:
    (whole,) = part_files(hog)
    body = whole.read_bytes()
    cut = tmp_path / "000001.record"
    for length in [*range(0, 4000, 97), len(body) - 1]:
        cut.write_bytes(body[:length])
        assert re.match(f"{cut}: (was cut off|is no record of migd)", complaint(cut)), length


def test_a_byte_that_is_wrong_is_found(hog: Path, tmp_path: Path) -> None:
    (whole,) = part_files(hog)
    body = bytearray(whole.read_bytes())
    body[len(body) // 2] ^= 0xFF
    damaged = tmp_path / "000001.record"
    damaged.write_bytes(body)
    assert re.match(rf"{damaged}: (is damaged; \d{{3,}} events|event \d{{3,}} cannot be read)", complaint(damaged))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (__version__.encode(), "its beginning"),
        (b"least-loaded", "the state that it begins with"),
        (b"InventoryChanged", "event 3"),
        (b"RecordDecision", r"what event \d+ led to"),
    ],
)
def test_text_that_is_no_text_any_more_is_told(text: bytes, said: str, hog: Path, tmp_path: Path) -> None:
    """A wrong byte may leave the stream and the message whole."""
    (whole,) = part_files(hog)
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(whole.read_bytes().removeprefix(FIRST_LINE))
    assert text in unpacked
    damaged = tmp_path / "000001.record"
    body = unpacked.replace(text, text[:-2] + b"\xff\xfe", 1)
    damaged.write_bytes(FIRST_LINE + zstandard.ZstdCompressor().compress(body))
    assert re.match(f"{damaged}: {said} cannot be read", complaint(damaged))


def test_a_decision_that_is_not_as_recorded_is_named_by_event_and_field(
    hog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from migd_controller import judging

    asked = judging.prices

    def dearer(*arguments: object, **named: object) -> object:
        from msgspec.structs import replace

        return [
            None if each is None else replace(each, cost_s=each.cost_s + 1.0) for each in asked(*arguments, **named)
        ]

    monkeypatch.setattr(judging, "prices", dearer)
    found = replay(hog)
    assert isinstance(found.difference, Difference)
    assert found.difference.event == "Tick"
    assert re.fullmatch(
        r"command 1: RecordDecision\.decision\.candidates\[0\]\.gates\[\d+\]\.text was 'gains .*', is 'gains .*'",
        found.difference.lines[0],
    )


def test_a_replay_does_not_depend_on_how_python_orders_sets(hog: Path) -> None:
    for seed in ("1", "2"):
        code = f"from pathlib import Path; from migd_sim.run.replay.replaying import replay; print(replay(Path({str(hog)!r})))"
        ended = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=60
        )
        assert "difference=None" in ended.stdout, ended.stderr


def test_a_record_of_another_format_is_refused_by_both_numbers(hog: Path, tmp_path: Path) -> None:
    (whole,) = part_files(hog)
    other = tmp_path / "000001.record"
    other.write_bytes(whole.read_bytes().replace(FIRST_LINE, b"migd-record 999\n", 1))
    with pytest.raises(
        RecordError, match=r"is a record of format 999, and migd .* reads format 3; replay it with the release"
    ):
        replay(other)


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("hello\n")
    with pytest.raises(RecordError, match="is no record of migd"):
        replay(tmp_path / "README.md")
    with pytest.raises(RecordError, match=r"expected part files .* found none"):
        replay(tmp_path)
    with pytest.raises(RecordError, match="cannot be read: No such file"):
        replay(tmp_path / "nowhere")


def test_a_folder_with_a_record_is_not_written_over(hog: Path) -> None:
    with pytest.raises(RecordError, match="holds a record already"):
        recorded.run(HOG, hog)


def test_a_core_that_failed_fails_again_at_the_same_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from migd_controller import core

    real, calls = core.build_world, []

    def fails_late(*arguments: object) -> object:
        calls.append(1)
        if len(calls) > 50:
            raise ZeroDivisionError("a bug")
        return real(*arguments)

    monkeypatch.setattr(core, "build_world", fails_late)
    parts = Parts(tmp_path / "run")
    with pytest.raises(ZeroDivisionError):
        scenario.run(HOG, parts)
    parts.close()
    calls.clear()
    found = replay(tmp_path / "run")
    assert found.difference is None
    assert found.notes[0].endswith("as it did then: ZeroDivisionError: a bug")
    monkeypatch.setattr(core, "build_world", real)
    mended = replay(tmp_path / "run").difference
    assert mended is not None
    assert mended.lines[0] == "failure was ZeroDivisionError: a bug, is none"


def test_runs_of_one_folder_follow_each_other(tmp_path: Path) -> None:
    recorded.run(SCENARIOS / "a-restart-in-mid-trend", tmp_path / "run")
    assert len(part_files(tmp_path / "run")) == 2
    shutil.copy(tmp_path / "run" / "000002.record", tmp_path / "second.record")
    assert replay(tmp_path / "second.record").difference is None

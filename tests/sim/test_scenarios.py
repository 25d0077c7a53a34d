"""Every scenario folder gives its golden log, twice the same."""

import os
from pathlib import Path

import pytest

from migd_core.errors import ConfigError
from migd_sim.run import recorded, scenario
from migd_sim.run.replay.replaying import replay

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[1] / "scenarios").glob("*/scenario.toml"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_run_is_as_it_was_found_right_and_replays_to_its_last_byte(folder: Path, tmp_path: Path) -> None:
    lines = scenario.run(folder).log
    golden = folder / "golden.log"
    if os.environ.get("MIGD_ACCEPT"):
        golden.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert lines == golden.read_text(encoding="utf-8").splitlines()
    again = recorded.run(folder, tmp_path / "run")
    assert again.log == lines
    found = replay(tmp_path / "run")
    assert (found.difference, found.notes, found.decisions) == (None, [], len(again.decisions))


def test_a_scenario_that_names_nobody_is_refused(tmp_path: Path) -> None:
    text = (FOLDERS[0].parent / "a-hog-drives-ranks-away" / "scenario.toml").read_text(encoding="utf-8")
    (tmp_path / "scenario.toml").write_text('happenings = [{ at_s = 1.0, what = "host-dies", of = "x" }]\n' + text)
    with pytest.raises(ConfigError, match="no host or guest is called x"):
        scenario.run(tmp_path)

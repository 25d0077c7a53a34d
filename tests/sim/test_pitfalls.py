"""Every pitfall of docs/pitfalls.md is shown by scenarios that exist, and every scenario says what it is about."""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "pitfalls.md"
LINK: Final = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


def rows() -> list[list[str]]:
    """Return the cells of each pitfall's row."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_there_are_pitfalls_and_each_is_told_once() -> None:
    told = [row[0] for row in rows()]
    assert len(told) >= 15
    assert len(set(told)) == len(told)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_a_pitfall_has_scenarios_that_exist_and_have_a_golden_log(row: list[str]) -> None:
    assert [bool(cell) for cell in row] == [True] * 4
    links = LINK.findall(row[3])
    assert links
    for name, path in links:
        folder = (PAGE.parent / path).resolve()
        assert folder == ROOT / "tests" / "scenarios" / name
        assert {"scenario.toml", "golden.log"} <= {file.name for file in folder.iterdir()}

"""Each claim of the threat model is held by a test that there is."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = [line for line in TEXT.splitlines() if line.startswith("|") and "::" in line]


def names_in(module: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text())
    return {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_claim_is_held_by_a_test_that_there_is() -> None:
    named = [tuple(found.split("::")) for row in ROWS for found in re.findall(r"`(\w[\w/]*::\w+)`", row)]
    assert len(named) > 30
    assert {f"{module}::{name}" for module, name in named if name not in names_in(module)} == set()


def test_no_way_is_named_without_what_holds_it() -> None:
    """In the tables of ways, which have three columns."""
    ways = re.findall(r"^\| way \|.*?(?=\n\n)", TEXT, re.MULTILINE | re.DOTALL)
    assert len(ways) == TEXT.count("| way |") >= 6
    rows = [row for table in ways for row in table.splitlines()[2:]]
    assert [row for row in rows if "::" not in row.rsplit("|", 2)[1]] == []


def test_everybody_who_might_attack_has_a_part_with_what_is_left() -> None:
    parts = TEXT.split("\n## ")[2:]
    assert {part.splitlines()[0] for part in parts if "| way |" in part and "\nLeft: " not in part} == set()

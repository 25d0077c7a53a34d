"""Dependencies are pinned, what is installed is what is pinned, and an audit that could not be made does not pass."""

import json
import re
from importlib.metadata import distributions
from pathlib import Path

import pytest
from audit import NONE_KNOWN, NOT_ASKED, SOME_KNOWN, Verdict, judged

ROOT = Path(__file__).parents[2]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
# What every virtual environment begins with, and migd itself.
OURS = {"migd", "pip", "setuptools", "wheel"}


def normal(name: str) -> str:
    """Return a name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    return {normal(name): version for name, _, version in (line.partition("==") for line in PINS)}


def test_every_constraint_is_one_exact_version() -> None:
    assert [line for line in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*", line)] == []
    assert len(pinned()) == len(PINS)


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {normal(each.metadata["Name"]): each.version for each in distributions()}
    others = {name: version for name, version in installed.items() if name not in OURS}
    assert others.keys() >= {"pyzmq", "msgspec", "aiohttp", "cryptography"}
    assert {name: version for name, version in others.items() if pinned().get(name) != version} == {}


CLEAN = {"name": "pyzmq", "version": "27.3.0", "vulns": []}
BAD = {"name": "aiohttp", "version": "3.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["3.1"], "aliases": []}]}
OFFLINE = (
    "ERROR:pip_audit._cli:Couldn't connect to PyPI's vulnerability feed\nHTTPSConnectionPool: Max retries exceeded"
)


@pytest.mark.parametrize(
    ("answer", "complaint", "verdict"),
    [
        (json.dumps({"dependencies": [CLEAN, CLEAN], "fixes": []}), "", (NONE_KNOWN, "no known vulnerability in 2 ")),
        (
            json.dumps({"dependencies": [CLEAN, BAD]}),
            "",
            (SOME_KNOWN, "1 known vulnerabilities, by osv:\naiohttp 3.0: "),
        ),
        (json.dumps({"dependencies": [CLEAN]}), "", (NOT_ASKED, "osv knows nothing of 1 of 2: these could not be ")),
        (
            json.dumps({"dependencies": [CLEAN, {"name": "x", "skip_reason": "not found"}]}),
            "",
            (NOT_ASKED, "osv knows nothing of 1 of 2 (x): these could not be asked about"),
        ),
        ("", OFFLINE, (NOT_ASKED, "osv could not be asked: HTTPSConnectionPool: Max retries exceeded")),
        ("", "", (NOT_ASKED, "osv could not be asked: no answer")),
        ("[]", "", (NOT_ASKED, "osv could not be asked: no answer")),
    ],
)
def test_only_an_answer_about_every_dependency_is_a_clean_one(
    answer: str, complaint: str, verdict: tuple[int, str]
) -> None:
    found = judged("osv", answer, complaint, 2)
    assert isinstance(found, Verdict)
    assert (found.code, found.text[: len(verdict[1])]) == verdict

"""Asks whether a pinned dependency has a known vulnerability: `python deploy/audit.py constraints.txt`.

pip-audit does it, at the Python Packaging Advisory Database by way of PyPI, or where that does not answer at OSV. The
exit code is 0 where none is known, 1 where there are some, 2 where nobody could be asked: then nothing is known.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SERVICES: Final = ("pypi", "osv")
WITHIN_S: Final = 600.0
NAMED: Final = 5
NONE_KNOWN, SOME_KNOWN, NOT_ASKED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of asking one service, as an exit code and in words."""

    code: int
    text: str


def judged(service: str, answer: str, complaint: str, pinned: int) -> Verdict:
    """Return what pip-audit's JSON, or its last words where it has none, come to for `pinned` dependencies.

    What it skipped counts as not asked for: a clean answer is one about every pinned version.
    """
    try:
        dependencies = json.loads(answer)["dependencies"]
        known = [(each["name"], each["version"], each["vulns"]) for each in dependencies if "vulns" in each]
        skipped = [each["name"] for each in dependencies if "vulns" not in each]
    except (ValueError, KeyError, TypeError):
        words = complaint.strip().splitlines()
        return Verdict(NOT_ASKED, f"{service} could not be asked: {words[-1][:300] if words else 'no answer'}")
    bad = [f"{name} {version}: {_told(each)}" for name, version, found in known for each in found]
    if bad:
        return Verdict(SOME_KNOWN, "\n".join([f"{len(bad)} known vulnerabilities, by {service}:", *sorted(bad)]))
    if skipped or len(known) < pinned:
        missing = f"{len(skipped) or pinned - len(known)} of {pinned}"
        names = f" ({', '.join(skipped[:NAMED])}{', …' if len(skipped) > NAMED else ''})" if skipped else ""
        return Verdict(NOT_ASKED, f"{service} knows nothing of {missing}{names}: these could not be asked about")
    return Verdict(NONE_KNOWN, f"no known vulnerability in {len(known)} pinned dependencies, by {service}")


def _told(vulnerability: dict[str, object]) -> str:
    fixes = vulnerability.get("fix_versions")
    mended = ", ".join(map(str, fixes)) if isinstance(fixes, list) and fixes else "none yet"
    return f"{vulnerability.get('id')}, mended in {mended}"


def main(constraints: Path) -> int:
    """Ask one service after the other until one has an answer; print what it is, and return the exit code."""
    pinned = sum("==" in line for line in constraints.read_text().splitlines())
    for service in SERVICES:
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--no-deps", "--disable-pip"]
        command += ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
            verdict = judged(service, done.stdout, done.stderr, pinned)
        except subprocess.TimeoutExpired:
            verdict = Verdict(NOT_ASKED, f"{service} could not be asked: no answer within {WITHIN_S:g} s")
        sys.stderr.write(verdict.text + "\n")
        if verdict.code != NOT_ASKED:
            return verdict.code
    sys.stderr.write("nobody could be asked, so nothing is known of these dependencies; try where there is a network\n")
    return NOT_ASKED


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

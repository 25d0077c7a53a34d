"""A policy in a package of its own: installed by pip, found by the registry, checked by mypy against migd's types."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "example_policy"

USE_IT = """
import json
import sys

sys.path.insert(0, sys.argv[1])
from builders import guest, host, world
from migd_core.units import GIB
from migd_policies.registry import configure, survey

found = survey()
policy = configure("free-memory", {"least_free_ratio": "0.5"})
plan = policy.propose(world(host("a", memory_bytes=6 * GIB), host("b"), guest("rank0", on="a")))
print(json.dumps({
    "policies": list(found.policies),
    "problems": dict(found.problems),
    "moves": [[move.guest, move.source, move.target] for move in plan.moves],
}))
"""

# Errors that only somebody who sees migd's types can find.
WRONG = """
from typing import ClassVar

import msgspec
from migd_core.world import Plan, Reason, World
from migd_policies.policy import Policy


class Wrong(msgspec.Struct, frozen=True):
    name: ClassVar[str] = "wrong"
    summary: ClassVar[str] = "asks for what is not there"

    def propose(self, world: World) -> int:
        return len(world.hostz)


policy: Policy = Wrong()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which pip has installed the example package, without asking any index."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    done = subprocess.run([*pip, *offline, str(EXAMPLE)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_an_installed_policy_is_found_configured_and_used(installed: Path):
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", USE_IT, tests],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        '{"policies": ["observe", "least-loaded", "colocate", "balance", "job-time", "evacuate", "potential", "free-memory"], "problems": {}, '
        '"moves": [["rank0", "a", "b"]]}'
    )


def test_mypy_checks_a_policy_against_the_types_of_migd(tmp_path: Path):
    wrong = tmp_path / "wrong_policy.py"
    wrong.write_text(WRONG, encoding="utf-8")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run(
        [*mypy, str(EXAMPLE / "migd_example_policy"), str(wrong)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 2, done.stdout + done.stderr
    assert '"World" has no attribute "hostz"' in errors[0]
    assert 'variable has type "Policy"' in errors[1]

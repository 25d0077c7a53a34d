"""The units are ones that systemd takes, and permit what their README gives a reason for."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))
MOST_EXPOSED = {"migd-agent.service": 4.0, "migd-controller.service": 2.5}

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong_but_the_missing_program(unit: Path) -> None:
    complaints = analyze("verify", "--man=no", str(unit)).stderr.splitlines()
    assert [line for line in complaints if "is not executable" not in line] == []


def test_an_agent_begins_after_what_makes_a_dom0_known_as_one() -> None:
    """`/proc/xen` and XenStore: Debian's init script brings both, XAPI's hosts have a unit for each."""
    (after,) = re.findall(r"^After=(.*)$", (FOLDER / "migd-agent.service").read_text(), re.MULTILINE)
    assert {"xen.service", "proc-xen.mount", "xenstored.service"} <= set(after.split())


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_no_more_exposed_than_it_may_be(unit: Path) -> None:
    found = analyze(
        "security", "--offline=true", f"--threshold={MOST_EXPOSED[unit.name] * 10:.0f}", "--no-pager", str(unit)
    )
    assert found.returncode == 0, found.stdout[-200:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_permission_that_is_left_has_its_reason_and_no_other_has(unit: Path) -> None:
    found = analyze("security", "--offline=true", "--json=short", "--no-pager", str(unit))
    left = {
        each["name"] for each in json.loads(found.stdout) if each["set"] is False and float(each["exposure"] or 0) > 0
    }
    left |= {"LimitMEMLOCK="} if "LimitMEMLOCK=" in unit.read_text() else set()
    section = (FOLDER / "README.md").read_text().partition(f"### {unit.name}\n")[2].partition("\n### ")[0]
    named = set()
    for line in section.splitlines():
        if line.startswith("| `"):
            permissions, reason = re.split(r"(?<!\\) \| ", line.strip("| "), maxsplit=1)
            assert len(reason) > 5
            named |= {name.replace("\\|", "|") for name in re.findall(r"`([^`]+)`", permissions)}
    assert named == left


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed here")
@pytest.mark.parametrize("program", ["sysusers", "tmpfiles"])
def test_users_and_folders_are_made_as_the_units_need_them(program: str, tmp_path: Path) -> None:
    for name in ("passwd", "group"):
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc" / name).write_text("root:x:0:0:root:/root:/bin/sh\n" if name == "passwd" else "root:x:0:\n")
    files = sorted(map(str, (FOLDER / f"{program}.d").glob("*.conf")))
    create = ["--create"] if program == "tmpfiles" else []
    done = subprocess.run(
        [f"systemd-{program}", *create, f"--root={tmp_path}", *files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if program == "sysusers":
        assert re.search(
            r"^migd:.*:/var/lib/migd:/usr/sbin/nologin$", (tmp_path / "etc/passwd").read_text(), re.MULTILINE
        )
    else:
        assert (tmp_path / "etc/migd/secrets").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "etc/migd/agents.toml").read_text() == ""
